//! Where charges are kept.

use std::{str::FromStr, time::Duration};

use bowline::runtime::time;
use serde::Serialize;
use sqlx::{
    SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::service::NewCharge;

/// How many times opening is tried while another replica prepares the file.
const OPEN_ATTEMPTS_MAX: u32 = 20;

/// How far a charge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case")]
pub(crate) enum Status {
    Pending,
    Approved,
    Declined,
}

/// One charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct Charge {
    pub(crate) order_id: String,
    pub(crate) card: String,
    /// In minor units.
    pub(crate) amount: i64,
    pub(crate) status: Status,
}

/// What the service needs of its store.
pub(crate) trait ChargeRepository {
    /// Keeps a pending charge, or returns the one that is there.
    async fn begin(&self, new: &NewCharge) -> Result<Charge, sqlx::Error>;

    /// Keeps the bank's decision; a decided charge stays as it is.
    async fn end(&self, order_id: &str, status: Status) -> Result<(), sqlx::Error>;

    /// The charge of an order.
    async fn find(&self, order_id: &str) -> Result<Option<Charge>, sqlx::Error>;
}

/// Charges in SQLite, shared by the replicas.
#[derive(Debug, Clone)]
pub(crate) struct SqliteCharges(SqlitePool);

impl SqliteCharges {
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
        // SQLite has one writer: one connection queues in the order of arrival, several would poll.
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
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

impl ChargeRepository for SqliteCharges {
    async fn begin(&self, new: &NewCharge) -> Result<Charge, sqlx::Error> {
        sqlx::query(
            "INSERT INTO charges (order_id, card, amount, status) VALUES (?, ?, ?, 'pending') ON CONFLICT DO NOTHING",
        )
        .bind(&new.order_id)
        .bind(&new.card)
        .bind(new.amount)
        .execute(&self.0)
        .await?;
        self.find(&new.order_id).await?.ok_or(sqlx::Error::RowNotFound)
    }

    async fn end(&self, order_id: &str, status: Status) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE charges SET status = ? WHERE order_id = ? AND status = 'pending'");
        update.bind(status).bind(order_id).execute(&self.0).await.map(drop)
    }

    async fn find(&self, order_id: &str) -> Result<Option<Charge>, sqlx::Error> {
        let select = sqlx::query_as("SELECT order_id, card, amount, status FROM charges WHERE order_id = ?");
        select.bind(order_id).fetch_optional(&self.0).await
    }
}

#[cfg(test)]
mod tests {
    use bowline::runtime::task;

    use super::*;

    #[tokio::test]
    async fn a_charge_is_kept_once_and_decided_once_by_two_replicas() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("payment.db").display());
        let (one, other) = tokio::join!(SqliteCharges::open(&url), SqliteCharges::open(&url));
        let (one, other) = (one.unwrap(), other.unwrap());
        let new = NewCharge { order_id: "o-1".to_owned(), card: "c".to_owned(), amount: 5 };
        let (a, b) = tokio::join!(one.begin(&new), other.begin(&new));
        assert_eq!(a.unwrap(), b.unwrap());
        one.end("o-1", Status::Approved).await.unwrap();
        other.end("o-1", Status::Declined).await.unwrap();
        assert_eq!(other.find("o-1").await.unwrap().unwrap().status, Status::Approved);
    }

    #[tokio::test]
    async fn many_replicas_open_it_at_once_and_other_failures_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("new.db").display());
        let opening = (0..8).map(|_| {
            let url = url.clone();
            task::spawn(async move { SqliteCharges::open(&url).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
        let url = format!("sqlite://{}", dir.path().join("missing/new.db").display());
        let error = SqliteCharges::open(&url).await.unwrap_err();
        assert!(!is_race(&error), "{error:#}");
    }
}
