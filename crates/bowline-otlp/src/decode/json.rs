//! `ExportTraceServiceRequest` in OTLP's JSON: hex ids, lowerCamelCase, numbers of 64 bits as text or not.
//!
//! The elements of a list are read one by one, so that short texts for nothing do not become much in memory.
//!
//! Source: opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding".

mod wire;

use bowline_telemetry::{SpanId, TraceId, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use self::wire::{AnyValue, Event, KeyValue, Link, List, Request, ResourceSpans, ScopeSpans, Span};
use super::{
    Decoded,
    any::{Any, DEPTH_MAX, Json},
    draft::{Attributes, Draft, Resource, Scope},
};
use crate::wire::Malformed;

/// Reads a request.
///
/// # Errors
/// When it is none: nothing of it is used.
pub fn from_json(body: &[u8]) -> Result<Decoded, Malformed> {
    let mut decoded = Decoded::default();
    let request: Request<'_> = serde_json::from_slice(body).map_err(malformed)?;
    for raw in request.resource_spans.0 {
        resource_spans(parse(raw)?, &mut decoded)?;
    }
    Ok(decoded)
}

fn resource_spans(spans: ResourceSpans<'_>, decoded: &mut Decoded) -> Result<(), Malformed> {
    let mut attributes = Attributes::of_resource();
    set_all(&mut attributes, &spans.resource.unwrap_or_default().attributes)?;
    let resource = Resource::new(attributes);
    for raw in spans.scope_spans.0 {
        let ScopeSpans { scope: told, spans } = parse(raw)?;
        let mut scope = Scope::default();
        if let Some(told) = told {
            scope.set_name(&told.name.0);
            scope.set_version(&told.version.0);
        }
        for raw in spans.0 {
            span(parse(raw)?)?.end(&resource, &scope, decoded);
        }
    }
    Ok(())
}

fn span(raw: Span<'_>) -> Result<Draft, Malformed> {
    let mut draft = Draft::default();
    draft.start_unix_nanos = raw.start_time_unix_nano.unsigned()?;
    draft.end_unix_nanos = raw.end_time_unix_nano.unsigned()?;
    draft.trace_id = trace_id(&raw.trace_id.0);
    draft.span_id = span_id(&raw.span_id.0);
    draft.parent_span_id = span_id(&raw.parent_span_id.0);
    draft.is_parent_wrong = !raw.parent_span_id.0.is_empty() && hex(&raw.parent_span_id.0, 16).is_none();
    draft.set_name(&raw.name.0);
    draft.set_kind(raw.kind.unsigned()?);
    set_all(&mut draft.attributes, &raw.attributes)?;
    draft.set_trace_state(&raw.trace_state.0);
    for raw in raw.events.0 {
        event(&parse(raw)?, &mut draft)?;
    }
    for raw in raw.links.0 {
        let link: Link<'_> = parse(raw)?;
        let mut attributes = Attributes::of_link();
        set_all(&mut attributes, &link.attributes)?;
        draft.link(
            trace_id(&link.trace_id.0),
            span_id(&link.span_id.0),
            attributes,
            link.dropped_attributes_count.count()?,
        );
    }
    if let Some(status) = raw.status {
        draft.status_code = status.code.unsigned()?;
        draft.set_status_message(&status.message.0);
    }
    for count in [raw.dropped_attributes_count, raw.dropped_events_count, raw.dropped_links_count] {
        draft.dropped = draft.dropped.saturating_add(count.count()?);
    }
    Ok(draft)
}

fn event(raw: &Event<'_>, draft: &mut Draft) -> Result<(), Malformed> {
    let mut attributes = Attributes::of_event();
    set_all(&mut attributes, &raw.attributes)?;
    draft.event(raw.time_unix_nano.unsigned()?, &raw.name.0, attributes, raw.dropped_attributes_count.count()?);
    Ok(())
}

fn set_all(attributes: &mut Attributes, list: &List<'_>) -> Result<(), Malformed> {
    for raw in &list.0 {
        let KeyValue { key, value } = parse(raw)?;
        attributes.set(&key.0, any(value.unwrap_or_default(), 0)?);
    }
    Ok(())
}

fn any(raw: AnyValue<'_>, depth: usize) -> Result<Any, Malformed> {
    if depth > DEPTH_MAX {
        return Err(Malformed::new("a value is nested too deep"));
    }
    let AnyValue { string_value, bool_value, int_value, double_value, array_value, kvlist_value, bytes_value } = raw;
    if let Some(text) = string_value.or(bytes_value) {
        return Ok(Any::text(&text.0));
    }
    if let Some(yes) = bool_value {
        return Ok(Any::Scalar(Value::Bool(yes)));
    }
    if let Some(number) = int_value {
        return Ok(Any::Scalar(Value::Int(number.signed()?)));
    }
    if let Some(number) = double_value {
        return Ok(Any::Scalar(Value::Float(number.0)));
    }
    if let Some(array) = array_value {
        let mut json = Json::array();
        for raw in array.values.0 {
            json.push(None, &any(parse(raw)?, depth + 1)?);
        }
        return Ok(json.end());
    }
    let Some(map) = kvlist_value else { return Ok(Any::Empty) };
    let mut json = Json::map();
    for raw in map.values.0 {
        let KeyValue { key, value } = parse(raw)?;
        json.push(Some(&key.0), &any(value.unwrap_or_default(), depth + 1)?);
    }
    Ok(json.end())
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Malformed> {
    serde_json::from_str(raw.get()).map_err(malformed)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn malformed(error: serde_json::Error) -> Malformed {
    Malformed::new(error.to_string())
}

fn trace_id(text: &str) -> Option<TraceId> {
    TraceId::new(hex(text, 32)?)
}

fn span_id(text: &str) -> Option<SpanId> {
    SpanId::new(u64::try_from(hex(text, 16)?).ok()?)
}

/// The number of so many hex digits, upper or lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}
