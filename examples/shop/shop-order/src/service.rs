//! The rules of placing: each order is kept before it is charged, and charged once.

use std::{fmt, sync::Arc};

use axum::http::HeaderMap;
use bowline::{Code, HandlerError, extract::Subject, runtime::rand};

use crate::{
    callees::{Payments, Users},
    limits::Limits,
    order::{NewOrder, Order, Status},
    repository::{Kept, OrderRepository},
};

/// The most orders one round of resuming takes up.
const RESUMED_MAX: u32 = 100;
/// An order placed for so long has nobody waiting for it any more.
const ABANDONED_AFTER_MS: i64 = 15_000;

/// The limits that hold now: they may change from one order to the next.
pub(crate) type CurrentLimits = Box<dyn Fn() -> Arc<Limits> + Send + Sync>;

/// Places orders with the help of two other services. A user acts for itself only.
pub(crate) struct OrderService<R, U, P> {
    pub(crate) repository: R,
    pub(crate) user: U,
    pub(crate) payment: P,
    pub(crate) limits: CurrentLimits,
}

impl<R: fmt::Debug, U, P> fmt::Debug for OrderService<R, U, P> {
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

impl<R: OrderRepository, U: Users, P: Payments> OrderService<R, U, P> {
    /// Places an order, or goes on with the one that the user's same key placed before: that one is as it
    /// is, whatever the limits are now.
    ///
    /// Two requests with one key may arrive at once, or the second after a crash of whoever served
    /// the first: both find the same kept order, and both ask payment under its id, which charges
    /// once and answers both the same.
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
        if let Some(key) = &key
            && let Some(kept) = self.repository.find_by_key(&new.user_id, key).await.map_err(HandlerError::internal)?
        {
            return self.finish(same_request(kept, &new)?).await;
        }
        let total = (self.limits)().total(&new.items)?;
        let Some(card) = self.user.card_of(&new.user_id).await? else {
            return Err(HandlerError::new(Code::Unprocessable, format!("user_id: no user `{}`", new.user_id)));
        };
        let id = format!("o-{:032x}", rand::u128());
        let order = Order { id, user_id: new.user_id.clone(), items: new.items.clone(), total, status: Status::Placed };
        let kept = self.repository.keep(Kept { order, card }, key.as_ref()).await.map_err(HandlerError::internal)?;
        self.finish(same_request(kept, &new)?).await
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

    /// Finishes the orders that nobody waits for any more.
    ///
    /// One that cannot be finished keeps no other from it: the round goes on, and the next begins
    /// with those that were not tried for the longest time. The error is the last one.
    pub(crate) async fn resume(&self) -> Result<(), HandlerError> {
        self.resume_some(ABANDONED_AFTER_MS, RESUMED_MAX).await
    }

    async fn resume_some(&self, age_ms: i64, limit: u32) -> Result<(), HandlerError> {
        let abandoned = self.repository.placed_before(age_ms, limit).await;
        let mut resumed = Ok(());
        for kept in abandoned.map_err(HandlerError::internal)? {
            self.repository.note_try(&kept.order.id).await.map_err(HandlerError::internal)?;
            resumed = self.finish(kept).await.map(drop).and(resumed);
        }
        resumed
    }

