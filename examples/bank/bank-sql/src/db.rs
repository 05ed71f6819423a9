//! What of a database differs between the two.

use std::fmt;

use bowline::{runtime::BoxFuture, sql};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr as _};

use crate::statement::{Statement, Value};

/// A database that a service of the bank can have: `sqlx::Sqlite` or `sqlx::Postgres`.
pub trait Db: sql::Db + example_sql::Engine {
    /// How many connections a process has at most.
    const CONNECTIONS: u32;

    /// Runs a statement; how many rows it touched.
    fn execute(connection: &mut Self::Connection, statement: Statement) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

    /// The rows that a statement answers.
    fn select(
        connection: &mut Self::Connection,
        statement: Statement,
    ) -> BoxFuture<'_, Result<Vec<Row<Self>>, sqlx::Error>>;

    /// A text in a row.
    fn text(row: &Self::Row, column: &str) -> Result<Option<String>, sqlx::Error>;

    /// A number in a row.
    fn int(row: &Self::Row, column: &str) -> Result<Option<i64>, sqlx::Error>;
}

/// A row that was read, by the names of its columns.
pub struct Row<DB: Db>(DB::Row);

impl<DB: Db> Row<DB> {
    /// A text; an error where there is none.
    pub fn text(&self, column: &str) -> Result<String, sqlx::Error> {
        self.maybe_text(column)?.ok_or_else(|| is_null(column))
    }

    /// A text, if there is one.
    pub fn maybe_text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
        DB::text(&self.0, column)
    }

    /// A number; an error where there is none.
    pub fn int(&self, column: &str) -> Result<i64, sqlx::Error> {
        self.maybe_int(column)?.ok_or_else(|| is_null(column))
    }

    /// A number, if there is one.
    pub fn maybe_int(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        DB::int(&self.0, column)
    }
}

fn is_null(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "there is no value".into() }
}

impl<DB: Db> fmt::Debug for Row<DB> {
    /// Without what it holds, which may be anybody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").finish_non_exhaustive()
    }
}

/// Both databases have the same statements; their types differ.
macro_rules! database {
    ($db:ty, connections: $connections:expr, locking: $locking:literal) => {
        impl Db for $db {
            const CONNECTIONS: u32 = $connections;

            fn execute(
                connection: &mut Self::Connection,
                statement: Statement,
            ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
                Box::pin(async move { Ok(bound!(statement, $locking).execute(connection).await?.rows_affected()) })
            }

            fn select(
                connection: &mut Self::Connection,
                statement: Statement,
            ) -> BoxFuture<'_, Result<Vec<Row<Self>>, sqlx::Error>> {
                Box::pin(async move {
                    let rows = bound!(statement, $locking).fetch_all(connection).await?;
                    Ok(rows.into_iter().map(Row).collect())
                })
            }

            fn text(row: &Self::Row, column: &str) -> Result<Option<String>, sqlx::Error> {
                row.try_get(column)
            }

            fn int(row: &Self::Row, column: &str) -> Result<Option<i64>, sqlx::Error> {
                row.try_get(column)
            }
        }
    };
}

macro_rules! bound {
    ($statement:ident, $locking:literal) => {{
        let (sql, args) = $statement.into_parts($locking);
        let mut bound = sqlx::query(AssertSqlSafe(sql).into_sql_str());
        for arg in args {
            bound = match arg {
                Value::Text(text) => bound.bind(text),
                Value::Int(number) => bound.bind(number),
            };
        }
        bound
    }};
}

database!(sqlx::Sqlite, connections: example_sql::CONNECTIONS_TO_WRITE, locking: "");

database!(sqlx::Postgres, connections: 8, locking: "FOR NO KEY UPDATE");
