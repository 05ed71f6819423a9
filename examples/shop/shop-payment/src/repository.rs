//! Where charges are kept, in SQLite or PostgreSQL.

use bowline::sql;
use example_sql::{Db, Migrations, Row, Sql, Statement};
use serde::Serialize;

use crate::{card::Card, service::NewCharge};

/// The tables.
pub(crate) static MIGRATIONS: Migrations =
    Migrations { sqlite: sqlx::migrate!(), postgres: sqlx::migrate!("migrations/postgres") };

/// How far a charge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Pending,
    Approved,
    Declined,
    /// It is taken back; the bank has not answered yet.
    Refunding,
    Refunded,
}

impl Status {
    /// As it is written.
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Refunding => "refunding",
            Self::Refunded => "refunded",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Approved, Self::Declined, Self::Refunding, Self::Refunded];
        all.into_iter().find(|status| status.as_str() == text)
    }
}

/// One charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Charge {
    pub(crate) order_id: String,
    #[serde(skip_serializing)]
    pub(crate) card: Card,
    /// In minor units.
    pub(crate) amount: i64,
    pub(crate) status: Status,
}

/// What the service needs of its store.
pub(crate) trait ChargeRepository: Send + Sync + 'static {
    /// Keeps a pending charge, or returns the one that is there.
    fn begin(&self, new: &NewCharge) -> impl Future<Output = Result<Charge, sql::Error>> + Send;

    /// Keeps the bank's decision; a decided charge stays as it is.
    fn end(&self, order_id: &str, status: Status) -> impl Future<Output = Result<(), sql::Error>> + Send;

    /// Keeps that a charge is to be taken back, or is not to be made: a decided one that moved nothing stays as it is.
    fn begin_refund(&self, order_id: &str) -> impl Future<Output = Result<Charge, sql::Error>> + Send;

    /// Keeps that a charge was taken back.
    fn end_refund(&self, order_id: &str) -> impl Future<Output = Result<(), sql::Error>> + Send;

    /// The charge of an order.
    fn find(&self, order_id: &str) -> impl Future<Output = Result<Option<Charge>, sql::Error>> + Send;
}

/// Charges in a database, shared by the replicas. Each change is one statement.
#[derive(Debug)]
pub(crate) struct SqlCharges<DB: Db>(pub(crate) Sql<DB>);

impl<DB: Db> SqlCharges<DB> {
    async fn change(&self, change: Statement) -> Result<(), sql::Error> {
        self.0.execute(&mut *self.0.read().await?, "charges", change).await?;
        Ok(())
    }
}

impl<DB: Db> ChargeRepository for SqlCharges<DB> {
    async fn begin(&self, new: &NewCharge) -> Result<Charge, sql::Error> {
        let insert = Statement::new(
            "INSERT INTO charges (order_id, card, amount, status) VALUES ($1, $2, $3, 'pending')
             ON CONFLICT (order_id) DO NOTHING",
        );
        self.change(insert.bind(&new.order_id).bind(&new.card.0).bind(new.amount)).await?;
        Ok(self.find(&new.order_id).await?.ok_or(sqlx::Error::RowNotFound)?)
    }

    async fn end(&self, order_id: &str, status: Status) -> Result<(), sql::Error> {
        let update = Statement::new("UPDATE charges SET status = $1 WHERE order_id = $2 AND status = 'pending'");
        self.change(update.bind(status.as_str()).bind(order_id)).await
    }

    async fn begin_refund(&self, order_id: &str) -> Result<Charge, sql::Error> {
        let insert = Statement::new(
            "INSERT INTO charges (order_id, card, amount, status) VALUES ($1, '', 0, 'refunding')
             ON CONFLICT (order_id) DO UPDATE SET status = 'refunding' WHERE charges.status IN ('pending', 'approved')",
        );
        self.change(insert.bind(order_id)).await?;
        Ok(self.find(order_id).await?.ok_or(sqlx::Error::RowNotFound)?)
    }

    async fn end_refund(&self, order_id: &str) -> Result<(), sql::Error> {
        let update = "UPDATE charges SET status = 'refunded' WHERE order_id = $1 AND status = 'refunding'";
        self.change(Statement::new(update).bind(order_id)).await
    }

    async fn find(&self, order_id: &str) -> Result<Option<Charge>, sql::Error> {
        let select = Statement::new("SELECT order_id, card, amount, status FROM charges WHERE order_id = $1");
        let row = self.0.row(&mut *self.0.read().await?, "charges", select.bind(order_id)).await?;
        Ok(row.as_ref().map(charge).transpose()?)
    }
}

fn charge<DB: Db>(row: &Row<DB>) -> Result<Charge, sqlx::Error> {
    let status = row.text("status")?;
    Ok(Charge {
        order_id: row.text("order_id")?,
        card: Card(row.text("card")?),
        amount: row.int("amount")?,
        status: Status::parse(&status).ok_or_else(|| sqlx::Error::Decode("a status that nobody knows".into()))?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline::runtime::task;
    use example_sql::{on_both, testing::Fixture};

    use super::*;

    on_both!(
        a_charge_is_kept_once_and_decided_once_by_two_replicas,
        one_charge_is_decided_or_taken_back_however_many_try,
        many_replicas_open_it_at_once,
    );

    async fn charges<DB: Db>(fixture: &Fixture<DB>) -> SqlCharges<DB> {
        SqlCharges(fixture.open(MIGRATIONS.of::<DB>()).await)
    }

    fn new() -> NewCharge {
        NewCharge { order_id: "o-1".to_owned(), card: Card("c".to_owned()), amount: 5 }
    }

    async fn a_charge_is_kept_once_and_decided_once_by_two_replicas<DB: Db>(fixture: Fixture<DB>) {
        let (one, other) = tokio::join!(charges(&fixture), charges(&fixture));
        let new = new();
        let (a, b) = tokio::join!(one.begin(&new), other.begin(&new));
        assert_eq!(a.unwrap(), b.unwrap());
        one.end("o-1", Status::Approved).await.unwrap();
        other.end("o-1", Status::Declined).await.unwrap();
        assert_eq!(other.find("o-1").await.unwrap().unwrap().status, Status::Approved);
    }

    /// What was taken back stays so, whoever was first.
    async fn one_charge_is_decided_or_taken_back_however_many_try<DB: Db>(fixture: Fixture<DB>) {
        let replicas = [Arc::new(charges(&fixture).await), Arc::new(charges(&fixture).await)];
        replicas[0].begin(&new()).await.unwrap();
        let tries = (0..12).map(|number| {
            let charges = replicas[number % 2].clone();
            task::spawn(async move {
                match number % 3 {
                    0 => charges.begin_refund("o-1").await.map(drop),
                    1 => charges.end("o-1", Status::Approved).await,
                    _ => charges.begin(&new()).await.map(drop),
                }
            })
        });
        for tried in tries.collect::<Vec<_>>() {
            tried.await.unwrap().unwrap();
        }
        let charge = replicas[0].find("o-1").await.unwrap().unwrap();
        assert_eq!((charge.status, charge.amount), (Status::Refunding, 5));
        replicas[1].end_refund("o-1").await.unwrap();
        assert_eq!(replicas[0].begin_refund("o-1").await.unwrap().status, Status::Refunded);
    }

    async fn many_replicas_open_it_at_once<DB: Db>(fixture: Fixture<DB>) {
        for charges in Arc::new(fixture).at_once(|fixture| async move { charges(&fixture).await }).await {
            assert_eq!(charges.find("o-1").await.unwrap(), None);
        }
    }
}
