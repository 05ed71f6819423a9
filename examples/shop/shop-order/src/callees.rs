//! The services that orders are placed with, as this service sees them.

use axum::http::StatusCode;
use bowline::{HandlerError, ServiceClient, client};
use serde::{Deserialize, Serialize};

use crate::{card::Card, repository::Kept};

/// Who knows the customers.
pub(crate) trait Users: Send + Sync {
    /// The card of a user; none if there is no such user.
    fn card_of(&self, user_id: &str) -> impl Future<Output = Result<Option<Card>, HandlerError>> + Send;
}

/// Who charges cards. Why it did not is kept with the saga, in the words of the call.
pub(crate) trait Payments: Send + Sync {
    /// Charges an order, once however often it is asked to.
    fn charge(&self, kept: &Kept) -> impl Future<Output = Result<Charged, client::Error>> + Send;

    /// Takes an order's charge back, also one that is still to come.
    fn refund(&self, order_id: &str) -> impl Future<Output = Result<(), client::Error>> + Send;
}

/// What became of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charged {
    /// The bank moved the money.
    Approved,
    /// It did not, and will not.
    Declined,
}

#[derive(Debug, Deserialize)]
struct User {
    card: Card,
}

#[derive(Debug, Serialize)]
struct NewCharge<'a> {
    order_id: &'a str,
    card: &'a Card,
    amount: i64,
}

#[derive(Debug, Deserialize)]
struct Charge {
    status: String,
}

impl Users for ServiceClient {
    async fn card_of(&self, user_id: &str) -> Result<Option<Card>, HandlerError> {
        match self.get(&format!("/users/{user_id}")).json::<User>().await {
            Ok(user) => Ok(Some(user.card)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Payments for ServiceClient {
    async fn charge(&self, Kept { order, card }: &Kept) -> Result<Charged, client::Error> {
        let charge = NewCharge { order_id: &order.id, card, amount: order.total };
        let call = self.post("/charges").idempotency_key(&order.id).body(&charge);
        let charge: Charge = call.json().await?;
        Ok(if charge.status == "approved" { Charged::Approved } else { Charged::Declined })
    }

    async fn refund(&self, order_id: &str) -> Result<(), client::Error> {
        let call = self.post(&format!("/charges/{order_id}/refund")).idempotency_key(order_id);
        call.bytes().await.map(drop)
    }
}
