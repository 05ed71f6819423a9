//! Bytes to spans; every byte is checked, nothing panics.

use std::{borrow::Cow, sync::Arc};

use bowline_telemetry::{Event, Key, Link, SpanData, SpanId, SpanKind, Status, TraceId, Value};

use super::{Corrupt, bytes::Reader};

/// The fewest bytes of a span: its length and its shortest body.
const SPAN_BYTES_MIN: usize = 17;

/// The fewest bytes of a link.
const LINK_BYTES_MIN: usize = 10;

/// What the index needs of a span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) trace_id: TraceId,
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
    pub(crate) start_unix_nanos: u64,
    pub(crate) duration_nanos: u64,
    pub(crate) is_root: bool,
    pub(crate) is_error: bool,
}

/// The time a record was written, and the heads of its spans in order.
pub(crate) fn heads(record: &[u8]) -> Result<(u64, Vec<Head<'_>>), Corrupt> {
    let mut heads = Vec::new();
    let written_at = walk(record, |tables, trace_id, body| {
        let head = tables.head(body)?;
        heads.push(Head {
            trace_id,
            service: tables.text(head.service)?,
            name: tables.text(head.name)?,
            start_unix_nanos: head.start_unix_nanos,
            duration_nanos: head.duration_nanos,
            is_root: head.parent_span_id.is_none(),
            is_error: head.message.is_some(),
        });
        Ok(())
    })?;
    Ok((written_at, heads))
}

/// The spans of the traces that are wanted, in order.
pub(crate) fn decode(record: &[u8], is_wanted: impl Fn(TraceId) -> bool) -> Result<Vec<SpanData>, Corrupt> {
    let mut spans = Vec::new();
    let mut shared = Vec::new();
    walk(record, |tables, trace_id, body| {
        if is_wanted(trace_id) {
            shared.resize(tables.texts.len(), None);
            spans.push(tables.span(trace_id, body, &mut shared)?);
        }
        Ok(())
    })?;
    Ok(spans)
}

/// Shows each span's trace and body; gives the time of writing.
fn walk<'a>(
    record: &'a [u8],
    mut visit: impl FnMut(&Tables<'a>, TraceId, &mut Reader<'a>) -> Result<(), Corrupt>,
) -> Result<u64, Corrupt> {
    let mut reader = Reader(record);
    let written_at = reader.number()?;
    let trace_count = reader.count(16)?;
    let traces = (0..trace_count)
        .map(|_| TraceId::new(u128::from_le_bytes(reader.array()?)).ok_or(Corrupt))
        .collect::<Result<Vec<_>, _>>()?;
    let text_count = reader.count(1)?;
    let texts = (0..text_count)
        .map(|_| {
            let length = reader.index()?;
            str::from_utf8(reader.slice(length)?).map_err(|_| Corrupt)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let tables = Tables { written_at, traces, texts };
    for _ in 0..reader.count(SPAN_BYTES_MIN)? {
        let length = reader.index()?;
        let mut body = Reader(reader.slice(length)?);
        let trace_id = tables.trace(body.index()?)?;
        visit(&tables, trace_id, &mut body)?;
    }
    if reader.0.is_empty() { Ok(written_at) } else { Err(Corrupt) }
}

struct Tables<'a> {
    written_at: u64,
    traces: Vec<TraceId>,
    texts: Vec<&'a str>,
}

/// A span's head, with texts still as indexes.
struct RawHead {
    kind: SpanKind,
    span_id: SpanId,
    parent_span_id: Option<SpanId>,
    service: usize,
    instance: usize,
    name: usize,
    start_unix_nanos: u64,
    duration_nanos: u64,
    is_ok: bool,
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

    fn head(&self, body: &mut Reader<'a>) -> Result<RawHead, Corrupt> {
        let flags = body.byte()?;
        let kind = match flags & 7 {
            0 => SpanKind::Internal,
            1 => SpanKind::Server,
            2 => SpanKind::Client,
            3 => SpanKind::Producer,
            4 => SpanKind::Consumer,
            _ => return Err(Corrupt),
        };
        let status = flags >> 3 & 3;
        if status == 3 || flags >> 7 != 0 {
            return Err(Corrupt);
        }
        let span_id = span_id(body)?;
        let parent_span_id = if flags & 1 << 5 == 0 { None } else { Some(self::span_id(body)?) };
        let (service, instance, name) = (body.index()?, body.index()?, body.index()?);
        let start_unix_nanos = self.written_at.wrapping_sub(body.signed()?.cast_unsigned());
        let duration_nanos = body.number()?;
        let message = if status == 2 { Some(body.index()?) } else { None };
        let has_links = flags & 1 << 6 != 0;
        Ok(RawHead {
            kind,
            span_id,
            parent_span_id,
            service,
            instance,
            name,
            start_unix_nanos,
            duration_nanos,
            is_ok: status == 1,
            message,
            has_links,
        })
    }

    fn span(
        &self,
        trace_id: TraceId,
        body: &mut Reader<'a>,
        shared: &mut [Option<Arc<str>>],
    ) -> Result<SpanData, Corrupt> {
        let head = self.head(body)?;
        let status = match head.message {
            Some(message) => Status::Error(self.text(message)?.to_owned()),
            None if head.is_ok => Status::Ok,
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
            trace_id,
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
