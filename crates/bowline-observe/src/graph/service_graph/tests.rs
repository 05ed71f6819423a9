//! Tests of the graph as a whole, under virtual time.

use bowline_telemetry::{SpanId, Status, TraceId};

use super::*;
use crate::graph::{Failure, Figures};

fn now_nanos() -> u64 {
    time::unix_nanos(time::wall())
}

/// A span that ends now and took so many milliseconds.
fn span(trace: u128, id: u64, parent: u64, service: &str, kind: SpanKind, millis: u64) -> SpanData {
    SpanData {
        trace_id: TraceId::new(trace).unwrap(),
        span_id: SpanId::new(id).unwrap(),
        parent_span_id: SpanId::new(parent),
        service: service.into(),
        instance: "".into(),
        name: format!("work of {service}").into(),
        kind,
        start_unix_nanos: now_nanos() - millis * 1_000_000,
        duration_nanos: millis * 1_000_000,
        status: Status::Unset,
        attributes: vec![],
        events: vec![],
        links: vec![],
    }
}

fn with(mut span: SpanData, key: &'static str, value: impl Into<bowline_telemetry::Value>) -> SpanData {
    span.attributes.push((key.into(), value.into()));
    span
}

fn failed(span: SpanData, status: i64) -> SpanData {
    SpanData { status: Status::Error("no".to_owned()), ..with(span, "http.response.status_code", status) }
}

/// An order of the shop: the bank refuses the first attempt of every tenth, and every twentieth at last.
fn order(number: u128) -> Vec<SpanData> {
    let (is_retried, is_lost) = (number.is_multiple_of(10), number.is_multiple_of(20));
    let mut spans = vec![
        with(span(number, 1, 0, "gateway", SpanKind::Server, 20), "bowline.backend", "order"),
        span(number, 2, 1, "order", SpanKind::Server, 18),
        with(span(number, 3, 2, "order", SpanKind::Client, 16), "peer.service", "payment"),
        // As in a mesh: the sidecar's span, and within it the application's.
        span(number, 4, 3, "payment", SpanKind::Server, 14),
        span(number, 5, 4, "payment", SpanKind::Server, 13),
        with(span(number, 6, 5, "payment", SpanKind::Client, 10), "peer.service", "bank"),
        span(number, 7, 6, "bank", SpanKind::Server, 2),
        with(with(span(number, 9, 5, "payment", SpanKind::Client, 1), "db.system", "sqlite"), "db.namespace", "p"),
    ];
    if is_retried {
        spans.push(failed(span(number, 8, 6, "bank", SpanKind::Server, 1), 503));
    }
    if is_lost {
        for at in [0, 2, 5, 6] {
            spans[at] = failed(spans[at].clone(), 503);
        }
    }
    spans
}

fn edge<'a>(graph: &'a Graph, caller: &str, callee: &str) -> &'a Edge {
    let found = graph.edges.iter().find(|edge| &*edge.caller == caller && &*edge.callee == callee);
    found.unwrap_or_else(|| panic!("{caller} -> {callee}: {graph:#?}"))
}

fn node<'a>(graph: &'a Graph, name: &str) -> &'a Node {
    graph.services.iter().find(|node| &*node.name == name).unwrap_or_else(|| panic!("{name}: {graph:#?}"))
}

fn graph(change: impl FnOnce(&mut Settings)) -> (ServiceGraph, Registry) {
    let mut settings = Settings::default();
    change(&mut settings);
    let metrics = settings.metrics.clone();
    (ServiceGraph::new(settings), metrics)
}

fn assert_has(metrics: &Registry, line: &str) {
    let page = metrics.render();
    assert!(page.lines().any(|known| known == line), "{line}\n{page}");
}

