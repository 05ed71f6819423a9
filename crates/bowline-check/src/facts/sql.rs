//! Which tables an SQL script names. A scan for keywords, not a parser: it takes any dialect, and any text.
//!
//! Read are `CREATE`, `ALTER`, `DROP` and `RENAME` of tables and views, indexes, triggers and policies on
//! them, `INSERT`, `REPLACE`, `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`, `COPY` and `LOAD DATA`, lists after
//! `FROM`, `JOIN` and `USING`, and `REFERENCES`, `LIKE`, `INHERITS` and `PARTITION OF` of what is created.
//!
//! Not read are comments and strings, so neither the bodies of functions between `$$`. Common table
//! expressions, temporary tables, functions and the database's own catalogue are no tables of anybody, and
//! neither is a table that a script makes and does away with.

mod cursor;
mod pieces;
mod scan;
mod stack;
#[cfg(test)]
mod tests;
mod words;

use bowline_model::{problem::Position, system::Boundary};

/// How a script is read, by the database it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
    SqlServer,
    /// Any other, or unknown.
    #[default]
    Any,
}

impl Dialect {
    /// That of the first database which a service owns; absent: it owns none.
    pub(super) fn of(boundary: &Boundary) -> Option<Self> {
        let known = boundary.data.iter().map(|resource| match resource.kind.as_str() {
            "sqlite" => Self::Sqlite,
            "postgres" | "postgresql" => Self::Postgres,
            "mysql" | "mariadb" => Self::Mysql,
            "mssql" | "sqlserver" => Self::SqlServer,
            _ => Self::Any,
        });
        // What is no SQL database, as `mongodb:…`, tells nothing of a script.
        known.clone().find(|dialect| *dialect != Self::Any).or_else(|| known.clone().next())
    }
}

/// A table that a script names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// What stands before it, lower case.
    pub(super) schema: Option<String>,
    /// Its name, lower case.
    pub(super) table: String,
    /// Whether the script makes, changes or fills it, somewhere.
    pub(super) is_written: bool,
    /// Where it is first written, else where it is first named.
    pub(super) position: Position,
}

/// Why a script is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("it is not understood as SQL at {}:{}: {message}", .position.line, .position.column)]
    Text { position: Position, message: String },
    #[error("its parentheses are more than {max} deep at {}:{}", .position.line, .position.column)]
    Deep { position: Position, max: usize },
}

/// The tables that a script names, each once, in the order of their places.
///
/// Linear in the text's length.
pub(super) fn tables(text: &str, dialect: Dialect) -> Result<Vec<Named>, Error> {
    // Editors do not count the mark as a column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let pieces = pieces::split(text, dialect)?;
    scan::Scan::new(&pieces, dialect).run()
}
