//! Where users are kept.

use std::{str::FromStr, time::Duration};

use serde::Serialize;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

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
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
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

impl UserRepository for SqliteUsers {
    async fn find(&self, id: &str) -> Result<Option<User>, sqlx::Error> {
        sqlx::query_as("SELECT id, name, card FROM users WHERE id = ?").bind(id).fetch_optional(&self.0).await
    }
}

#[cfg(test)]
mod tests {
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
}
