//! What accounts are, what is set aside in them, and why something is refused.

use bowline::{Code, HandlerError};
use serde::{Deserialize, Serialize};

/// The most that one deposit or transfer moves, and the highest limit of credit, in minor units.
pub(crate) const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// The most that the bank takes in of one currency, in minor units: with it no balance comes near what a number holds.
pub(crate) const DEPOSITED_MAX: i64 = 1_000_000_000_000_000;

/// What there are accounts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Currency {
    Eur,
    Usd,
    Gbp,
}

impl Currency {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Eur => "EUR",
            Self::Usd => "USD",
            Self::Gbp => "GBP",
        }
    }

    /// The currency of that name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Eur, Self::Usd, Self::Gbp].into_iter().find(|currency| currency.as_str() == text)
    }

    /// The bank's own account in it: the other side of deposits.
    pub(crate) fn cash(self) -> String {
        format!("cash-{}", self.as_str())
    }
}

/// An account that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewAccount {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) currency: Currency,
    pub(crate) credit_limit: i64,
    /// Who asks for it.
    pub(crate) opened_by: String,
    /// The name of the request, among those of who asks.
    pub(crate) key: Option<String>,
    /// How many accounts its owner may have with it, where that is bounded.
    pub(crate) owned_max: Option<i64>,
}

/// An account. Amounts are in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    /// None: the bank's own.
    pub(crate) owner: Option<String>,
    pub(crate) currency: Currency,
    /// How far below nothing it may fall.
    pub(crate) credit_limit: i64,
    /// The sum of what was posted.
    pub(crate) balance: i64,
    /// What is set aside for transfers.
    pub(crate) held: i64,
    /// What can still be set aside.
    pub(crate) available: i64,
    pub(crate) opened_at_ms: i64,
    /// How many legs it has.
    #[serde(skip)]
    pub(crate) entries: i64,
    /// When the last of them was posted.
    #[serde(skip)]
    pub(crate) last_posted_ms: i64,
}

/// Money that is brought in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deposit {
    pub(crate) account: String,
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
    /// Its name: it is brought in once.
    pub(crate) reference: String,
}

/// A deposit that was posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Deposited {
    pub(crate) transaction: String,
    pub(crate) account: String,
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
    pub(crate) posted_at_ms: i64,
}

/// What a transfer moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Terms {
    /// The account that pays.
    pub(crate) from: String,
    /// The account that is paid.
    pub(crate) to: String,
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
}

/// What is to be set aside, and in whose name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewHold {
    pub(crate) transfer: String,
    pub(crate) terms: Terms,
    pub(crate) asked_by: String,
}

/// What is, or was, set aside for a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Hold {
    pub(crate) transfer: String,
    /// None where it was released before it came.
    #[serde(flatten)]
    pub(crate) terms: Option<Terms>,
    pub(crate) state: HoldState,
    pub(crate) held_at_ms: i64,
    /// When it was captured or released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at_ms: Option<i64>,
}

/// What became of a hold. It leaves `Held` once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HoldState {
    /// The money is set aside.
    Held,
    /// It was moved.
    Captured,
    /// It is free again.
    Released,
}

impl HoldState {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Captured => "captured",
            Self::Released => "released",
        }
    }

    /// The state of that name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Held, Self::Captured, Self::Released].into_iter().find(|state| state.as_str() == text)
    }
}

/// One line of an account's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) posted_at_ms: i64,
    pub(crate) transaction: String,
    pub(crate) counterparty: String,
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
    /// The account's balance behind it.
    pub(crate) balance: i64,
}

/// The books of one currency, as they are added up anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Books {
    pub(crate) currency: Currency,
    /// The sum over all legs: nothing, where the books are right.
    pub(crate) sum: i64,
    /// The sum of the customers' balances.
    pub(crate) customers: i64,
    /// What is set aside of it.
    pub(crate) held: i64,
    /// Customers' accounts.
    pub(crate) accounts: i64,
    pub(crate) legs: i64,
    /// Transactions whose legs do not sum to nothing, accounts whose balance is not the sum of their legs, that have
    /// other holds than are set aside, or are below their limit: none, where the books are right.
    pub(crate) faults: i64,
}

/// All books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Ledger {
    /// Whether they are right.
    pub(crate) balanced: bool,
    pub(crate) currencies: Vec<Books>,
}

impl Ledger {
    pub(crate) fn new(currencies: Vec<Books>) -> Self {
        let balanced = currencies.iter().all(|books| books.sum == 0 && books.faults == 0);
        Self { balanced, currencies }
    }
}

/// Why something is not done. Asking again changes nothing, but for [`Refusal::InsufficientFunds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such account of a customer")]
    NoAccount,
    #[error("an account is of another currency")]
    Currency,
    #[error("money moves from one account to another")]
    SameAccount,
    #[error("the account that pays is another's")]
    NotOwner,
    #[error("its owner has as many accounts as a customer may open: ask the teller")]
    TooManyAccounts,
    #[error("less than that is available")]
    InsufficientFunds,
    #[error("the bank takes in no more than 1,000,000,000,000,000 minor units of a currency")]
    TooMuch,
    #[error("there is no such hold")]
    NoHold,
    #[error("something else was asked for by that name before")]
    OtherContent,
    #[error("the hold was captured")]
    Captured,
    #[error("the hold was released")]
    Released,
}

impl Refusal {
    /// The word for programs, the member `reason` of the answer.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoAccount => "no_account",
            Self::Currency => "currency",
            Self::SameAccount => "same_account",
            Self::NotOwner => "not_owner",
            Self::TooManyAccounts => "too_many_accounts",
            Self::InsufficientFunds => "insufficient_funds",
            Self::TooMuch => "too_much",
            Self::NoHold => "no_hold",
            Self::OtherContent => "other_content",
            Self::Captured => "captured",
            Self::Released => "released",
        }
    }
}

impl From<Refusal> for HandlerError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NoHold => Code::NotFound,
            Refusal::OtherContent | Refusal::Captured | Refusal::Released => Code::Conflict,
            _ => Code::Unprocessable,
        };
        Self::new(code, refusal.to_string()).with("reason", refusal.reason())
    }
}
