//! What a request of generated types means, worked out the plain way, and requests of all kinds.

use bowline_telemetry::{Event, Link, SpanData, SpanId, SpanKind, Status, TraceId, Value};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value},
    resource::v1::Resource,
    trace::v1::{self as proto, ResourceSpans, ScopeSpans, Span, span},
};
use proptest::{collection::vec, prelude::*};

pub(super) fn key_value(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The spans of a request that exceeds no bound.
pub(super) fn spans(request: &ExportTraceServiceRequest) -> Vec<SpanData> {
    let mut spans = Vec::new();
    for resource in &request.resource_spans {
        for scope in &resource.scope_spans {
            spans.extend(scope.spans.iter().map(|span| of(resource, scope, span)));
        }
    }
    spans
}

fn of(resource: &ResourceSpans, scope: &ScopeSpans, span: &Span) -> SpanData {
    let mut own = Vec::new();
    set_all(&mut own, &span.attributes);
    if !span.trace_state.is_empty() {
        set(&mut own, "w3c.tracestate", Value::from(span.trace_state.clone()));
    }
    let told = scope.scope.clone().unwrap_or_default();
    for (key, text) in [("otel.scope.name", told.name), ("otel.scope.version", told.version)] {
        if !text.is_empty() && !own.iter().any(|(name, _)| name == key) {
            set(&mut own, key, Value::from(text));
        }
    }
    let mut shared = Vec::new();
    set_all(&mut shared, &resource.resource.clone().unwrap_or_default().attributes);
    let mut take = |key: &str| {
        let at = shared.iter().position(|(name, _): &(String, Value)| name == key);
        at.map_or_else(String::new, |at| shared.remove(at).1.to_string())
    };
    let (service, instance) = (take("service.name"), take("service.instance.id"));
    for (key, value) in shared {
        if !own.iter().any(|(name, _)| *name == key) {
            own.push((key, value));
        }
    }
    let owned = |list: Vec<(String, Value)>| list.into_iter().map(|(key, value)| (key.into(), value)).collect();
    let status = span.status.clone().unwrap_or_default();
    SpanData {
        trace_id: TraceId::new(u128::from_be_bytes(span.trace_id.clone().try_into().unwrap())).unwrap(),
        span_id: SpanId::new(u64::from_be_bytes(span.span_id.clone().try_into().unwrap())).unwrap(),
        parent_span_id: span.parent_span_id.clone().try_into().ok().and_then(|id| SpanId::new(u64::from_be_bytes(id))),
        service: if service.is_empty() { "unknown_service".into() } else { service.into() },
        instance: instance.into(),
        name: if span.name.is_empty() { "unknown".into() } else { span.name.clone().into() },
        kind: match span.kind {
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
        start_unix_nanos: span.start_time_unix_nano,
        duration_nanos: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        status: match status.code {
            1 => Status::Ok,
            2 => Status::Error(status.message),
            _ => Status::Unset,
        },
        attributes: owned(own),
        events: span
            .events
            .iter()
            .map(|event| {
                let mut attributes = Vec::new();
                set_all(&mut attributes, &event.attributes);
                let name = if event.name.is_empty() { "unknown".into() } else { event.name.clone().into() };
                Event { at_unix_nanos: event.time_unix_nano, name, attributes: owned(attributes) }
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| {
                let mut attributes = Vec::new();
                set_all(&mut attributes, &link.attributes);
                let trace_id = TraceId::new(u128::from_be_bytes(link.trace_id.clone().try_into().unwrap())).unwrap();
                let span_id = SpanId::new(u64::from_be_bytes(link.span_id.clone().try_into().unwrap())).unwrap();
                Link { trace_id, span_id, attributes: owned(attributes) }
            })
            .collect(),
    }
}

fn set_all(list: &mut Vec<(String, Value)>, attributes: &[KeyValue]) {
    for attribute in attributes {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        set(list, &attribute.key, value.map_or_else(|| Value::from(""), value_of));
    }
}

fn set(list: &mut Vec<(String, Value)>, key: &str, value: Value) {
    match list.iter_mut().find(|(name, _)| name == key) {
        Some((_, old)) => *old = value,
        None => list.push((key.to_owned(), value)),
    }
}

fn value_of(value: &any_value::Value) -> Value {
    match value {
        any_value::Value::StringValue(text) => Value::from(text.clone()),
        any_value::Value::BoolValue(yes) => Value::Bool(*yes),
        any_value::Value::IntValue(number) => Value::Int(*number),
        any_value::Value::DoubleValue(number) => Value::Float(*number),
        any_value::Value::BytesValue(bytes) => Value::from(base64(bytes)),
        nested => Value::from(json(nested)),
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

fn json(value: &any_value::Value) -> String {
    let of = |value: &Option<AnyValue>| {
        value.as_ref().and_then(|value| value.value.as_ref()).map_or_else(|| "null".to_owned(), json)
    };
    match value {
        any_value::Value::ArrayValue(list) => {
            let values: Vec<_> = list.values.iter().map(|value| of(&Some(value.clone()))).collect();
            format!("[{}]", values.join(","))
        }
        any_value::Value::KvlistValue(map) => {
            let quoted = |key: &String| serde_json::to_string(key).unwrap();
            let values: Vec<_> =
                map.values.iter().map(|entry| format!("{}:{}", quoted(&entry.key), of(&entry.value))).collect();
            format!("{{{}}}", values.join(","))
        }
        any_value::Value::StringValue(text) => serde_json::to_string(text).unwrap(),
        any_value::Value::BytesValue(bytes) => serde_json::to_string(&base64(bytes)).unwrap(),
        scalar => value_of(scalar).to_string(),
    }
}

// === what is sent ===

prop_compose! {
    pub(super) fn request()(resource_spans in vec(resource_spans(), 0..3)) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest { resource_spans }
    }
}

prop_compose! {
    fn resource_spans()(
        resource in proptest::option::of(attributes(5)),
        scope_spans in vec(scope_spans(), 0..3),
        schema_url in text(),
    ) -> ResourceSpans {
        let resource = resource.map(|attributes| Resource { attributes, ..Resource::default() });
        ResourceSpans { resource, scope_spans, schema_url }
    }
}

prop_compose! {
    fn scope_spans()(
        scope in proptest::option::of((text(), text())),
        spans in vec(span(), 0..3),
        schema_url in text(),
    ) -> ScopeSpans {
        let scope = scope.map(|(name, version)| InstrumentationScope { name, version, ..Default::default() });
        ScopeSpans { scope, spans, schema_url }
    }
}

prop_compose! {
    fn span()(
        ids in (1..u128::MAX, 1..1000_u64, proptest::option::of(1000..2000_u64)),
        (name, trace_state) in (text(), text()),
        kind in 0..6_i32,
        times in any::<(u64, u64)>(),
        attributes in attributes(9),
        events in vec((any::<u64>(), text(), attributes(3)), 0..3),
        links in vec((1..u128::MAX, 1..u64::MAX, attributes(3)), 0..2),
        status in proptest::option::of((text(), 0..3_i32)),
        flags in any::<u32>(),
    ) -> Span {
        let event = |(time_unix_nano, name, attributes)| {
            span::Event { time_unix_nano, name, attributes, ..span::Event::default() }
        };
        let link = |(trace, span, attributes): (u128, u64, _)| span::Link {
            trace_id: trace.to_be_bytes().to_vec(),
            span_id: span.to_be_bytes().to_vec(),
            attributes,
            ..span::Link::default()
        };
        Span {
            trace_id: ids.0.to_be_bytes().to_vec(),
            span_id: ids.1.to_be_bytes().to_vec(),
            parent_span_id: ids.2.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
            name,
            trace_state,
            kind,
            start_time_unix_nano: times.0,
            end_time_unix_nano: times.1,
            attributes,
            links: links.into_iter().map(link).collect(),
            events: events.into_iter().map(event).collect(),
            status: status.map(|(message, code)| proto::Status { message, code }),
            flags,
            ..Span::default()
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z]{1,12}", "\\PC{0,8}", Just("\"\\\n\u{1}".to_owned())]
}

fn attributes(count_max: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop_oneof![
        Just("service.name".to_owned()),
        Just("service.instance.id".to_owned()),
        Just("otel.scope.name".to_owned()),
        Just("http.route".to_owned()),
        "[a-z.]{1,6}",
    ];
    vec((key, proptest::option::of(value())), 0..count_max).prop_map(|list| {
        let entry = |(key, value)| KeyValue { key, value: Some(AnyValue { value }), ..KeyValue::default() };
        list.into_iter().map(entry).collect()
    })
}

fn value() -> impl Strategy<Value = any_value::Value> {
    let leaf = prop_oneof![
        text().prop_map(any_value::Value::StringValue),
        any::<bool>().prop_map(any_value::Value::BoolValue),
        any::<i64>().prop_map(any_value::Value::IntValue),
        any::<i32>().prop_map(|number| any_value::Value::DoubleValue(f64::from(number) / 2.0)),
        vec(any::<u8>(), 0..9).prop_map(any_value::Value::BytesValue),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let any = |value| AnyValue { value: Some(value) };
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(move |values| {
                any_value::Value::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() })
            }),
            vec(("[a-z]{1,3}", inner), 0..3).prop_map(|values| {
                let values = values.into_iter().map(|(key, value)| key_value(&key, value)).collect();
                any_value::Value::KvlistValue(KeyValueList { values })
            }),
        ]
    })
}
