//! What can be asked of the trace store, and what it answers.

use std::{fmt, ops::Deref, str::FromStr, time::Duration};

use bowline_model::Code;
use bowline_telemetry::{SpanData, Status, TraceId, Value};
use serde::{Deserialize, Serialize};

use crate::traces::Cursor;

/// How many traces a search gives when nobody says.
pub const LIMIT_DEFAULT: usize = 20;
/// How many traces a search gives at most.
pub const LIMIT_MAX: usize = 1000;

/// Which traces to find; what is not given does not matter.
///
/// A trace matches when one of its spans has the service, the operation, the status and all the
/// attributes, and the trace as a whole has the duration, the begin and the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The service of a span.
    pub service: Option<String>,
    /// The name of a span.
    pub operation: Option<String>,
    /// How a span ended.
    pub status: Option<SpanStatus>,
    /// Names and values. A number is equal however it is written (`0.50`, `5e-1`), a boolean is `true` or
    /// `false`. `service.name` and `service.instance.id` are the span's service and instance.
    pub attributes: Vec<(String, String)>,
    /// Traces that took at least so long, from their first span's start to their last one's end.
    pub min_duration: Option<Duration>,
    /// Traces that took at most so long.
    pub max_duration: Option<Duration>,
    /// Traces that began then or later, in nanoseconds since 1970.
    pub since_unix_nanos: Option<u64>,
    /// Traces that began before then, in nanoseconds since 1970.
    pub until_unix_nanos: Option<u64>,
    /// Whether a span ended badly.
    pub has_error: Option<bool>,
    /// Which of those that match are found first.
    pub order: Order,
    /// The most traces to find, from 1 to [`LIMIT_MAX`].
    pub limit: usize,
    /// Where an earlier search with the same predicates ended; only behind the newest.
    pub cursor: Option<Cursor>,
}

/// Which traces a search finds first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those that began last.
    #[default]
    Newest,
    /// Those that took longest, of all that match. They have no pages.
    Slowest,
}

/// The text is no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no order of traces: it is newest or slowest")]
pub struct InvalidOrder {
    text: String,
}

/// How a span ended, without why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanStatus {
    /// Nobody said.
    Unset,
    /// Well.
    Ok,
    /// Badly.
    Error,
}

/// The text is no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no status of a span: it is ok, error or unset")]
pub struct InvalidStatus {
    text: String,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The traces in the order that was asked for; the newest by the begin of the first span that came of each.
    pub traces: Vec<TraceSummary>,
    /// Whether the search ended at its bound of work: not all traces were looked at: of the newest the older are left out, of the slowest some may be.
    pub is_cut: bool,
    /// Where to go on; none when there is nothing older.
    pub next: Option<Cursor>,
}

/// Traces that a search found, with their spans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The spans of each trace, newest trace first, its spans by their begin. A trace that was deleted meanwhile is
    /// not there.
    pub traces: Vec<Vec<SpanData>>,
    /// Whether something was left out at a bound of work or of memory.
    pub is_cut: bool,
    /// Where to go on; none when there is nothing older.
    pub next: Option<Cursor>,
}

impl Deref for Found {
    type Target = [TraceSummary];

    fn deref(&self) -> &[TraceSummary] {
        &self.traces
    }
}

impl IntoIterator for Found {
    type Item = TraceSummary;
    type IntoIter = std::vec::IntoIter<TraceSummary>;

    fn into_iter(self) -> Self::IntoIter {
        self.traces.into_iter()
    }
}

/// A trace that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSummary {
    /// Its name.
    pub trace_id: TraceId,
    /// The service of its first span; while that one has not arrived, of the earliest.
    pub root_service: String,
    /// The name of that span.
    pub root_name: String,
    /// How that span ended: what became of the request as a whole.
    pub root_status: SpanStatus,
    /// Whether that span has no parent; if it has one, the trace began with a span that is not here.
    pub has_root: bool,
    /// When it began, in nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// From its first span's start to its last one's end.
    pub duration_nanos: u64,
    /// How many spans are kept of it.
    pub span_count: usize,
    /// The services it went through, by name.
    pub services: Vec<String>,
    /// Whether a span ended badly.
    pub has_error: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            service: None,
            operation: None,
            status: None,
            attributes: Vec::new(),
            min_duration: None,
            max_duration: None,
            since_unix_nanos: None,
            until_unix_nanos: None,
            has_error: None,
            order: Order::default(),
            limit: LIMIT_DEFAULT,
            cursor: None,
        }
    }
}

