//! How the shop's services open their SQLite databases. What is in one is its service's business.

use std::{str::FromStr, time::Duration};

use bowline::runtime::time;
use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// Connections of a service that writes. SQLite has one writer: one connection queues in the order
/// of arrival, several would poll.
pub const CONNECTIONS_TO_WRITE: u32 = 1;

/// How many times opening is tried while another replica prepares the file.
const OPEN_ATTEMPTS_MAX: u32 = 20;

/// Opens a database, made and migrated where need be.
///
/// Replicas start at once and share the file: who finds it busy with another's preparations
/// tries again and finds it prepared.
///
/// # Errors
/// Whatever is no race with another replica, at once; a race that does not end, after a second.
///
/// # Cancel safety
/// A migration that was begun is rolled back.
pub async fn open(url: &str, connections_max: u32, migrations: &Migrator) -> anyhow::Result<SqlitePool> {
    let mut attempt = 1;
    loop {
        match try_open(url, connections_max, migrations).await {
            Err(error) if is_race(&error) && attempt < OPEN_ATTEMPTS_MAX => attempt += 1,
            opened_or_not => return opened_or_not,
        }
        time::sleep(Duration::from_millis(50)).await;
    }
}

async fn try_open(url: &str, connections_max: u32, migrations: &Migrator) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new().max_connections(connections_max).connect_with(options).await?;
    migrations.run(&pool).await?;
    Ok(pool)
}

/// Whether another replica was at the file, so that opening it again goes better.
pub fn is_race(error: &anyhow::Error) -> bool {
    // SQLITE_BUSY and SQLITE_LOCKED; the extended codes have them in their low byte.
    let is_busy = |error: &sqlx::Error| {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        matches!(code.map(|code| code & 0xff), Some(5 | 6))
    };
    match error.downcast_ref() {
        // The other made the same tables meanwhile: the next look finds the migration applied.
        Some(MigrateError::ExecuteMigration(..)) => true,
        Some(MigrateError::Execute(sqlx::Error::Database(error))) if error.is_unique_violation() => true,
        Some(MigrateError::Execute(error)) => is_busy(error),
        _ => error.downcast_ref().is_some_and(is_busy),
    }
}
