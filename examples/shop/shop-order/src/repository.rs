//! Where orders are kept, in SQLite or PostgreSQL.

use bowline::{
    runtime::time,
    sql::{self, Tx},
};
use example_sql::{Db, Migrations, Row, Sql, Statement};
use serde::{Deserialize, Serialize};
use sqlx::Pool;

use crate::{
    card::Card,
    order::{Order, Status},
    service::IdempotencyKey,
};

/// The tables.
pub(crate) static MIGRATIONS: Migrations =
    Migrations { sqlite: sqlx::migrate!(), postgres: sqlx::migrate!("migrations/postgres") };

/// An order with what only this service knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) order: Order,
    pub(crate) card: Card,
}

/// What the service reads of its store.
pub(crate) trait OrderRepository: Send + Sync {
    /// The order of that id.
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<Kept>, sql::Error>> + Send;

    /// The order that the user's key made.
    fn find_by_key(
        &self,
        user_id: &str,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<Kept>, sql::Error>> + Send;

    /// How much of an item there is; none where it is not sold.
    fn stock(&self, sku: &str) -> impl Future<Output = Result<Option<i64>, sql::Error>> + Send;

    /// Up to so many orders that are placed, the oldest first.
    fn placed(&self, limit: u32) -> impl Future<Output = Result<Vec<Kept>, sql::Error>> + Send;
}

/// Orders in a database, shared by the replicas. Cheap to clone.
///
/// What is decided is decided by one statement each: a key's first order is kept, a placed order is marked, what there
/// is of an item is taken. So transactions need no locks but those that these statements take; of several items the
/// callers take and put back in the order of [`Item::sku`](crate::order::Item), or two would wait for each other.
#[derive(Debug)]
pub(crate) struct SqlOrders<DB: Db>(pub(crate) Sql<DB>);

impl<DB: Db> Clone for SqlOrders<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Selects what [`kept`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, user_id, card, items, total, status FROM orders ", $rest)
    };
}

impl<DB: Db> SqlOrders<DB> {
    /// The orders that a statement selects.
    async fn select(&self, select: Statement) -> Result<Vec<Kept>, sql::Error> {
        let rows = self.0.rows(&mut *self.0.read().await?, "orders", select).await?;
        Ok(rows.iter().map(kept).collect::<Result<_, _>>()?)
    }
}

impl<DB: Db> OrderRepository for SqlOrders<DB> {
    async fn find(&self, id: &str) -> Result<Option<Kept>, sql::Error> {
        Ok(self.select(Statement::new(select!("WHERE id = $1")).bind(id)).await?.pop())
    }

    async fn find_by_key(&self, user_id: &str, key: &IdempotencyKey) -> Result<Option<Kept>, sql::Error> {
        let select = Statement::new(select!("WHERE user_id = $1 AND idempotency_key = $2"));
        Ok(self.select(select.bind(user_id).bind(&key.0)).await?.pop())
    }

    async fn stock(&self, sku: &str) -> Result<Option<i64>, sql::Error> {
        let select = Statement::new("SELECT available FROM stock WHERE sku = $1").bind(sku);
        let row = self.0.row(&mut *self.0.read().await?, "stock", select).await?;
        Ok(row.map(|row| row.int("available")).transpose()?)
    }

    async fn placed(&self, limit: u32) -> Result<Vec<Kept>, sql::Error> {
        let select = Statement::new(select!("WHERE status = 'placed' ORDER BY placed_at_ms LIMIT $1"));
        self.select(select.bind(i64::from(limit))).await
    }
}

/// What is changed, in a transaction of the caller's.
impl<DB: Db> SqlOrders<DB> {
    /// Where it is.
    pub(crate) fn pool(&self) -> &Pool<DB> {
        self.0.pool()
    }

    /// Keeps a new order; whether it did: where its user's key has one already, it does not.
    pub(crate) async fn keep(
        &self,
        tx: &mut Tx<DB>,
        Kept { order, card }: &Kept,
        key: Option<&IdempotencyKey>,
    ) -> Result<bool, sqlx::Error> {
        let insert = Statement::new(
            "INSERT INTO orders (id, idempotency_key, user_id, card, items, total, status, placed_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (user_id, idempotency_key) DO NOTHING",
        )
        .bind(&order.id)
        .bind(key.map(|key| key.0.as_str()))
        .bind(&order.user_id)
        .bind(&card.0)
        .bind(serde_json::to_string(&order.items).map_err(|error| sqlx::Error::Encode(error.into()))?)
        .bind(order.total)
        .bind(order.status.as_str())
        .bind(now_ms());
        Ok(self.0.execute(tx, "orders", insert).await? == 1)
    }

    /// Marks a placed order; a marked one stays as it is.
    pub(crate) async fn mark(&self, tx: &mut Tx<DB>, id: &str, status: Status) -> Result<(), sqlx::Error> {
        let update = Statement::new("UPDATE orders SET status = $1 WHERE id = $2 AND status = 'placed'");
        self.0.execute(tx, "orders", update.bind(status.as_str()).bind(id)).await.map(drop)
    }

    /// Takes from the stock; whether there was enough.
    pub(crate) async fn take(&self, tx: &mut Tx<DB>, sku: &str, quantity: i64) -> Result<bool, sqlx::Error> {
        let update = Statement::new("UPDATE stock SET available = available - $1 WHERE sku = $2 AND available >= $1");
        Ok(self.0.execute(tx, "stock", update.bind(quantity).bind(sku)).await? == 1)
    }

    /// Puts back what was taken.
    pub(crate) async fn put_back(&self, tx: &mut Tx<DB>, sku: &str, quantity: i64) -> Result<(), sqlx::Error> {
        let update = Statement::new("UPDATE stock SET available = available + $1 WHERE sku = $2");
        self.0.execute(tx, "stock", update.bind(quantity).bind(sku)).await.map(drop)
    }
}

fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)
}

fn kept<DB: Db>(row: &Row<DB>) -> Result<Kept, sqlx::Error> {
    let (items, status) = (row.text("items")?, row.text("status")?);
    let order = Order {
        id: row.text("id")?,
        user_id: row.text("user_id")?,
        items: serde_json::from_str(&items).map_err(|error| sqlx::Error::Decode(error.into()))?,
        total: row.int("total")?,
        status: Status::parse(&status).ok_or_else(|| sqlx::Error::Decode("a status that nobody knows".into()))?,
    };
    Ok(Kept { order, card: Card(row.text("card")?) })
}

#[cfg(test)]
mod tests;