impl Query {
    /// Whether a span has the service, the operation, the status and the attributes.
    pub(crate) fn is_span_matching(&self, span: &SpanData) -> bool {
        self.service.as_deref().is_none_or(|service| service == &*span.service)
            && self.operation.as_deref().is_none_or(|operation| operation == span.name)
            && self.status.is_none_or(|status| status == SpanStatus::of(&span.status))
            && self.attributes.iter().all(|(key, wanted)| has_attribute(span, key, wanted))
    }

    /// The texts that a record with a matching span has.
    pub(crate) fn texts(&self) -> Vec<&str> {
        let named = [self.service.as_deref(), self.operation.as_deref()].into_iter().flatten();
        let attributes = self.attributes.iter().filter(|(key, _)| field(key).is_none());
        let attributes = attributes.flat_map(|(key, wanted)| {
            let is_text_only = wanted.parse::<f64>().is_err() && wanted.parse::<bool>().is_err();
            [Some(key.as_str()), is_text_only.then_some(wanted.as_str())].into_iter().flatten()
        });
        named.chain(attributes).collect()
    }
}

/// What OpenTelemetry calls an attribute of the resource, and we a field of the span.
fn field(key: &str) -> Option<fn(&SpanData) -> &str> {
    match key {
        "service.name" => Some(|span| &span.service),
        "service.instance.id" => Some(|span| &span.instance),
        _ => None,
    }
}

fn has_attribute(span: &SpanData, key: &str, wanted: &str) -> bool {
    match (span.attribute(key), field(key)) {
        (Some(value), _) => is_equal(value, wanted),
        (None, Some(field)) => field(span) == wanted,
        (None, None) => false,
    }
}

#[expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "two texts of one number are read as the same bits")]
fn is_equal(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Text(text) => text == wanted,
        Value::Bool(yes) => wanted.parse() == Ok(*yes),
        Value::Float(number) => {
            wanted.parse::<f64>().is_ok_and(|wanted| wanted == *number) || value.to_string() == wanted
        }
        // Whole numbers beyond 2^53 are not equal to their neighbours.
        Value::Int(number) => match wanted.parse::<i64>() {
            Ok(wanted) => wanted == *number,
            Err(_) => wanted.parse::<f64>().is_ok_and(|wanted| wanted == *number as f64),
        },
    }
}

impl SpanStatus {
    /// Of a span's.
    pub fn of(status: &Status) -> Self {
        match status {
            Status::Unset => Self::Unset,
            Status::Ok => Self::Ok,
            Status::Error(_) => Self::Error,
        }
    }

    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for SpanStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SpanStatus {
    type Err = InvalidStatus;

    fn from_str(text: &str) -> Result<Self, InvalidStatus> {
        let known = [Self::Unset, Self::Ok, Self::Error].into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| InvalidStatus { text: text.chars().take(32).collect() })
    }
}

impl FromStr for Order {
    type Err = InvalidOrder;

    fn from_str(text: &str) -> Result<Self, InvalidOrder> {
        match text {
            "newest" => Ok(Self::Newest),
            "slowest" => Ok(Self::Slowest),
            _ => Err(InvalidOrder { text: text.chars().take(32).collect() }),
        }
    }
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl InvalidOrder {
    /// Always [`Code::InvalidArgument`].
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the same text stays wrong.
    pub fn retryable(&self) -> bool {
        false
    }
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl InvalidStatus {
    /// Always [`Code::InvalidArgument`].
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the same text stays wrong.
    pub fn retryable(&self) -> bool {
        false
    }
}
