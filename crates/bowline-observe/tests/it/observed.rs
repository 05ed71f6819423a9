//! What a system was seen to do, read from the store.

use std::{path::Path, time::Duration};

use bowline_model::observed::{Gap, Observed};
use bowline_observe::{
    communication,
    traces::{Query, TraceStore},
};
use bowline_runtime::time;
use bowline_telemetry::SpanKind;

use crate::{open, random_text, settings, span};

async fn observe(store: &TraceStore, back: Duration) -> Observed {
    communication::observe(store, back, Path::new("/data/sqlite")).await.unwrap()
}

/// Of a trace that begins so many milliseconds before now: `user` asks `payment`.
fn call(trace: u128, before_ms: u64) -> Vec<bowline_telemetry::SpanData> {
    let begun = time::unix_nanos(time::wall()) - before_ms * 1_000_000;
    let mut spans = vec![span(trace, 1), span(trace, 2)];
    for (span, service) in spans.iter_mut().zip(["user", "payment"]) {
        span.service = service.into();
        span.start_unix_nanos = begun;
        span.duration_nanos = 1000;
    }
    spans[0].kind = SpanKind::Client;
    spans
}

#[tokio::test]
async fn an_observation_reads_every_trace_of_its_time_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // More than a page, and some that are too old.
    let count = 600_u64;
    for trace in 1..=u128::from(count) {
        assert_eq!(store.append(call(trace, 1000)), 2);
    }
    for trace in 1..=60_u128 {
        assert_eq!(store.append(call(10_000 + trace, 7_200_000)), 2);
    }
    let seen = observe(&store, Duration::from_hours(1)).await;
    assert_eq!((seen.traces, seen.spans, seen.is_complete()), (count, 2 * count, true));
    let [edge] = &*seen.edges else { panic!("{:?}", seen.edges) };
    assert_eq!(
        (edge.caller.as_deref(), &*edge.callee, edge.count, edge.waited),
        (Some("user"), "payment", count, count)
    );
    assert_eq!(seen.whole_since_unix_ms, seen.since_unix_ms);
    assert!(seen.since_unix_ms <= edge.first_unix_ms && edge.last_unix_ms <= seen.until_unix_ms);
    let all = observe(&store, Duration::from_hours(3)).await;
    assert_eq!((all.traces, all.edges[0].count), (count + 60, count + 60));
    store.close().await;
}

#[tokio::test]
async fn what_the_store_has_deleted_is_no_longer_observed() {
    let dir = tempfile::tempdir().unwrap();
    let begun = time::unix_nanos(time::wall());
    let store = open(dir.path());
    // More than the cap.
    for trace in 1..=60 {
        let mut spans = call(trace, 1);
        spans[0].attributes = vec![("text".into(), random_text(30_000).into())];
        store.append(spans);
        store.flush().await.unwrap();
    }
    let check = |seen: Observed| {
        assert!(seen.traces < 60 && !seen.is_complete(), "{seen:?}");
        assert_eq!(seen.gaps, [Gap::Deleted]);
        assert!(seen.whole_since_unix_ms >= begun / 1_000_000, "{seen:?}");
        assert!(seen.whole_since_unix_ms <= seen.until_unix_ms, "{seen:?}");
        seen.whole_since_unix_ms
    };
    let whole_since = check(observe(&store, Duration::from_hours(1)).await);
    store.close().await;
    // What an earlier run deleted is gone as well.
    let store = TraceStore::open(settings(dir.path())).unwrap();
    assert_eq!(check(observe(&store, Duration::from_hours(1)).await), whole_since);
    // Of a time of which nothing was deleted, all is there.
    let back = time::unix_nanos(time::wall()) - (whole_since + 1) * 1_000_000;
    assert!(observe(&store, Duration::from_nanos(back)).await.is_complete());
    store.close().await;
}

#[tokio::test]
async fn a_page_has_the_spans_of_its_traces_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for trace in 1..=5 {
        assert_eq!(store.append(vec![span(trace, 2), span(trace, 1)]), 2);
    }
    let mut query = Query { limit: 2, ..Query::default() };
    let mut found = Vec::new();
    loop {
        let page = store.page(&query).await.unwrap();
        assert!(!page.is_cut);
        found.extend(page.traces);
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    let expect: Vec<_> = (1..=5).rev().map(|trace| vec![span(trace, 1), span(trace, 2)]).collect();
    assert_eq!(found, expect);
    store.close().await;
}
