//! Bytes to spans; every byte is checked, nothing panics.

use std::{borrow::Cow, sync::Arc};

use bowline_telemetry::{Event, Key, Link, SpanData, SpanId, SpanKind, Status, TraceId, Value};

use bowline_disk::{Corrupt, Reader};

use super::{BODY_BYTES_MAX, Head};
use crate::traces::SpanStatus;

/// The fewest bytes of a link.
const LINK_BYTES_MIN: usize = 10;

/// A record that was read and unpacked.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) written_at: u64,
    traces: Vec<TraceId>,
    spans: Vec<SpanId>,
    body: Vec<u8>,
}

impl Record {
    /// Checks the head and unpacks the body.
    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader(bytes);
        let written_at = reader.number()?;
        let trace_count = reader.count(16)?;
        let traces = (0..trace_count)
            .map(|_| TraceId::new(u128::from_le_bytes(reader.array()?)).ok_or(Corrupt))
            .collect::<Result<_, _>>()?;
        let span_count = reader.count(8)?;
        let spans = (0..span_count).map(|_| span_id(&mut reader)).collect::<Result<_, _>>()?;
        let length = reader.index()?;
        if length > BODY_BYTES_MAX {
            return Err(Corrupt);
        }
        let body = zstd::bulk::decompress(reader.0, length).map_err(|_| Corrupt)?;
        if body.len() == length { Ok(Self { written_at, traces, spans, body }) } else { Err(Corrupt) }
    }

    /// What it takes in memory: the work of reading it.
    pub(crate) fn bytes(&self) -> usize {
        16 * self.traces.len() + 8 * self.spans.len() + self.body.len()
    }

    /// The heads of its spans, in order.
    pub(crate) fn heads(&self) -> Result<Vec<Head<'_>>, Corrupt> {
        let mut heads = Vec::with_capacity(self.spans.len());
        self.walk(|tables, at, body| {
            let head = tables.head(at, body)?;
            heads.push(Head {
                trace_id: head.trace_id,
                service: tables.text(head.service)?,
                name: tables.text(head.name)?,
                start_unix_nanos: head.start_unix_nanos,
                duration_nanos: head.duration_nanos,
                is_root: head.parent_span_id.is_none(),
                status: head.status,
            });
            Ok(())
        })?;
        Ok(heads)
    }

    /// The spans of the traces that are wanted, in order.
    pub(crate) fn decode(&self, is_wanted: impl Fn(TraceId) -> bool) -> Result<Vec<SpanData>, Corrupt> {
        let mut spans = Vec::new();
        let mut shared = Vec::new();
        self.walk(|tables, at, body| {
            // The trace stands first.
            let trace_id = tables.trace(body.clone().index()?)?;
            if is_wanted(trace_id) {
                shared.resize(tables.texts.len(), None);
                spans.push(tables.span(at, body, &mut shared)?);
            }
            Ok(())
        })?;
        Ok(spans)
    }

    /// Whether all these are among its texts: a span with them can only be here if they are.
    pub(crate) fn has_texts(&self, wanted: &[&str]) -> Result<bool, Corrupt> {
        let mut is_there = vec![false; wanted.len()];
        for text in texts(&mut Reader(&self.body))? {
            for (wanted, is_there) in wanted.iter().zip(&mut is_there) {
                *is_there |= *wanted == text;
            }
        }
        Ok(is_there.into_iter().all(|is_there| is_there))
    }

    /// Shows each span's place in the record and its bytes.
    fn walk<'a>(
        &'a self,
        mut visit: impl FnMut(&Tables<'a>, usize, &mut Reader<'a>) -> Result<(), Corrupt>,
    ) -> Result<(), Corrupt> {
        let mut reader = Reader(&self.body);
        let texts = texts(&mut reader)?;
        let tables = Tables { written_at: self.written_at, traces: &self.traces, spans: &self.spans, texts };
        for at in 0..self.spans.len() {
            let length = reader.index()?;
            visit(&tables, at, &mut Reader(reader.slice(length)?))?;
        }
        if reader.0.is_empty() { Ok(()) } else { Err(Corrupt) }
    }
}

fn texts<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a str>, Corrupt> {
    let count = reader.count(1)?;
    (0..count)
        .map(|_| {
            let length = reader.index()?;
            str::from_utf8(reader.slice(length)?).map_err(|_| Corrupt)
        })
        .collect()
}

struct Tables<'a> {
    written_at: u64,
    traces: &'a [TraceId],
    spans: &'a [SpanId],
    texts: Vec<&'a str>,
}

/// A span's head, with texts still as indexes.
struct RawHead {
    trace_id: TraceId,
    kind: SpanKind,
    span_id: SpanId,
    parent_span_id: Option<SpanId>,
    service: usize,
    instance: usize,
    name: usize,
    start_unix_nanos: u64,
    duration_nanos: u64,
    status: SpanStatus,
    /// There when it ended badly.
    message: Option<usize>,
    has_links: bool,
}

impl<'a> Tables<'a> {
    fn trace(&self, index: usize) -> Result<TraceId, Corrupt> {
        self.traces.get(index).copied().ok_or(Corrupt)
    }

