//! Spans to bytes.

use std::collections::HashMap;

use bowline_telemetry::{Event, Key, Link, SpanData, Status, TraceId, Value};

use super::bytes::{put_count, put_number, put_signed};

/// The record of a batch, written at that time (nanoseconds since 1970).
pub(crate) fn encode(spans: &[SpanData], written_at: u64) -> Vec<u8> {
    let mut tables = Tables::default();
    let mut bodies = Vec::with_capacity(spans.len() * 96);
    let mut body = Vec::with_capacity(256);
    for span in spans {
        body.clear();
        tables.put_span(&mut body, span, written_at);
        put_count(&mut bodies, body.len());
        bodies.extend_from_slice(&body);
    }
    let mut out = Vec::with_capacity(bodies.len() + tables.text_bytes + 16 * tables.traces.order.len() + 32);
    put_number(&mut out, written_at);
    put_count(&mut out, tables.traces.order.len());
    for trace_id in &tables.traces.order {
        out.extend_from_slice(&trace_id.get().to_le_bytes());
    }
    put_count(&mut out, tables.texts.order.len());
    for text in &tables.texts.order {
        put_count(&mut out, text.len());
        out.extend_from_slice(text.as_bytes());
    }
    put_count(&mut out, spans.len());
    out.extend_from_slice(&bodies);
    out
}

/// What a record holds once: trace ids and texts, in the order of their first use.
#[derive(Default)]
struct Tables<'a> {
    traces: Table<TraceId>,
    texts: Table<&'a str>,
    text_bytes: usize,
}

struct Table<T> {
    indexes: HashMap<T, usize>,
    order: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { indexes: HashMap::new(), order: Vec::new() }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Table<T> {
    fn index(&mut self, item: T) -> usize {
        *self.indexes.entry(item).or_insert_with(|| {
            self.order.push(item);
            self.order.len() - 1
        })
    }
}

impl<'a> Tables<'a> {
    fn put_span(&mut self, out: &mut Vec<u8>, span: &'a SpanData, written_at: u64) {
        put_count(out, self.traces.index(span.trace_id));
        let status = match span.status {
            Status::Unset => 0,
            Status::Ok => 1,
            Status::Error(_) => 2,
        };
        let (has_parent, has_links) = (span.parent_span_id.is_some(), !span.links.is_empty());
        out.push(span.kind as u8 | status << 3 | u8::from(has_parent) << 5 | u8::from(has_links) << 6);
        out.extend_from_slice(&span.span_id.get().to_le_bytes());
        if let Some(parent) = span.parent_span_id {
            out.extend_from_slice(&parent.get().to_le_bytes());
        }
        self.put_text(out, &span.service);
        self.put_text(out, &span.instance);
        self.put_text(out, &span.name);
        // Wrapping, as the difference comes back the same way whatever the clocks said.
        put_signed(out, written_at.wrapping_sub(span.start_unix_nanos).cast_signed());
        put_number(out, span.duration_nanos);
        if let Status::Error(message) = &span.status {
            self.put_text(out, message);
        }
        self.put_attributes(out, &span.attributes);
        put_count(out, span.events.len());
        for Event { at_unix_nanos, name, attributes } in &span.events {
            put_signed(out, at_unix_nanos.wrapping_sub(span.start_unix_nanos).cast_signed());
            self.put_text(out, name);
            self.put_attributes(out, attributes);
        }
        if has_links {
            self.put_links(out, &span.links);
        }
    }

    fn put_links(&mut self, out: &mut Vec<u8>, links: &'a [Link]) {
        put_count(out, links.len());
        for Link { trace_id, span_id, attributes } in links {
            put_count(out, self.traces.index(*trace_id));
            out.extend_from_slice(&span_id.get().to_le_bytes());
            self.put_attributes(out, attributes);
        }
    }

    fn put_attributes(&mut self, out: &mut Vec<u8>, attributes: &'a [(Key, Value)]) {
        put_count(out, attributes.len());
        for (key, value) in attributes {
            self.put_text(out, key);
            match value {
                Value::Text(text) => {
                    out.push(0);
                    self.put_text(out, text);
                }
                Value::Int(number) => {
                    out.push(1);
                    put_signed(out, *number);
                }
                Value::Float(number) => {
                    out.push(2);
                    out.extend_from_slice(&number.to_bits().to_le_bytes());
                }
                Value::Bool(yes) => out.push(3 + u8::from(*yes)),
            }
        }
    }

    fn put_text(&mut self, out: &mut Vec<u8>, text: &'a str) {
        let count = self.texts.order.len();
        let index = self.texts.index(text);
        if index == count {
            self.text_bytes += text.len() + 2;
        }
        put_count(out, index);
    }
}
