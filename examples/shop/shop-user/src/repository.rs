//! Where users are kept.

use serde::Serialize;
use sqlx::SqlitePool;

/// Connections of a service that only reads.
const CONNECTIONS_MAX: u32 = 4;

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
        shop_sqlite::open(url, CONNECTIONS_MAX, &sqlx::migrate!()).await.map(Self)
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
        assert!(!shop_sqlite::is_race(&error), "{error:#}");
    }
}