    async fn finish(&self, kept: Kept) -> Result<Order, HandlerError> {
        if kept.order.status != Status::Placed {
            return Ok(kept.order);
        }
        let status = self.payment.charge(&kept).await?;
        self.repository.mark(&kept.order.id, status).await.map_err(HandlerError::internal)?;
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
    use bowline::Database;

    use super::*;
    use crate::{order::Item, repository::SqliteOrders};

    /// Knows everybody, and charges everything but the orders of one user.
    struct Others;

    impl Users for Others {
        async fn card_of(&self, _: &str) -> Result<Option<String>, HandlerError> {
            Ok(Some("card".to_owned()))
        }
    }

    impl Payments for Others {
        async fn charge(&self, kept: &Kept) -> Result<Status, HandlerError> {
            match kept.order.user_id.as_str() {
                "never" => Err(HandlerError::new(Code::Internal, "never")),
                _ => Ok(Status::Paid),
            }
        }
    }

    async fn placed(dir: &tempfile::TempDir, users: &[&str]) -> OrderService<SqliteOrders, Others, Others> {
        let url = format!("sqlite://{}", dir.path().join("order.db").display());
        let repository = SqliteOrders::open(Database::at(&url)).await.unwrap();
        for (number, user) in users.iter().enumerate() {
            let items = vec![Item { sku: "book".to_owned(), quantity: 1, unit_price: 1 }];
            let (id, user_id) = (format!("o-{number}"), (*user).to_owned());
            let order = Order { id, user_id, items, total: 1, status: Status::Placed };
            repository.keep(Kept { order, card: "card".to_owned() }, None).await.unwrap();
        }
        let limits = Arc::new(Limits::default());
        OrderService { repository, user: Others, payment: Others, limits: Box::new(move || limits.clone()) }
    }

    async fn status(orders: &OrderService<SqliteOrders, Others, Others>, id: &str) -> Status {
        orders.repository.find(id).await.unwrap().unwrap().order.status
    }

    fn new(user_id: &str, quantity: i64) -> NewOrder {
        let items = vec![Item { sku: "book".to_owned(), quantity, unit_price: 1999 }];
        NewOrder { user_id: user_id.to_owned(), items }
    }

    async fn place(
        orders: &OrderService<SqliteOrders, Others, Others>,
        subject: &str,
        new: NewOrder,
        key: &str,
    ) -> Result<Order, (Code, String)> {
        let key = (!key.is_empty()).then(|| IdempotencyKey(key.to_owned()));
        let placed = orders.place(&Subject::new(subject).unwrap(), new, key).await;
        placed.map_err(|error| (error.code(), error.to_string()))
    }

    #[tokio::test]
    async fn a_user_acts_for_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        let orders = placed(&dir, &[]).await;
        let mine = place(&orders, "u-1", new("u-1", 1), "k1").await.unwrap();
        let (code, detail) = place(&orders, "u-2", new("u-1", 1), "k2").await.unwrap_err();
        assert_eq!((code, &*detail), (Code::PermissionDenied, "user_id: an order is placed for oneself only"));
        // Neither by the key of the other's order.
        assert_eq!(place(&orders, "u-2", new("u-1", 1), "k1").await.unwrap_err().0, Code::PermissionDenied);
        let show = async |subject, id: &str| orders.show(&Subject::new(subject).unwrap(), id).await;
        assert_eq!(show("u-1", &mine.id).await.unwrap(), mine);
        assert_eq!(show("u-2", &mine.id).await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(show("u-2", "o-none").await.unwrap_err().code(), Code::NotFound);
    }

    #[tokio::test]
    async fn a_key_is_its_users_own() {
        let dir = tempfile::tempdir().unwrap();
        let orders = placed(&dir, &[]).await;
        let mine = place(&orders, "u-1", new("u-1", 1), "k1").await.unwrap();
        assert_eq!(place(&orders, "u-1", new("u-1", 1), "k1").await.unwrap(), mine);
        let (code, detail) = place(&orders, "u-1", new("u-1", 2), "k1").await.unwrap_err();
        assert_eq!((code, &*detail), (Code::Unprocessable, "idempotency-key: it named another order already"));
        let others = place(&orders, "u-2", new("u-2", 2), "k1").await.unwrap();
        assert_ne!(others.id, mine.id);
    }

    #[tokio::test]
    async fn a_subject_that_is_no_part_of_a_path_places_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let orders = placed(&dir, &[]).await;
        for user in ["../u", "u?x", "u%2f", &"u".repeat(65)] {
            let (code, detail) = place(&orders, user, new(user, 1), "").await.unwrap_err();
            assert_eq!(code, Code::Unprocessable);
            assert!(detail.starts_with("user_id: "), "{detail}");
        }
    }

    #[tokio::test]
    async fn limits_change_for_new_orders_and_leave_those_that_are_placed() {
        let dir = tempfile::tempdir().unwrap();
        let mut orders = placed(&dir, &[]).await;
        let now = Arc::new(std::sync::Mutex::new(Arc::new(Limits::default())));
        let current = now.clone();
        orders.limits = Box::new(move || current.lock().unwrap().clone());
        let mine = place(&orders, "u-1", new("u-1", 3), "k1").await.unwrap();
        *now.lock().unwrap() = Arc::new(serde_json::from_str(r#"{"quantity_max": 2}"#).unwrap());
        let (code, detail) = place(&orders, "u-1", new("u-1", 3), "k2").await.unwrap_err();
        assert_eq!((code, &*detail), (Code::Unprocessable, "items[0].quantity: 1 to 2"));
        assert_eq!(place(&orders, "u-1", new("u-1", 3), "k1").await.unwrap(), mine);
        place(&orders, "u-1", new("u-1", 2), "k2").await.unwrap();
    }

    #[tokio::test]
    async fn an_order_that_fails_for_good_keeps_no_other_from_being_finished() {
        let dir = tempfile::tempdir().unwrap();
        let orders = placed(&dir, &["never", "u-1"]).await;
        assert_eq!(orders.resume_some(0, 10).await.unwrap_err().to_string(), "never");
        assert_eq!(status(&orders, "o-0").await, Status::Placed);
        assert_eq!(status(&orders, "o-1").await, Status::Paid);
    }

    #[tokio::test]
    async fn more_orders_that_fail_for_good_than_one_round_takes_starve_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let orders = placed(&dir, &["never", "never", "u-1"]).await;
        for _ in 0..2 {
            orders.resume_some(0, 2).await.unwrap_err();
        }
        assert_eq!(status(&orders, "o-2").await, Status::Paid);
    }
}
