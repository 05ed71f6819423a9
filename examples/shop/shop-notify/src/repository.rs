//! Where notifications are kept, in SQLite or PostgreSQL, each once however often its message comes.

use bowline::{
    runtime::time,
    sql::{self, Inbox},
};
use example_sql::{Db, Migrations, Row, Sql, Statement};
use serde::Serialize;

/// The tables.
pub(crate) static MIGRATIONS: Migrations =
    Migrations { sqlite: sqlx::migrate!(), postgres: sqlx::migrate!("migrations/postgres") };

/// Whose messages are noted in the inbox.
const GROUP: &str = "notify";

/// The most notifications of one answer.
const LISTED_MAX: i64 = 100;

/// What a customer was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Notification {
    pub(crate) text: String,
    /// In milliseconds since 1970.
    pub(crate) told_at_ms: i64,
}

/// Notifications in a database, shared by the replicas.
#[derive(Debug)]
pub(crate) struct Notifications<DB: Db> {
    sql: Sql<DB>,
    inbox: Inbox,
}

impl<DB: Db> Notifications<DB> {
    /// Those of a database.
    pub(crate) fn new(sql: Sql<DB>) -> Self {
        Self { sql, inbox: Inbox::default() }
    }

    /// Keeps what a message tells, in the transaction that notes the message: a second delivery changes nothing.
    pub(crate) async fn keep(
        &self,
        topic: &str,
        message_id: &str,
        user_id: &str,
        text: &str,
    ) -> Result<(), sql::Error> {
        let mut tx = self.sql.begin().await?;
        // Ids are unique within a topic.
        let about = format!("{topic}/{message_id}");
        if !self.inbox.once(&mut tx, GROUP, &about).await? {
            return Ok(());
        }
        let insert =
            Statement::new("INSERT INTO notifications (user_id, text, about, told_at_ms) VALUES ($1, $2, $3, $4)");
        let now_ms = i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX);
        let insert = insert.bind(user_id).bind(text).bind(about).bind(now_ms);
        self.sql.execute(&mut tx, "notifications", insert).await?;
        tx.commit().await?;
        Ok(())
    }

    /// What a customer was told, the newest first.
    pub(crate) async fn of(&self, user_id: &str) -> Result<Vec<Notification>, sql::Error> {
        let select = "SELECT text, told_at_ms FROM notifications WHERE user_id = $1 ORDER BY number DESC LIMIT $2";
        let select = Statement::new(select).bind(user_id).bind(LISTED_MAX);
        let rows = self.sql.rows(&mut *self.sql.read().await?, "notifications", select).await?;
        Ok(rows.iter().map(notification).collect::<Result<_, _>>()?)
    }
}

fn notification<DB: Db>(row: &Row<DB>) -> Result<Notification, sqlx::Error> {
    Ok(Notification { text: row.text("text")?, told_at_ms: row.int("told_at_ms")? })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline::runtime::task;
    use example_sql::{on_both, testing::Fixture};

    use super::*;

    on_both!(a_message_that_comes_twice_is_told_once, a_message_that_comes_twice_at_once_is_told_once);

    async fn notifications<DB: Db>(fixture: &Fixture<DB>) -> Notifications<DB> {
        Notifications::new(fixture.open(MIGRATIONS.of::<DB>()).await.with_messages().await.unwrap())
    }

    async fn a_message_that_comes_twice_is_told_once<DB: Db>(fixture: Fixture<DB>) {
        let notifications = notifications(&fixture).await;
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

    async fn a_message_that_comes_twice_at_once_is_told_once<DB: Db>(fixture: Fixture<DB>) {
        let replicas = [Arc::new(notifications(&fixture).await), Arc::new(notifications(&fixture).await)];
        let keeping = (0..8).map(|number| {
            let notifications = replicas[number % 2].clone();
            task::spawn(async move { notifications.keep("order.paid", "m-1", "u-1", "paid").await })
        });
        for kept in keeping.collect::<Vec<_>>() {
            kept.await.unwrap().unwrap();
        }
        assert_eq!(replicas[0].of("u-1").await.unwrap().len(), 1);
    }
}
