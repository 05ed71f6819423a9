//! The rules of charging.

use axum::http::StatusCode;
use bowline::{Code, HandlerError, ServiceClient};
use serde::{Deserialize, Serialize};

use crate::{
    card::Card,
    repository::{Charge, ChargeRepository, Status},
};

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
    pub(crate) card: Card,
    /// In minor units.
    pub(crate) amount: i64,
}

/// Who moves the money.
pub(crate) trait Bank: Send + Sync {
    /// Asks for a charge's transfer; the bank decides once, however often it is asked.
    fn decide(&self, charge: &Charge) -> impl Future<Output = Result<Status, HandlerError>> + Send;

    /// Takes an order's transfer back, also one that is still to come.
    fn reverse(&self, order_id: &str) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

#[derive(Debug, Serialize)]
struct Transfer<'a> {
    reference: &'a str,
    card: &'a Card,
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

    async fn reverse(&self, order_id: &str) -> Result<(), HandlerError> {
        let call = self.post(&format!("/transfers/{order_id}/reversal")).idempotency_key(order_id);
        call.bytes().await.map(drop).map_err(HandlerError::from)
    }
}

/// Whether an answer says that the bank will never make this transfer: asking again changes nothing.
fn is_refusal(status: Option<StatusCode>) -> bool {
    // Others, as 403 and 404, may come from whoever stands before the bank, which may have settled it before.
    let of_bank = [
        StatusCode::BAD_REQUEST,
        StatusCode::CONFLICT,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    status.is_some_and(|status| of_bank.contains(&status))
}

impl NewCharge {
    fn validate(&self) -> Result<(), HandlerError> {
        let refuse = |detail: &str| Err(HandlerError::new(Code::Unprocessable, detail));
        check_order_id(&self.order_id)?;
        if self.card.0.is_empty() || self.card.0.len() > 64 {
            return refuse("card: 1 to 64 characters");
        }
        if self.amount < 1 {
            return refuse("amount: at least 1 minor unit");
        }
        Ok(())
    }
}

/// An id becomes part of a path, at the bank.
fn check_order_id(order_id: &str) -> Result<(), HandlerError> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=128).contains(&order_id.len()) && order_id.bytes().all(is_safe) {
        return Ok(());
    }
    Err(HandlerError::new(Code::Unprocessable, "order_id: 1 to 128 letters, digits, - and _"))
}

impl<R: ChargeRepository, B: Bank> PaymentService<R, B> {
    /// Charges an order. Asking again, at once or after a crash of anybody, charges nothing more:
    /// whoever finds the charge pending asks the bank under the same reference and gets its answer.
    pub(crate) async fn charge(&self, new: NewCharge) -> Result<Charge, HandlerError> {
        new.validate()?;
        let charge = self.repository.begin(&new).await?;
        if matches!(charge.status, Status::Refunding | Status::Refunded) {
            return Ok(charge);
        }
        if charge.card != new.card || charge.amount != new.amount {
            return Err(HandlerError::new(Code::Conflict, "order_id: it was charged with another card or amount"));
        }
        if charge.status != Status::Pending {
            return Ok(charge);
        }
        let status = self.bank.decide(&charge).await?;
        self.repository.end(&charge.order_id, status).await?;
        // It may have been taken back meanwhile.
        self.find(&charge.order_id).await
    }

    /// Takes an order's charge back, or sees to it that none is made. Asking again changes nothing.
    pub(crate) async fn refund(&self, order_id: &str) -> Result<Charge, HandlerError> {
        check_order_id(order_id)?;
        let charge = self.repository.begin_refund(order_id).await?;
        if charge.status != Status::Refunding {
            return Ok(charge);
        }
        self.bank.reverse(order_id).await?;
        self.repository.end_refund(order_id).await?;
        self.find(order_id).await
    }

