//! What is proved of a system: the axioms of `Microservices(S)`, as pure functions that give violations.
//!
//! A [`Violation`] names the [`Rule`] that is broken, every place that takes part in it, why it matters and what
//! to do. Who shows them to people is `bowline-check`.
//!
//! | the formula | what is proved of what is declared | rules |
//! |---|---|---|
//! | `Isolation(s₁, s₂) = Boundary(s₁) ∩ Boundary(s₂) = ∅` | no request is answered by two services, no data and no state is owned by two, nor one's is within the other's | B0001, B0002, B0003 |
//! | `∀ s₁, s₂ ∈ S: s₁ ≠ s₂ ⟹ independent(s₁, s₂)` | every coupling is a declared edge of `Communication(S)`: calls name what is there, topics have an owner who alone writes them, packages and tables couple nothing else | B0004 to B0007, B0011, B0012 |
//! | | who waits waits for nobody who waits for it: the edges of `SyncComm` have no cycle | B0008 |
//! | `SyncComm(s₁, s₂, m) = send(s₁, m) · wait(s₁) · receive(s₂, m) · respond(s₂, r) · receive(s₁, r)` | `wait(s₁)` lasts until `respond(s₂, r)` can come, and one `m` does not become many | B0009, B0010 |
//!
//! The intersection is over what is *owned*: what a service is called for, and topics that it only reads, are
//! declared communication.

mod amplification;
mod cycles;
mod deadlines;
mod facts;
mod graph;
mod overlap;
mod ownership;
mod references;
pub mod rules;
pub(crate) mod tables;
#[cfg(test)]
mod tests;
mod topics;

pub use self::{
    amplification::{ATTEMPTS_MAX, EdgeLoad, amplification, route_loads},
    overlap::witness,
    rules::Rule,
};
use self::{graph::Graph, ownership::Claims};
use crate::{problem::Position, system::System};

/// The most places of others that one violation names.
const OTHERS_MAX: usize = 8;

/// Proves a system: every violation of what is declared, and of what is known of its workspace.
///
/// They are sorted by the place that is to be changed first, those of `bowline.toml` before those of other files.
/// Near-linear in what is declared, but for two things: operations take O(segments × operations / 64), whatever
/// their patterns are, and amplification O(services × calls).
pub fn check(system: &System, facts: &Facts) -> Vec<Violation> {
    let graph = Graph::of(system);
    let claims = Claims::of(system);
    let mut violations = overlap::check(system);
    violations.extend(ownership::check(system));
    violations.extend(references::check(system));
    violations.extend(topics::check(system, &claims));
    violations.extend(cycles::check(&graph));
    violations.extend(deadlines::check(system, &graph));
    violations.extend(amplification::check(system, &graph));
    violations.extend(facts::check(system, facts));
    violations.sort_by(|one, other| one.place().cmp(&other.place()));
    violations
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It may be meant: told, and no failure.
    Warning,
    /// An axiom does not hold.
    Error,
}

/// A rule that is broken, by whom and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: &'static Rule,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, with the names of who takes part: lower case, no full stop.
    pub message: String,
    /// The place that is to be changed first, and the other places that take part, each with a few words that
    /// stand below its underline. Empty where nothing of a file takes part.
    pub sites: Vec<Site>,
    /// Why that is a fault; a sentence without its full stop.
    pub why: String,
    /// What to do; the same.
    pub help: String,
    /// The trace that shows it, 32 hexadecimal digits, of what was observed.
    pub trace_id: Option<String>,
}

impl Violation {
    /// An axiom that does not hold.
    fn of(rule: &'static Rule, message: String, sites: Vec<Site>, why: impl Into<String>, help: String) -> Self {
        Self { rule, severity: Severity::Error, message, sites, why: why.into(), help, trace_id: None }
    }

    /// Where it comes among others: by the place that is to be changed first; `bowline.toml` comes before other
    /// files.
    fn place(&self) -> (Option<(Option<&str>, Position)>, &'static str) {
        (self.sites.first().map(|site| (site.file.as_deref(), site.position)), self.rule.id)
    }
}

/// A place that takes part in a violation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The file, relative to the folder of `bowline.toml`; absent: `bowline.toml` itself.
    pub file: Option<String>,
    /// Where what is meant begins there: a key, a value, a word. It ends where that token ends.
    pub position: Position,
    /// What it has to do with it: `owned by order here`.
    pub label: String,
}

impl Site {
    /// A place of `bowline.toml`.
    fn of_system(position: Position, label: impl Into<String>) -> Self {
        Self { file: None, position, label: label.into() }
    }
}

/// What is known of the workspace that a system is built from, beside its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Packages of services that depend on packages of other services.
    pub dependencies: Vec<Dependency>,
    /// Tables that SQL migrations of services name.
    pub tables: Vec<TableUse>,
}

/// A package that depends on another, both of services of the system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The service whose package depends.
    pub from: String,
    /// The service whose package is depended on.
    pub to: String,
    /// The packages on the way, the first and the last included; two where it is direct.
    pub path: Vec<String>,
    /// The manifest that has the first of it, and where.
    pub file: String,
    /// Where it is there.
    pub position: Position,
}

/// A table that a migration names, unless migrations of the same service make it and do away with it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableUse {
    /// Whose migration.
    pub service: String,
    /// The table, without its schema, lower case.
    pub table: String,
    /// The schema or the database before it, lower case.
    pub schema: Option<String>,
    /// Whether the migration makes, changes or fills it; else it only reads it or refers to it.
    pub is_written: bool,
    /// Whether it is a view that migrations of the service make or do away with: it holds no data of its own, so
    /// nobody has to own it.
    pub is_view: bool,
    /// The file of the migration.
    pub file: String,
    /// Where it is named there.
    pub position: Position,
}
