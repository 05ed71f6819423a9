//! The databases: what of them the rest of the crate needs, without a database's own types.

use std::borrow::Cow;

use bowline_runtime::BoxFuture;
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr as _};

use crate::Error;

/// A transaction of a pool.
pub type Tx<DB> = sqlx::Transaction<'static, DB>;

/// A database that keeps messages and sagas: `sqlx::Sqlite`, `sqlx::Postgres`. Nobody else implements it.
pub trait Db: sqlx::Database + sealed::Statements {}

/// Begins a transaction that will write: on SQLite it waits here for other writers (`BEGIN IMMEDIATE`), where it would
/// otherwise fail at its first change.
///
/// # Cancel safety
/// Nothing has happened.
pub async fn begin<DB: Db>(pool: &sqlx::Pool<DB>) -> Result<Tx<DB>, Error> {
    Ok(pool.begin_with(DB::BEGIN).await?)
}

/// What is between this crate and a database.
pub(crate) mod sealed {
    use super::{BoxFuture, Query, Row};

    /// Statements without a database's own types.
    pub trait Statements: sqlx::Database {
        /// How a transaction begins that writes.
        const BEGIN: &'static str;
        /// Keeps other replicas from the tables until the transaction ends.
        const LOCK: Option<&'static str>;
        /// Leaves out of what is selected the rows that another transaction changes.
        const SKIP_LOCKED: &'static str;
        /// The type of a number that the database counts up, as a primary key.
        const SEQUENCE: &'static str;
        /// The type of bytes.
        const BYTES: &'static str;

        /// Runs a statement; answers how many rows it touched.
        fn run(connection: &mut Self::Connection, query: Query) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

        /// Runs a statement that answers rows.
        fn fetch(connection: &mut Self::Connection, query: Query) -> BoxFuture<'_, Result<Vec<Row>, sqlx::Error>>;

        /// Whether another writer was in the way, so that the same goes better later.
        fn is_busy(error: &sqlx::Error) -> bool;
    }
}

/// A statement with its arguments, and the columns that it answers.
#[derive(Debug)]
pub struct Query {
    sql: Cow<'static, str>,
    args: Vec<Value>,
    columns: &'static [Kind],
}

/// A value of a column or an argument.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A text.
    Text(Option<String>),
    /// A number.
    Int(Option<i64>),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// The type of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// See [`Value::Text`].
    Text,
    /// See [`Value::Int`].
    Int,
    /// See [`Value::Bytes`].
    Bytes,
}

/// A row, read from the first column to the last.
#[derive(Debug)]
pub struct Row(std::vec::IntoIter<Value>);

impl Query {
    /// A statement whose text is known.
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql: Cow::Borrowed(sql), args: Vec::new(), columns: &[] }
    }

    /// A statement that is put together; only of texts of this crate and of numbers.
    pub(crate) fn made(sql: String) -> Self {
        Self { sql: Cow::Owned(sql), args: Vec::new(), columns: &[] }
    }

    pub(crate) fn text(self, text: impl Into<String>) -> Self {
        self.maybe_text(Some(text.into()))
    }

    pub(crate) fn maybe_text(mut self, text: Option<String>) -> Self {
        self.args.push(Value::Text(text));
        self
    }

    pub(crate) fn int(self, number: i64) -> Self {
        self.maybe_int(Some(number))
    }

    pub(crate) fn maybe_int(mut self, number: Option<i64>) -> Self {
        self.args.push(Value::Int(number));
        self
    }

    pub(crate) fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.args.push(Value::Bytes(bytes));
        self
    }

    pub(crate) fn answers(mut self, columns: &'static [Kind]) -> Self {
        self.columns = columns;
        self
    }
}

impl Row {
    pub(crate) fn maybe_text(&mut self) -> Option<String> {
        match self.0.next() {
            Some(Value::Text(text)) => text,
            _ => None,
        }
    }

    pub(crate) fn text(&mut self) -> String {
        self.maybe_text().unwrap_or_default()
    }

    pub(crate) fn maybe_int(&mut self) -> Option<i64> {
        match self.0.next() {
            Some(Value::Int(number)) => number,
            _ => None,
        }
    }

    pub(crate) fn int(&mut self) -> i64 {
        self.maybe_int().unwrap_or_default()
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        match self.0.next() {
            Some(Value::Bytes(bytes)) => bytes,
            _ => Vec::new(),
        }
    }
}

/// Both databases have the same statements; their types differ.
macro_rules! statements {
    ($db:ty, begin: $begin:literal, lock: $lock:expr, skip_locked: $skip_locked:literal, sequence: $sequence:literal, bytes: $bytes:literal, is_busy: $is_busy:expr) => {
        impl Db for $db {}

        impl sealed::Statements for $db {
            const BEGIN: &'static str = $begin;
            const LOCK: Option<&'static str> = $lock;
            const SKIP_LOCKED: &'static str = $skip_locked;
            const SEQUENCE: &'static str = $sequence;
            const BYTES: &'static str = $bytes;

            fn run(connection: &mut Self::Connection, query: Query) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
                Box::pin(async move { Ok(bound!(query).execute(connection).await?.rows_affected()) })
            }

            fn fetch(connection: &mut Self::Connection, query: Query) -> BoxFuture<'_, Result<Vec<Row>, sqlx::Error>> {
                Box::pin(async move {
                    let columns = query.columns;
                    let rows = bound!(query).fetch_all(connection).await?;
                    rows.iter()
                        .map(|row| {
                            let values = columns.iter().enumerate().map(|(at, kind)| {
                                Ok(match kind {
                                    Kind::Text => Value::Text(row.try_get(at)?),
                                    Kind::Int => Value::Int(row.try_get(at)?),
                                    Kind::Bytes => Value::Bytes(row.try_get(at)?),
                                })
                            });
                            Ok(Row(values.collect::<Result<Vec<_>, sqlx::Error>>()?.into_iter()))
                        })
                        .collect()
                })
            }

            fn is_busy(error: &sqlx::Error) -> bool {
                let code = error.as_database_error().and_then(|error| error.code());
                code.is_some_and(|code| $is_busy(&code))
            }
        }
    };
}

macro_rules! bound {
    ($query:ident) => {{
        // What is put together differs each time: it would only push others out of the cache of statements.
        let is_kept = matches!($query.sql, Cow::Borrowed(_));
        let mut bound = sqlx::query(AssertSqlSafe($query.sql).into_sql_str()).persistent(is_kept);
        for arg in $query.args {
            bound = match arg {
                Value::Text(text) => bound.bind(text),
                Value::Int(number) => bound.bind(number),
                Value::Bytes(bytes) => bound.bind(bytes),
            };
        }
        bound
    }};
}

#[cfg(feature = "sqlite")]
statements!(
    sqlx::Sqlite,
    begin: "BEGIN IMMEDIATE",
    lock: None,
    // There is one writer at a time.
    skip_locked: "",
    sequence: "INTEGER PRIMARY KEY AUTOINCREMENT",
    bytes: "BLOB",
    // SQLITE_BUSY and SQLITE_LOCKED; the extended codes have them in their low byte.
    is_busy: |code: &str| matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(5 | 6))
);

#[cfg(feature = "postgres")]
statements!(
    sqlx::Postgres,
    begin: "BEGIN",
    lock: Some("SELECT pg_advisory_xact_lock(7118)"),
    skip_locked: "FOR UPDATE SKIP LOCKED",
    sequence: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    bytes: "BYTEA",
    // A serialisation failure, a deadlock, a lock that could not be had.
    is_busy: |code: &str| matches!(code, "40001" | "40P01" | "55P03")
);
