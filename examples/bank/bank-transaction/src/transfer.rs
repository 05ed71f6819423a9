//! What a transfer is.

use bowline::{Code, HandlerError};
use serde::{Deserialize, Serialize};

/// The longest name of an account, in bytes.
const ACCOUNT_BYTES_MAX: usize = 64;

/// A transfer as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTransfer {
    /// The account that pays.
    pub(crate) from: String,
    /// The account that is paid.
    pub(crate) to: String,
    /// In minor units.
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
}

/// A transfer as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// In minor units.
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
    pub(crate) state: State,
    /// Why no money was moved: `insufficient_funds`, `risk`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) risk: Option<Risk>,
    /// When account posted it, in milliseconds since 1970; a moment after it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) posted_at_ms: Option<i64>,
}

/// What there are accounts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Currency {
    Eur,
    Usd,
    Gbp,
}

/// How far a transfer is. Every transfer leaves `Pending` once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Kept; its saga is under way.
    Pending,
    /// The money is moved.
    Settled,
    /// Somebody said no: risk, a limit, or account.
    Declined,
    /// It could not be done in its time; what was held is free again.
    Failed,
}

/// Whether risk lets a transfer pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    Allow,
    Deny,
}

/// What is known of a transfer's risk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Risk {
    pub(crate) decision: Decision,
    /// From 0 to 1, where a model said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f64>,
    /// Who decided: `model VERSION`, risk's `fallback`, `amount` alone where risk does not answer, or nobody where it
    /// `refused`.
    pub(crate) by: String,
}

impl NewTransfer {
    /// Whether it can be a transfer at all, whatever the limits are.
    pub(crate) fn check(&self) -> Result<(), HandlerError> {
        let refuse = |detail: String| Err(HandlerError::new(Code::Unprocessable, detail));
        for (name, account) in [("from", &self.from), ("to", &self.to)] {
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !(1..=ACCOUNT_BYTES_MAX).contains(&account.len()) || !account.bytes().all(is_safe) {
                return refuse(format!("{name}: 1 to {ACCOUNT_BYTES_MAX} letters, digits, - and _"));
            }
        }
        if self.from == self.to {
            return refuse("to: another account than the one that pays".to_owned());
        }
        if self.amount < 1 {
            return refuse("amount: at least 1 minor unit".to_owned());
        }
        Ok(())
    }

    /// Whether a transfer is what is asked for here.
    pub(crate) fn is(&self, transfer: &Transfer) -> bool {
        let Self { from, to, amount, currency } = self;
        (from, to, *amount, *currency) == (&transfer.from, &transfer.to, transfer.amount, transfer.currency)
    }
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

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Eur, Self::Usd, Self::Gbp].into_iter().find(|currency| currency.as_str() == text)
    }
}

impl State {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Declined => "declined",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Settled, Self::Declined, Self::Failed].into_iter().find(|state| state.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn new(from: &str, to: &str, amount: i64) -> NewTransfer {
        NewTransfer { from: from.to_owned(), to: to.to_owned(), amount, currency: Currency::Eur }
    }

    #[test]
    fn what_is_no_transfer_is_refused_by_name() {
        assert!(new("a-1", "a_2", 1).check().is_ok());
        for (bad, field) in [
            (new("", "a-2", 1), "from: "),
            (new("a/1", "a-2", 1), "from: "),
            (new("a-1", &"a".repeat(65), 1), "to: "),
            (new("a-1", "a-1", 1), "to: another account"),
            (new("a-1", "a-2", 0), "amount: "),
            (new("a-1", "a-2", -5), "amount: "),
        ] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.code(), Code::Unprocessable);
            assert!(error.to_string().starts_with(field), "{field}: {error}");
        }
    }

    #[test]
    fn words_are_the_same_in_json_and_in_the_database() {
        for state in [State::Pending, State::Settled, State::Declined, State::Failed] {
            assert_eq!(json!(state), state.as_str());
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        for currency in [Currency::Eur, Currency::Usd, Currency::Gbp] {
            assert_eq!(json!(currency), currency.as_str());
            assert_eq!(Currency::parse(currency.as_str()), Some(currency));
        }
        assert!(
            serde_json::from_value::<NewTransfer>(json!({"from": "a", "to": "b", "amount": 1.5, "currency": "EUR"}))
                .is_err()
        );
        assert!(
            serde_json::from_value::<NewTransfer>(json!({"from": "a", "to": "b", "amount": 1, "currency": "eur"}))
                .is_err()
        );
    }
}
