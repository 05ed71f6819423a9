//! Where charges are kept.

use bowline::Database;
use example_sql::Sqlite;
use serde::Serialize;

use crate::{card::Card, service::NewCharge};

/// How far a charge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case")]
pub(crate) enum Status {
    Pending,
    Approved,
    Declined,
    /// It is taken back; the bank has not answered yet.
    Refunding,
    Refunded,
}

/// One charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct Charge {
    pub(crate) order_id: String,
    #[serde(skip_serializing)]
    pub(crate) card: Card,
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

    /// Keeps that a charge is to be taken back, or is not to be made: a decided one that moved nothing stays as it is.
    async fn begin_refund(&self, order_id: &str) -> Result<Charge, sqlx::Error>;

    /// Keeps that a charge was taken back.
    async fn end_refund(&self, order_id: &str) -> Result<(), sqlx::Error>;

    /// The charge of an order.
    async fn find(&self, order_id: &str) -> Result<Option<Charge>, sqlx::Error>;
}

/// Charges in SQLite, shared by the replicas.
#[derive(Debug, Clone)]
pub(crate) struct SqliteCharges(Sqlite);

impl SqliteCharges {
    /// Opens the database, made and migrated where need be.
    pub(crate) async fn open(database: Database) -> anyhow::Result<Self> {
        Sqlite::open(database, &sqlx::migrate!()).await.map(Self)
    }
}

impl ChargeRepository for SqliteCharges {
    async fn begin(&self, new: &NewCharge) -> Result<Charge, sqlx::Error> {
        let insert = sqlx::query(
            "INSERT INTO charges (order_id, card, amount, status) VALUES (?, ?, ?, 'pending') ON CONFLICT DO NOTHING",
        );
        let insert = insert.bind(&new.order_id).bind(&new.card).bind(new.amount).execute(self.0.pool());
        self.0.query("INSERT", "charges", insert).await?;
        self.find(&new.order_id).await?.ok_or(sqlx::Error::RowNotFound)
    }

    async fn end(&self, order_id: &str, status: Status) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE charges SET status = ? WHERE order_id = ? AND status = 'pending'");
        let update = update.bind(status).bind(order_id).execute(self.0.pool());
        self.0.query("UPDATE", "charges", update).await.map(drop)
    }

    async fn begin_refund(&self, order_id: &str) -> Result<Charge, sqlx::Error> {
        let insert = sqlx::query(
            "INSERT INTO charges (order_id, card, amount, status) VALUES (?, '', 0, 'refunding')
             ON CONFLICT (order_id) DO UPDATE SET status = 'refunding' WHERE status IN ('pending', 'approved')",
        );
        self.0.query("INSERT", "charges", insert.bind(order_id).execute(self.0.pool())).await?;
        self.find(order_id).await?.ok_or(sqlx::Error::RowNotFound)
    }

    async fn end_refund(&self, order_id: &str) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE charges SET status = 'refunded' WHERE order_id = ? AND status = 'refunding'");
        self.0.query("UPDATE", "charges", update.bind(order_id).execute(self.0.pool())).await.map(drop)
    }

    async fn find(&self, order_id: &str) -> Result<Option<Charge>, sqlx::Error> {
        let select = sqlx::query_as("SELECT order_id, card, amount, status FROM charges WHERE order_id = ?");
        self.0.query("SELECT", "charges", select.bind(order_id).fetch_optional(self.0.pool())).await
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
        let (one, other) =
            tokio::join!(SqliteCharges::open(Database::at(&url)), SqliteCharges::open(Database::at(&url)));
        let (one, other) = (one.unwrap(), other.unwrap());
        let new = NewCharge { order_id: "o-1".to_owned(), card: Card("c".to_owned()), amount: 5 };
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
            task::spawn(async move { SqliteCharges::open(Database::at(&url)).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
        let url = format!("sqlite://{}", dir.path().join("missing/new.db").display());
        let error = SqliteCharges::open(Database::at(&url)).await.unwrap_err();
        assert!(!example_sql::is_race(&error), "{error:#}");
    }
}
