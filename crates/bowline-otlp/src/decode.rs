//! What SDKs send, as spans of ours: bounded, whatever it says.

mod any;
mod draft;
mod json;
mod known;
mod proto;

use bowline_telemetry::SpanData;

pub use self::{json::from_json, proto::from_protobuf};

/// The most that the spans of one request take in memory, in bytes; those beyond are refused.
pub const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The spans of one request.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Those that can be kept.
    pub spans: Vec<SpanData>,
    /// How many cannot.
    pub refused: u64,
    /// Why not; of one of them.
    pub why: Option<Refusal>,
    /// What the spans take in memory, about.
    bytes: usize,
}

/// Why a span cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its trace has no usable id.
    #[error("a trace id is 16 bytes, and not all zero")]
    TraceId,
    /// It has no usable id.
    #[error("a span id is 8 bytes, and not all zero")]
    SpanId,
    /// Its parent's id is none.
    #[error("the id of a parent is 8 bytes, or absent")]
    ParentSpanId,
    /// It is its own parent.
    #[error("a span is not its own parent")]
    OwnParent,
    /// Those before it are too large already.
    #[error("the spans of one request take at most {DECODED_BYTES_MAX} bytes: send fewer at once")]
    TooMuch,
}

impl Decoded {
    fn refuse(&mut self, why: Refusal) {
        self.refused += 1;
        self.why.get_or_insert(why);
    }
}

/// The text's beginning of at most that many bytes, cut between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests;
