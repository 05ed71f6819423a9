//! Where users are kept.

use std::{str::FromStr, time::Duration};

use bowline::runtime::time;
use serde::Serialize;
use sqlx::{
    SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// How many times opening is tried while another replica prepares the file.
const OPEN_ATTEMPTS_MAX: u32 = 20;

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The card that is charged: the bank's reference, never a number.
    pub(crate) card: String,
}

/// What the service needs of its store.
pub(crate) trait UserRepository {
    /// The user of that id.
    async fn find(&self, id: &str) -> Result<Option<User>, sqlx::Error>;
}

/// Users in SQLite.
#[derive(Debug, Clone)]
pub(crate) struct SqliteUsers(SqlitePool);

impl SqliteUsers {
    /// Opens the database, made and migrated where need be.
    ///
    /// Replicas start at once and share the file: who finds it busy with another's preparations
    /// tries again and finds it prepared.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_open(url).await {
                Err(error) if is_race(&error) && attempt < OPEN_ATTEMPTS_MAX => attempt += 1,
                opened_or_not => return opened_or_not,
            }
            time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_open(url: &str) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        sqlx::migrate!().run(&pool).await?;
        Ok(Self(pool))
    }
}

/// Whether another replica was at the file, so that opening it again goes better.
fn is_race(error: &anyhow::Error) -> bool {
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

impl UserRepository for SqliteUsers {
    async fn find(&self, id: &str) -> Result<Option<User>, sqlx::Error> {
        sqlx::query_as("SELECT id, name, card FROM users WHERE id = ?").bind(id).fetch_optional(&self.0).await
    }
}

#[cfg(test)]
mod tests {
    use bowline::runtime::task;

    use super::*;

    #[tokio::test]
    async fn the_seeded_users_are_there_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("user.db").display());
        let users = SqliteUsers::open(&url).await.unwrap();
        assert_eq!(users.find("u-1").await.unwrap().unwrap().card, "card-4242");
        assert_eq!(users.find("u-9").await.unwrap(), None);
        // A second start finds the migrations applied.
        drop(users);
        SqliteUsers::open(&url).await.unwrap();
    }

    #[tokio::test]
    async fn many_replicas_open_it_at_once_and_other_failures_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("new.db").display());
        let opening = (0..8).map(|_| {
            let url = url.clone();
            task::spawn(async move { SqliteUsers::open(&url).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
        let url = format!("sqlite://{}", dir.path().join("missing/new.db").display());
        let error = SqliteUsers::open(&url).await.unwrap_err();
        assert!(!is_race(&error), "{error:#}");
    }
}
