//! The services that orders are placed with, as this service sees them.

use std::time::Duration;

use axum::http::{HeaderName, StatusCode};
use bowline::{
    HandlerError, Microservice, ServiceClient,
    cache::{BuildError, Cache},
    client,
};
use serde::{Deserialize, Serialize};

use crate::{card::Card, repository::Kept};

/// For how long it is believed that there is no such user.
const NOBODY_FOR: Duration = Duration::from_secs(5);
/// For how long a profile is served after its time while `user` does not answer.
const STALE_FOR: Duration = Duration::from_hours(1);

/// Where `user` has more to do than it can, it turns away who signs in before who has a basket to pay.
const PRIORITY: HeaderName = HeaderName::from_static("x-bowline-priority");

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
pub(crate) struct User {
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

/// What `user` knows, kept until it says that it changed.
pub(crate) struct CachedUsers {
    user: ServiceClient,
    profiles: Cache<String, User>,
}

/// A user whose profile changed.
#[derive(Debug, Deserialize)]
struct Changed {
    user_id: String,
}

impl CachedUsers {
    /// Profiles are good until `user.changed` says otherwise. While `user` is away, customers whose card is known can
    /// still buy. Who is unknown may sign up at any moment.
    pub(crate) fn new(service: &Microservice) -> Result<Self, BuildError> {
        let profiles = service
            .cache("user-profile")
            .with(|cache| cache.nothing_for(NOBODY_FOR).stale_if_error(STALE_FOR).adaptive())
            .invalidated_by("user.changed", |changed: Changed| [changed.user_id])
            .build()?;
        Ok(Self { user: service.client("user"), profiles })
    }
}

impl Users for CachedUsers {
    async fn card_of(&self, user_id: &str) -> Result<Option<Card>, HandlerError> {
        let load = || {
            let (user, path) = (self.user.clone(), format!("/users/{user_id}"));
            async move {
                match user.get(&path).header(PRIORITY, "high").json::<User>().await {
                    Ok(user) => Ok(Some(user)),
                    Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        };
        let user = self.profiles.get_or_load(user_id, load).await?;
        Ok(user.map(|user| user.card.clone()))
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