    fn text(&self, index: usize) -> Result<&'a str, Corrupt> {
        self.texts.get(index).copied().ok_or(Corrupt)
    }

    fn head(&self, at: usize, body: &mut Reader<'a>) -> Result<RawHead, Corrupt> {
        let trace_id = self.trace(body.index()?)?;
        let flags = body.byte()?;
        let kind = match flags & 7 {
            0 => SpanKind::Internal,
            1 => SpanKind::Server,
            2 => SpanKind::Client,
            3 => SpanKind::Producer,
            4 => SpanKind::Consumer,
            _ => return Err(Corrupt),
        };
        let status = match flags >> 3 & 0b1_0011 {
            0 => SpanStatus::Unset,
            1 => SpanStatus::Ok,
            2 => SpanStatus::Error,
            // Or the bit that says nothing yet.
            _ => return Err(Corrupt),
        };
        let parent_span_id = if flags & 1 << 5 == 0 { None } else { Some(self.parent(body)?) };
        let (service, instance, name) = (body.index()?, body.index()?, body.index()?);
        let start_unix_nanos = self.written_at.wrapping_sub(body.signed()?.cast_unsigned());
        let duration_nanos = body.number()?;
        let message = if status == SpanStatus::Error { Some(body.index()?) } else { None };
        let has_links = flags & 1 << 6 != 0;
        Ok(RawHead {
            trace_id,
            kind,
            span_id: *self.spans.get(at).ok_or(Corrupt)?,
            parent_span_id,
            service,
            instance,
            name,
            start_unix_nanos,
            duration_nanos,
            status,
            message,
            has_links,
        })
    }

    /// A parent in the record, or one outside.
    fn parent(&self, body: &mut Reader<'a>) -> Result<SpanId, Corrupt> {
        match body.index()?.checked_sub(1) {
            Some(at) => self.spans.get(at).copied().ok_or(Corrupt),
            None => span_id(body),
        }
    }

    fn span(&self, at: usize, body: &mut Reader<'a>, shared: &mut [Option<Arc<str>>]) -> Result<SpanData, Corrupt> {
        let head = self.head(at, body)?;
        let status = match head.message {
            Some(message) => Status::Error(self.text(message)?.to_owned()),
            None if head.status == SpanStatus::Ok => Status::Ok,
            None => Status::Unset,
        };
        let attributes = self.attributes(body)?;
        let event_count = body.count(3)?;
        let events = (0..event_count)
            .map(|_| {
                let at_unix_nanos = head.start_unix_nanos.wrapping_add(body.signed()?.cast_unsigned());
                Ok(Event { at_unix_nanos, name: self.key(body)?, attributes: self.attributes(body)? })
            })
            .collect::<Result<_, _>>()?;
        let links = if head.has_links { self.links(body)? } else { Vec::new() };
        if !body.0.is_empty() {
            return Err(Corrupt);
        }
        Ok(SpanData {
            trace_id: head.trace_id,
            span_id: head.span_id,
            parent_span_id: head.parent_span_id,
            service: self.shared(head.service, shared)?,
            instance: self.shared(head.instance, shared)?,
            name: Cow::Owned(self.text(head.name)?.to_owned()),
            kind: head.kind,
            start_unix_nanos: head.start_unix_nanos,
            duration_nanos: head.duration_nanos,
            status,
            attributes,
            events,
            links,
        })
    }

    fn links(&self, body: &mut Reader<'a>) -> Result<Vec<Link>, Corrupt> {
        let count = body.count(LINK_BYTES_MIN)?;
        let link = |_| {
            let trace_id = self.trace(body.index()?)?;
            Ok(Link { trace_id, span_id: span_id(body)?, attributes: self.attributes(body)? })
        };
        (0..count).map(link).collect()
    }

    /// A text that many spans of the record have.
    fn shared(&self, index: usize, shared: &mut [Option<Arc<str>>]) -> Result<Arc<str>, Corrupt> {
        let text = self.text(index)?;
        let slot = shared.get_mut(index).ok_or(Corrupt)?;
        Ok(Arc::clone(slot.get_or_insert_with(|| Arc::from(text))))
    }

    fn key(&self, body: &mut Reader<'a>) -> Result<Key, Corrupt> {
        Ok(Cow::Owned(self.text(body.index()?)?.to_owned()))
    }

    fn attributes(&self, body: &mut Reader<'a>) -> Result<Vec<(Key, Value)>, Corrupt> {
        let count = body.count(2)?;
        (0..count).map(|_| Ok((self.key(body)?, self.value(body)?))).collect()
    }

    fn value(&self, body: &mut Reader<'a>) -> Result<Value, Corrupt> {
        Ok(match body.byte()? {
            0 => Value::Text(self.key(body)?),
            1 => Value::Int(body.signed()?),
            2 => Value::Float(f64::from_bits(u64::from_le_bytes(body.array()?))),
            3 => Value::Bool(false),
            4 => Value::Bool(true),
            _ => return Err(Corrupt),
        })
    }
}

fn span_id(body: &mut Reader<'_>) -> Result<SpanId, Corrupt> {
    SpanId::new(u64::from_le_bytes(body.array()?)).ok_or(Corrupt)
}
