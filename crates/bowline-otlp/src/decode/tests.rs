//! Both encodings against the types that others generate from the protocol's files.

mod oracle;

use bowline_telemetry::{
    ATTRIBUTES_MAX, EVENTS_MAX, NAME_BYTES_MAX, SpanData, SpanKind, Status, VALUE_BYTES_MAX, Value, names,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value},
    trace::v1::{ResourceSpans, ScopeSpans, Span, span},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn text(key: &str, value: &str) -> KeyValue {
    oracle::key_value(key, any_value::Value::StringValue(value.to_owned()))
}

fn good_span() -> Span {
    Span { trace_id: vec![7; 16], span_id: vec![8; 8], name: "work".to_owned(), ..Span::default() }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn decode(request: &ExportTraceServiceRequest) -> Decoded {
    from_protobuf(&request.encode_to_vec()).unwrap()
}

fn one(span: Span) -> SpanData {
    let mut decoded = decode(&request(vec![span]));
    assert_eq!((decoded.spans.len(), decoded.refused), (1, 0), "{:?}", decoded.why);
    let span = decoded.spans.remove(0);
    span.validate().unwrap();
    span
}

#[test]
fn a_span_of_an_sdk_is_one_of_ours() {
    let body = br#"{"resourceSpans":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"order"}},
        {"key":"service.instance.id","value":{"stringValue":"order-1"}},
        {"key":"host.name","value":{"stringValue":"here"}},
        {"key":"http.route","value":{"stringValue":"not the span's"}}]},
      "scopeSpans":[{"scope":{"name":"lib","version":"1.2","new":7},"spans":[{
        "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173",
        "traceState":"a=b","name":"GET /","kind":2,"flags":257,
        "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
        "attributes":[{"key":"http.route","value":{"stringValue":"/"}},{"key":"n","value":{"intValue":"-7"}},
          {"key":"m","value":{"intValue":7}},{"key":"x","value":{"doubleValue":1}},{"key":"is","value":{"boolValue":true}},
          {"key":"list","value":{"arrayValue":{"values":[{"stringValue":"a\"b"},{"intValue":"1"},{"doubleValue":2.5},{}]}}},
          {"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":false}}]}}},
          {"key":"bytes","value":{"bytesValue":"aGk="}},{"key":"none","value":null}],
        "events":[{"timeUnixNano":"1544712660500000000","name":"e","attributes":[{"key":"k","value":{"stringValue":"v"}}]}],
        "status":{"code":2,"message":"broke"},"droppedAttributesCount":3}]}]}]}"#;
    let mut decoded = from_json(body).unwrap();
    let span = decoded.spans.remove(0);
    let proto: ExportTraceServiceRequest = serde_json::from_slice(body).unwrap();
    assert_eq!(decode(&proto).spans, std::slice::from_ref(&span), "both encodings say the same");
    assert_eq!((&*span.service, &*span.instance, &*span.name), ("order", "order-1", "GET /"));
    assert_eq!(span.trace_id.to_string(), "5b8efff798038103d269b633813fc60c");
    assert_eq!(span.parent_span_id.unwrap().to_string(), "eee19b7ec3c1b173");
    assert_eq!((span.kind, span.duration_nanos), (SpanKind::Server, 1_000_000_000));
    assert_eq!(span.status, Status::Error("broke".to_owned()));
    let event = &span.events[0];
    assert_eq!((event.at_unix_nanos, &*event.name), (1_544_712_660_500_000_000, "e"));
    assert_eq!(event.attributes, [("k".into(), "v".into())]);
    let attribute = |key: &str| span.attribute(key).map(ToString::to_string).unwrap_or_default();
    let expected = [
        ("http.route", "/"),
        ("n", "-7"),
        ("m", "7"),
        ("x", "1"),
        ("is", "true"),
        ("list", r#"["a\"b",1,2.5,null]"#),
        ("map", r#"{"k":false}"#),
        ("bytes", "aGk="),
        ("none", ""),
        ("host.name", "here"),
        ("w3c.tracestate", "a=b"),
        ("otel.scope.name", "lib"),
        ("otel.scope.version", "1.2"),
        ("bowline.dropped", "3"),
        ("service.name", ""),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(key), value, "{key}");
    }
    assert_eq!(span.attribute("x"), Some(&Value::Float(1.0)));
}

