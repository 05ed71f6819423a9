//! The rules of placing: each order is kept, with the saga that places it, before anything is done for it.

use std::{fmt, sync::Arc, time::Duration};

use axum::http::HeaderMap;
use bowline::{
    Code, HandlerError,
    extract::Subject,
    runtime::rand,
    sql::{self, Outcome, Sagas},
};
use serde::Serialize;
use sqlx::Sqlite;

use crate::{
    callees::Users,
    limits::Limits,
    order::{NewOrder, Order, Status},
    placing::{self, Placing},
    repository::{Kept, OrderRepository as _, SqliteOrders},
};

/// How many orders that are placed are looked at, at the start.
const ADOPTED_MAX: u32 = 10_000;

/// How long an answer is usually waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// The limits that hold now: they may change from one order to the next.
pub(crate) type CurrentLimits = Box<dyn Fn() -> Arc<Limits> + Send + Sync>;

/// How much of an item there is that nobody has ordered.
#[derive(Debug, Serialize)]
pub(crate) struct Stock {
    sku: String,
    available: i64,
}

/// Places orders with the help of two other services. A user acts for itself only.
pub(crate) struct OrderService<U> {
    pub(crate) repository: SqliteOrders,
    pub(crate) sagas: Sagas<Sqlite>,
    pub(crate) user: U,
    pub(crate) limits: CurrentLimits,
    /// How long an answer is waited for, where the request says nothing of time.
    pub(crate) patience: Duration,
}

impl<U> fmt::Debug for OrderService<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderService").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// The caller's name for a request, 1 to 128 visible characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(pub(crate) String);

impl IdempotencyKey {
    /// The key of a request, if it has one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, HandlerError> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        match value.to_str() {
            Ok(key) if (1..=128).contains(&key.len()) => Ok(Some(Self(key.to_owned()))),
            _ => Err(HandlerError::new(Code::InvalidArgument, "idempotency-key: 1 to 128 visible characters")),
        }
    }
}

impl<U: Users> OrderService<U> {
    /// Places an order, or goes on with the one that the user's same key placed before: that one is as it
    /// is, whatever the limits are now.
    ///
    /// Two requests with one key may arrive at once, or the second after a crash of whoever served
    /// the first: both find the same kept order, and wait for the same saga.
    pub(crate) async fn place(
        &self,
        subject: &Subject,
        new: NewOrder,
        key: Option<IdempotencyKey>,
    ) -> Result<Order, HandlerError> {
        if new.user_id != subject.as_str() {
            return Err(HandlerError::new(Code::PermissionDenied, "user_id: an order is placed for oneself only"));
        }
        check_user_id(&new.user_id)?;
        if let Some(kept) = self.find_by_key(&new.user_id, key.as_ref()).await? {
            return self.finish(same_request(kept, &new)?).await;
        }
        let total = (self.limits)().total(&new.items)?;
        let Some(card) = self.user.card_of(&new.user_id).await? else {
            return Err(HandlerError::new(Code::Unprocessable, format!("user_id: no user `{}`", new.user_id)));
        };
        let id = format!("o-{:032x}", rand::u128());
        let order = Order { id, user_id: new.user_id.clone(), items: new.items.clone(), total, status: Status::Placed };
        let kept = Kept { order, card };
        if self.begin(&kept, key.as_ref()).await.map_err(HandlerError::internal)? {
            return self.finish(kept).await;
        }
        let kept = self.find_by_key(&new.user_id, key.as_ref()).await?;
        let kept = kept.ok_or_else(|| HandlerError::internal("a key is taken by no order"))?;
        self.finish(same_request(kept, &new)?).await
    }

    /// Keeps an order and the saga that places it, as one; whether it did: its key may have one already.
    async fn begin(&self, kept: &Kept, key: Option<&IdempotencyKey>) -> Result<bool, sql::Error> {
        let mut tx = sql::begin(self.repository.pool()).await?;
        if !self.repository.keep(&mut tx, kept, key).await? {
            return Ok(false);
        }
        let placing = Placing { kept: kept.clone(), is_declined: false };
        self.sagas.begin(&mut tx, placing::NAME, &kept.order.id, &placing).await?;
        self.sagas.commit(tx).await?;
        Ok(true)
    }