    /// The charge of an order.
    pub(crate) async fn find(&self, order_id: &str) -> Result<Charge, HandlerError> {
        let charge = self.repository.find(order_id).await?;
        charge.ok_or_else(|| HandlerError::new(Code::NotFound, format!("no charge for order `{order_id}`")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use example_sql::{Db, Statement, on_both, testing::Fixture};

    use super::*;
    use crate::repository::{MIGRATIONS, SqlCharges};

    on_both!(
        a_charge_is_taken_back_once_the_bank_has_and_not_made_again,
        a_charge_that_comes_after_it_was_taken_back_is_not_made,
        a_database_that_is_busy_is_told_as_passing,
        no_answer_shows_the_card,
    );

    /// Approves everything that was not taken back, and fails to take back as often as it is told to.
    #[derive(Default)]
    struct Others {
        reversed: Mutex<Vec<String>>,
        failures: Mutex<u32>,
    }

    impl Bank for Others {
        async fn decide(&self, charge: &Charge) -> Result<Status, HandlerError> {
            let is_reversed = self.reversed.lock().unwrap().contains(&charge.order_id);
            Ok(if is_reversed { Status::Declined } else { Status::Approved })
        }

        async fn reverse(&self, order_id: &str) -> Result<(), HandlerError> {
            let mut failures = self.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return Err(HandlerError::new(Code::Unavailable, "the bank is away"));
            }
            self.reversed.lock().unwrap().push(order_id.to_owned());
            Ok(())
        }
    }

    async fn payment<DB: Db>(fixture: &Fixture<DB>) -> PaymentService<SqlCharges<DB>, Others> {
        let repository = SqlCharges(fixture.open(MIGRATIONS.of::<DB>()).await);
        PaymentService { repository, bank: Others::default() }
    }

    fn charge(order_id: &str) -> NewCharge {
        NewCharge { order_id: order_id.to_owned(), card: Card("card-4242".to_owned()), amount: 5 }
    }

    async fn a_charge_is_taken_back_once_the_bank_has_and_not_made_again<DB: Db>(fixture: Fixture<DB>) {
        let payment = payment(&fixture).await;
        assert_eq!(payment.charge(charge("o-1")).await.unwrap().status, Status::Approved);
        *payment.bank.failures.lock().unwrap() = 1;
        payment.refund("o-1").await.unwrap_err();
        assert_eq!(payment.find("o-1").await.unwrap().status, Status::Refunding);
        for _ in 0..2 {
            assert_eq!(payment.refund("o-1").await.unwrap().status, Status::Refunded);
        }
        assert_eq!(payment.charge(charge("o-1")).await.unwrap().status, Status::Refunded);
        assert_eq!(*payment.bank.reversed.lock().unwrap(), ["o-1"]);
    }

    async fn a_charge_that_comes_after_it_was_taken_back_is_not_made<DB: Db>(fixture: Fixture<DB>) {
        let payment = payment(&fixture).await;
        assert_eq!(payment.refund("o-1").await.unwrap().status, Status::Refunded);
        assert_eq!(payment.charge(charge("o-1")).await.unwrap().status, Status::Refunded);
        assert_eq!(payment.refund("../o").await.unwrap_err().code(), Code::Unprocessable);
    }

    async fn a_database_that_is_busy_is_told_as_passing<DB: Db>(fixture: Fixture<DB>) {
        let payment = payment(&fixture).await;
        // Another replica that stands still in the middle of the same charge.
        let sql = fixture.open(MIGRATIONS.of::<DB>()).await;
        let mut tx = sql.begin().await.unwrap();
        let insert = "INSERT INTO charges (order_id, card, amount, status) VALUES ('o-1', 'card-4242', 5, 'pending')";
        sql.execute(&mut tx, "charges", Statement::new(insert)).await.unwrap();
        let refused = payment.charge(charge("o-1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        tx.rollback().await.unwrap();
        assert_eq!(payment.charge(charge("o-1")).await.unwrap().status, Status::Approved);
    }

    /// Nor does anybody read it in a log.
    async fn no_answer_shows_the_card<DB: Db>(fixture: Fixture<DB>) {
        let payment = payment(&fixture).await;
        let charged = payment.charge(charge("o-1")).await.unwrap();
        for text in [serde_json::to_string(&charged).unwrap(), format!("{charged:?} {:?}", charge("o-1"))] {
            assert!(text.contains("o-1") && !text.contains("4242"), "{text}");
        }
    }

    #[test]
    fn a_refusal_of_the_bank_is_its_decision() {
        let is_refusal = |status| is_refusal(Some(StatusCode::from_u16(status).unwrap()));
        for status in [400, 409, 413, 422] {
            assert!(is_refusal(status), "{status}");
        }
        for status in [200, 302, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert!(!is_refusal(status), "{status}");
        }
        assert!(!super::is_refusal(None));
    }

    #[test]
    fn charges_are_checked() {
        let good = NewCharge { order_id: "o-1".to_owned(), card: Card("c".to_owned()), amount: 1 };
        assert!(good.validate().is_ok());
        assert!(NewCharge { amount: 0, ..good.clone() }.validate().is_err());
        assert!(NewCharge { card: Card(String::new()), ..good.clone() }.validate().is_err());
        assert!(NewCharge { order_id: "x".repeat(129), ..good }.validate().is_err());
    }
}