#[tokio::test(start_paused = true)]
async fn the_shop_is_seen_as_it_is() {
    let (graph, metrics) = graph(|_| {});
    for number in 1..=100 {
        let mut spans = order(number);
        spans.reverse();
        graph.observe(&spans);
    }
    // What is not instrumented shows when nobody answered for it.
    assert_eq!(graph.snapshot(WINDOW_MIN).edges.len(), 3);
    time::sleep(Duration::from_secs(10)).await;
    let shop = graph.snapshot(WINDOW_MIN);
    let edges: Vec<_> = shop.edges.iter().map(|edge| (&*edge.caller, &*edge.callee, edge.figures.count)).collect();
    assert_eq!(
        edges,
        [("gateway", "order", 100), ("order", "payment", 100), ("payment", "bank", 100), ("payment", "sqlite:p", 100),]
    );
    let names: Vec<_> = shop.services.iter().map(|node| (&*node.name, node.is_instrumented)).collect();
    assert_eq!(names, [("bank", true), ("gateway", true), ("order", true), ("payment", true), ("sqlite:p", false)]);
    let bank = edge(&shop, "payment", "bank");
    assert_eq!((bank.figures.errors, bank.mode), (5, Mode::Sync));
    assert_eq!(bank.failures, [Failure { status: "503".into(), count: 5 }]);
    assert_eq!(bank.sample.map(|id| id.get() % 20), Some(0));
    assert!((bank.figures.p50.as_secs_f64() / 0.010 - 1.0).abs() < 0.07, "{:?}", bank.figures);
    assert_eq!(bank.figures.max, Duration::from_millis(10));
    assert!((edge(&shop, "gateway", "order").figures.error_rate - 0.05).abs() < 1e-9);
    // The attempts are the bank's to answer; the sidecar and its application answer once.
    assert_eq!((node(&shop, "bank").figures.count, node(&shop, "bank").figures.errors), (110, 15));
    assert_eq!(node(&shop, "payment").figures.count, 100);
    assert_eq!(node(&shop, "sqlite:p").figures.count, 100);
    assert_eq!(&*node(&shop, "order").operations[0].name, "work of order");
    assert_has(&metrics, r#"bowline_edge_requests_total{caller="payment",callee="bank",mode="sync",status="error"} 5"#);
    assert_has(&metrics, r#"bowline_edge_duration_seconds_count{caller="order",callee="payment",mode="sync"} 100"#);
    let bank = r#"{service="bank",operation="work of bank",kind="server",status="ok"}"#;
    assert_has(&metrics, &format!("bowline_span_requests_total{bank} 95"));
    assert_has(&metrics, "bowline_graph_edges 4");
}

#[tokio::test(start_paused = true)]
async fn windows_hold_what_ended_in_them() {
    let (graph, _) = graph(|_| {});
    // From the beginning of a bucket on.
    time::sleep(Duration::from_nanos(10_000_000_000 - now_nanos() % 10_000_000_000)).await;
    for second in 1..=1800_u128 {
        graph.observe(&[
            span(second, 1, 0, "order", SpanKind::Client, 5),
            span(second, 2, 1, "bank", SpanKind::Server, 5),
        ]);
        time::sleep(Duration::from_secs(1)).await;
    }
    for (minutes, count) in [(1, 60), (5, 300), (15, 900), (60, 1800)] {
        let Figures { count: found, rate, .. } =
            edge(&graph.snapshot(Duration::from_mins(minutes)), "order", "bank").figures;
        assert!(found.abs_diff(count) <= 1, "{minutes} min: {found}");
        let expect = if minutes == 60 { 0.5 } else { 1.0 };
        assert!((rate / expect - 1.0).abs() < 0.02, "{minutes} min: {rate}");
    }
    time::sleep(Duration::from_mins(30)).await;
    assert_eq!(graph.snapshot(Duration::from_mins(29)), Graph::default());
    assert_eq!(edge(&graph.snapshot(WINDOW_MAX), "order", "bank").figures.count, 1800);
    time::sleep(Duration::from_mins(31)).await;
    assert_eq!(graph.snapshot(WINDOW_MAX), Graph::default());
    let state = graph.0.lock();
    assert!(state.kept.edges.is_empty() && state.kept.services.is_empty() && state.kept.cells == 0);
}

#[tokio::test(start_paused = true)]
async fn spans_of_an_earlier_run_are_in_the_graph_and_not_in_the_metrics() {
    let (graph, metrics) = graph(|_| {});
    let mut old = order(1);
    for span in &mut old {
        span.start_unix_nanos -= 1_800_000_000_000;
    }
    graph.tap().replayed(&old);
    let mut ancient = order(2);
    for span in &mut ancient {
        span.start_unix_nanos -= 7_200_000_000_000;
    }
    graph.tap().replayed(&ancient);
    graph.tap().appended(&order(3));
    time::sleep(Duration::from_secs(10)).await;
    assert_eq!(edge(&graph.snapshot(WINDOW_MAX), "order", "payment").figures.count, 2);
    assert_eq!(edge(&graph.snapshot(WINDOW_MIN), "order", "payment").figures.count, 1);
    let order = r#"{caller="order",callee="payment",mode="sync",status="ok"}"#;
    assert_has(&metrics, &format!("bowline_edge_requests_total{order} 1"));
    assert_has(&metrics, r#"bowline_graph_dropped_total{reason="too_late"} 8"#);
}

#[tokio::test(start_paused = true)]
async fn bounds_hold_and_say_what_they_cost() {
    let (graph, metrics) = graph(|settings| {
        (settings.services_max, settings.edges_max, settings.operations_max) = (20, 10, 3);
        settings.cells_max = 2000;
    });
    for number in 1..=40_u64 {
        let service = format!("service-{number}");
        let trace = u128::from(number);
        graph.observe(&[
            span(trace, 1, 0, "order", SpanKind::Client, 1),
            span(trace, 2, 1, &service, SpanKind::Server, 1),
            SpanData { name: format!("name-{number}").into(), ..span(trace, 3, 0, "order", SpanKind::Server, 1) },
        ]);
    }
    let shown = graph.snapshot(WINDOW_MIN);
    assert_eq!((shown.edges.len(), shown.services.len()), (10, 20));
    let operations: Vec<_> = node(&shown, "order").operations.iter().map(|operation| &*operation.name).collect();
    assert_eq!(operations, ["(other)", "name-1", "name-2", "name-3"]);
    // Who holds an answer holds its names.
    drop(shown);
    assert_has(&metrics, r#"bowline_graph_dropped_total{reason="too_many_services"} 21"#);
    assert_has(&metrics, r#"bowline_graph_dropped_total{reason="too_many_edges"} 9"#);
    for number in 0..2000_u64 {
        time::sleep(Duration::from_secs(1)).await;
        graph.observe(&[span(1000 + u128::from(number), 1, 0, "order", SpanKind::Server, 1 << (number % 10))]);
        // What a batch adds may be over the bound until the next one.
        assert!(graph.0.lock().kept.cells <= 2000 + 16);
    }
    let kept = node(&graph.snapshot(WINDOW_MAX), "order").figures.count;
    assert!((500..2000).contains(&kept), "{kept}");
    // An hour on there is room for other services.
    time::sleep(Duration::from_mins(61)).await;
    graph.observe(&[span(5000, 1, 0, "service-40", SpanKind::Server, 1)]);
    assert_eq!(graph.snapshot(WINDOW_MIN).services.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_counts_for_now() {
    let (graph, _) = graph(|_| {});
    let ahead = SpanData { start_unix_nanos: u64::MAX - 5, ..span(1, 1, 0, "order", SpanKind::Server, 1) };
    graph.observe(&[ahead]);
    assert_eq!(node(&graph.snapshot(WINDOW_MIN), "order").figures.count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_span_that_is_its_own_parent_counts_and_harms_nobody() {
    let (graph, _) = graph(|_| ());
    graph.observe(&[span(1, 2, 2, "order", SpanKind::Server, 5)]);
    let snapshot = graph.snapshot(WINDOW_MIN);
    assert_eq!((node(&snapshot, "order").figures.count, snapshot.edges.len()), (1, 0));
}
