//! Spans of ours as OTLP has them.

use std::sync::Arc;

use bowline_telemetry::{Event, Key, Link, SpanData, SpanKind, Status, Value, names};

use crate::wire::writer;

/// A span that waits to be sent, and who reports it.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) service: Arc<str>,
    pub(crate) instance: Arc<str>,
    /// The field of a `ScopeSpans`, its key and length included.
    pub(crate) field: Vec<u8>,
}

impl Encoded {
    pub(crate) fn new(span: &SpanData) -> Self {
        let mut field = Vec::with_capacity(256);
        writer::message(&mut field, 2, |out| write_span(out, span));
        Self { service: Arc::clone(&span.service), instance: Arc::clone(&span.instance), field }
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.field.capacity()
    }
}

/// An `ExportTraceServiceRequest` of these spans; those of one instance stand together.
pub(crate) fn request(spans: &[Encoded]) -> Vec<u8> {
    let mut order: Vec<&Encoded> = spans.iter().collect();
    order.sort_by(|a, b| (&a.service, &a.instance).cmp(&(&b.service, &b.instance)));
    let mut out = Vec::with_capacity(order.iter().map(|span| span.field.len()).sum::<usize>() + 256);
    for of_one in order.chunk_by(|a, b| (&a.service, &a.instance) == (&b.service, &b.instance)) {
        writer::message(&mut out, 1, |resource_spans| {
            writer::message(resource_spans, 1, |resource| {
                write_attribute(resource, 1, names::SERVICE_NAME, &of_one[0].service);
                if !of_one[0].instance.is_empty() {
                    write_attribute(resource, 1, names::SERVICE_INSTANCE_ID, &of_one[0].instance);
                }
            });
            writer::message(resource_spans, 2, |scope_spans| {
                for span in of_one {
                    scope_spans.extend_from_slice(&span.field);
                }
            });
        });
    }
    out
}

fn write_span(out: &mut Vec<u8>, span: &SpanData) {
    writer::bytes(out, 1, &span.trace_id.get().to_be_bytes());
    writer::bytes(out, 2, &span.span_id.get().to_be_bytes());
    if let Some(parent) = span.parent_span_id {
        writer::bytes(out, 4, &parent.get().to_be_bytes());
    }
    writer::bytes(out, 5, span.name.as_bytes());
    writer::number(out, 6, kind(span.kind));
    writer::fixed64(out, 7, span.start_unix_nanos);
    writer::fixed64(out, 8, span.end_unix_nanos());
    write_attributes(out, 9, &span.attributes);
    for event in &span.events {
        let Event { at_unix_nanos, name, attributes } = event;
        writer::message(out, 11, |out| {
            writer::fixed64(out, 1, *at_unix_nanos);
            writer::bytes(out, 2, name.as_bytes());
            write_attributes(out, 3, attributes);
        });
    }
    for link in &span.links {
        let Link { trace_id, span_id, attributes } = link;
        writer::message(out, 13, |out| {
            writer::bytes(out, 1, &trace_id.get().to_be_bytes());
            writer::bytes(out, 2, &span_id.get().to_be_bytes());
            write_attributes(out, 4, attributes);
        });
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => writer::message(out, 15, |out| writer::number(out, 3, 1)),
        Status::Error(message) => writer::message(out, 15, |out| {
            writer::bytes(out, 2, message.as_bytes());
            writer::number(out, 3, 2);
        }),
    }
}

fn kind(kind: SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn write_attributes(out: &mut Vec<u8>, field: u32, attributes: &[(Key, Value)]) {
    for (key, value) in attributes {
        writer::message(out, field, |out| {
            writer::bytes(out, 1, key.as_bytes());
            writer::message(out, 2, |out| write_value(out, value));
        });
    }
}

fn write_attribute(out: &mut Vec<u8>, field: u32, key: &str, text: &str) {
    writer::message(out, field, |out| {
        writer::bytes(out, 1, key.as_bytes());
        writer::message(out, 2, |out| writer::present_bytes(out, 1, text.as_bytes()));
    });
}

/// One of several, so it is told also where it is zero.
fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(text) => writer::present_bytes(out, 1, text.as_bytes()),
        Value::Bool(yes) => {
            writer::key(out, 2, 0);
            writer::varint(out, u64::from(*yes));
        }
        Value::Int(number) => {
            writer::key(out, 3, 0);
            writer::varint(out, number.cast_unsigned());
        }
        Value::Float(number) => {
            writer::key(out, 4, 1);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}
