//! Where orders are kept.

use bowline::{Database, runtime::time};
use shop_sqlite::Sqlite;
use sqlx::{
    Row,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::{
    order::{Order, Status},
    service::IdempotencyKey,
};

/// An order with what only this service knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) order: Order,
    pub(crate) card: String,
}

/// What the service needs of its store.
pub(crate) trait OrderRepository: Send + Sync {
    /// Keeps a new order; where its user's key has one already, returns that.
    fn keep(&self, new: Kept, key: Option<&IdempotencyKey>) -> impl Future<Output = Result<Kept, sqlx::Error>> + Send;

    /// The order of that id.
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<Kept>, sqlx::Error>> + Send;

    /// The order that the user's key made.
    fn find_by_key(
        &self,
        user_id: &str,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<Kept>, sqlx::Error>> + Send;

    /// Marks a placed order; a marked one stays as it is.
    fn mark(&self, id: &str, status: Status) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Notes that finishing an order is tried again now.
    fn note_try(&self, id: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Orders that are placed for at least so many milliseconds: those first whose last try is the
    /// longest ago, and of those never tried again the oldest.
    fn placed_before(&self, age_ms: i64, limit: u32) -> impl Future<Output = Result<Vec<Kept>, sqlx::Error>> + Send;
}

/// Orders in SQLite, shared by the replicas.
#[derive(Debug, Clone)]
pub(crate) struct SqliteOrders(Sqlite);

impl SqliteOrders {
    /// Opens the database, made and migrated where need be.
    pub(crate) async fn open(database: Database) -> anyhow::Result<Self> {
        shop_sqlite::open(database, shop_sqlite::CONNECTIONS_TO_WRITE, &sqlx::migrate!()).await.map(Self)
    }

    /// The order that a statement selects.
    async fn find_by(&self, select: Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<Option<Kept>, sqlx::Error> {
        let row = self.0.query("SELECT", "orders", select.fetch_optional(self.0.pool())).await?;
        row.as_ref().map(kept).transpose()
    }
}

impl OrderRepository for SqliteOrders {
    async fn keep(&self, new: Kept, key: Option<&IdempotencyKey>) -> Result<Kept, sqlx::Error> {
        let Kept { order, card } = &new;
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
        let inserted = self.0.query("INSERT", "orders", insert.execute(self.0.pool())).await?;
        match key {
            Some(key) if inserted.rows_affected() == 0 => {
                self.find_by_key(&order.user_id, key).await?.ok_or(sqlx::Error::RowNotFound)
            }
            _ => Ok(new),
        }
    }

    async fn find(&self, id: &str) -> Result<Option<Kept>, sqlx::Error> {
        let select = "SELECT id, user_id, card, items, total, status FROM orders WHERE id = ?";
        self.find_by(sqlx::query(select).bind(id)).await
    }

    async fn find_by_key(&self, user_id: &str, key: &IdempotencyKey) -> Result<Option<Kept>, sqlx::Error> {
        let select = "SELECT id, user_id, card, items, total, status FROM orders
                      WHERE user_id = ? AND idempotency_key = ?";
        self.find_by(sqlx::query(select).bind(user_id).bind(&key.0)).await
    }

    async fn mark(&self, id: &str, status: Status) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE orders SET status = ? WHERE id = ? AND status = 'placed'");
        self.0.query("UPDATE", "orders", update.bind(status).bind(id).execute(self.0.pool())).await.map(drop)
    }

    async fn note_try(&self, id: &str) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE orders SET tried_at_ms = ? WHERE id = ?");
        self.0.query("UPDATE", "orders", update.bind(now_ms()).bind(id).execute(self.0.pool())).await.map(drop)
    }

    async fn placed_before(&self, age_ms: i64, limit: u32) -> Result<Vec<Kept>, sqlx::Error> {
        let select = "SELECT id, user_id, card, items, total, status FROM orders
                      WHERE status = 'placed' AND placed_at_ms <= ? ORDER BY tried_at_ms, placed_at_ms LIMIT ?";
        let select = sqlx::query(select).bind(now_ms() - age_ms).bind(limit);
        let rows = self.0.query("SELECT", "orders", select.fetch_all(self.0.pool())).await?;
        rows.iter().map(kept).collect()
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
    use bowline::runtime::task;
    use sqlx::SqlitePool;

    use super::*;
    use crate::order::Item;

    fn new(id: &str) -> Kept {
        let items = vec![Item { sku: "book".to_owned(), quantity: 2, unit_price: 1999 }];
        let order = Order { id: id.to_owned(), user_id: "u-1".to_owned(), items, total: 3998, status: Status::Placed };
        Kept { order, card: "card-4242".to_owned() }
    }

    #[tokio::test]
    async fn a_key_makes_one_order_in_two_replicas_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("order.db").display());
        let (one, other) = tokio::join!(SqliteOrders::open(Database::at(&url)), SqliteOrders::open(Database::at(&url)));
        let (one, other) = (one.unwrap(), other.unwrap());
        let key = IdempotencyKey("k1".to_owned());
        let (a, b) = tokio::join!(one.keep(new("o-1"), Some(&key)), other.keep(new("o-2"), Some(&key)));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a, b);
        assert_eq!(one.find(&a.order.id).await.unwrap(), Some(a));
        // What another user calls his is another request.
        let mut of_another = new("o-9");
        of_another.order.user_id = "u-2".to_owned();
        assert_eq!(one.keep(of_another, Some(&key)).await.unwrap().order.id, "o-9");
        assert_eq!(one.find_by_key("u-2", &key).await.unwrap().unwrap().order.id, "o-9");
        assert!(one.find_by_key("u-3", &key).await.unwrap().is_none());
        // Without a key each is its own order.
        assert_eq!(one.keep(new("o-3"), None).await.unwrap().order.id, "o-3");
        assert_eq!(one.keep(new("o-4"), None).await.unwrap().order.id, "o-4");
    }

    #[tokio::test]
    async fn a_marked_order_stays_marked_and_is_not_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let orders = SqliteOrders::open(Database::at(&format!("sqlite://{}", dir.path().join("order.db").display())))
            .await
            .unwrap();
        orders.keep(new("o-1"), None).await.unwrap();
        assert_eq!(orders.placed_before(0, 10).await.unwrap().len(), 1);
        assert_eq!(orders.placed_before(60_000, 10).await.unwrap().len(), 0);
        orders.mark("o-1", Status::Paid).await.unwrap();
        orders.mark("o-1", Status::Declined).await.unwrap();
        assert_eq!(orders.find("o-1").await.unwrap().unwrap().order.status, Status::Paid);
        assert!(orders.placed_before(0, 10).await.unwrap().is_empty());
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
        assert_eq!(orders.placed_before(0, 10).await.unwrap().len(), 1);
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
        assert!(!shop_sqlite::is_race(&error), "{error:#}");
    }
}
