//! Where orders are kept.

use bowline::{
    Database,
    runtime::time,
    sql::{self, Tx},
};
use example_sql::Sqlite;
use serde::{Deserialize, Serialize};
use sqlx::{
    Row, SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::{
    card::Card,
    order::{Order, Status},
    service::IdempotencyKey,
};

/// An order with what only this service knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) order: Order,
    pub(crate) card: Card,
}

/// What the service reads of its store.
pub(crate) trait OrderRepository: Send + Sync {
    /// The order of that id.
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<Kept>, sqlx::Error>> + Send;

    /// The order that the user's key made.
    fn find_by_key(
        &self,
        user_id: &str,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<Kept>, sqlx::Error>> + Send;

    /// How much of an item there is; none where it is not sold.
    fn stock(&self, sku: &str) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// Up to so many orders that are placed, the oldest first.
    fn placed(&self, limit: u32) -> impl Future<Output = Result<Vec<Kept>, sqlx::Error>> + Send;
}

/// Orders in SQLite, shared by the replicas.
#[derive(Debug, Clone)]
pub(crate) struct SqliteOrders(Sqlite);

impl SqliteOrders {
    /// Opens the database, made and migrated where need be.
    pub(crate) async fn open(database: Database) -> anyhow::Result<Self> {
        let opened = Sqlite::open(database, &sqlx::migrate!()).await?;
        sql::migrate(opened.pool()).await?;
        Ok(Self(opened))
    }

    /// The order that a statement selects.
    async fn find_by(&self, select: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Option<Kept>, sqlx::Error> {
        let row = self.0.query("SELECT", "orders", select.fetch_optional(self.0.pool())).await?;
        row.as_ref().map(kept).transpose()
    }
}

impl OrderRepository for SqliteOrders {
    async fn find(&self, id: &str) -> Result<Option<Kept>, sqlx::Error> {
        let select = "SELECT id, user_id, card, items, total, status FROM orders WHERE id = ?";
        self.find_by(sqlx::query(select).bind(id)).await
    }

    async fn find_by_key(&self, user_id: &str, key: &IdempotencyKey) -> Result<Option<Kept>, sqlx::Error> {
        let select = "SELECT id, user_id, card, items, total, status FROM orders
                      WHERE user_id = ? AND idempotency_key = ?";
        self.find_by(sqlx::query(select).bind(user_id).bind(&key.0)).await
    }

    async fn stock(&self, sku: &str) -> Result<Option<i64>, sqlx::Error> {
        let select = sqlx::query_scalar("SELECT available FROM stock WHERE sku = ?").bind(sku);
        self.0.query("SELECT", "stock", select.fetch_optional(self.0.pool())).await
    }

    async fn placed(&self, limit: u32) -> Result<Vec<Kept>, sqlx::Error> {
        let select = "SELECT id, user_id, card, items, total, status FROM orders
                      WHERE status = 'placed' ORDER BY placed_at_ms LIMIT ?";
        let rows = self.0.query("SELECT", "orders", sqlx::query(select).bind(limit).fetch_all(self.0.pool())).await?;
        rows.iter().map(kept).collect()
    }
}

/// What is changed, in a transaction of the caller's.
impl SqliteOrders {
    /// Where it is.
    pub(crate) fn pool(&self) -> &SqlitePool {
        self.0.pool()
    }

    /// Keeps a new order; whether it did: where its user's key has one already, it does not.
    pub(crate) async fn keep(
        &self,
        tx: &mut Tx<sqlx::Sqlite>,
        Kept { order, card }: &Kept,
        key: Option<&IdempotencyKey>,
    ) -> Result<bool, sqlx::Error> {
        let insert = sqlx::query(
            "INSERT INTO orders (id, idempotency_key, user_id, card, items, total, status, placed_at_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id, idempotency_key) DO NOTHING",
        )
        .bind(&order.id)
        .bind(key.map(|key| key.0.as_str()))
        .bind(&order.user_id)
        .bind(card)
        .bind(serde_json::to_string(&order.items).map_err(|error| sqlx::Error::Encode(error.into()))?)
        .bind(order.total)
        .bind(order.status)
        .bind(now_ms());
        let inserted = self.0.query("INSERT", "orders", insert.execute(&mut **tx)).await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Marks a placed order; a marked one stays as it is.
    pub(crate) async fn mark(&self, tx: &mut Tx<sqlx::Sqlite>, id: &str, status: Status) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE orders SET status = ? WHERE id = ? AND status = 'placed'");
        self.0.query("UPDATE", "orders", update.bind(status).bind(id).execute(&mut **tx)).await.map(drop)
    }

    /// Takes from the stock; whether there was enough.
    pub(crate) async fn take(&self, tx: &mut Tx<sqlx::Sqlite>, sku: &str, quantity: i64) -> Result<bool, sqlx::Error> {
        let update = sqlx::query("UPDATE stock SET available = available - ?1 WHERE sku = ?2 AND available >= ?1");
        let updated = self.0.query("UPDATE", "stock", update.bind(quantity).bind(sku).execute(&mut **tx)).await?;
        Ok(updated.rows_affected() == 1)
    }

