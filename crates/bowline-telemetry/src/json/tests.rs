//! Tests of the JSON of spans.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{InvalidSpan, LINK_ATTRIBUTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};

fn span() -> SpanData {
    SpanData {
        trace_id: "0af7651916cd43dd8448eb211c80319c".parse().unwrap(),
        span_id: "b7ad6b7169203331".parse().unwrap(),
        parent_span_id: None,
        service: "order".into(),
        instance: "order-1".into(),
        name: "GET /orders".into(),
        kind: SpanKind::Server,
        start_unix_nanos: 1_700_000_000_000_000_001,
        duration_nanos: 1500,
        status: Status::Error("it broke".to_owned()),
        attributes: vec![
            ("http.response.status_code".into(), 500.into()),
            ("share".into(), 0.5.into()),
            ("ok".into(), false.into()),
            ("bowline.route".into(), "orders".into()),
        ],
        events: vec![Event {
            at_unix_nanos: 1_700_000_000_000_000_101,
            name: "attempt".into(),
            attributes: vec![("bowline.attempt".into(), 1.into())],
        }],
        links: vec![],
    }
}

fn link(attribute_count: usize) -> Link {
    let SpanData { trace_id, span_id, .. } = span();
    Link { trace_id, span_id, attributes: vec![("a".into(), 1.into()); attribute_count] }
}

#[test]
fn the_json_is_that_of_the_api() {
    let expected = json!({
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "parent_span_id": null,
        "service": "order",
        "instance": "order-1",
        "name": "GET /orders",
        "kind": "server",
        "start_unix_nanos": 1_700_000_000_000_000_001_u64,
        "duration_nanos": 1500,
        "status": {"code": "error", "message": "it broke"},
        "attributes": {"http.response.status_code": 500, "share": 0.5, "ok": false, "bowline.route": "orders"},
        "events": [{
            "at_unix_nanos": 1_700_000_000_000_000_101_u64,
            "name": "attempt",
            "attributes": {"bowline.attempt": 1},
        }],
    });
    assert_eq!(serde_json::to_value(span()).unwrap(), expected);
    assert_eq!(serde_json::from_value::<SpanData>(expected).unwrap().events, span().events);
    assert_eq!(serde_json::from_str::<SpanData>(&serde_json::to_string(&span()).unwrap()).unwrap(), span());
    let plain = SpanData { status: Status::Unset, ..span() };
    assert_eq!(serde_json::to_value(plain).unwrap()["status"], json!({"code": "unset", "message": null}));
}

#[test]
fn links_are_there_where_a_span_has_some() {
    let link = json!({
        "trace_id": "1af7651916cd43dd8448eb211c80319c", "span_id": "c7ad6b7169203331",
        "attributes": {"messaging.batch": true},
    });
    let mut json = serde_json::to_value(span()).unwrap();
    assert_eq!(json.get("links"), None);
    json["links"] = json!([link, {"trace_id": link["trace_id"], "span_id": link["span_id"]}]);
    let read: SpanData = serde_json::from_value(json).unwrap();
    read.validate().unwrap();
    assert_eq!(read.links.len(), 2);
    assert_eq!(read.links[0].attributes, [("messaging.batch".into(), true.into())]);
    assert_eq!(read.links[1].attributes, []);
    assert_eq!(serde_json::to_value(&read).unwrap()["links"][0], link);
    assert!(read.text_bytes() > span().text_bytes());
}

#[test]
fn the_least_span_is_read() {
    let least = json!({
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "service": "a",
        "name": "b", "start_unix_nanos": 1, "duration_nanos": 2,
    });
    let span: SpanData = serde_json::from_value(least).unwrap();
    assert_eq!((span.kind, &span.status, span.parent_span_id), (SpanKind::Internal, &Status::Unset, None));
    span.validate().unwrap();
}

