//! What of a database differs between the two.

use std::fmt;

use bowline::{runtime::BoxFuture, sql};
use sqlx::{Pool, Row as _, migrate::Migrate};

use crate::{postgres, sqlite, statement::Statement};

/// A database that a service can have: `sqlx::Sqlite` or `sqlx::Postgres`.
pub trait Db: sql::Db + sqlx::Database<Connection: Migrate> {
    /// Connects; makes the database where there is none.
    fn connect(url: &str) -> BoxFuture<'_, anyhow::Result<Pool<Self>>>;

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

    /// A real number in a row.
    fn real(row: &Self::Row, column: &str) -> Result<Option<f64>, sqlx::Error>;

    /// Bytes in a row.
    fn bytes(row: &Self::Row, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error>;
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

    /// A real number; an error where there is none.
    pub fn real(&self, column: &str) -> Result<f64, sqlx::Error> {
        self.maybe_real(column)?.ok_or_else(|| is_null(column))
    }

    /// A real number, if there is one.
    pub fn maybe_real(&self, column: &str) -> Result<Option<f64>, sqlx::Error> {
        DB::real(&self.0, column)
    }

    /// Bytes; an error where there are none.
    pub fn bytes(&self, column: &str) -> Result<Vec<u8>, sqlx::Error> {
        DB::bytes(&self.0, column)?.ok_or_else(|| is_null(column))
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
    ($db:ty, $place:ident) => {
        impl Db for $db {
            fn connect(url: &str) -> BoxFuture<'_, anyhow::Result<Pool<Self>>> {
                Box::pin($place::connect(url))
            }

            fn execute(
                connection: &mut Self::Connection,
                statement: Statement,
            ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
                Box::pin(async move { Ok($place::bound(statement).execute(connection).await?.rows_affected()) })
            }

            fn select(
                connection: &mut Self::Connection,
                statement: Statement,
            ) -> BoxFuture<'_, Result<Vec<Row<Self>>, sqlx::Error>> {
                Box::pin(async move {
                    let rows = $place::bound(statement).fetch_all(connection).await?;
                    Ok(rows.into_iter().map(Row).collect())
                })
            }

            fn text(row: &Self::Row, column: &str) -> Result<Option<String>, sqlx::Error> {
                row.try_get(column)
            }

            fn int(row: &Self::Row, column: &str) -> Result<Option<i64>, sqlx::Error> {
                row.try_get(column)
            }

            fn real(row: &Self::Row, column: &str) -> Result<Option<f64>, sqlx::Error> {
                row.try_get(column)
            }

            fn bytes(row: &Self::Row, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
                row.try_get(column)
            }
        }
    };
}

database!(sqlx::Sqlite, sqlite);

database!(sqlx::Postgres, postgres);
