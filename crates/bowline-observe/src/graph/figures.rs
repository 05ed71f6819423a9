//! What the graph answers.

use std::{fmt, sync::Arc, time::Duration};

use bowline_telemetry::TraceId;

/// Services and who calls whom, over a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// The services, by name.
    pub services: Vec<Node>,
    /// The calls between them, by caller, callee and mode.
    pub edges: Vec<Edge>,
}

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// What it answered from outside of it; where it does not report, what its callers saw.
    pub figures: Figures,
    /// Whether it reports spans of its own.
    pub is_instrumented: bool,
    /// What it answered, by operation.
    pub operations: Vec<Operation>,
}

/// What a service answered under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The name of its spans; `(other)` for those beyond the bound.
    pub name: Arc<str>,
    /// Whether it takes messages.
    pub is_consumer: bool,
    /// How it did.
    pub figures: Figures,
}

/// The calls of one service to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// Who calls.
    pub caller: Arc<str>,
    /// Who is called.
    pub callee: Arc<str>,
    /// How.
    pub mode: Mode,
    /// How they did: as the caller saw it where its span stands for one call, else as the callee.
    pub figures: Figures,
    /// What failed, the most frequent first.
    pub failures: Vec<Failure>,
    /// When the last one ended, in nanoseconds since 1970.
    pub last_seen_unix_nanos: u64,
    /// The trace of the last one that failed, else of the last one.
    pub sample: Option<TraceId>,
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A status such as `503`, a kind such as `timeout`, or `error`.
    pub status: Arc<str>,
    /// How many.
    pub count: u64,
}

/// Whether a caller waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It does.
    Sync,
    /// It sends a message.
    Async,
}

/// Rate, errors and durations over the window; quantiles are wrong by a sixteenth at most.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// How many there were.
    pub count: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many a second.
    pub rate: f64,
    /// Which share of them failed, from 0 to 1.
    pub error_rate: f64,
    /// What half of them did not exceed.
    pub p50: Duration,
    /// What 95 of 100 did not exceed.
    pub p95: Duration,
    /// What 99 of 100 did not exceed.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Mode {
    /// Its name in JSON and in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
