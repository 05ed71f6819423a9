//! Whether a resource has a table in it: one rule for what migrations name and for what spans show.

use crate::{data, system::Resource};

/// How well a resource says that a table is within it, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// It is a whole database, and nothing says that the table is in another.
    Whole,
    /// It is the table.
    Table,
    /// It is the schema or the database that the table is named with, or the table of it.
    Schema,
}

/// Whether a table may be within a resource: `kind:database`, `kind:database/table` or `kind:database/schema/table`.
pub(crate) fn fit(resource: &Resource, schema: Option<&str>, table: &str) -> Option<Fit> {
    let mut parts: Vec<&str> = resource.name.split('/').collect();
    parts.remove(0);
    let is_database = schema.is_some_and(|schema| is_database(resource, schema));
    let is_named = |part: &str| schema.is_some_and(|schema| part.eq_ignore_ascii_case(schema));
    match parts.as_slice() {
        [] if is_database => Some(Fit::Schema),
        [] => Some(Fit::Whole),
        [before @ .., last] if last.eq_ignore_ascii_case(table) => {
            let is_schema = is_database || before.iter().any(|part| is_named(part));
            // Of `schema/table` the schema counts where one is said.
            let is_other = !before.is_empty() && schema.is_some() && !is_schema;
            if is_other { None } else { Some(if is_schema { Fit::Schema } else { Fit::Table }) }
        }
        [schema] if is_named(schema) => Some(Fit::Schema),
        _ => None,
    }
}

/// Whether what stands before a table's name may be another database; elsewhere it is a schema of the same one.
pub(crate) fn reaches_databases(kind: &str) -> bool {
    matches!(kind, "sqlite" | "mysql" | "mariadb")
}

/// Whether what stands before a table's name is the database of a resource.
fn is_database(resource: &Resource, schema: &str) -> bool {
    // In SQLite these two are whatever is open, and its own temporary one.
    let is_own = resource.kind == "sqlite" && ["main", "temp"].contains(&schema);
    let name = data::database(&resource.name);
    reaches_databases(&resource.kind) && !is_own && (name == schema || stem(name) == schema)
}

/// A database's name without what looks like the end of a file's: `order` of `order.db`.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