    async fn find_by_key(&self, user_id: &str, key: Option<&IdempotencyKey>) -> Result<Option<Kept>, HandlerError> {
        match key {
            Some(key) => self.repository.find_by_key(user_id, key).await.map_err(HandlerError::internal),
            None => Ok(None),
        }
    }

    /// The order of that id, for whose it is.
    pub(crate) async fn show(&self, subject: &Subject, id: &str) -> Result<Order, HandlerError> {
        let kept = self.repository.find(id).await.map_err(HandlerError::internal)?;
        let Some(Kept { order, .. }) = kept else {
            return Err(HandlerError::new(Code::NotFound, format!("no order `{id}`")));
        };
        // Ids cannot be guessed: that there is one with this id tells nobody anything.
        if order.user_id != subject.as_str() {
            return Err(HandlerError::new(Code::PermissionDenied, "this order is another's"));
        }
        Ok(order)
    }

    /// How much of an item there is.
    pub(crate) async fn stock(&self, sku: &str) -> Result<Stock, HandlerError> {
        let available = self.repository.stock(sku).await.map_err(HandlerError::internal)?;
        let unknown = || HandlerError::new(Code::NotFound, format!("no item `{sku}`"));
        available.map(|available| Stock { sku: sku.to_owned(), available }).ok_or_else(unknown)
    }

