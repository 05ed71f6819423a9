//! How the examples' services open their databases, in SQLite or PostgreSQL, and ask them. What is in one is its
//! service's business.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::time::Duration;

use bowline::{Database, runtime::time};
use sqlx::{
    Pool,
    migrate::{Migrate, MigrateError, Migrator},
};

/// Connections of a service that writes, in SQLite. It has one writer: one connection queues in the order of arrival,
/// several would poll.
pub const CONNECTIONS_TO_WRITE: u32 = 1;

/// How many times opening is tried while another replica prepares the database.
const OPEN_ATTEMPTS_MAX: u32 = 20;

/// A database that the examples know: `sqlx::Sqlite`, and `sqlx::Postgres` with the feature `postgres`.
pub trait Engine: sqlx::Database<Connection: Migrate> {
    /// Connects; makes the database where there is none.
    fn connect(url: &str, connections_max: u32) -> impl Future<Output = anyhow::Result<Pool<Self>>> + Send;
}

/// An open database, whose queries say in spans what they touch. Cheap to clone.
#[derive(Debug)]
pub struct Opened<DB: sqlx::Database> {
    pool: Pool<DB>,
    database: Database,
}

/// An open database in SQLite.
pub type Sqlite = Opened<sqlx::Sqlite>;

impl<DB: sqlx::Database> Clone for Opened<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), database: self.database.clone() }
    }
}

impl<DB: sqlx::Database> Opened<DB> {
    /// Where queries are run.
    pub fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    /// Runs a query on a table, as [`Database::query`] does.
    ///
    /// # Errors
    /// Those of the query.
    ///
    /// # Cancel safety
    /// That of the query.
    pub async fn query<T>(
        &self,
        operation: &'static str,
        table: &'static str,
        query: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.database.query(operation, table, query).await
    }
}

/// Opens a database, made and migrated where need be; a new file is its owner's alone.
///
/// Replicas start at once and share the database: who finds it busy with another's preparations tries again and finds
/// it prepared.
///
/// # Errors
/// Whatever is no race with another replica, at once; a race that does not end, after a second.
///
/// # Cancel safety
/// A migration that was begun is rolled back.
pub async fn open<DB: Engine>(
    database: Database,
    connections_max: u32,
    migrations: &Migrator,
) -> anyhow::Result<Opened<DB>> {
    let mut attempt = 1;
    loop {
        match try_open(database.url(), connections_max, migrations).await {
            Err(error) if is_race(&error) && attempt < OPEN_ATTEMPTS_MAX => attempt += 1,
            opened_or_not => return Ok(Opened { pool: opened_or_not?, database }),
        }
        time::sleep(Duration::from_millis(50)).await;
    }
}

async fn try_open<DB: Engine>(url: &str, connections_max: u32, migrations: &Migrator) -> anyhow::Result<Pool<DB>> {
    let pool = DB::connect(url, connections_max).await?;
    let mut connection = pool.acquire().await?;
    migrations.run_direct(None, &mut *connection, false).await?;
    drop(connection);
    Ok(pool)
}

/// Whether another replica was at the database, so that opening it again goes better.
pub fn is_race(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        // The other made the same tables meanwhile: the next look finds the migration applied.
        Some(MigrateError::ExecuteMigration(..)) => true,
        Some(MigrateError::Execute(sqlx::Error::Database(error))) if error.is_unique_violation() => true,
        Some(MigrateError::Execute(error)) => is_busy(error),
        _ => error.downcast_ref().is_some_and(is_busy),
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    #[cfg(feature = "postgres")]
    if postgres::is_busy(error) {
        return true;
    }
    sqlite::is_busy(error)
}
