//! How the examples' services keep what they own: in SQLite or in PostgreSQL, as the connection string says, by one
//! body of code for both. What is in a database is its service's business.
//!
//! ```no_run
//! # use example_sql::{Db, Opened, Sql, Statement};
//! async fn owner<DB: Db>(sql: &Sql<DB>, account: &str) -> Result<Option<String>, sqlx::Error> {
//!     let select = Statement::new("SELECT owner FROM accounts WHERE id = $1").bind(account);
//!     let row = sql.row(&mut *sql.read().await?, "accounts", select).await?;
//!     row.map(|row| row.text("owner")).transpose()
//! }
//!
//! # async fn run(service: bowline::Microservice) -> anyhow::Result<()> {
//! # static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate::Migrator::DEFAULT;
//! match example_sql::open(service.database("sqlite:account.db")?, &MIGRATIONS).await? {
//!     Opened::Sqlite(sql) => owner(&sql, "a-1").await?,
//!     Opened::Postgres(sql) => owner(&sql, "a-1").await?,
//! };
//! # Ok(())
//! # }
//! ```

mod db;
mod migrations;
mod opening;
mod postgres;
mod sqlite;
mod statement;
#[cfg(feature = "testing")]
pub mod testing;

use bowline::{
    Database,
    sql::{self, Tx},
};
use sqlx::{Pool, migrate::Migrator, pool::PoolConnection};

pub use db::{Db, Row};
pub use migrations::Migrations;
pub use statement::{Statement, Value};

/// A service's database, whose queries say in spans what they touch. Cheap to clone.
#[derive(Debug)]
pub struct Sql<DB: Db> {
    pool: Pool<DB>,
    database: Database,
}

/// A database of either kind.
#[derive(Debug)]
pub enum Opened {
    /// In a file.
    Sqlite(Sql<sqlx::Sqlite>),
    /// Of a server.
    Postgres(Sql<sqlx::Postgres>),
}

/// Opens a database of the kind that its connection string names, as [`Sql::open`] does.
///
/// # Errors
/// As [`Sql::open`]; and where it names neither.
///
/// # Cancel safety
/// As [`Sql::open`].
pub async fn open(database: Database, migrations: &Migrator) -> anyhow::Result<Opened> {
    match database.url().split(':').next() {
        Some("sqlite") => Sql::open(database, migrations).await.map(Opened::Sqlite),
        Some("postgres" | "postgresql") => Sql::open(database, migrations).await.map(Opened::Postgres),
        _ => anyhow::bail!("the connection string of the database begins with neither `sqlite:` nor `postgres:`"),
    }
}

impl Opened {
    /// With the tables of messages, as [`Sql::with_messages`].
    ///
    /// # Errors
    /// As [`Sql::with_messages`].
    ///
    /// # Cancel safety
    /// As [`Sql::with_messages`].
    pub async fn with_messages(self) -> anyhow::Result<Self> {
        Ok(match self {
            Self::Sqlite(sql) => Self::Sqlite(sql.with_messages().await?),
            Self::Postgres(sql) => Self::Postgres(sql.with_messages().await?),
        })
    }
}

impl<DB: Db> Sql<DB> {
    /// Opens a database: made where there is none and this user may, and migrated. A new file is its owner's alone.
    ///
    /// Replicas start at once and share the database: who finds it busy with another's preparations tries again and
    /// finds it prepared.
    ///
    /// # Errors
    /// Whatever is no race with another replica, at once; a race that does not end, after a second.
    ///
    /// # Cancel safety
    /// A migration that was begun is rolled back.
    pub async fn open(database: Database, migrations: &Migrator) -> anyhow::Result<Self> {
        Ok(Self { pool: opening::open(database.url(), migrations).await?, database })
    }

    /// With the tables of outbox, inbox and sagas, made where they are not there.
    ///
    /// # Errors
    /// When they cannot be made.
    ///
    /// # Cancel safety
    /// What was begun is rolled back.
    pub async fn with_messages(self) -> anyhow::Result<Self> {
        sql::migrate(&self.pool).await?;
        Ok(self)
    }

    /// Where it is, for outbox and sagas.
    pub fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    /// Begins a transaction that will write. On SQLite it is the only one until it ends; on PostgreSQL what it decides
    /// by has to be [locked](Statement::locking).
    ///
    /// # Errors
    /// Those of the database.
    ///
    /// # Cancel safety
    /// Nothing has happened.
    pub async fn begin(&self) -> Result<Tx<DB>, sql::Error> {
        sql::begin(&self.pool).await
    }

    /// A connection for reading, or for one statement that changes something.
    ///
    /// # Errors
    /// Those of the database.
    ///
    /// # Cancel safety
    /// Nothing has happened.
    pub async fn read(&self) -> Result<PoolConnection<DB>, sqlx::Error> {
        self.pool.acquire().await
    }

    /// Runs a statement that changes a table; how many rows it touched.
    ///
    /// # Errors
    /// Those of the database.
    ///
    /// # Cancel safety
    /// Roll the transaction back.
    pub async fn execute(
        &self,
        connection: &mut DB::Connection,
        table: &'static str,
        statement: Statement,
    ) -> Result<u64, sqlx::Error> {
        let operation = statement.operation();
        self.query(operation, table, DB::execute(connection, statement)).await
    }

    /// The rows that a statement answers.
    ///
    /// # Errors
    /// Those of the database.
    ///
    /// # Cancel safety
    /// Roll the transaction back, where there is one.
    pub async fn rows(
        &self,
        connection: &mut DB::Connection,
        table: &'static str,
        statement: Statement,
    ) -> Result<Vec<Row<DB>>, sqlx::Error> {
        let operation = statement.operation();
        self.query(operation, table, DB::select(connection, statement)).await
    }

    /// The first row that a statement answers, if any.
    ///
    /// # Errors
    /// Those of the database.
    ///
    /// # Cancel safety
    /// Roll the transaction back, where there is one.
    pub async fn row(
        &self,
        connection: &mut DB::Connection,
        table: &'static str,
        statement: Statement,
    ) -> Result<Option<Row<DB>>, sqlx::Error> {
        Ok(self.rows(connection, table, statement).await?.into_iter().next())
    }

    /// Runs a query on a table, and says so in a span.
    async fn query<T>(
        &self,
        operation: &'static str,
        table: &'static str,
        query: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.database.query(operation, table, query).await
    }
}

impl<DB: Db> Clone for Sql<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), database: self.database.clone() }
    }
}

#[cfg(test)]
mod tests;
