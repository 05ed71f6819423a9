//! The services that money is moved with, as this service sees them.

use axum::http::StatusCode;
use bowline::{ServiceClient, client};
use serde::Serialize;

use crate::{
    moving::Moving,
    transfer::{Currency, Risk},
};

/// The longest reason that is taken from account, in bytes.
const REASON_BYTES_MAX: usize = 64;

/// Who keeps the accounts. Why it did not answer is kept with the saga, in the words of the call.
pub(crate) trait Accounts: Send + Sync {
    /// Sets aside what a transfer moves, once however often it is asked to.
    fn hold(&self, moving: &Moving) -> impl Future<Output = Result<Held, client::Error>> + Send;

    /// Moves what was held, once however often it is asked to.
    fn capture(&self, transfer: &str) -> impl Future<Output = Result<(), client::Error>> + Send;

    /// Frees what was held, also what is still to be.
    fn release(&self, transfer: &str) -> impl Future<Output = Result<(), client::Error>> + Send;
}

/// Who knows what is risky.
pub(crate) trait Risks: Send + Sync {
    /// What is to be thought of a transfer; the same however often it is asked.
    fn assess(&self, moving: &Moving) -> impl Future<Output = Result<Risk, client::Error>> + Send;
}

/// What became of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// It is set aside.
    Held,
    /// It is not, and why: `insufficient_funds`, `no_account`, …
    Refused(String),
}

#[derive(Debug, Serialize)]
struct NewHold<'a> {
    transfer: &'a str,
    from: &'a str,
    to: &'a str,
    amount: i64,
    currency: Currency,
    /// In whose name: account holds nothing of another's. A sidecar believes what the gateway says of this in a header,
    /// and no service.
    asked_by: &'a str,
}

#[derive(Debug, Serialize)]
struct NewAssessment<'a> {
    transfer: &'a str,
    from: &'a str,
    to: &'a str,
    amount: i64,
    currency: Currency,
    at_unix_ms: i64,
}

impl Accounts for ServiceClient {
    async fn hold(&self, moving: &Moving) -> Result<Held, client::Error> {
        let Moving { transfer, asked_by, .. } = moving;
        let hold = NewHold {
            transfer: &transfer.id,
            from: &transfer.from,
            to: &transfer.to,
            amount: transfer.amount,
            currency: transfer.currency,
            asked_by,
        };
        let call = self.post("/holds").idempotency_key(&transfer.id).body(&hold);
        match call.bytes().await {
            Ok(_) => Ok(Held::Held),
            Err(error) => refusal(&error).map(Held::Refused).ok_or(error),
        }
    }

    async fn capture(&self, transfer: &str) -> Result<(), client::Error> {
        let call = self.post(&format!("/holds/{transfer}/capture")).idempotency_key(transfer);
        call.bytes().await.map(drop)
    }

    async fn release(&self, transfer: &str) -> Result<(), client::Error> {
        let call = self.post(&format!("/holds/{transfer}/release")).idempotency_key(transfer);
        call.bytes().await.map(drop)
    }
}

impl Risks for ServiceClient {
    async fn assess(&self, moving: &Moving) -> Result<Risk, client::Error> {
        let Moving { transfer, asked_at_ms, .. } = moving;
        let assessment = NewAssessment {
            transfer: &transfer.id,
            from: &transfer.from,
            to: &transfer.to,
            amount: transfer.amount,
            currency: transfer.currency,
            at_unix_ms: *asked_at_ms,
        };
        self.post("/assessments").idempotency_key(&transfer.id).body(&assessment).json().await
    }
}

/// Why account will never hold this, if that is what it says: its "no" is a 422 with a `reason`.
fn refusal(error: &client::Error) -> Option<String> {
    let client::Error::Status { status: StatusCode::UNPROCESSABLE_ENTITY, problem, .. } = error else { return None };
    let reason = problem.as_ref().and_then(|problem| problem.extra.get("reason")?.as_str());
    let is_word = |text: &&str| {
        (1..=REASON_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    Some(reason.filter(is_word).unwrap_or("refused").to_owned())
}
