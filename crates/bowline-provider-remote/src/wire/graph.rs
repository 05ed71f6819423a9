//! The service graph on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/service-graph`: services and who calls whom, from spans, over a window that ends now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceGraph {
    /// The services, sorted by name.
    pub services: Vec<GraphService>,
    /// The calls between them, sorted by caller and callee.
    pub edges: Vec<GraphEdge>,
}

/// A service in the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GraphService {
    /// Its name.
    pub name: String,
    /// Whether it reports spans of its own; else what is told of it is what its callers saw.
    pub is_instrumented: bool,
    /// What it answered to others.
    pub figures: GraphFigures,
    /// The same by operation, sorted by name.
    pub operations: Vec<GraphOperation>,
}

/// What a service answered under one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GraphOperation {
    /// The name of its spans; `(other)` for those beyond the bound.
    pub name: String,
    /// `server` or `consumer`.
    pub kind: String,
    /// How it did.
    pub figures: GraphFigures,
}

/// The calls of one service to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GraphEdge {
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// `sync` where the caller waits for the answer, `async` for messages.
    pub mode: String,
    /// How the calls did.
    pub figures: GraphFigures,
    /// What failed, the most frequent first.
    pub failures: Vec<GraphFailure>,
    /// When the last one ended, in nanoseconds since 1970.
    pub last_seen_unix_nanos: u64,
    /// A trace with such a call: one that failed, if any did.
    pub sample_trace_id: Option<String>,
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GraphFailure {
    /// A status such as `503`, a kind such as `timeout`, or `error`.
    pub status: String,
    /// How many.
    pub count: u64,
}

/// Rate, errors and durations; a quantile is wrong by a sixteenth at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GraphFigures {
    /// How many there were.
    pub count: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many a second.
    pub rate: f64,
    /// Which share of them failed, from 0 to 1.
    pub error_rate: f64,
    /// What half of them did not exceed, in nanoseconds.
    pub p50_nanos: u64,
    /// What 95 of 100 did not exceed, in nanoseconds.
    pub p95_nanos: u64,
    /// What 99 of 100 did not exceed, in nanoseconds.
    pub p99_nanos: u64,
    /// The longest, in nanoseconds.
    pub max_nanos: u64,
}
