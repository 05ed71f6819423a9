//! What is proved of a system: the axioms of `Microservices(S)`, as pure functions that give violations.
//!
//! A [`Violation`] names the [`Rule`] that is broken, every place that takes part in it, why it matters and what
//! to do. Who shows them to people is `bowline-check`.

use crate::problem::Position;

/// A rule that a system may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// Its stable name: `B0003`. `B00..` are proved of what is declared, `B01..` of what was observed.
    pub id: &'static str,
    /// What breaks it, in a few words, lower case: `data with two owners`.
    pub title: &'static str,
    /// Its page: the seed's formula, an example that breaks it, one that does not, why, what to do. Markdown.
    pub page: &'static str,
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

/// A table that a migration names.
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
    /// The file of the migration.
    pub file: String,
    /// Where it is named there.
    pub position: Position,
}
