//! Spans as the example system `shop` makes them, any number of them.

use bowline_runtime::rand;
use bowline_telemetry::{Event, Key, SpanData, SpanId, SpanKind, Status, TraceId, Value};

/// The spans of one order: gateway, order, payment and bank, with a client's span for each call.
pub(crate) const ORDER_SPANS: usize = 6;

/// One order, begun then; one of fifty is refused by the bank at the first attempt and tried again.
pub(crate) fn order(begun_unix_nanos: u64) -> Vec<SpanData> {
    let trace_id = TraceId::generate();
    let is_retried = rand::below(50) == 0;
    let mut spans: Vec<SpanData> = Vec::with_capacity(ORDER_SPANS + 1);
    let mut at = begun_unix_nanos;
    let calls = [
        ("gateway", "POST orders", SpanKind::Server),
        ("order", "POST /orders", SpanKind::Server),
        ("order", "POST payment", SpanKind::Client),
        ("payment", "POST /payments", SpanKind::Server),
        ("payment", "POST bank", SpanKind::Client),
        ("bank", "POST /transfers", SpanKind::Server),
    ];
    let mut left = 8_000_000 + rand::below(20_000_000) as u64;
    for (service, name, kind) in calls {
        let parent_span_id = spans.last().map(|span| span.span_id);
        spans.push(span(trace_id, parent_span_id, (service, name, kind), at, left));
        let spent = rand::below(300_000) as u64;
        at += 100_000 + spent;
        left -= 200_000 + spent * 2;
    }
    if is_retried {
        let (parent, last) = (spans[4].span_id, spans[5].clone());
        let failed = SpanData {
            span_id: SpanId::generate(),
            parent_span_id: Some(parent),
            status: Status::Error("the bank is busy".to_owned()),
            ..last
        };
        spans.push(failed);
    }
    // Those inside end, and are reported, first.
    spans.reverse();
    spans
}

fn span(
    trace_id: TraceId,
    parent_span_id: Option<SpanId>,
    (service, name, kind): (&'static str, &'static str, SpanKind),
    start_unix_nanos: u64,
    duration_nanos: u64,
) -> SpanData {
    let path = name.split(' ').next_back().expect("a name has a path");
    let mut attributes: Vec<(Key, Value)> = vec![
        ("http.request.method".into(), "POST".into()),
        ("url.path".into(), path.into()),
        ("http.response.status_code".into(), 201.into()),
    ];
    let mut events = Vec::new();
    if service == "gateway" {
        let client = format!("10.0.{}.{}", rand::below(4), rand::below(250));
        attributes.extend([
            ("network.protocol.version".into(), "1.1".into()),
            ("client.address".into(), client.into()),
            ("bowline.route".into(), "orders".into()),
            ("bowline.backend".into(), "order".into()),
            ("bowline.auth".into(), "customers".into()),
            ("enduser.id".into(), format!("customer-{}", rand::below(500)).into()),
            ("bowline.limit".into(), "allowed".into()),
            ("bowline.limit_remaining".into(), rand::below(200).into()),
        ]);
    }
    if service == "gateway" || kind == SpanKind::Client {
        let number = rand::below(2);
        let callee = if service == "gateway" { "order" } else { path };
        let instance = Value::from(format!("{callee}-{}", number + 1));
        attributes.extend([("bowline.instance".into(), instance.clone()), ("bowline.attempts".into(), 1.into())]);
        events.push(Event {
            at_unix_nanos: start_unix_nanos + duration_nanos - 50_000 - rand::below(20_000) as u64,
            name: "attempt".into(),
            attributes: vec![
                ("bowline.attempt".into(), 1.into()),
                ("bowline.instance".into(), instance),
                ("bowline.address".into(), format!("127.0.0.1:{}", 41_000 + number).into()),
                ("bowline.outcome".into(), "201".into()),
                ("bowline.duration_nanos".into(), (duration_nanos - 60_000).into()),
            ],
        });
    } else {
        attributes.push(("http.route".into(), path.into()));
    }
    SpanData {
        trace_id,
        span_id: SpanId::generate(),
        parent_span_id,
        service: service.into(),
        instance: format!("{service}-{}", rand::below(2) + 1).into(),
        name: name.into(),
        kind,
        start_unix_nanos,
        duration_nanos,
        status: Status::Unset,
        attributes,
        events,
        links: vec![],
    }
}
