//! Where a search of traces goes on.

use std::{fmt, str::FromStr};

use bowline_model::Code;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::traces::index::Key;

/// A place in the order of traces, behind which a search goes on; its text means nothing to others.
///
/// The place of a trace is fixed with its first span that came. So pages that follow each other
/// show no trace twice, and leave none out that was there all along, whatever comes in meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(Key);

/// The text is no cursor that a search gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that a search gave: it has {LENGTH} hex digits")]
pub struct InvalidCursor;

/// A time and a trace id in hex.
const LENGTH: usize = 16 + 32;

impl Cursor {
    pub(crate) fn new(key: Key) -> Self {
        Self(key)
    }

    pub(crate) fn key(self) -> Key {
        self.0
    }
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl InvalidCursor {
    /// Always [`Code::InvalidArgument`].
    pub fn code(self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the same text stays wrong.
    pub fn retryable(self) -> bool {
        false
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, trace_id) = self.0;
        write!(f, "{at:016x}{trace_id}")
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != LENGTH || !text.bytes().all(is_hex) {
            return Err(InvalidCursor);
        }
        let (at, trace_id) = text.split_at(16);
        let at = u64::from_str_radix(at, 16).map_err(|_| InvalidCursor)?;
        Ok(Self((at, trace_id.parse().map_err(|_| InvalidCursor)?)))
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use bowline_telemetry::TraceId;

    use super::*;

    #[test]
    fn the_text_comes_back_and_others_are_refused() {
        let cursor = Cursor::new((1_767_225_600_000_000_000, TraceId::new(7).unwrap()));
        let text = cursor.to_string();
        assert_eq!(text.len(), LENGTH);
        assert_eq!(text.parse(), Ok(cursor));
        for wrong in ["", "7", &text[1..], &text.replace('8', "G"), &"0".repeat(LENGTH), &"é".repeat(LENGTH / 2)] {
            assert_eq!(wrong.parse::<Cursor>(), Err(InvalidCursor), "{wrong}");
        }
    }
}
