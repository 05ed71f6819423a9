//! The rules of charging.

use axum::http::StatusCode;
use bowline::{Code, HandlerError, ServiceClient};
use serde::{Deserialize, Serialize};

use crate::repository::{Charge, ChargeRepository, Status};

/// Charges cards; the bank has the last word.
#[derive(Debug)]
pub(crate) struct PaymentService<R, B> {
    pub(crate) repository: R,
    pub(crate) bank: B,
}

/// What is asked of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCharge {
    /// The order, which is charged at most once.
    pub(crate) order_id: String,
    pub(crate) card: String,
    /// In minor units.
    pub(crate) amount: i64,
}

/// Who moves the money.
pub(crate) trait Bank: Send + Sync {
    /// Asks for a charge's transfer; the bank decides once, however often it is asked.
    fn decide(&self, charge: &Charge) -> impl Future<Output = Result<Status, HandlerError>> + Send;
}

#[derive(Debug, Serialize)]
struct Transfer<'a> {
    reference: &'a str,
    card: &'a str,
    amount: i64,
}

#[derive(Debug, Deserialize)]
struct Decision {
    status: String,
}

impl Bank for ServiceClient {
    async fn decide(&self, charge: &Charge) -> Result<Status, HandlerError> {
        let transfer = Transfer { reference: &charge.order_id, card: &charge.card, amount: charge.amount };
        let call = self.post("/transfers").idempotency_key(&charge.order_id).body(&transfer);
        match call.json::<Decision>().await {
            Ok(decision) if decision.status == "settled" => Ok(Status::Approved),
            Ok(_) => Ok(Status::Declined),
            Err(error) if is_refusal(error.status()) => {
                tracing::warn!(order = charge.order_id, %error, "the bank refused a transfer");
                Ok(Status::Declined)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether an answer says that the bank will never make this transfer: asking again changes nothing.
fn is_refusal(status: Option<StatusCode>) -> bool {
    let is_for_now = |status| matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    status.is_some_and(|status| status.is_client_error() && !is_for_now(status))
}

impl NewCharge {
    fn validate(&self) -> Result<(), HandlerError> {
        let refuse = |detail: &str| Err(HandlerError::new(Code::Unprocessable, detail));
        if self.order_id.is_empty() || self.order_id.len() > 128 {
            return refuse("order_id: 1 to 128 characters");
        }
        if self.card.is_empty() || self.card.len() > 64 {
            return refuse("card: 1 to 64 characters");
        }
        if self.amount < 1 {
            return refuse("amount: at least 1 minor unit");
        }
        Ok(())
    }
}

impl<R: ChargeRepository, B: Bank> PaymentService<R, B> {
    /// Charges an order. Asking again, at once or after a crash of anybody, charges nothing more:
    /// whoever finds the charge pending asks the bank under the same reference and gets its answer.
    pub(crate) async fn charge(&self, new: NewCharge) -> Result<Charge, HandlerError> {
        new.validate()?;
        let charge = self.repository.begin(&new).await.map_err(HandlerError::internal)?;
        if charge.card != new.card || charge.amount != new.amount {
            return Err(HandlerError::new(Code::Conflict, "order_id: it was charged with another card or amount"));
        }
        if charge.status != Status::Pending {
            return Ok(charge);
        }
        let status = self.bank.decide(&charge).await?;
        self.repository.end(&charge.order_id, status).await.map_err(HandlerError::internal)?;
        Ok(Charge { status, ..charge })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_bank_is_its_decision() {
        let is_refusal = |status| is_refusal(Some(StatusCode::from_u16(status).unwrap()));
        for status in [400, 404, 409, 413, 422] {
            assert!(is_refusal(status), "{status}");
        }
        for status in [200, 302, 408, 429, 500, 502, 503, 504] {
            assert!(!is_refusal(status), "{status}");
        }
        assert!(!super::is_refusal(None));
    }

    #[test]
    fn charges_are_checked() {
        let good = NewCharge { order_id: "o-1".to_owned(), card: "c".to_owned(), amount: 1 };
        assert!(good.validate().is_ok());
        assert!(NewCharge { amount: 0, ..good.clone() }.validate().is_err());
        assert!(NewCharge { card: String::new(), ..good.clone() }.validate().is_err());
        assert!(NewCharge { order_id: "x".repeat(129), ..good }.validate().is_err());
    }
}
