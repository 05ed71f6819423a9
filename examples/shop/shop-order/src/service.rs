//! The rules of placing: each order is kept, with the saga that places it, before anything is done for it.

use std::{fmt, sync::Arc, time::Duration};

use axum::http::HeaderMap;
use bowline::{
    Code, HandlerError,
    extract::Subject,
    runtime::rand,
    sql::{self, Outcome, Sagas},
};
use example_sql::Db;
use serde::Serialize;

use crate::{
    callees::Users,
    limits::Limits,
    order::{NewOrder, Order, Status},
    placing::{self, Placing},
    repository::{Kept, OrderRepository as _, SqlOrders},
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
pub(crate) struct OrderService<DB: Db, U> {
    pub(crate) repository: SqlOrders<DB>,
    pub(crate) sagas: Sagas<DB>,
    pub(crate) user: U,
    pub(crate) limits: CurrentLimits,
    /// How long an answer is waited for, where the request says nothing of time.
    pub(crate) patience: Duration,
}

impl<DB: Db, U> fmt::Debug for OrderService<DB, U> {
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

impl<DB: Db, U: Users> OrderService<DB, U> {
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
        if self.begin(&kept, key.as_ref()).await? {
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
            Some(key) => Ok(self.repository.find_by_key(user_id, key).await?),
            None => Ok(None),
        }
    }

    /// The order of that id, for whose it is.
    pub(crate) async fn show(&self, subject: &Subject, id: &str) -> Result<Order, HandlerError> {
        let kept = self.repository.find(id).await?;
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
        let available = self.repository.stock(sku).await?;
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
        let outcome = self.sagas.finish::<Placing>(&kept.order.id, within).await?;
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
mod tests;
