//! The wire format of protocol buffers, read and written by hand: the few messages of OTLP's traces need no more.

pub(crate) mod reader;
pub(crate) mod writer;

use bowline_model::Code;

/// A message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be read: {what}")]
pub struct Malformed {
    what: String,
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl Malformed {
    /// Always [`Code::InvalidArgument`].
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the same message stays wrong.
    pub fn retryable(&self) -> bool {
        false
    }
}

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}