#[test]
fn numbers_that_json_has_not_are_texts() {
    let value = |number| {
        let list = any_value::Value::ArrayValue(ArrayValue {
            values: vec![AnyValue { value: Some(any_value::Value::DoubleValue(number)) }],
        });
        one(Span { attributes: vec![oracle::key_value("list", list)], ..good_span() }).attributes[0].1.to_string()
    };
    assert_eq!((value(f64::NAN), value(-f64::INFINITY)), (r#"["NaN"]"#.to_owned(), r#"["-inf"]"#.to_owned()));
    let double = |text: &str| {
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}","spanId":"{}",
               "attributes":[{{"key":"x","value":{{"doubleValue":"{text}"}}}}]}}]}}]}}]}}"#,
            "7".repeat(32),
            "8".repeat(16)
        );
        from_json(body.as_bytes()).map(|decoded| decoded.spans[0].attributes[0].1.clone())
    };
    assert_eq!(double("-Infinity"), Ok(Value::Float(f64::NEG_INFINITY)));
    assert!(matches!(double("NaN"), Ok(Value::Float(number)) if number.is_nan()));
    double("many").unwrap_err();
}

#[test]
fn what_has_no_ids_is_refused_and_the_rest_is_kept() {
    let cases = [
        (Span { trace_id: vec![0; 16], ..good_span() }, Refusal::TraceId),
        (Span { trace_id: vec![1; 8], ..good_span() }, Refusal::TraceId),
        (Span { span_id: vec![], ..good_span() }, Refusal::SpanId),
        (Span { parent_span_id: vec![1; 7], ..good_span() }, Refusal::ParentSpanId),
        (Span { parent_span_id: vec![8; 8], ..good_span() }, Refusal::OwnParent),
    ];
    for (bad, why) in cases {
        let sent = request(vec![bad.clone(), good_span()]);
        let json = serde_json::to_vec(&sent).unwrap();
        for decoded in [decode(&sent), from_json(&json).unwrap()] {
            assert_eq!((decoded.spans.len(), decoded.refused, decoded.why), (1, 1, Some(why)), "{bad:?}");
        }
    }
    // No parent is also written as zeros.
    assert_eq!(one(Span { parent_span_id: vec![0; 8], ..good_span() }).parent_span_id, None);
}

#[test]
fn what_is_too_long_is_cut_and_what_is_too_much_is_counted() {
    let long = "ü".repeat(VALUE_BYTES_MAX);
    let event = span::Event { name: long.clone(), attributes: vec![text(&long, &long)], ..span::Event::default() };
    let mut attributes: Vec<_> = (0..ATTRIBUTES_MAX + 9).map(|at| text(&format!("k{at}"), "v")).collect();
    attributes.push(text("", "no name"));
    attributes.insert(0, text(&long, &long));
    let deep = AnyValue { value: Some(any_value::Value::StringValue(long.clone())) };
    let list = any_value::Value::ArrayValue(ArrayValue { values: vec![deep; 9] });
    attributes.insert(0, oracle::key_value("list", list));
    let span = one(Span {
        name: long.clone(),
        trace_state: long.clone(),
        attributes,
        events: vec![event; EVENTS_MAX + 3],
        dropped_events_count: 5,
        ..good_span()
    });
    assert_eq!(span.name.len(), NAME_BYTES_MAX);
    assert_eq!(span.attributes.len(), ATTRIBUTES_MAX);
    let Some(Value::Int(dropped)) = span.attribute(names::BOWLINE_DROPPED) else { panic!("{span:?}") };
    let gone = (ATTRIBUTES_MAX + 9 + 3 + 1 - (ATTRIBUTES_MAX - 1)) + (EVENTS_MAX + 3 - span.events.len()) + 5;
    assert_eq!(*dropped, i64::try_from(gone).unwrap());
}

