//! The names of traces and spans, and what of them travels between processes.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
    str::FromStr,
};

use bowline_model::Code;
use bowline_runtime::rand;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of a trace: 16 bytes, never all zero, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(NonZeroU128);

/// The name of a span in its trace: 8 bytes, never all zero, written as 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

/// What a child span needs to know of its parent, also across processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace both belong to.
    pub trace_id: TraceId,
    /// The parent.
    pub span_id: SpanId,
    /// Whether the trace is being recorded.
    pub is_sampled: bool,
}

/// The text is not the name of a trace or span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// It has not exactly that many lower-case hex digits.
    #[error("an id has {digits} lower-case hex digits")]
    Text {
        /// 32 for a trace, 16 for a span.
        digits: usize,
    },
    /// All digits are 0.
    #[error("an id is not all zeros")]
    Zero,
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl InvalidId {
    /// Always [`Code::InvalidArgument`].
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the same text stays wrong.
    pub fn retryable(&self) -> bool {
        false
    }
}

impl TraceId {
    /// The id of a number; none for 0.
    pub fn new(number: u128) -> Option<Self> {
        NonZeroU128::new(number).map(Self)
    }

    /// A random one.
    #[inline]
    pub fn generate() -> Self {
        loop {
            if let Some(id) = Self::new(rand::u128()) {
                return id;
            }
        }
    }

    /// Its number.
    #[inline]
    pub fn get(self) -> u128 {
        self.0.get()
    }
}

impl SpanId {
    /// The id of a number; none for 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// A random one.
    #[inline]
    pub fn generate() -> Self {
        loop {
            if let Some(id) = Self::new(rand::u64()) {
                return id;
            }
        }
    }

    /// Its number.
    #[inline]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// The number of exactly `digits` lower-case hex digits (at most 32).
pub(crate) fn parse_hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0_u128, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

impl FromStr for TraceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number = parse_hex(text.as_bytes(), 32).ok_or(InvalidId::Text { digits: 32 })?;
        Self::new(number).ok_or(InvalidId::Zero)
    }
}

impl FromStr for SpanId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number = parse_hex(text.as_bytes(), 16).ok_or(InvalidId::Text { digits: 16 })?;
        u64::try_from(number).ok().and_then(Self::new).ok_or(InvalidId::Zero)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(str::parse))
    }
}

impl<'de> Deserialize<'de> for SpanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(str::parse))
    }
}

/// Reads an id from borrowed text, without keeping the text.
struct TextVisitor<T>(fn(&str) -> Result<T, InvalidId>);

impl<T> de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id as lower-case hex text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written_as_lower_case_hex() {
        let trace: TraceId = "0af7651916cd43dd8448eb211c80319c".parse().unwrap();
        assert_eq!(trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        let span: SpanId = "00f067aa0ba902b7".parse().unwrap();
        assert_eq!(span.to_string(), "00f067aa0ba902b7");
        assert_eq!(serde_json::to_string(&span).unwrap(), "\"00f067aa0ba902b7\"");
        assert_eq!(serde_json::from_str::<TraceId>(&format!("\"{trace}\"")).unwrap(), trace);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let wrong = InvalidId::Text { digits: 16 };
        for (text, error) in [
            ("0000000000000000", InvalidId::Zero),
            ("", wrong),
            ("00F067AA0BA902B7", wrong),
            ("0f067aa0ba902b7", wrong),
            ("+0f067aa0ba902b7", wrong),
            ("00f067aa0ba902b70", wrong),
        ] {
            assert_eq!(text.parse::<SpanId>(), Err(error), "{text:?}");
        }
        assert_eq!("0".repeat(32).parse::<TraceId>(), Err(InvalidId::Zero));
    }
}