    /// Puts back what was taken.
    pub(crate) async fn put_back(
        &self,
        tx: &mut Tx<sqlx::Sqlite>,
        sku: &str,
        quantity: i64,
    ) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE stock SET available = available + ? WHERE sku = ?").bind(quantity).bind(sku);
        self.0.query("UPDATE", "stock", update.execute(&mut **tx)).await.map(drop)
    }
}

fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)
}

fn kept(row: &SqliteRow) -> Result<Kept, sqlx::Error> {
    let items: String = row.try_get("items")?;
    let order = Order {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        items: serde_json::from_str(&items).map_err(|error| sqlx::Error::Decode(error.into()))?,
        total: row.try_get("total")?,
        status: row.try_get("status")?,
    };
    Ok(Kept { order, card: row.try_get("card")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Item;
    use bowline::runtime::task;

    fn new(id: &str) -> Kept {
        let items = vec![Item { sku: "book".to_owned(), quantity: 2, unit_price: 1999 }];
        let order = Order { id: id.to_owned(), user_id: "u-1".to_owned(), items, total: 3998, status: Status::Placed };
        Kept { order, card: Card("card-4242".to_owned()) }
    }

    async fn keep(orders: &SqliteOrders, new: Kept, key: Option<&IdempotencyKey>) -> bool {
        let mut tx = sql::begin(orders.pool()).await.unwrap();
        let is_kept = orders.keep(&mut tx, &new, key).await.unwrap();
        tx.commit().await.unwrap();
        is_kept
    }

    #[tokio::test]
    async fn a_key_makes_one_order_in_two_replicas_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("order.db").display());
        let (one, other) = tokio::join!(SqliteOrders::open(Database::at(&url)), SqliteOrders::open(Database::at(&url)));
        let (one, other) = (one.unwrap(), other.unwrap());
        let key = IdempotencyKey("k1".to_owned());
        let kept = tokio::join!(keep(&one, new("o-1"), Some(&key)), keep(&other, new("o-2"), Some(&key)));
        assert!(kept.0 != kept.1, "{kept:?}");
        let id = if kept.0 { "o-1" } else { "o-2" };
        assert_eq!(one.find_by_key("u-1", &key).await.unwrap().unwrap().order.id, id);
        // What another user calls his is another request.
        let mut of_another = new("o-9");
        of_another.order.user_id = "u-2".to_owned();
        assert!(keep(&one, of_another, Some(&key)).await);
        assert_eq!(one.find_by_key("u-2", &key).await.unwrap().unwrap().order.id, "o-9");
        assert!(one.find_by_key("u-3", &key).await.unwrap().is_none());
        // Without a key each is its own order.
        assert!(keep(&one, new("o-3"), None).await && keep(&one, new("o-4"), None).await);
    }

    #[tokio::test]
    async fn the_stock_is_never_below_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("order.db").display());
        let orders = SqliteOrders::open(Database::at(&url)).await.unwrap();
        let mut tx = sql::begin(orders.pool()).await.unwrap();
        for (sku, quantity, expect) in
            [("poster", 4, false), ("poster", 3, true), ("poster", 1, false), ("pen", 1, false)]
        {
            assert_eq!(orders.take(&mut tx, sku, quantity).await.unwrap(), expect, "{sku} {quantity}");
        }
        orders.put_back(&mut tx, "poster", 2).await.unwrap();
        assert!(orders.take(&mut tx, "poster", 2).await.unwrap());
    }

    #[tokio::test]
    async fn a_marked_order_stays_marked() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("order.db").display());
        let orders = SqliteOrders::open(Database::at(&url)).await.unwrap();
        assert!(keep(&orders, new("o-1"), None).await);
        assert_eq!(orders.placed(10).await.unwrap().len(), 1);
        let mut tx = sql::begin(orders.pool()).await.unwrap();
        orders.mark(&mut tx, "o-1", Status::Paid).await.unwrap();
        orders.mark(&mut tx, "o-1", Status::Declined).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(orders.find("o-1").await.unwrap().unwrap().order.status, Status::Paid);
        assert!(orders.placed(10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn orders_of_the_shop_before_keys_were_a_users_own_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("order.db").display());
        let pool = SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap();
        sqlx::migrate!().run_to(2, &pool).await.unwrap();
        let insert = "INSERT INTO orders (id, idempotency_key, user_id, card, items, total, status, placed_at_ms)
                      VALUES ('o-1', 'k1', 'u-1', 'c', '[]', 5, 'placed', 1), ('o-2', NULL, 'u-1', 'c', '[]', 6, 'paid', 2)";
        sqlx::query(insert).execute(&pool).await.unwrap();
        pool.close().await;
        let orders = SqliteOrders::open(Database::at(&url)).await.unwrap();
        let key = IdempotencyKey("k1".to_owned());
        assert_eq!(orders.find_by_key("u-1", &key).await.unwrap().unwrap().order.id, "o-1");
        assert_eq!(orders.find("o-2").await.unwrap().unwrap().order.total, 6);
        assert_eq!(orders.placed(10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn many_replicas_open_it_at_once_and_other_failures_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("new.db").display());
        let opening = (0..8).map(|_| {
            let url = url.clone();
            task::spawn(async move { SqliteOrders::open(Database::at(&url)).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
        let url = format!("sqlite://{}", dir.path().join("missing/new.db").display());
        let error = SqliteOrders::open(Database::at(&url)).await.unwrap_err();
        assert!(!example_sql::is_race(&error), "{error:#}");
    }
}
