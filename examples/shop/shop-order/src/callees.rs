//! The services that orders are placed with, as this service sees them.

use axum::http::StatusCode;
use bowline::{HandlerError, ServiceClient};
use serde::{Deserialize, Serialize};

use crate::{order::Status, repository::Kept};

/// Who knows the customers.
pub(crate) trait Users: Send + Sync {
    /// The card of a user; none if there is no such user.
    fn card_of(&self, user_id: &str) -> impl Future<Output = Result<Option<String>, HandlerError>> + Send;
}

/// Who charges cards.
pub(crate) trait Payments: Send + Sync {
    /// Charges an order, once however often it is asked to; the order's status from then on.
    fn charge(&self, kept: &Kept) -> impl Future<Output = Result<Status, HandlerError>> + Send;
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

impl Users for ServiceClient {
    async fn card_of(&self, user_id: &str) -> Result<Option<String>, HandlerError> {
        match self.get(&format!("/users/{user_id}")).json::<User>().await {
            Ok(user) => Ok(Some(user.card)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Payments for ServiceClient {
    async fn charge(&self, Kept { order, card }: &Kept) -> Result<Status, HandlerError> {
        let charge = NewCharge { order_id: &order.id, card, amount: order.total };
        let call = self.post("/charges").idempotency_key(&order.id).body(&charge);
        let charge: Charge = call.json().await?;
        Ok(if charge.status == "approved" { Status::Paid } else { Status::Declined })
    }
}
