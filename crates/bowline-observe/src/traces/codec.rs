//! How spans are written on disk: one record holds a batch.
//!
//! A record has its own tables of ids and texts, so that it is read on its own and each text is in
//! it once. Ids are as good as random and stand as they are; the rest is compressed. All numbers are
//! varints (LEB128), signed ones zigzagged, but for ids.
//!
//! ```text
//! record     = written_at trace_count trace_id* span_count span_id* body_length zstd(body)
//! body       = text_count (length bytes)* span*
//! span       = length trace_index head attributes event_count event* (link_count link*)?
//! head       = flags parent? service instance name start duration message?
//! flags      = kind (3 bits) | status << 3 (2 bits) | has_parent << 5 | has_links << 6
//! parent     = 0 span_id | 1 + its index in the record
//! start      = written_at - start          (what is a text is an index in the table)
//! attributes = count (key value)*
//! value      = 0 text | 1 signed | 2 8 bytes | 3 (false) | 4 (true)
//! event      = at - start, name attributes
//! link       = trace_index span_id attributes
//! ```
//!
//! Nothing outside this module knows the layout; the version is in the head of each segment.

mod decode;
mod encode;

use bowline_telemetry::{SpanData, TraceId};

use crate::traces::SpanStatus;

pub(crate) use decode::Record;
pub(crate) use encode::Encoder;

/// The version of this layout.
pub(crate) const VERSION: u32 = 3;

/// The longest body: more is damage, and is never allocated for.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the index needs of a span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) trace_id: TraceId,
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
    pub(crate) start_unix_nanos: u64,
    pub(crate) duration_nanos: u64,
    pub(crate) is_root: bool,
    pub(crate) status: SpanStatus,
}

impl<'a> Head<'a> {
    pub(crate) fn of(span: &'a SpanData) -> Self {
        Self {
            trace_id: span.trace_id,
            service: &span.service,
            name: &span.name,
            start_unix_nanos: span.start_unix_nanos,
            duration_nanos: span.duration_nanos,
            is_root: span.parent_span_id.is_none(),
            status: SpanStatus::of(&span.status),
        }
    }
}

#[cfg(test)]
mod tests;
