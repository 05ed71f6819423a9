//! How the shop's services open their SQLite databases, and ask them. What is in one is its service's business.

use std::{str::FromStr, time::Duration};

use anyhow::Context as _;
use bowline::{
    Database,
    runtime::{fs, time},
};
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

/// An open database, whose queries say in spans what they touch.
#[derive(Debug, Clone)]
pub struct Sqlite {
    pool: SqlitePool,
    database: Database,
}

impl Sqlite {
    /// Where queries are run.
    pub fn pool(&self) -> &SqlitePool {
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
/// Replicas start at once and share the file: who finds it busy with another's preparations
/// tries again and finds it prepared.
///
/// # Errors
/// Whatever is no race with another replica, at once; a race that does not end, after a second.
///
/// # Cancel safety
/// A migration that was begun is rolled back.
pub async fn open(database: Database, connections_max: u32, migrations: &Migrator) -> anyhow::Result<Sqlite> {
    let mut attempt = 1;
    loop {
        match try_open(database.url(), connections_max, migrations).await {
            Err(error) if is_race(&error) && attempt < OPEN_ATTEMPTS_MAX => attempt += 1,
            opened_or_not => return Ok(Sqlite { pool: opened_or_not?, database }),
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
    // SQLite itself would make a file that everybody may read; what it puts beside it is as the file is.
    let file = options.get_filename();
    let made = fs::private_options().append(true).create(true).open(file);
    drop(made.with_context(|| format!("cannot open the database {}", file.display()))?);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_new_database_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new.db");
        let migrations = Migrator::DEFAULT;
        let database = Database::at(&format!("sqlite://{}", file.display()));
        let opened = open(database, 1, &migrations).await.unwrap();
        sqlx::query("CREATE TABLE t (a TEXT)").execute(opened.pool()).await.unwrap();
        let mut seen = 0;
        for entry in fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
            seen += 1;
        }
        assert!(seen >= 2, "the database and its log");
    }
}
