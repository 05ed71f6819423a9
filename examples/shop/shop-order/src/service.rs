//! The rules of placing: each order is kept before it is charged, and charged once.

use axum::http::HeaderMap;
use bowline::{Code, HandlerError, runtime::rand};

use crate::{
    callees::{Payments, Users},
    order::{NewOrder, Order, Status},
    repository::{Kept, OrderRepository},
};

/// The most orders one round of resuming takes up.
const RESUMED_MAX: u32 = 100;
/// An order placed for so long has nobody waiting for it any more.
const ABANDONED_AFTER_MS: i64 = 15_000;

/// Places orders with the help of two other services.
#[derive(Debug)]
pub(crate) struct OrderService<R, U, P> {
    pub(crate) repository: R,
    pub(crate) user: U,
    pub(crate) payment: P,
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
    /// Places an order, or goes on with the one that the same key placed before.
    ///
    /// Two requests with one key may arrive at once, or the second after a crash of whoever served
    /// the first: both find the same kept order, and both ask payment under its id, which charges
    /// once and answers both the same.
    pub(crate) async fn place(&self, new: NewOrder, key: Option<IdempotencyKey>) -> Result<Order, HandlerError> {
        let total = new.total()?;
        if let Some(key) = &key
            && let Some(kept) = self.repository.find_by_key(key).await.map_err(HandlerError::internal)?
        {
            return self.finish(same_request(kept, &new)?).await;
        }
        let Some(card) = self.user.card_of(&new.user_id).await? else {
            return Err(HandlerError::new(Code::Unprocessable, format!("user_id: no user `{}`", new.user_id)));
        };
        let id = format!("o-{:032x}", rand::u128());
        let order = Order { id, user_id: new.user_id.clone(), items: new.items.clone(), total, status: Status::Placed };
        let kept = self.repository.keep(Kept { order, card }, key.as_ref()).await.map_err(HandlerError::internal)?;
        self.finish(same_request(kept, &new)?).await
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

/// A key names one request: the same key with another body is a mistake of the caller.
fn same_request(kept: Kept, new: &NewOrder) -> Result<Kept, HandlerError> {
    if kept.order.user_id == new.user_id && kept.order.items == new.items {
        return Ok(kept);
    }
    Err(HandlerError::new(Code::Unprocessable, "idempotency-key: it named another order already"))
}

#[cfg(test)]
mod tests {
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
        let repository = SqliteOrders::open(&url).await.unwrap();
        for (number, user) in users.iter().enumerate() {
            let items = vec![Item { sku: "book".to_owned(), quantity: 1, unit_price: 1 }];
            let (id, user_id) = (format!("o-{number}"), (*user).to_owned());
            let order = Order { id, user_id, items, total: 1, status: Status::Placed };
            repository.keep(Kept { order, card: "card".to_owned() }, None).await.unwrap();
        }
        OrderService { repository, user: Others, payment: Others }
    }

    async fn status(orders: &OrderService<SqliteOrders, Others, Others>, id: &str) -> Status {
        orders.repository.find(id).await.unwrap().unwrap().order.status
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