    /// Begins the sagas of orders that were placed before there were any.
    pub(crate) async fn adopt(&self) -> Result<(), sql::Error> {
        for kept in self.repository.placed(ADOPTED_MAX).await? {
            let mut tx = sql::begin(self.repository.pool()).await?;
            let (id, placing) = (kept.order.id.clone(), Placing { kept, is_declined: false });
            match self.sagas.begin(&mut tx, placing::BEFORE_STOCK, &id, &placing).await {
                Ok(_) => self.sagas.commit(tx).await?,
                // It has one.
                Err(sql::Error::Taken { .. }) => drop(tx),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the end of an order's saga, as long as the request may take; it goes on after that.
    async fn finish(&self, kept: Kept) -> Result<Order, HandlerError> {
        if kept.order.status != Status::Placed {
            return Ok(kept.order);
        }
        // A moment is left to answer in.
        let within = bowline::time_left().unwrap_or(self.patience).mul_f64(0.9);
        let outcome = self.sagas.finish::<Placing>(&kept.order.id, within).await.map_err(HandlerError::internal)?;
        let status = match outcome {
            Outcome::Done(_) => Status::Paid,
            Outcome::Compensated { data: Placing { is_declined: true, .. }, .. } => Status::Declined,
            Outcome::Compensated { .. } => Status::Cancelled,
            Outcome::StillRunning => {
                let detail = format!("the order {} is placed and not decided yet: look at it later", kept.order.id);
                return Err(HandlerError::new(Code::Unavailable, detail));
            }
        };
        Ok(Order { status, ..kept.order })
    }
}

/// An id becomes part of a path, at `user`.
fn check_user_id(user_id: &str) -> Result<(), HandlerError> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&user_id.len()) && user_id.bytes().all(is_safe) {
        return Ok(());
    }
    Err(HandlerError::new(Code::Unprocessable, "user_id: 1 to 64 letters, digits, - and _"))
}

/// A key names one request: the same key with another body is a mistake of the caller.
fn same_request(kept: Kept, new: &NewOrder) -> Result<Kept, HandlerError> {
    if kept.order.user_id == new.user_id && kept.order.items == new.items {
        return Ok(kept);
    }
    Err(HandlerError::new(Code::Unprocessable, "idempotency-key: it named another order already"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::http::StatusCode;
    use bowline::{Database, Microservice, Settings, client, sql::What};

    use super::*;
    use crate::{
        callees::{Charged, Payments},
        card::Card,
        order::Item,
        placing::Topics,
    };

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

    struct Shop {
        orders: OrderService<Everybody>,
        payment: Arc<Payment>,
        _dir: tempfile::TempDir,
    }

    impl Shop {
        async fn open() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", dir.path().join("order.db").display());
            let repository = SqliteOrders::open(Database::at(&url)).await.unwrap();
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
                _dir: dir,
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
            let select = sqlx::query_scalar("SELECT topic FROM bowline_outbox ORDER BY rowid");
            select.fetch_all(self.orders.repository.pool()).await.unwrap()
        }
    }

    fn new(user_id: &str, quantity: i64) -> NewOrder {
        of("book", user_id, quantity)
    }

    fn of(sku: &str, user_id: &str, quantity: i64) -> NewOrder {
        let items = vec![Item { sku: sku.to_owned(), quantity, unit_price: 1999 }];
        NewOrder { user_id: user_id.to_owned(), items }
    }

    #[tokio::test]
    async fn an_order_takes_from_the_stock_and_is_told() {
        let shop = Shop::open().await;
        let order = shop.place("u-1", new("u-1", 2), "k1").await.unwrap();
        assert_eq!((order.status, order.total), (Status::Paid, 3998));
        assert_eq!(shop.in_stock("book").await, 9_999_998);
        assert_eq!(shop.told().await, ["order.placed", "order.paid"]);
        assert_eq!(*shop.payment.asked.lock().unwrap(), ["charge u-1"]);
        // Asked again, nothing more is done.
        assert_eq!(shop.place("u-1", new("u-1", 2), "k1").await.unwrap(), order);
        assert_eq!((shop.in_stock("book").await, shop.told().await.len()), (9_999_998, 2));
    }

    #[tokio::test]
    async fn what_is_not_in_stock_is_cancelled_and_what_was_taken_is_put_back() {
        let shop = Shop::open().await;
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

    #[tokio::test]
    async fn what_the_bank_declines_is_put_back_and_not_taken_back() {
        let shop = Shop::open().await;
        let order = shop.place("declined", new("declined", 2), "k1").await.unwrap();
        assert_eq!(order.status, Status::Declined);
        assert_eq!(shop.in_stock("book").await, 10_000_000);
        assert_eq!(shop.told().await, ["order.placed", "order.cancelled"]);
        assert_eq!(*shop.payment.asked.lock().unwrap(), ["charge declined"]);
        assert_eq!(shop.orders.repository.find(&order.id).await.unwrap().unwrap().order, order);
    }

    #[tokio::test]
    async fn what_cannot_be_charged_is_waited_for_and_goes_on() {
        let mut shop = Shop::open().await;
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

    #[tokio::test]
    async fn orders_from_before_there_were_sagas_are_finished() {
        let shop = Shop::open().await;
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

    #[tokio::test]
    async fn a_user_acts_for_itself_only() {
        let shop = Shop::open().await;
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

    #[tokio::test]
    async fn a_key_is_its_users_own() {
        let shop = Shop::open().await;
        let mine = shop.place("u-1", new("u-1", 1), "k1").await.unwrap();
        assert_eq!(shop.place("u-1", new("u-1", 1), "k1").await.unwrap(), mine);
        let (code, detail) = shop.place("u-1", new("u-1", 2), "k1").await.unwrap_err();
        assert_eq!((code, &*detail), (Code::Unprocessable, "idempotency-key: it named another order already"));
        let others = shop.place("u-2", new("u-2", 2), "k1").await.unwrap();
        assert_ne!(others.id, mine.id);
    }

    #[tokio::test]
    async fn a_subject_that_is_no_part_of_a_path_places_nothing() {
        let shop = Shop::open().await;
        for user in ["../u", "u?x", "u%2f", &"u".repeat(65)] {
            let (code, detail) = shop.place(user, new(user, 1), "").await.unwrap_err();
            assert_eq!(code, Code::Unprocessable);
            assert!(detail.starts_with("user_id: "), "{detail}");
        }
    }

    #[tokio::test]
    async fn limits_change_for_new_orders_and_leave_those_that_are_placed() {
        let mut shop = Shop::open().await;
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
}
