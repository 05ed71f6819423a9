//! The rules of placing: each order is kept before it is charged, and charged once.

use axum::http::{HeaderMap, StatusCode};
use bowline::{Code, HandlerError, ServiceClient, runtime::rand};
use serde::{Deserialize, Serialize};

use crate::{
    order::{NewOrder, Order, Status},
    repository::{Kept, OrderRepository},
};

/// The most orders one round of resuming takes up.
const RESUMED_MAX: u32 = 100;
/// An order placed for so long has nobody waiting for it any more.
const ABANDONED_AFTER_MS: i64 = 15_000;

/// Places orders with the help of two other services.
#[derive(Debug)]
pub(crate) struct OrderService<R> {
    pub(crate) repository: R,
    pub(crate) user: ServiceClient,
    pub(crate) payment: ServiceClient,
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

#[derive(Debug, Deserialize)]
struct User {
    card: String,
}

#[derive(Debug, Serialize)]
struct NewCharge<'a> {
    order_id: &'a str,
    card: &'a str,
    amount: i64,
}

#[derive(Debug, Deserialize)]
struct Charge {
    status: String,
}

impl<R: OrderRepository> OrderService<R> {
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
        let card = self.card_of(&new.user_id).await?;
        let id = format!("o-{:032x}", rand::u128());
        let order = Order { id, user_id: new.user_id.clone(), items: new.items.clone(), total, status: Status::Placed };
        let kept = self.repository.keep(Kept { order, card }, key.as_ref()).await.map_err(HandlerError::internal)?;
        self.finish(same_request(kept, &new)?).await
    }

    /// Finishes the orders that nobody waits for any more.
    pub(crate) async fn resume(&self) -> Result<(), HandlerError> {
        let abandoned = self.repository.placed_before(ABANDONED_AFTER_MS, RESUMED_MAX).await;
        for kept in abandoned.map_err(HandlerError::internal)? {
            self.finish(kept).await?;
        }
        Ok(())
    }

    async fn card_of(&self, user_id: &str) -> Result<String, HandlerError> {
        match self.user.get(&format!("/users/{user_id}")).json::<User>().await {
            Ok(user) => Ok(user.card),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
                Err(HandlerError::new(Code::Unprocessable, format!("user_id: no user `{user_id}`")))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn finish(&self, kept: Kept) -> Result<Order, HandlerError> {
        let Kept { mut order, card } = kept;
        if order.status != Status::Placed {
            return Ok(order);
        }
        let charge = NewCharge { order_id: &order.id, card: &card, amount: order.total };
        let call = self.payment.post("/charges").idempotency_key(&order.id).body(&charge);
        let charge: Charge = call.json().await?;
        let status = if charge.status == "approved" { Status::Paid } else { Status::Declined };
        self.repository.mark(&order.id, status).await.map_err(HandlerError::internal)?;
        order.status = status;
        Ok(order)
    }
}

/// A key names one request: the same key with another body is a mistake of the caller.
fn same_request(kept: Kept, new: &NewOrder) -> Result<Kept, HandlerError> {
    if kept.order.user_id == new.user_id && kept.order.items == new.items {
        return Ok(kept);
    }
    Err(HandlerError::new(Code::Unprocessable, "idempotency-key: it named another order already"))
}
