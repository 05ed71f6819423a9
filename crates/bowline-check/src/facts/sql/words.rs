//! The words that tell where tables are named, and the names that are nobody's tables.

/// What can be created: what follows is its name.
pub(super) const OBJECTS: [&str; 24] = [
    "TABLE",
    "VIEW",
    "INDEX",
    "TRIGGER",
    "POLICY",
    "RULE",
    "FUNCTION",
    "PROCEDURE",
    "AGGREGATE",
    "EVENT",
    "SEQUENCE",
    "TYPE",
    "DOMAIN",
    "SCHEMA",
    "DATABASE",
    "EXTENSION",
    "ROLE",
    "USER",
    "SERVER",
    "CAST",
    "OPERATOR",
    "COLLATION",
    "PUBLICATION",
    "STATISTICS",
];

/// What ends a list of tables.
pub(super) const ENDS: [&str; 23] = [
    "SELECT",
    "VALUES",
    "WHERE",
    "SET",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "WINDOW",
    "QUALIFY",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "MINUS",
    "RETURNING",
    "FOR",
    "WHEN",
    "DEFAULT",
    "DO",
    "BEGIN",
    "END",
];

/// What stands between the words of a join, and before a table that is named.
pub(super) const PASSED: [&str; 4] = ["LATERAL", "ONLY", "IGNORE", "LOW_PRIORITY"];

/// What stands between `INSERT` and the table.
pub(super) const INSERT_WORDS: [&str; 12] = [
    "OR",
    "ROLLBACK",
    "ABORT",
    "REPLACE",
    "FAIL",
    "IGNORE",
    "LOW_PRIORITY",
    "HIGH_PRIORITY",
    "DELAYED",
    "OVERWRITE",
    "INTO",
    "TABLE",
];

/// After which a statement begins, within another.
pub(super) const BEFORE_STATEMENT: [&str; 9] =
    ["BEGIN", "ATOMIC", "ROW", "DO", "ALSO", "INSTEAD", "LOOP", "ELSE", "THEN"];

/// Schemas of the database itself, and of what ends with the session.
pub(super) const FOREIGN_SCHEMAS: [&str; 5] =
    ["information_schema", "pg_catalog", "performance_schema", "temp", "pg_temp"];

/// How the names of the database's own tables begin, and of those that end with the session.
pub(super) const FOREIGN_PREFIXES: [&str; 3] = ["sqlite_", "#", "@"];

/// The same, where they are only read: anybody may make tables that are named so.
pub(super) const CATALOGUE_PREFIX: &str = "pg_";

/// A table of no rows of anybody's.
pub(super) const DUAL: &str = "dual";
