//! Where notifications are kept, each once however often its message comes.

use bowline::{
    Database,
    runtime::time,
    sql::{self, Inbox},
};
use example_sql::Sqlite;
use serde::Serialize;

/// Whose messages are noted in the inbox.
const GROUP: &str = "notify";

/// The most notifications of one answer.
const LISTED_MAX: u32 = 100;

/// What a customer was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct Notification {
    pub(crate) text: String,
    /// In milliseconds since 1970.
    pub(crate) told_at_ms: i64,
}

/// Notifications in SQLite. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Notifications {
    sqlite: Sqlite,
    inbox: Inbox,
}

impl Notifications {
    /// Opens the database, made and migrated where need be.
    pub(crate) async fn open(database: Database) -> anyhow::Result<Self> {
        let sqlite = Sqlite::open(database, &sqlx::migrate!()).await?;
        sql::migrate(sqlite.pool()).await?;
        Ok(Self { sqlite, inbox: Inbox::default() })
    }

    /// Keeps what a message tells, in the transaction that notes the message: a second delivery changes nothing.
    pub(crate) async fn keep(
        &self,
        topic: &str,
        message_id: &str,
        user_id: &str,
        text: &str,
    ) -> Result<(), sql::Error> {
        let mut tx = sql::begin(self.sqlite.pool()).await?;
        // Ids are unique within a topic.
        let about = format!("{topic}/{message_id}");
        if !self.inbox.once(&mut tx, GROUP, &about).await? {
            return Ok(());
        }
        let insert = sqlx::query("INSERT INTO notifications (user_id, text, about, told_at_ms) VALUES (?, ?, ?, ?)");
        let now_ms = i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX);
        let insert = insert.bind(user_id).bind(text).bind(about).bind(now_ms);
        self.sqlite.query("INSERT", "notifications", insert.execute(&mut *tx)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// What a customer was told, the newest first.
    pub(crate) async fn of(&self, user_id: &str) -> Result<Vec<Notification>, sqlx::Error> {
        let select = "SELECT text, told_at_ms FROM notifications WHERE user_id = ? ORDER BY number DESC LIMIT ?";
        let select = sqlx::query_as(select).bind(user_id).bind(LISTED_MAX).fetch_all(self.sqlite.pool());
        self.sqlite.query("SELECT", "notifications", select).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_that_comes_twice_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("notify.db").display());
        let notifications = Notifications::open(Database::at(&url)).await.unwrap();
        for (topic, id, user) in [
            ("order.paid", "m-1", "u-1"),
            ("order.paid", "m-1", "u-1"),
            ("order.placed", "m-1", "u-1"),
            ("order.paid", "m-2", "u-2"),
        ] {
            notifications.keep(topic, id, user, &format!("{topic} {id}")).await.unwrap();
        }
        let of = async |user| {
            let all = notifications.of(user).await.unwrap();
            all.into_iter().map(|one| one.text).collect::<Vec<_>>()
        };
        assert_eq!(of("u-1").await, ["order.placed m-1", "order.paid m-1"]);
        assert_eq!(of("u-2").await, ["order.paid m-2"]);
        assert!(of("u-3").await.is_empty());
    }
}
