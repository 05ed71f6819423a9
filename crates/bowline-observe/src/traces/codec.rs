//! How spans are written on disk: one record holds a batch.
//!
//! A record has its own tables of trace ids and texts, so that it is read on its own and each text
//! is in it once. All numbers are varints (LEB128), signed ones zigzagged, but for ids.
//!
//! ```text
//! record     = written_at trace_count trace_id* text_count (length bytes)* span_count span*
//! span       = length trace_index head attributes event_count event* (link_count link*)?
//! head       = flags span_id parent_id? service instance name start duration message?
//! flags      = kind (3 bits) | status << 3 (2 bits) | has_parent << 5 | has_links << 6
//! start      = written_at - start          (what is a text is an index in the table)
//! attributes = count (key value)*
//! value      = 0 text | 1 signed | 2 8 bytes | 3 (false) | 4 (true)
//! event      = at - start, name attributes
//! link       = trace_index span_id attributes
//! ```
//!
//! Nothing outside this module knows the layout; the version is in the head of each segment.

mod bytes;
mod decode;
mod encode;

pub(crate) use decode::{Head, decode, heads};
pub(crate) use encode::encode;

/// The version of this layout.
pub(crate) const VERSION: u32 = 1;

/// The bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be read")]
pub(crate) struct Corrupt;

#[cfg(test)]
mod tests;
