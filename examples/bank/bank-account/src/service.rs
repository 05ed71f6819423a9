//! The rules of the bank's accounts: who may do what, and what can be asked for.

use bowline::{
    Code, HandlerError,
    extract::{SUBJECT_BYTES_MAX, Subject},
    runtime::rand,
};
use serde::Deserialize;

use crate::{
    account::{AMOUNT_MAX, Account, Currency, Deposit, Deposited, Hold, Ledger, NewAccount, NewHold, Terms},
    repository::{AccountRepository, Done},
    statement::{self, LINES_MAX, Period},
};

/// Who takes money in, and opens accounts for others.
const TELLER: &str = "teller";

/// How many accounts a customer may have and open one more: each makes adding up the books dearer.
pub(crate) const OWNED_MAX: i64 = 100;

/// The longest name of anything, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Keeps the bank's accounts.
#[derive(Debug)]
pub(crate) struct AccountService<R> {
    pub(crate) repository: R,
}

/// An account as it is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    /// Whose it is to be; who asks, where nothing is said.
    pub(crate) owner: Option<String>,
    pub(crate) currency: Currency,
    #[serde(default)]
    pub(crate) credit_limit: i64,
}

/// A hold as it is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holding {
    pub(crate) transfer: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
    pub(crate) asked_by: String,
}

impl<R: AccountRepository> AccountService<R> {
    /// Opens an account: one's own without credit, or as the teller anybody's. The same key opens one.
    pub(crate) async fn open(
        &self,
        subject: &Subject,
        opening: Opening,
        key: Option<String>,
    ) -> Result<Done<Account>, HandlerError> {
        let Opening { owner, currency, credit_limit } = opening;
        let owner = owner.unwrap_or_else(|| subject.as_str().to_owned());
        if subject.as_str() != TELLER && (owner != subject.as_str() || credit_limit != 0) {
            return Err(denied("accounts of others, and credit, are the teller's business"));
        }
        if Subject::new(&owner).is_err() {
            let rule = format!("owner: 1 to {SUBJECT_BYTES_MAX} visible ASCII characters, and blanks between them");
            return Err(HandlerError::new(Code::Unprocessable, rule));
        }
        if !(0..=AMOUNT_MAX).contains(&credit_limit) {
            return Err(HandlerError::new(Code::Unprocessable, "credit_limit: 0 to 1,000,000,000,000 minor units"));
        }
        let id = format!("a-{:032x}", rand::u128());
        let opened_by = subject.as_str().to_owned();
        let owned_max = (subject.as_str() != TELLER).then_some(OWNED_MAX);
        Ok(self.repository.open(&NewAccount { id, owner, currency, credit_limit, opened_by, key, owned_max }).await?)
    }

    /// An account, to its owner and the teller.
    pub(crate) async fn show(&self, subject: &Subject, id: &str) -> Result<Account, HandlerError> {
        let account = self.find(id).await?;
        if account.owner.as_deref() == Some(subject.as_str()) || subject.as_str() == TELLER {
            return Ok(account);
        }
        Err(denied("an account is shown to its owner"))
    }

    /// What was posted to an account in a time, as CSV, to its owner.
    pub(crate) async fn statement(&self, subject: &Subject, id: &str, period: &Period) -> Result<String, HandlerError> {
        let account = self.find(id).await?;
        if account.owner.as_deref() != Some(subject.as_str()) {
            return Err(denied("a statement is its owner's"));
        }
        let lines = self.repository.statement(id, period.bounds()?, LINES_MAX + 1).await?;
        if lines.len() > LINES_MAX {
            let rule = format!("from, to: there are more than {LINES_MAX} lines, ask for a shorter time");
            return Err(HandlerError::new(Code::Unprocessable, rule));
        }
        Ok(statement::csv(&lines))
    }

    /// Takes money in.
    pub(crate) async fn deposit(&self, subject: &Subject, deposit: Deposit) -> Result<Done<Deposited>, HandlerError> {
        if subject.as_str() != TELLER {
            return Err(denied("deposits are the teller's business"));
        }
        check_amount(deposit.amount)?;
        let reference = &deposit.reference;
        if !(1..=NAME_BYTES_MAX).contains(&reference.len()) || reference.contains(char::is_control) {
            let rule = format!("reference: 1 to {NAME_BYTES_MAX} bytes, no control characters");
            return Err(HandlerError::new(Code::Unprocessable, rule));
        }
        Ok(self.repository.deposit(&deposit).await?)
    }

    /// Sets money aside of an account of who asks.
    pub(crate) async fn hold(&self, asked: Holding) -> Result<Done<Hold>, HandlerError> {
        let Holding { transfer, from, to, amount, currency, asked_by } = asked;
        check_transfer(&transfer)?;
        check_amount(amount)?;
        let terms = Terms { from, to, amount, currency };
        Ok(self.repository.hold(&NewHold { transfer, terms, asked_by }).await?)
    }

    /// Moves what was set aside.
    pub(crate) async fn capture(&self, transfer: &str) -> Result<Hold, HandlerError> {
        check_transfer(transfer)?;
        Ok(self.repository.capture(transfer).await?.value)
    }

    /// Frees what was set aside.
    pub(crate) async fn release(&self, transfer: &str) -> Result<Hold, HandlerError> {
        check_transfer(transfer)?;
        Ok(self.repository.release(transfer).await?.value)
    }

    /// The books, added up anew, to the teller: it takes the longer the more was ever posted.
    pub(crate) async fn ledger(&self, subject: &Subject) -> Result<Ledger, HandlerError> {
        if subject.as_str() != TELLER {
            return Err(denied("the books are the teller's business"));
        }
        Ok(Ledger::new(self.repository.books().await?))
    }

    async fn find(&self, id: &str) -> Result<Account, HandlerError> {
        let account = self.repository.find(id).await?;
        account.ok_or_else(|| HandlerError::new(Code::NotFound, format!("no account `{id}`")))
    }
}

fn denied(rule: &str) -> HandlerError {
    HandlerError::new(Code::PermissionDenied, rule)
}

fn check_amount(amount: i64) -> Result<(), HandlerError> {
    if (1..=AMOUNT_MAX).contains(&amount) {
        return Ok(());
    }
    Err(HandlerError::new(Code::Unprocessable, "amount: 1 to 1,000,000,000,000 minor units"))
}

/// Its name stands in paths.
fn check_transfer(transfer: &str) -> Result<(), HandlerError> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=NAME_BYTES_MAX).contains(&transfer.len()) && transfer.bytes().all(is_safe) {
        return Ok(());
    }
    let rule = format!("transfer: 1 to {NAME_BYTES_MAX} letters, digits, - and _");
    Err(HandlerError::new(Code::Unprocessable, rule))
}
