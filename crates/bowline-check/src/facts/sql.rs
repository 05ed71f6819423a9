//! Which tables SQL scripts name. A scan for keywords, not a parser: it takes any dialect, and any text.
//!
//! Read are `CREATE`, `ALTER`, `DROP` and `RENAME` of tables and views, indexes, triggers and policies on
//! them, `INSERT`, `REPLACE`, `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`, `COPY` and `LOAD DATA`, lists after
//! `FROM`, `JOIN` and `USING`, `REFERENCES`, `LIKE`, `INHERITS` and `PARTITION OF` of what is created, and what
//! `SELECT … INTO` creates.
//!
//! Not read are comments and strings, so neither the bodies of functions between `$$`. Common table
//! expressions, temporary tables, functions and the database's own catalogue are no tables of anybody, and
//! neither is a table that the scripts make and do away with, in whichever of them. What undoes a script is read
//! for the tables that it names, and does away with nothing.

mod cursor;
mod lives;
mod pieces;
mod scan;
mod stack;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use bowline_model::{problem::Position, system::Boundary};

use self::lives::{LifeId, Lives};

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
    /// Whether it is a view, as far as the scripts tell.
    pub(super) is_view: bool,
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

/// What a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is run in its turn. Where a comment of a tool says so, what follows undoes it.
    Up,
    /// It undoes another.
    Down,
}

/// Scripts that are run one after another.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    dialect: Dialect,
    lives: Lives,
}

/// What a script names, of which only the scripts that come after it tell what lasts.
#[derive(Debug)]
pub(super) struct Names(Vec<(LifeId, Named)>);

impl Scripts {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, lives: Lives::default() }
    }

    /// Reads the script that is next.
    ///
    /// Near-linear in the text's length.
    pub(super) fn read(&mut self, text: &str, way: Way) -> Result<Names, Error> {
        // Editors do not count the mark as a column.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let pieces = pieces::split(text, self.dialect)?;
        scan::Scan::new(&pieces, self.dialect, way, &mut self.lives).run().map(Names)
    }

    /// The tables that a script names, each once, in the order of their places, without those that came and went.
    pub(super) fn lasting(&self, names: Names) -> Vec<Named> {
        let mut tables: BTreeMap<_, Named> = BTreeMap::new();
        for (life, mut named) in names.0.into_iter().filter(|(life, _)| !self.lives.has_passed(*life)) {
            named.is_view = self.lives.is_view(life);
            let kept = tables.entry((named.schema.clone(), named.table.clone())).or_insert_with(|| named.clone());
            let is_view = kept.is_view && named.is_view;
            // Where it is first written, else where it is first named.
            if (!named.is_written, named.position) < (!kept.is_written, kept.position) {
                *kept = named;
            }
            kept.is_view = is_view;
        }
        let mut tables: Vec<Named> = tables.into_values().collect();
        tables.sort_by_key(|named| named.position);
        tables
    }
}
