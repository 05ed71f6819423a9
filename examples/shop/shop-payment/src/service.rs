//! The rules of charging.

use bowline::{Code, HandlerError, ServiceClient};
use serde::{Deserialize, Serialize};

use crate::repository::{Charge, ChargeRepository, Status};

/// Charges cards; the bank has the last word.
#[derive(Debug)]
pub(crate) struct PaymentService<R> {
    pub(crate) repository: R,
    pub(crate) bank: ServiceClient,
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

impl<R: ChargeRepository> PaymentService<R> {
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
        let transfer = Transfer { reference: &charge.order_id, card: &charge.card, amount: charge.amount };
        let call = self.bank.post("/transfers").idempotency_key(&charge.order_id).body(&transfer);
        let decision: Decision = call.json().await?;
        let status = if decision.status == "settled" { Status::Approved } else { Status::Declined };
        self.repository.end(&charge.order_id, status).await.map_err(HandlerError::internal)?;
        Ok(Charge { status, ..charge })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_checked() {
        let good = NewCharge { order_id: "o-1".to_owned(), card: "c".to_owned(), amount: 1 };
        assert!(good.validate().is_ok());
        assert!(NewCharge { amount: 0, ..good.clone() }.validate().is_err());
        assert!(NewCharge { card: String::new(), ..good.clone() }.validate().is_err());
        assert!(NewCharge { order_id: "x".repeat(129), ..good }.validate().is_err());
    }
}
