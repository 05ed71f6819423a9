//! The same on both databases.

use std::sync::Arc;

use bowline::{Database, runtime::task};
use example_sql::{on_both, testing::Fixture};
use sqlx::SqlitePool;

use super::*;
use crate::order::Item;

on_both!(
    a_key_makes_one_order_in_two_replicas_at_once,
    the_stock_is_never_below_nothing,
    what_is_taken_at_once_is_no_more_than_there_is,
    a_marked_order_stays_marked,
    many_replicas_open_it_at_once,
);

fn new(id: &str) -> Kept {
    let items = vec![Item { sku: "book".to_owned(), quantity: 2, unit_price: 1999 }];
    let order = Order { id: id.to_owned(), user_id: "u-1".to_owned(), items, total: 3998, status: Status::Placed };
    Kept { order, card: Card("card-4242".to_owned()) }
}

async fn open<DB: Db>(fixture: &Fixture<DB>) -> SqlOrders<DB> {
    SqlOrders(fixture.open(MIGRATIONS.of::<DB>()).await.with_messages().await.unwrap())
}

async fn keep<DB: Db>(orders: &SqlOrders<DB>, new: Kept, key: Option<&IdempotencyKey>) -> bool {
    let mut tx = orders.0.begin().await.unwrap();
    let is_kept = orders.keep(&mut tx, &new, key).await.unwrap();
    tx.commit().await.unwrap();
    is_kept
}

async fn a_key_makes_one_order_in_two_replicas_at_once<DB: Db>(fixture: Fixture<DB>) {
    let (one, other) = tokio::join!(open(&fixture), open(&fixture));
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

async fn the_stock_is_never_below_nothing<DB: Db>(fixture: Fixture<DB>) {
    let orders = open(&fixture).await;
    let mut tx = orders.0.begin().await.unwrap();
    for (sku, quantity, expect) in [("poster", 4, false), ("poster", 3, true), ("poster", 1, false), ("pen", 1, false)]
    {
        assert_eq!(orders.take(&mut tx, sku, quantity).await.unwrap(), expect, "{sku} {quantity}");
    }
    orders.put_back(&mut tx, "poster", 2).await.unwrap();
    assert!(orders.take(&mut tx, "poster", 2).await.unwrap());
}

async fn what_is_taken_at_once_is_no_more_than_there_is<DB: Db>(fixture: Fixture<DB>) {
    let replicas = [open(&fixture).await, open(&fixture).await];
    let taking = (0..8).map(|number| {
        let orders = replicas[number % 2].clone();
        task::spawn(async move {
            let mut tx = orders.0.begin().await.unwrap();
            let is_taken = orders.take(&mut tx, "poster", 1).await.unwrap();
            tx.commit().await.unwrap();
            is_taken
        })
    });
    let mut taken = 0;
    for one in taking.collect::<Vec<_>>() {
        taken += usize::from(one.await.unwrap());
    }
    assert_eq!((taken, replicas[0].stock("poster").await.unwrap()), (3, Some(0)));
}

async fn a_marked_order_stays_marked<DB: Db>(fixture: Fixture<DB>) {
    let orders = open(&fixture).await;
    assert!(keep(&orders, new("o-1"), None).await);
    assert_eq!(orders.placed(10).await.unwrap().len(), 1);
    let mut tx = orders.0.begin().await.unwrap();
    orders.mark(&mut tx, "o-1", Status::Paid).await.unwrap();
    orders.mark(&mut tx, "o-1", Status::Declined).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(orders.find("o-1").await.unwrap().unwrap().order.status, Status::Paid);
    assert!(orders.placed(10).await.unwrap().is_empty());
}

async fn many_replicas_open_it_at_once<DB: Db>(fixture: Fixture<DB>) {
    for orders in Arc::new(fixture).at_once(|fixture| async move { open(&fixture).await }).await {
        assert_eq!(orders.stock("poster").await.unwrap(), Some(3));
    }
}

#[tokio::test]
async fn orders_of_the_shop_before_keys_were_a_users_own_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("order.db").display());
    let pool = SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap();
    MIGRATIONS.sqlite.run_to(2, &pool).await.unwrap();
    let insert = "INSERT INTO orders (id, idempotency_key, user_id, card, items, total, status, placed_at_ms)
                  VALUES ('o-1', 'k1', 'u-1', 'c', '[]', 5, 'placed', 1), ('o-2', NULL, 'u-1', 'c', '[]', 6, 'paid', 2)";
    sqlx::query(insert).execute(&pool).await.unwrap();
    pool.close().await;
    let orders = SqlOrders(Sql::<sqlx::Sqlite>::open(Database::at(&url), &MIGRATIONS.sqlite).await.unwrap());
    let key = IdempotencyKey("k1".to_owned());
    assert_eq!(orders.find_by_key("u-1", &key).await.unwrap().unwrap().order.id, "o-1");
    assert_eq!(orders.find("o-2").await.unwrap().unwrap().order.total, 6);
    assert_eq!(orders.placed(10).await.unwrap().len(), 1);
}
