//! A span that has ended, as data.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{SpanContext, SpanId, TraceId};

/// The name of an attribute, a span or an event; usually a constant.
pub type Key = Cow<'static, str>;

/// One span that has ended.
///
/// Its JSON is that of the API: ids as hex text, attributes as an object, times in nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanData {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own name.
    pub span_id: SpanId,
    /// The span that caused it; none for the first of a trace.
    pub parent_span_id: Option<SpanId>,
    /// The service that reports it.
    pub service: Arc<str>,
    /// The instance of that service.
    pub instance: Arc<str>,
    /// What was done, of low cardinality.
    pub name: Key,
    /// Its role.
    pub kind: SpanKind,
    /// When it began, in nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// How long it took, by the monotonic clock.
    pub duration_nanos: u64,
    /// How it ended.
    pub status: Status,
    /// What is known of it; each key once.
    pub attributes: Vec<(Key, Value)>,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// Spans of any trace that it has to do with and that are not its parent.
    pub links: Vec<Link>,
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, in nanoseconds since 1970.
    pub at_unix_nanos: u64,
    /// What.
    pub name: Key,
    /// What is known of it.
    pub attributes: Vec<(Key, Value)>,
}

/// Another span that a span has to do with, as the message that a batch was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The trace of the other span.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// What is known of how they belong together; each key once.
    pub attributes: Vec<(Key, Value)>,
}

/// The role of a span in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Within a process.
    #[default]
    Internal,
    /// Answers a call.
    Server,
    /// Makes a call and waits for the answer.
    Client,
    /// Sends a message.
    Producer,
    /// Takes a message.
    Consumer,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Badly, and why.
    Error(String),
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// Any number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

impl SpanData {
    /// When it ended, in nanoseconds since 1970; saturating.
    pub fn end_unix_nanos(&self) -> u64 {
        self.start_unix_nanos.saturating_add(self.duration_nanos)
    }

    /// The attribute of that name.
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Whether it ended badly.
    pub fn is_error(&self) -> bool {
        matches!(self.status, Status::Error(_))
    }

    /// Its names, as children see them.
    pub fn context(&self) -> SpanContext {
        SpanContext { trace_id: self.trace_id, span_id: self.span_id, is_sampled: true }
    }
}

impl SpanKind {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

impl fmt::Display for SpanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(yes) => write!(f, "{yes}"),
        }
    }
}

// === impl From for Value ===

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Cow<'static, str>> for Value {
    fn from(text: Cow<'static, str>) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            /// Saturates at the ends of `i64`.
            fn from(number: $type) -> Self {
                Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
    )*};
}

from_integer!(u8, u16, u32, u64, usize, u128, i32, i64);
