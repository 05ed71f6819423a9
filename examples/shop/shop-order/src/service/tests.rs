//! The same on both databases.

use std::sync::Mutex;

use axum::http::StatusCode;
use bowline::{Microservice, Settings, client, runtime::task, sql::What};
use example_sql::{Statement, on_both, testing::Fixture};

use super::*;
use crate::{
    callees::{Charged, Payments},
    card::Card,
    order::Item,
    placing::Topics,
    repository::MIGRATIONS,
};

on_both!(
    an_order_takes_from_the_stock_and_is_told,
    what_is_not_in_stock_is_cancelled_and_what_was_taken_is_put_back,
    orders_placed_at_once_take_what_there_is_in_any_order_of_their_items,
    what_the_bank_declines_is_put_back_and_not_taken_back,
    what_cannot_be_charged_is_waited_for_and_goes_on,
    orders_from_before_there_were_sagas_are_finished,
    a_user_acts_for_itself_only,
    a_key_is_its_users_own,
    a_database_that_is_busy_is_told_as_passing,
    a_subject_that_is_no_part_of_a_path_places_nothing,
    limits_change_for_new_orders_and_leave_those_that_are_placed,
);

/// Knows everybody.
struct Everybody;

impl Users for Everybody {
    async fn card_of(&self, _: &str) -> Result<Option<Card>, HandlerError> {
        Ok(Some(Card("card-4242".to_owned())))
    }
}

/// Charges everything but the orders of some users; what it was asked to take back, it tells.
#[derive(Default)]
struct Payment {
    asked: Mutex<Vec<String>>,
}

impl Payments for Payment {
    async fn charge(&self, kept: &Kept) -> Result<Charged, client::Error> {
        self.asked.lock().unwrap().push(format!("charge {}", kept.order.user_id));
        match kept.order.user_id.as_str() {
            "never" => Err(client::Error::Status {
                service: serde_json::from_str(r#""payment""#).unwrap(),
                status: StatusCode::SERVICE_UNAVAILABLE,
                problem: None,
            }),
            "declined" => Ok(Charged::Declined),
            _ => Ok(Charged::Approved),
        }
    }

    async fn refund(&self, _: &str) -> Result<(), client::Error> {
        self.asked.lock().unwrap().push("refund".to_owned());
        Ok(())
    }
}

struct Shop<DB: Db> {
    orders: OrderService<DB, Everybody>,
    payment: Arc<Payment>,
    fixture: Fixture<DB>,
}

impl<DB: Db> Shop<DB> {
    async fn open(fixture: Fixture<DB>) -> Self {
        let repository = SqlOrders(fixture.open(MIGRATIONS.of::<DB>()).await.with_messages().await.unwrap());
        let service = Microservice::new(Settings::from_vars("order", []).unwrap());
        let [placed, paid, cancelled] =
            ["order.placed", "order.paid", "order.cancelled"].map(|name| service.topic(name));
        let payment = Arc::new(Payment::default());
        let topics = Topics { placed, paid, cancelled };
        let definition = |name| placing::definition(name, &repository, &topics, &payment);
        let sagas = Sagas::builder(repository.pool().clone())
            .saga(definition(placing::NAME))
            .saga(definition(placing::BEFORE_STOCK))
            .start()
            .unwrap();
        let limits = Arc::new(Limits::default());
        let limits: CurrentLimits = Box::new(move || limits.clone());
        Self {
            orders: OrderService { repository, sagas, user: Everybody, limits, patience: PATIENCE },
            payment,
            fixture,
        }
    }

    async fn place(&self, subject: &str, new: NewOrder, key: &str) -> Result<Order, (Code, String)> {
        let key = (!key.is_empty()).then(|| IdempotencyKey(key.to_owned()));
        let placed = self.orders.place(&Subject::new(subject).unwrap(), new, key).await;
        placed.map_err(|error| (error.code(), error.to_string()))
    }

    async fn in_stock(&self, sku: &str) -> i64 {
        self.orders.stock(sku).await.unwrap().available
    }

