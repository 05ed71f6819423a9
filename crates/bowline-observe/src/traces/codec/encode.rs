//! Spans to bytes.

use std::{collections::HashMap, fmt};

use bowline_telemetry::{Event, Key, Link, SpanData, SpanId, Status, TraceId, Value};

use bowline_disk::{put_count, put_number, put_signed};

use super::BODY_BYTES_MAX;

/// Fast, and on what tables leave over hardly worse than slower ones.
const LEVEL: i32 = 1;

/// Makes records; keeps what it needs for that from one to the next.
pub(crate) struct Encoder {
    compressor: zstd::bulk::Compressor<'static>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { compressor: zstd::bulk::Compressor::new(LEVEL).expect("the level is one of zstd's") }
    }

    /// The record of a batch, written at that time (nanoseconds since 1970); none when it is too long.
    pub(crate) fn encode(&mut self, spans: &[SpanData], written_at: u64) -> Option<Vec<u8>> {
        let mut tables = Tables::new(spans);
        let mut bodies = Vec::with_capacity(spans.len() * 64);
        let mut one = Vec::with_capacity(256);
        for span in spans {
            one.clear();
            tables.put_span(&mut one, span, written_at);
            put_count(&mut bodies, one.len());
            bodies.extend_from_slice(&one);
        }
        let mut body = Vec::with_capacity(tables.text_bytes + bodies.len() + 8);
        put_count(&mut body, tables.texts.order.len());
        for text in &tables.texts.order {
            put_count(&mut body, text.len());
            body.extend_from_slice(text.as_bytes());
        }
        body.extend_from_slice(&bodies);
        (body.len() <= BODY_BYTES_MAX).then(|| self.pack(spans, written_at, &tables.traces.order, &body))
    }

    fn pack(&mut self, spans: &[SpanData], written_at: u64, traces: &[TraceId], body: &[u8]) -> Vec<u8> {
        let compressed = self.compressor.compress(body).expect("zstd gets all the room it asks for");
        let mut out = Vec::with_capacity(16 * traces.len() + 8 * spans.len() + compressed.len() + 32);
        put_number(&mut out, written_at);
        put_count(&mut out, traces.len());
        for trace_id in traces {
            out.extend_from_slice(&trace_id.get().to_le_bytes());
        }
        put_count(&mut out, spans.len());
        for span in spans {
            out.extend_from_slice(&span.span_id.get().to_le_bytes());
        }
        put_count(&mut out, body.len());
        out.extend_from_slice(&compressed);
        out
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// What a record holds once: trace ids and texts, in the order of their first use.
struct Tables<'a> {
    /// Where in the record a span is.
    spans: HashMap<(TraceId, SpanId), usize>,
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
        Self { indexes: HashMap::default(), order: Vec::new() }
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
    fn new(spans: &'a [SpanData]) -> Self {
        let places = spans.iter().enumerate().map(|(at, span)| ((span.trace_id, span.span_id), at));
        Self { spans: places.collect(), traces: Table::default(), texts: Table::default(), text_bytes: 0 }
    }

    fn put_span(&mut self, out: &mut Vec<u8>, span: &'a SpanData, written_at: u64) {
        put_count(out, self.traces.index(span.trace_id));
        let status = match span.status {
            Status::Unset => 0,
            Status::Ok => 1,
            Status::Error(_) => 2,
        };
        let (has_parent, has_links) = (span.parent_span_id.is_some(), !span.links.is_empty());
        out.push(span.kind as u8 | status << 3 | u8::from(has_parent) << 5 | u8::from(has_links) << 6);
        match span.parent_span_id.map(|parent| (parent, self.spans.get(&(span.trace_id, parent)))) {
            Some((_, Some(at))) => put_count(out, 1 + at),
            Some((parent, None)) => {
                put_number(out, 0);
                out.extend_from_slice(&parent.get().to_le_bytes());
            }
            None => {}
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
