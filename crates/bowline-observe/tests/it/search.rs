//! What a search finds.

use std::time::Duration;

use bowline_observe::traces::{Order, SpanStatus, TraceSummary};

use super::*;

/// Three traces: 1 is an order that was paid, 2 one that failed, 3 a slow look at an order.
fn traces() -> Vec<SpanData> {
    let make = |trace: u128, id: u64, service: &str, name: &'static str, millis: u64| SpanData {
        service: service.into(),
        name: name.into(),
        duration_nanos: millis * 1_000_000,
        start_unix_nanos: u64::try_from(trace).unwrap() * 1_000_000_000 + id,
        attributes: vec![],
        ..span(trace, id)
    };
    let with = |mut span: SpanData, key: &'static str, value: bowline_telemetry::Value| {
        span.attributes.push((key.into(), value));
        span
    };
    vec![
        with(make(1, 1, "gateway", "POST /orders", 20), "http.response.status_code", 201.into()),
        with(make(1, 2, "order", "POST /orders", 10), "order", "o-1".into()),
        with(make(2, 1, "gateway", "POST /orders", 30), "http.response.status_code", 502.into()),
        SpanData { status: Status::Error("no".to_owned()), ..make(2, 2, "order", "POST /orders", 10) },
        with(make(3, 1, "gateway", "GET /orders/{id}", 300), "http.response.status_code", 200.into()),
        with(make(3, 2, "order", "GET /orders/{id}", 10), "cached", false.into()),
        with(make(3, 3, "order", "query", 5), "share", 0.5.into()),
    ]
}

fn query(change: impl FnOnce(&mut Query)) -> Query {
    let mut query = Query::default();
    change(&mut query);
    query
}