    /// The topics of the messages that wait, in their order.
    async fn told(&self) -> Vec<String> {
        let (sql, select) =
            (&self.orders.repository.0, Statement::new("SELECT topic FROM bowline_outbox ORDER BY seq"));
        let rows = sql.rows(&mut *sql.read().await.unwrap(), "bowline_outbox", select).await.unwrap();
        rows.iter().map(|row| row.text("topic").unwrap()).collect()
    }
}

fn new(user_id: &str, quantity: i64) -> NewOrder {
    of("book", user_id, quantity)
}

fn of(sku: &str, user_id: &str, quantity: i64) -> NewOrder {
    let items = vec![Item { sku: sku.to_owned(), quantity, unit_price: 1999 }];
    NewOrder { user_id: user_id.to_owned(), items }
}

async fn an_order_takes_from_the_stock_and_is_told<DB: Db>(fixture: Fixture<DB>) {
    let shop = Shop::open(fixture).await;
    let order = shop.place("u-1", new("u-1", 2), "k1").await.unwrap();
    assert_eq!((order.status, order.total), (Status::Paid, 3998));
    assert_eq!(shop.in_stock("book").await, 9_999_998);
    assert_eq!(shop.told().await, ["order.placed", "order.paid"]);
    assert_eq!(*shop.payment.asked.lock().unwrap(), ["charge u-1"]);
    // Asked again, nothing more is done.
    assert_eq!(shop.place("u-1", new("u-1", 2), "k1").await.unwrap(), order);
    assert_eq!((shop.in_stock("book").await, shop.told().await.len()), (9_999_998, 2));
}

async fn what_is_not_in_stock_is_cancelled_and_what_was_taken_is_put_back<DB: Db>(fixture: Fixture<DB>) {
    let shop = Shop::open(fixture).await;
    let mut both = of("book", "u-1", 5);
    both.items.extend(of("poster", "u-1", 4).items);
    let order = shop.place("u-1", both, "k1").await.unwrap();
    assert_eq!(order.status, Status::Cancelled);
    assert_eq!((shop.in_stock("book").await, shop.in_stock("poster").await), (10_000_000, 3));
    assert_eq!(shop.told().await, ["order.placed", "order.cancelled"]);
    assert!(shop.payment.asked.lock().unwrap().is_empty());
    assert_eq!(shop.orders.repository.find(&order.id).await.unwrap().unwrap().order, order);
    assert_eq!(shop.place("u-1", of("unknown", "u-1", 1), "").await.unwrap().status, Status::Cancelled);
}

/// Each takes both items, half of them the other way round.
async fn orders_placed_at_once_take_what_there_is_in_any_order_of_their_items<DB: Db>(fixture: Fixture<DB>) {
    let shop = Arc::new(Shop::open(fixture).await);
    let placing = (0..8).map(|number| {
        let (shop, user) = (shop.clone(), format!("u-{number}"));
        let mut both = of("book", &user, 1);
        both.items.extend(of("poster", &user, 1).items);
        if number % 2 == 0 {
            both.items.reverse();
        }
        task::spawn(async move { shop.place(&user, both, "k1").await.unwrap().status })
    });
    let mut paid = 0;
    for placed in placing.collect::<Vec<_>>() {
        match placed.await.unwrap() {
            Status::Paid => paid += 1,
            status => assert_eq!(status, Status::Cancelled),
        }
    }
    assert_eq!((paid, shop.in_stock("poster").await, shop.in_stock("book").await), (3, 0, 9_999_997));
}

async fn what_the_bank_declines_is_put_back_and_not_taken_back<DB: Db>(fixture: Fixture<DB>) {
    let shop = Shop::open(fixture).await;
    let order = shop.place("declined", new("declined", 2), "k1").await.unwrap();
    assert_eq!(order.status, Status::Declined);
    assert_eq!(shop.in_stock("book").await, 10_000_000);
    assert_eq!(shop.told().await, ["order.placed", "order.cancelled"]);
    assert_eq!(*shop.payment.asked.lock().unwrap(), ["charge declined"]);
    assert_eq!(shop.orders.repository.find(&order.id).await.unwrap().unwrap().order, order);
}

async fn what_cannot_be_charged_is_waited_for_and_goes_on<DB: Db>(fixture: Fixture<DB>) {
    let mut shop = Shop::open(fixture).await;
    shop.orders.patience = Duration::from_millis(300);
    let (code, detail) = shop.place("never", new("never", 2), "k1").await.unwrap_err();
    assert_eq!(code, Code::Unavailable);
    assert!(detail.contains("is placed and not decided yet"), "{detail}");
    assert_eq!(shop.in_stock("book").await, 9_999_998);
    // Whoever looks at it reads why, and no card.
    let id = detail.split(' ').find(|word| word.starts_with("o-")).unwrap();
    let happened = shop.orders.sagas.get(id).await.unwrap().history.pop().unwrap();
    let why = Some("payment answered 503 Service Unavailable");
    assert_eq!((&*happened.step, happened.what, happened.failure.as_deref()), ("charge", What::Failed, why));
    let kept = shop.orders.repository.find(id).await.unwrap().unwrap();
    assert!(!format!("{kept:?}").contains("4242"), "{kept:?}");
    shop.orders.patience = PATIENCE;
    assert_eq!(shop.place("u-1", new("u-1", 1), "").await.unwrap().status, Status::Paid);
}

async fn orders_from_before_there_were_sagas_are_finished<DB: Db>(fixture: Fixture<DB>) {
    let shop = Shop::open(fixture).await;
    let order = Order {
        id: "o-1".to_owned(),
        user_id: "u-1".to_owned(),
        // Everything was sold.
        items: of("pen", "u-1", 1).items,
        total: 1999,
        status: Status::Placed,
    };
    let mut tx = sql::begin(shop.orders.repository.pool()).await.unwrap();
    let kept = Kept { order, card: Card("card".to_owned()) };
    assert!(shop.orders.repository.keep(&mut tx, &kept, None).await.unwrap());
    tx.commit().await.unwrap();
    shop.orders.adopt().await.unwrap();
    assert_eq!(shop.orders.finish(kept).await.unwrap().status, Status::Paid);
    shop.orders.adopt().await.unwrap();
    assert_eq!(shop.in_stock("book").await, 10_000_000);
}

async fn a_user_acts_for_itself_only<DB: Db>(fixture: Fixture<DB>) {
    let shop = Shop::open(fixture).await;
    let mine = shop.place("u-1", new("u-1", 1), "k1").await.unwrap();
    let (code, detail) = shop.place("u-2", new("u-1", 1), "k2").await.unwrap_err();
    assert_eq!((code, &*detail), (Code::PermissionDenied, "user_id: an order is placed for oneself only"));
    // Neither by the key of the other's order.
    assert_eq!(shop.place("u-2", new("u-1", 1), "k1").await.unwrap_err().0, Code::PermissionDenied);
    let show = async |subject, id: &str| shop.orders.show(&Subject::new(subject).unwrap(), id).await;
    assert_eq!(show("u-1", &mine.id).await.unwrap(), mine);
    assert_eq!(show("u-2", &mine.id).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(show("u-2", "o-none").await.unwrap_err().code(), Code::NotFound);
}

async fn a_key_is_its_users_own<DB: Db>(fixture: Fixture<DB>) {
    let shop = Shop::open(fixture).await;
    let mine = shop.place("u-1", new("u-1", 1), "k1").await.unwrap();
    assert_eq!(shop.place("u-1", new("u-1", 1), "k1").await.unwrap(), mine);
    let (code, detail) = shop.place("u-1", new("u-1", 2), "k1").await.unwrap_err();
    assert_eq!((code, &*detail), (Code::Unprocessable, "idempotency-key: it named another order already"));
    let others = shop.place("u-2", new("u-2", 2), "k1").await.unwrap();
    assert_ne!(others.id, mine.id);
}

async fn a_database_that_is_busy_is_told_as_passing<DB: Db>(fixture: Fixture<DB>) {
    let shop = Shop::open(fixture).await;
    // Another replica that stands still in the middle of the same request.
    let other = SqlOrders(shop.fixture.open(MIGRATIONS.of::<DB>()).await);
    let mut tx = other.0.begin().await.unwrap();
    let NewOrder { user_id, items } = new("u-1", 2);
    let order = Order { id: "o-1".to_owned(), user_id, items, total: 3998, status: Status::Placed };
    let kept = Kept { order, card: Card("card-4242".to_owned()) };
    assert!(other.keep(&mut tx, &kept, Some(&IdempotencyKey("k1".to_owned()))).await.unwrap());
    let refused = shop.place("u-1", new("u-1", 2), "k1").await.unwrap_err();
    assert_eq!(refused, (Code::Unavailable, "the database cannot take it now, ask again".to_owned()));
    tx.rollback().await.unwrap();
    assert_eq!(shop.place("u-1", new("u-1", 2), "k1").await.unwrap().status, Status::Paid);
}

async fn a_subject_that_is_no_part_of_a_path_places_nothing<DB: Db>(fixture: Fixture<DB>) {
    let shop = Shop::open(fixture).await;
    for user in ["../u", "u?x", "u%2f", &"u".repeat(65)] {
        let (code, detail) = shop.place(user, new(user, 1), "").await.unwrap_err();
        assert_eq!(code, Code::Unprocessable);
        assert!(detail.starts_with("user_id: "), "{detail}");
    }
}

async fn limits_change_for_new_orders_and_leave_those_that_are_placed<DB: Db>(fixture: Fixture<DB>) {
    let mut shop = Shop::open(fixture).await;
    let now = Arc::new(Mutex::new(Arc::new(Limits::default())));
    let current = now.clone();
    shop.orders.limits = Box::new(move || current.lock().unwrap().clone());
    let mine = shop.place("u-1", new("u-1", 3), "k1").await.unwrap();
    *now.lock().unwrap() = Arc::new(serde_json::from_str(r#"{"quantity_max": 2}"#).unwrap());
    let (code, detail) = shop.place("u-1", new("u-1", 3), "k2").await.unwrap_err();
    assert_eq!((code, &*detail), (Code::Unprocessable, "items[0].quantity: 1 to 2"));
    assert_eq!(shop.place("u-1", new("u-1", 3), "k1").await.unwrap(), mine);
    shop.place("u-1", new("u-1", 2), "k2").await.unwrap();
}
