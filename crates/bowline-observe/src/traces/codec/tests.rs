//! Tests of the encoding.

use bowline_telemetry::{Event, Key, Link, SpanData, SpanId, SpanKind, Status, TraceId, Value};
use proptest::{collection::vec, prelude::*};

use bowline_disk::Corrupt;

use super::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,3}", "\\PC{0,20}"]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::Int),
        (-1e300..1e300).prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<(Key, Value)>> {
    vec((text().prop_map(Key::Owned), value()), 0..5)
}

fn event() -> impl Strategy<Value = Event> {
    (any::<u64>(), text(), attributes()).prop_map(|(at_unix_nanos, name, attributes)| Event {
        at_unix_nanos,
        name: Key::Owned(name),
        attributes,
    })
}

fn link() -> impl Strategy<Value = Link> {
    (1_u128..6, 1_u64.., attributes()).prop_map(|(trace, span, attributes)| Link {
        trace_id: TraceId::new(trace).unwrap(),
        span_id: SpanId::new(span).unwrap(),
        attributes,
    })
}

fn kind() -> impl Strategy<Value = SpanKind> {
    prop::sample::select(vec![
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ])
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Unset), Just(Status::Ok), text().prop_map(Status::Error)]
}

fn span() -> impl Strategy<Value = SpanData> {
    let ids = (1_u128..4, 1_u64.., prop::option::of(1_u64..));
    let names = (text(), text(), text());
    let times = (any::<u64>(), any::<u64>());
    (ids, names, kind(), times, status(), attributes(), vec(event(), 0..3), vec(link(), 0..3)).prop_map(
        |(ids, names, kind, times, status, attributes, events, links)| SpanData {
            trace_id: TraceId::new(ids.0).unwrap(),
            span_id: SpanId::new(ids.1).unwrap(),
            parent_span_id: ids.2.and_then(SpanId::new),
            service: names.0.into(),
            instance: names.1.into(),
            name: Key::Owned(names.2),
            kind,
            start_unix_nanos: times.0,
            duration_nanos: times.1,
            status,
            attributes,
            events,
            links,
        },
    )
}

fn encode(spans: &[SpanData], written_at: u64) -> Vec<u8> {
    Encoder::new().encode(spans, written_at).unwrap()
}

fn decode(record: &[u8]) -> Result<Vec<SpanData>, Corrupt> {
    Record::unpack(record)?.decode(|_| true)
}

fn heads(record: &[u8]) -> Result<usize, Corrupt> {
    Ok(Record::unpack(record)?.heads()?.len())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(spans in vec(span(), 0..8), written_at: u64) {
        let record = Record::unpack(&encode(&spans, written_at)).unwrap();
        prop_assert_eq!(&record.decode(|_| true).unwrap(), &spans);
        let heads = record.heads().unwrap();
        prop_assert_eq!(record.written_at, written_at);
        prop_assert_eq!(heads.len(), spans.len());
        for (head, span) in heads.iter().zip(&spans) {
            prop_assert_eq!((head.trace_id, head.service, head.name), (span.trace_id, &*span.service, &*span.name));
            prop_assert_eq!(head.start_unix_nanos, span.start_unix_nanos);
            prop_assert_eq!(head.duration_nanos, span.duration_nanos);
            prop_assert_eq!((head.is_root, head.status), (span.parent_span_id.is_none(), SpanStatus::of(&span.status)));
            prop_assert!(record.has_texts(&[&span.service, &span.name]).unwrap());
        }
        for number in 1..4 {
            let wanted = TraceId::new(number).unwrap();
            let expect: Vec<_> = spans.iter().filter(|span| span.trace_id == wanted).cloned().collect();
            prop_assert_eq!(record.decode(|id| id == wanted).unwrap(), expect);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err() || heads(&bytes).is_ok());
    }

    #[test]
    fn no_change_panics(spans in vec(span(), 1..4), at: prop::sample::Index, byte: u8, length: prop::sample::Index) {
        let mut record = encode(&spans, 7);
        let at = at.index(record.len());
        record[at] = byte;
        prop_assert!(decode(&record).is_err() || heads(&record).is_ok());
        record.truncate(length.index(record.len()));
        prop_assert!(decode(&record).is_err());
    }
}

#[test]
fn a_span_as_the_gateway_writes_it_is_small() {
    bowline_runtime::rand::seed(1);
    let now = 1_700_000_000_000_000_000;
    let spans: Vec<_> = (0..200).map(|at| gateway_span(now + at * 1_000_000)).collect();
    let record = encode(&spans, now + 300_000_000);
    let bytes = record.len() / spans.len();
    assert!(bytes <= 130, "{bytes} bytes a span");
}

fn gateway_span(start_unix_nanos: u64) -> SpanData {
    let instance = if start_unix_nanos.is_multiple_of(2_000_000) { "order-1" } else { "order-2" };
    SpanData {
        trace_id: TraceId::generate(),
        span_id: SpanId::generate(),
        parent_span_id: Some(SpanId::generate()),
        service: "gateway".into(),
        instance: "gateway-1".into(),
        name: "POST orders".into(),
        kind: SpanKind::Server,
        start_unix_nanos,
        duration_nanos: 3_456_789,
        status: Status::Unset,
        attributes: vec![
            ("http.request.method".into(), "POST".into()),
            ("url.path".into(), "/orders".into()),
            ("server.address".into(), "shop.localhost".into()),
            ("bowline.route".into(), "orders".into()),
            ("bowline.instance".into(), instance.into()),
            ("bowline.attempts".into(), 1.into()),
            ("http.response.status_code".into(), 201.into()),
        ],
        events: vec![Event {
            at_unix_nanos: start_unix_nanos + 3_000_000,
            name: "attempt".into(),
            attributes: vec![
                ("bowline.attempt".into(), 1.into()),
                ("bowline.instance".into(), instance.into()),
                ("bowline.outcome".into(), "201".into()),
            ],
        }],
        links: vec![],
    }
}