#[test]
fn a_resource_is_not_multiplied_without_bound() {
    let attributes = (0..60).map(|at| text(&format!("k{at}"), &"v".repeat(4000))).collect();
    let mut request = request(vec![good_span(); 2000]);
    request.resource_spans[0].resource =
        Some(opentelemetry_proto::tonic::resource::v1::Resource { attributes, ..Default::default() });
    let decoded = decode(&request);
    assert_eq!(decoded.why, Some(Refusal::TooMuch));
    assert_eq!(decoded.spans.len() + usize::try_from(decoded.refused).unwrap(), 2000);
    let bytes: usize = decoded.spans.iter().map(SpanData::text_bytes).sum();
    assert!(bytes <= DECODED_BYTES_MAX && bytes > DECODED_BYTES_MAX / 2, "{bytes}");
}

#[test]
fn what_is_nested_too_deep_is_no_request() {
    let mut value = any_value::Value::BoolValue(true);
    for _ in 0..40 {
        value = any_value::Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] });
    }
    let sent = request(vec![Span { attributes: vec![oracle::key_value("deep", value)], ..good_span() }]);
    let error = from_protobuf(&sent.encode_to_vec()).unwrap_err().to_string();
    assert!(error.ends_with("nested too deep"), "{error}");
    let error = from_json(&serde_json::to_vec(&sent).unwrap()).unwrap_err().to_string();
    assert!(error.ends_with("nested too deep"), "{error}");
}

#[test]
fn what_is_no_request_is_said() {
    for (body, why) in [
        (&b"\x0a\x05"[..], "within a field"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "64 bits"),
        (b"\x08\x01", "another type"),
        (b"\x02\x01", "number 0"),
        (b"\x0e", "that there is not"),
        (b"\x13", "within a field"),
    ] {
        let error = from_protobuf(body).unwrap_err().to_string();
        assert!(error.contains(why), "{body:?}: {error}");
        assert!(ExportTraceServiceRequest::decode(body).is_err(), "{body:?}");
    }
    for body in ["", "7", r#"{"resourceSpans":7}"#, r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":-1}]}]}]}"#] {
        from_json(body.as_bytes()).unwrap_err();
    }
    assert!(from_protobuf(b"").unwrap().spans.is_empty());
    // Fields to come, and the groups of old, are passed over.
    assert!(from_protobuf(b"\xfa\x01\x02ab\x13\x08\x01\x1b\x08\x01\x1c\x14").unwrap().spans.is_empty());
}

proptest! {
    #[test]
    fn what_others_write_is_read_as_they_meant_it(sent in oracle::request()) {
        let expected = oracle::spans(&sent);
        let read = from_protobuf(&sent.encode_to_vec()).unwrap();
        prop_assert_eq!(&read.spans, &expected);
        let json = from_json(&serde_json::to_vec(&sent).unwrap()).unwrap();
        prop_assert_eq!(&json.spans, &expected);
        prop_assert_eq!((read.refused, json.refused), (0, 0));
        for span in &read.spans {
            span.validate().unwrap();
        }
    }

    #[test]
    fn broken_bytes_are_told_as_others_tell_them(
        sent in oracle::request(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sent.encode_to_vec();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes.truncate(end.index(bytes.len() + 1).max(bytes.len() / 2));
        let read = from_protobuf(&bytes);
        match ExportTraceServiceRequest::decode(&bytes[..]) {
            // What they refuse within parts that we pass over (links, entities, the scope's counts) we need not.
            Err(_) => {}
            Ok(theirs) => {
                let read = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
                let count: usize =
                    theirs.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
                prop_assert_eq!(read.spans.len() + usize::try_from(read.refused).unwrap(), count);
            }
        }
        drop(from_json(&bytes));
    }
}

#[test]
fn a_list_of_many_short_elements_does_not_become_much_in_memory() {
    let list = |count: usize| format!("{{\"resourceSpans\":[{}{{}}]}}", "{},".repeat(count - 1));
    assert!(from_json(list(1000).as_bytes()).is_ok());
    assert!(from_json(br#"{"resourceSpans":null}"#).is_ok());
    let error = from_json(list(600_000).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("more than 524288 elements"), "{error}");
}
