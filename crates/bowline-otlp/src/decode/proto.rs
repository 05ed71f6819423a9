//! `ExportTraceServiceRequest` in protocol buffers, read into spans without a copy in between.
//!
//! Field numbers: opentelemetry-proto, `collector/trace/v1/trace_service.proto` and those it names.

use bowline_telemetry::{SpanId, TraceId};

use super::{
    Decoded,
    any::key_value,
    draft::{Attributes, Draft, Resource, Scope},
};
use crate::wire::{
    Malformed,
    reader::{Field, Reader},
};

/// Reads a request.
///
/// # Errors
/// When it is none: nothing of it is used.
pub fn from_protobuf(message: &[u8]) -> Result<Decoded, Malformed> {
    let mut decoded = Decoded::default();
    let mut message = Reader::new(message);
    while let Some((number, field)) = message.next()? {
        if number == 1 {
            resource_spans(field.message()?, &mut decoded)?;
        }
    }
    Ok(decoded)
}

fn resource_spans(message: Reader<'_>, decoded: &mut Decoded) -> Result<(), Malformed> {
    // The resource may stand behind its spans: it is looked for first.
    let mut attributes = Attributes::of_resource();
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => resource(field.message()?, &mut attributes)?,
            3 => drop(field.text()?),
            _ => {}
        }
    }
    let resource = Resource::new(attributes);
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            scope_spans(field.message()?, &resource, decoded)?;
        }
    }
    Ok(())
}

fn resource(mut message: Reader<'_>, attributes: &mut Attributes) -> Result<(), Malformed> {
    while let Some((number, field)) = message.next()? {
        if number == 1 {
            let (key, value) = key_value(field, 0)?;
            attributes.set(key, value);
        }
    }
    Ok(())
}

fn scope_spans(message: Reader<'_>, resource: &Resource, decoded: &mut Decoded) -> Result<(), Malformed> {
    let mut of = Scope::default();
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => scope(field.message()?, &mut of)?,
            3 => drop(field.text()?),
            _ => {}
        }
    }
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            span(field.message()?)?.end(resource, &of, decoded);
        }
    }
    Ok(())
}

fn scope(mut message: Reader<'_>, scope: &mut Scope) -> Result<(), Malformed> {
    while let Some((number, field)) = message.next()? {
        match number {
            1 => scope.set_name(field.text()?),
            2 => scope.set_version(field.text()?),
            3 => drop(key_value(field, 0)?),
            _ => {}
        }
    }
    Ok(())
}

fn span(mut message: Reader<'_>) -> Result<Draft, Malformed> {
    let mut draft = Draft::default();
    while let Some((number, field)) = message.next()? {
        match number {
            1 => draft.trace_id = trace_id(field.bytes()?),
            2 => draft.span_id = span_id(field.bytes()?),
            3 => draft.set_trace_state(field.text()?),
            4 => {
                let bytes = field.bytes()?;
                draft.is_parent_wrong = !matches!(bytes.len(), 0 | 8);
                draft.parent_span_id = span_id(bytes);
            }
            5 => draft.set_name(field.text()?),
            6 => draft.set_kind(field.varint()?),
            7 => draft.start_unix_nanos = field.fixed64()?,
            8 => draft.end_unix_nanos = field.fixed64()?,
            9 => {
                let (key, value) = key_value(field, 0)?;
                draft.attributes.set(key, value);
            }
            10 | 12 | 14 => draft.dropped = draft.dropped.saturating_add(count(field)?),
            11 => event(field.message()?, &mut draft)?,
            13 => link(field.message()?, &mut draft)?,
            15 => status(field.message()?, &mut draft)?,
            16 => field.fixed32()?,
            _ => {}
        }
    }
    Ok(draft)
}

fn event(mut message: Reader<'_>, draft: &mut Draft) -> Result<(), Malformed> {
    let (mut at_unix_nanos, mut name, mut dropped) = (0, "", 0);
    let mut attributes = Attributes::of_event();
    while let Some((number, field)) = message.next()? {
        match number {
            1 => at_unix_nanos = field.fixed64()?,
            2 => name = field.text()?,
            3 => {
                let (key, value) = key_value(field, 0)?;
                attributes.set(key, value);
            }
            4 => dropped = count(field)?,
            _ => {}
        }
    }
    draft.event(at_unix_nanos, name, attributes, dropped);
    Ok(())
}

fn link(mut message: Reader<'_>, draft: &mut Draft) -> Result<(), Malformed> {
    let (mut of_trace, mut of_span, mut dropped) = (None, None, 0);
    let mut attributes = Attributes::of_link();
    while let Some((number, field)) = message.next()? {
        match number {
            1 => of_trace = trace_id(field.bytes()?),
            2 => of_span = span_id(field.bytes()?),
            4 => {
                let (key, value) = key_value(field, 0)?;
                attributes.set(key, value);
            }
            5 => dropped = count(field)?,
            _ => {}
        }
    }
    draft.link(of_trace, of_span, attributes, dropped);
    Ok(())
}

fn status(mut message: Reader<'_>, draft: &mut Draft) -> Result<(), Malformed> {
    while let Some((number, field)) = message.next()? {
        match number {
            2 => draft.set_status_message(field.text()?),
            3 => draft.status_code = field.varint()?,
            _ => {}
        }
    }
    Ok(())
}

/// A `uint32`, which is what its lower bits say.
#[expect(clippy::cast_possible_truncation, reason = "so the format has it")]
fn count(field: Field<'_>) -> Result<u32, Malformed> {
    Ok(field.varint()? as u32)
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    TraceId::new(u128::from_be_bytes(bytes.try_into().ok()?))
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    SpanId::new(u64::from_be_bytes(bytes.try_into().ok()?))
}