#[test]
fn what_is_wrong_is_refused_and_said() {
    let many: serde_json::Map<_, _> = (0..=ATTRIBUTES_MAX).map(|i| (i.to_string(), json!(1))).collect();
    let event = json!({"at_unix_nanos": 1, "name": "e"});
    let link = json!({"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"});
    for (key, value, message) in [
        ("trace_id", json!("0".repeat(32)), "not all zeros"),
        ("trace_id", json!("0AF7651916cd43dd8448eb211c80319c"), "32 lower-case hex digits"),
        ("span_id", json!("0000000000000000"), "not all zeros"),
        ("parent_span_id", json!(""), "16 lower-case hex digits"),
        ("kind", json!("serve"), "unknown variant"),
        ("status", json!({"code": "bad"}), "unknown variant"),
        ("start_unix_nanos", json!(-1), "expected u64"),
        ("attributes", json!({"a": null}), "text, a number or a boolean"),
        ("attributes", json!({"a": [1]}), "text, a number or a boolean"),
        ("attributes", json!(many), "more than 64 attributes"),
        ("events", json!(vec![event; EVENTS_MAX + 1]), "more than 128 events"),
        ("links", json!(vec![link; LINKS_MAX + 1]), "more than 128 links"),
        ("links", json!([{"trace_id": "0", "span_id": "b7ad6b7169203331"}]), "32 lower-case hex digits"),
        ("colour", json!("red"), "unknown field"),
    ] {
        let mut wrong = serde_json::to_value(span()).unwrap();
        wrong[key] = value;
        let error = serde_json::from_value::<SpanData>(wrong).unwrap_err().to_string();
        assert!(error.contains(message), "{key}: {error}");
    }
}

#[test]
fn bounds_are_checked() {
    type Change = fn(&mut SpanData);
    let changes: [(Change, &str); 13] = [
        (|span| span.name = "".into(), "the name is empty"),
        (|span| span.name = "x".repeat(NAME_BYTES_MAX + 1).into(), "the name has 257 bytes"),
        (|span| span.service = "".into(), "the service is empty"),
        (|span| span.instance = "x".repeat(NAME_BYTES_MAX + 1).into(), "the instance has 257 bytes"),
        (|span| span.parent_span_id = Some(span.span_id), "its own parent"),
        (|span| span.status = Status::Error("x".repeat(VALUE_BYTES_MAX + 1)), "status message"),
        (|span| span.attributes = vec![("a".into(), 1.into()); ATTRIBUTES_MAX + 1], "65 attributes"),
        (|span| span.attributes = vec![("a".into(), "x".repeat(VALUE_BYTES_MAX + 1).into())], "attribute value"),
        (|span| span.attributes = vec![("".into(), 1.into())], "attribute name is empty"),
        (|span| span.events = vec![span.events[0].clone(); EVENTS_MAX + 1], "129 events"),
        (|span| span.links = vec![link(0); LINKS_MAX + 1], "129 links"),
        (|span| span.links = vec![link(LINK_ATTRIBUTES_MAX + 1)], "33 attributes of a link"),
        (
            |span| {
                span.events[0].attributes = vec![("a".into(), "x".repeat(VALUE_BYTES_MAX).into()); 8];
                span.events = vec![span.events[0].clone(); 9];
            },
            "the span has",
        ),
    ];
    span().validate().unwrap();
    for (change, message) in changes {
        let mut wrong = span();
        change(&mut wrong);
        let error: InvalidSpan = wrong.validate().unwrap_err();
        assert!(error.to_string().contains(message), "{message}: {error}");
    }
}

#[test]
fn numbers_beyond_json_are_still_json() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let text = serde_json::to_string(&Value::Float(number)).unwrap();
        assert!(matches!(serde_json::from_str(&text).unwrap(), Value::Text(_)), "{text}");
    }
    assert_eq!(
        serde_json::from_str::<Value>("18446744073709551615").unwrap(),
        Value::Float(18_446_744_073_709_551_615.0)
    );
}

#[test]
fn the_last_of_equal_keys_counts() {
    let text = serde_json::to_string(&span()).unwrap().replace(r#""share":0.5"#, r#""ok":7"#);
    let read: SpanData = serde_json::from_str(&text).unwrap();
    assert_eq!(read.attributes.iter().filter(|(key, _)| key == "ok").count(), 1);
    assert_eq!(read.attribute("ok"), Some(&Value::Bool(false)));
}

proptest! {
    #[test]
    fn values_come_back(text: String, int: i64, float in -1e300..1e300, yes: bool) {
        for value in [Value::from(text), Value::Int(int), Value::Float(float), Value::Bool(yes)] {
            let json = serde_json::to_string(&value).unwrap();
            let read: Value = serde_json::from_str(&json).unwrap();
            match (value, read) {
                // Not the last digit: serde_json reads floats fast.
                (Value::Float(a), Value::Float(b)) => prop_assert!((a - b).abs() <= a.abs() * 1e-15),
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }
}
