//! What the graph needs to know of a span.

use std::sync::Arc;

use bowline_telemetry::{SpanData, SpanId, SpanKind, TraceId, names};

use super::names::Names;
use crate::{attributes, traces::SpanStatus};

/// The longest name of a kind of failure, in bytes.
const FAILURE_BYTES_MAX: usize = 64;

/// A span, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) service: Arc<str>,
    pub(super) operation: Arc<str>,
    pub(super) kind: SpanKind,
    pub(super) status: SpanStatus,
    /// Of what kind the failure is, where it ended badly: `503`, `timeout`.
    pub(super) failure: Option<Arc<str>>,
    /// Whom it calls, as its attributes say.
    pub(super) peer: Option<Arc<str>>,
    /// Whether it stands for one call as its caller sees it.
    pub(super) is_call: bool,
    /// Whether it is new: spans of an earlier run were counted in that one.
    pub(super) is_live: bool,
    pub(super) duration_nanos: u64,
    pub(super) end_unix_nanos: u64,
}

/// The names that facts share.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) services: Names,
    pub(super) operations: Names,
    pub(super) failures: Names,
}

/// What stands for what was one too many.
pub(super) const OTHER: &str = "(other)";

impl Fact {
    /// Of a span; none when there are too many services.
    pub(super) fn new(span: &SpanData, is_live: bool, tables: &mut Tables) -> Option<Self> {
        let operation = tables.operations.share(&span.name).unwrap_or_else(|| Arc::from(OTHER));
        let failure = span.is_error().then(|| {
            let failure = failure(span);
            tables.failures.share(&failure).unwrap_or_else(|| Arc::from(OTHER))
        });
        Some(Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            // The doors refuse a span that is its own parent; one in the files would wait for itself.
            parent: span.parent_span_id.filter(|parent| *parent != span.span_id),
            service: tables.services.share(&span.service)?,
            operation,
            kind: span.kind,
            status: SpanStatus::of(&span.status),
            failure,
            peer: attributes::peer(span).and_then(|peer| tables.services.share(&peer)),
            is_call: attributes::is_call(span),
            is_live,
            duration_nanos: span.duration_nanos,
            end_unix_nanos: span.end_unix_nanos(),
        })
    }

    pub(super) fn key(&self) -> (TraceId, SpanId) {
        (self.trace_id, self.span_id)
    }

    /// Whether it answers somebody.
    pub(super) fn is_answer(&self) -> bool {
        attributes::is_answer(self.kind)
    }

    pub(super) fn is_error(&self) -> bool {
        self.status == SpanStatus::Error
    }
}

/// The kind of a failure, of few values.
fn failure(span: &SpanData) -> String {
    let keys = [
        names::HTTP_RESPONSE_STATUS_CODE,
        "rpc.response.status_code",
        "rpc.grpc.status_code",
        names::ERROR_TYPE,
        names::BOWLINE_REASON,
    ];
    let known = keys.iter().find_map(|key| span.attribute(key)).map(ToString::to_string);
    known.filter(|text| !text.is_empty() && text.len() <= FAILURE_BYTES_MAX).unwrap_or_else(|| "error".to_owned())
}
