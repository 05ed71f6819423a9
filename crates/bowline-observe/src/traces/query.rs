//! What can be asked of the trace store, and what it answers.

use std::{ops::Deref, time::Duration};

use bowline_telemetry::{SpanData, TraceId};
use serde::{Deserialize, Serialize};

/// How many traces a search gives when nobody says.
pub const LIMIT_DEFAULT: usize = 20;
/// How many traces a search gives at most.
pub const LIMIT_MAX: usize = 1000;

/// Which traces to find; what is not given does not matter.
///
/// A trace matches when one of its spans has the service, the operation and all the attributes, and
/// the trace as a whole has the duration and the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The service of a span.
    pub service: Option<String>,
    /// The name of a span.
    pub operation: Option<String>,
    /// Traces that took at least so long, from their first span's start to their last one's end.
    pub min_duration: Option<Duration>,
    /// Names and values; numbers and booleans are compared as they are written.
    pub attributes: Vec<(String, String)>,
    /// Whether a span ended badly.
    pub has_error: Option<bool>,
    /// The most traces to find, from 1 to [`LIMIT_MAX`].
    pub limit: usize,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The traces, newest first.
    pub traces: Vec<TraceSummary>,
    /// Whether the search ended at its bound of work: older traces were not looked at.
    pub is_cut: bool,
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
            min_duration: None,
            attributes: Vec::new(),
            has_error: None,
            limit: LIMIT_DEFAULT,
        }
    }
}

impl Query {
    /// Whether a span has the service, the operation and the attributes.
    pub(crate) fn is_span_matching(&self, span: &SpanData) -> bool {
        self.service.as_deref().is_none_or(|service| service == &*span.service)
            && self.operation.as_deref().is_none_or(|operation| operation == span.name)
            && self
                .attributes
                .iter()
                .all(|(key, wanted)| span.attribute(key).is_some_and(|value| value.to_string() == *wanted))
    }
}