fn numbers(found: &[TraceSummary]) -> Vec<u128> {
    found.iter().map(|found| found.trace_id.get()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_filter_finds_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(traces());
    let ms = Duration::from_millis;
    let attribute = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let table: Vec<(Query, &[u128])> = vec![
        (Query::default(), &[3, 2, 1]),
        (query(|q| q.limit = 2), &[3, 2]),
        (query(|q| q.limit = 0), &[3]),
        (query(|q| q.service = Some("order".into())), &[3, 2, 1]),
        (query(|q| q.service = Some("orde".into())), &[]),
        (query(|q| q.operation = Some("query".into())), &[3]),
        (query(|q| q.operation = Some("POST /orders".into())), &[2, 1]),
        // The same span has both.
        (query(|q| (q.service, q.operation) = (Some("gateway".into()), Some("query".into()))), &[]),
        (query(|q| (q.service, q.operation) = (Some("order".into()), Some("query".into()))), &[3]),
        (query(|q| q.min_duration = Some(Duration::from_millis(30))), &[3, 2]),
        (query(|q| q.min_duration = Some(Duration::from_secs(1))), &[]),
        (query(|q| q.max_duration = Some(Duration::from_millis(30))), &[2, 1]),
        (query(|q| (q.min_duration, q.max_duration) = (Some(ms(25)), Some(ms(30)))), &[2]),
        (query(|q| q.since_unix_nanos = Some(2_000_000_001)), &[3, 2]),
        (query(|q| q.since_unix_nanos = Some(2_000_000_002)), &[3]),
        (query(|q| q.until_unix_nanos = Some(2_000_000_001)), &[1]),
        (query(|q| (q.since_unix_nanos, q.until_unix_nanos) = (Some(2_000_000_000), Some(3_000_000_000))), &[2]),
        (query(|q| q.status = Some(SpanStatus::Error)), &[2]),
        (query(|q| q.status = Some(SpanStatus::Unset)), &[3, 2, 1]),
        (query(|q| q.status = Some(SpanStatus::Ok)), &[]),
        // The same span has both.
        (query(|q| (q.service, q.status) = (Some("order".into()), Some(SpanStatus::Error))), &[2]),
        (query(|q| (q.service, q.status) = (Some("gateway".into()), Some(SpanStatus::Error))), &[]),
        (query(|q| q.has_error = Some(true)), &[2]),
        (query(|q| q.has_error = Some(false)), &[3, 1]),
        (query(|q| q.attributes = attribute("http.response.status_code", "201")), &[1]),
        (query(|q| q.attributes = attribute("http.response.status_code", "20")), &[]),
        (query(|q| q.attributes = attribute("http.response.status_code", "201.0")), &[1]),
        (query(|q| q.attributes = attribute("http.response.status_code", "2.01e2")), &[1]),
        (query(|q| q.attributes = attribute("share", "0.50")), &[3]),
        (query(|q| q.attributes = attribute("service.name", "order")), &[3, 2, 1]),
        (query(|q| q.attributes = [attribute("service.name", "order"), attribute("order", "o-1")].concat()), &[1]),
        (query(|q| q.attributes = attribute("order", "O-1")), &[]),
        (query(|q| q.attributes = attribute("order", "o-1")), &[1]),
        (query(|q| q.attributes = attribute("cached", "false")), &[3]),
        (query(|q| q.attributes = attribute("share", "0.5")), &[3]),
        (query(|q| q.attributes = [attribute("share", "0.5"), attribute("cached", "false")].concat()), &[]),
        (query(|q| (q.service, q.attributes) = (Some("gateway".into()), attribute("order", "o-1"))), &[]),
        (query(|q| (q.service, q.attributes) = (Some("order".into()), attribute("order", "o-1"))), &[1]),
        (query(|q| (q.has_error, q.attributes) = (Some(true), attribute("order", "o-1"))), &[]),
    ];
    for (query, expect) in &table {
        assert_eq!(numbers(&store.search(query).await.unwrap()), *expect, "{query:?}");
    }
    store.close().await;
    // The same after the index was built anew.
    let store = open(dir.path());
    for (query, expect) in &table {
        assert_eq!(numbers(&store.search(query).await.unwrap()), *expect, "{query:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_summary_says_what_the_trace_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut spans = traces();
    // Children arrive first, in a record of their own.
    spans.reverse();
    for span in spans {
        store.append(vec![span]);
        store.flush().await.unwrap();
    }
    let found = store.search(&query(|q| q.has_error = Some(true))).await.unwrap();
    assert!(!found.is_cut);
    let found = found.traces;
    let expect = TraceSummary {
        trace_id: trace_id(2),
        root_service: "gateway".to_owned(),
        root_name: "POST /orders".to_owned(),
        root_status: SpanStatus::Unset,
        has_root: true,
        start_unix_nanos: 2_000_000_001,
        duration_nanos: 30_000_000,
        span_count: 2,
        services: vec!["gateway".to_owned(), "order".to_owned()],
        has_error: true,
    };
    assert_eq!(found, [expect]);
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Vec<TraceSummary>>(&json).unwrap(), found);
}

#[tokio::test(start_paused = true)]
async fn the_slowest_of_all_are_found_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let store = TraceStore::open(Settings { bytes_max: 16 * BYTES_MAX_MIN, ..settings(dir.path()) }).unwrap();
    // Each takes another time, in no order.
    let millis = |trace: u128| u64::try_from(trace * 1009 % 2003).unwrap();
    let took = |trace: u128| SpanData { duration_nanos: millis(trace) * 1_000_000, ..span(trace, 1) };
    store.append((1..2000).map(took).collect());
    let slowest = |change: fn(&mut Query)| {
        let mut query = Query { order: Order::Slowest, limit: 7, ..Query::default() };
        change(&mut query);
        query
    };
    let expect = |is_in: fn(u128) -> bool| {
        let mut all: Vec<u128> = (1..2000).filter(|trace| is_in(*trace)).collect();
        all.sort_by_key(|trace| std::cmp::Reverse(millis(*trace)));
        all.truncate(7);
        all
    };
    let found = store.search(&slowest(|_| ())).await.unwrap();
    assert_eq!((numbers(&found), found.next), (expect(|_| true), None));
    let short = slowest(|q| q.max_duration = Some(Duration::from_secs(1)));
    assert_eq!(numbers(&store.search(&short).await.unwrap()), expect(|trace| trace * 1009 % 2003 <= 1000));
    // Whose spans have to be read.
    let read = slowest(|q| q.attributes = vec![("trace".into(), "7".into())]);
    assert_eq!(numbers(&store.search(&read).await.unwrap()), [7]);
}

#[tokio::test(start_paused = true)]
async fn a_rare_attribute_is_found_among_many_traces() {
    let dir = tempfile::tempdir().unwrap();
    let store = TraceStore::open(Settings { bytes_max: 16 * BYTES_MAX_MIN, ..settings(dir.path()) }).unwrap();
    store.append((1..3000).map(|number| span(number, 1)).collect());
    let rare = query(|q| q.attributes = vec![("trace".into(), "7".into())]);
    assert_eq!(numbers(&store.search(&rare).await.unwrap()), [7]);
    let all = query(|q| (q.limit, q.attributes) = (usize::MAX, vec![("id".into(), "1".into())]));
    let found = numbers(&store.search(&all).await.unwrap());
    assert_eq!(found, (2000..3000).rev().collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn pages_neither_repeat_nor_leave_out_whatever_comes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = TraceStore::open(Settings { bytes_max: 16 * BYTES_MAX_MIN, ..settings(dir.path()) }).unwrap();
    store.append((101..=200).map(|number| span(number, 2)).collect());
    for attributes in [vec![], vec![("id".to_owned(), "2".to_owned())]] {
        let mut page = query(|q| (q.limit, q.attributes) = (7, attributes));
        let mut seen = Vec::new();
        loop {
            let found = store.search(&page).await.unwrap();
            seen.extend(numbers(&found));
            let Some(next) = found.next else { break };
            page.cursor = Some(next.to_string().parse().unwrap());
            // New traces, and spans that began long before the trace was first heard of.
            let late = seen.iter().map(|number| SpanData { start_unix_nanos: 1, ..span(*number, 1) });
            store.append(late.chain([span(1000 + seen.len() as u128, 2)]).collect());
        }
        seen.retain(|number| *number <= 200);
        assert_eq!(seen, (101..=200).rev().collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_that_was_cut_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = TraceStore::open(Settings { search_bytes_max: 1, ..settings(dir.path()) }).unwrap();
    for number in 1..=20 {
        store.append(vec![span(number, 1)]);
        store.flush().await.unwrap();
    }
    let mut page = query(|q| q.attributes = vec![("id".into(), "1".into()), ("trace".into(), "3".into())]);
    let mut pages = 0;
    let found = loop {
        let found = store.search(&page).await.unwrap();
        pages += 1;
        assert!(pages < 30 && (found.is_cut || !found.is_empty()));
        page.cursor = found.next;
        if !found.is_empty() {
            break found;
        }
    };
    assert_eq!(numbers(&found), [3]);
    assert!(pages > 10, "{pages}");
}

#[tokio::test(start_paused = true)]
async fn a_search_ends_at_its_bound_of_bytes_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = Settings {
        bytes_max: 16 * BYTES_MAX_MIN,
        metrics: metrics.clone(),
        search_bytes_max: 200_000,
        ..settings(dir.path())
    };
    let store = TraceStore::open(settings).unwrap();
    // A record for each trace, of about 10 kB.
    for number in 1..=100 {
        let text = format!("{number:010}").repeat(1000);
        store.append(vec![SpanData {
            attributes: vec![("number".into(), number.to_string().into()), ("text".into(), text.into())],
            ..span(number, 1)
        }]);
        store.flush().await.unwrap();
    }
    let search = |key: &str, value: &str| query(|q| q.attributes = vec![(key.to_owned(), value.to_owned())]);
    assert_eq!(numbers(&store.search(&search("number", "95")).await.unwrap()), [95]);
    // The limit was not reached and there was more to read.
    assert_eq!(metric(&metrics, "bowline_traces_searches_cut_total"), 1);
    let found = store.search(&search("number", "2")).await.unwrap();
    assert!(found.is_cut && found.is_empty(), "what was not looked at is said");
    assert_eq!(metric(&metrics, "bowline_traces_searches_cut_total"), 2);
    // What the index knows alone reads nothing.
    assert_eq!(store.search(&query(|q| q.limit = 100)).await.unwrap().len(), 100);
    assert_eq!(metric(&metrics, "bowline_traces_searches_cut_total"), 2);
}

#[tokio::test(start_paused = true)]
async fn traces_that_share_a_record_cost_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let settings = Settings { search_bytes_max: 100_000, metrics: metrics.clone(), ..settings(dir.path()) };
    let store = TraceStore::open(settings).unwrap();
    store.append((1..=200).map(|number| span(number, 1)).collect());
    let last = query(|q| q.attributes = vec![("trace".into(), "1".into())]);
    assert_eq!(numbers(&store.search(&last).await.unwrap()), [1]);
    assert_eq!(metric(&metrics, "bowline_traces_searches_cut_total"), 0);
}
