//! What a running system was seen to do, and the axioms held against it: pure.
//!
//! Who makes an [`Observed`] of spans is `bowline-observe`; here it is data. [`check()`] compares it with what a
//! [`System`](crate::System) declares:
//!
//! - `independent(s₁, s₂)`: each edge seen is an edge of `Communication(S)`, with the operations and the topics it
//!   names; and each declared edge was seen.
//! - `Boundary(s₁) ∩ Boundary(s₂) = ∅`: who touches data, or writes a topic, owns it.
//! - `SyncComm`, `AsyncComm`, `MessagePassing`: the events of each message come in the order of its formula, which
//!   [`Monitor`] says, and nobody waits who declared not to.

mod check;
mod exchange;
mod monitor;
pub mod rules;

use serde::{Deserialize, Serialize};

use crate::{system::CallMode, units::Share};

pub use crate::system::TOPIC;
pub use check::{check, unseen};
pub use exchange::{Exchange, Interval, Means, SKEW_MAX};
pub use monitor::{Event, Monitor, Unexpected};

/// The most edges that are told apart.
pub const EDGES_MAX: usize = 4096;
/// The most operations, and the most topics, that are told of one edge.
pub const OPERATIONS_MAX: usize = 64;
/// The most uses of data and topics that are told apart.
pub const USES_MAX: usize = 4096;
/// The most breaches that are told apart.
pub const BREACHES_MAX: usize = 1024;

/// What was seen of a system over a time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observed {
    /// Who called whom, at most [`EDGES_MAX`]: each caller, callee, mode and denial once.
    pub edges: Vec<ObservedEdge>,
    /// Who touched what, at most [`USES_MAX`]: each service, resource and table once.
    pub uses: Vec<ObservedUse>,
    /// Messages whose events did not come in the order of their formula, at most [`BREACHES_MAX`].
    pub breaches: Vec<ObservedBreach>,
    /// How many traces it was made of.
    pub traces: u64,
    /// How many spans they had.
    pub spans: u64,
    /// From when on it was asked for, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// From when on every trace was read, the same: later than it was asked for where [`gaps`](Self::gaps) say why.
    pub whole_since_unix_ms: u64,
    /// Until when, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Why not all that was done in that time is in it; none: it is, but for what is not sampled.
    pub gaps: Vec<Gap>,
    /// The least share of traces that are kept, where not all are.
    pub sample: Option<Share>,
}

/// Why something that was done may not be in what was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// The reading ended at a bound: what began before [`Observed::whole_since_unix_ms`] was not looked at.
    Unread,
    /// The store keeps no more: it has deleted what began before [`Observed::whole_since_unix_ms`].
    Deleted,
    /// There was more than is told apart, or than is read at once: some of it was left out, of whatever time.
    LeftOut,
}

impl Observed {
    /// Whether it has all that was done in the time it was asked for: only then something was never seen.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.sample.is_none()
    }
}

/// Calls of one service to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedEdge {
    /// Who called: a service of the system, or as its certificate says who is of another one; absent: nobody knows.
    #[serde(default)]
    pub caller: Option<String>,
    /// Who was called.
    pub callee: String,
    /// How, as the spans of both show it.
    pub mode: CallMode,
    /// What was asked for, at most [`OPERATIONS_MAX`]: each method and path once.
    #[serde(default)]
    pub operations: Vec<ObservedOperation>,
    /// The topics that messages came through, at most [`OPERATIONS_MAX`].
    #[serde(default)]
    pub topics: Vec<String>,
    /// Whether the mesh refused them.
    #[serde(default)]
    pub is_denied: bool,
    /// How many.
    pub count: u64,
    /// How many of them the caller was seen to wait for.
    #[serde(default)]
    pub waited: u64,
    /// When the first began, in milliseconds since 1970.
    #[serde(default)]
    pub first_unix_ms: u64,
    /// When the last began, in milliseconds since 1970.
    #[serde(default)]
    pub last_unix_ms: u64,
    /// A trace with such a call, 32 hexadecimal digits.
    pub sample: String,
}

/// What a service was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedOperation {
    /// The HTTP method.
    pub method: String,
    /// The callee's template, `/orders/{id}`, where it says one; else the path itself.
    pub path: String,
    /// How often.
    pub count: u64,
}

/// What a service did with something that may be owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedUse {
    /// Who.
    pub service: String,
    /// `sqlite`, `postgres` …, as a resource's; [`TOPIC`].
    pub kind: String,
    /// The name of the database or the topic; of a SQLite database that is not in the data folder, its path as far
    /// as the span says it.
    pub name: String,
    /// The table, lower case, where the span says one; with its schema before it where it says that too:
    /// `sales.orders`.
    #[serde(default)]
    pub table: Option<String>,
    /// Whether it was written.
    #[serde(default)]
    pub is_written: bool,
    /// How often.
    pub count: u64,
    /// A trace that shows it, 32 hexadecimal digits.
    pub sample: String,
}

/// Messages that broke the formula of their mode in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedBreach {
    /// Who sent.
    pub caller: String,
    /// Who received.
    pub callee: String,
    /// The formula.
    pub mode: CallMode,
    /// What it has there; nothing where it was at its end.
    #[serde(default)]
    pub expected: Option<Event>,
    /// What was seen.
    pub got: Event,
    /// How many.
    pub count: u64,
    /// A trace that shows it, 32 hexadecimal digits.
    pub sample: String,
}

#[cfg(test)]
mod tests;
