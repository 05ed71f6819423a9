//! What is asked of a transfer, and what is answered.

use bowline::{Code, HandlerError};
use serde::{Deserialize, Serialize};

/// The most that a transfer moves, in minor units.
const AMOUNT_MAX: i64 = 1_000_000_000_000;
/// The longest id.
const ID_BYTES_MAX: usize = 128;
/// How far the clock of who asks may be ahead.
const AHEAD_MAX_MS: i64 = 5 * 60 * 1000;

/// A transfer that is to be judged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAssessment {
    /// The transfer, which is judged once.
    pub(crate) transfer: String,
    /// The account that pays.
    pub(crate) from: String,
    /// The account that is paid.
    pub(crate) to: String,
    /// In minor units.
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
    /// When it was asked for, in milliseconds since 1970.
    pub(crate) at_unix_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Currency {
    Eur,
    Gbp,
    Usd,
}

/// What was decided of a transfer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Assessment {
    pub(crate) decision: Decision,
    /// How likely a fraud it is; none where no model was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f64>,
    /// Who decided: `model VERSION`, or `fallback`.
    pub(crate) by: String,
    /// Why it was denied.
    pub(crate) reasons: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    Allow,
    Deny,
}

/// A transfer that turned out to be a fraud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) transfer: String,
}

impl Currency {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Eur => "EUR",
            Self::Gbp => "GBP",
            Self::Usd => "USD",
        }
    }
}

impl Decision {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Assessment {
    /// Denied where there is a reason to.
    pub(crate) fn new(score: Option<f64>, by: String, reasons: &[&str]) -> Self {
        let decision = if reasons.is_empty() { Decision::Allow } else { Decision::Deny };
        Self { decision, score, by, reasons: reasons.iter().map(ToString::to_string).collect() }
    }
}

impl NewAssessment {
    pub(crate) fn validate(&self, now_ms: i64) -> Result<(), HandlerError> {
        let refuse = |detail: &str| Err(HandlerError::new(Code::Unprocessable, detail));
        for (name, id) in [("transfer", &self.transfer), ("from", &self.from), ("to", &self.to)] {
            if !is_id(id) {
                return refuse(&format!("{name}: 1 to {ID_BYTES_MAX} letters, digits, - . and _"));
            }
        }
        if !is_amount(self.amount) {
            return refuse(&format!("amount: 1 to {AMOUNT_MAX} minor units"));
        }
        if self.at_unix_ms < 0 || self.at_unix_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
            return refuse("at_unix_ms: from 0 to five minutes from now");
        }
        Ok(())
    }
}

pub(crate) fn is_id(id: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_safe)
}

pub(crate) fn is_amount(amount: i64) -> bool {
    (1..=AMOUNT_MAX).contains(&amount)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_767_787_200_000;

    #[test]
    fn assessments_are_checked() {
        let good = json!({
            "transfer": "t-1", "from": "a-1", "to": "cash-EUR", "amount": 1, "currency": "EUR", "at_unix_ms": NOW,
        });
        let check = |name: &str, value: serde_json::Value| {
            let mut new = good.clone();
            new[name] = value;
            let new: NewAssessment = serde_json::from_value(new).map_err(|error| error.to_string())?;
            new.validate(NOW).map_err(|error| error.to_string())
        };
        check("transfer", json!("x".repeat(128))).unwrap();
        check("amount", json!(AMOUNT_MAX)).unwrap();
        check("at_unix_ms", json!(NOW + AHEAD_MAX_MS)).unwrap();
        for (name, value) in [
            ("transfer", json!("")),
            ("transfer", json!("x".repeat(129))),
            ("from", json!("../a")),
            ("to", json!("a b")),
            ("amount", json!(0)),
            ("amount", json!(AMOUNT_MAX + 1)),
            ("amount", json!(1.5)),
            ("currency", json!("eur")),
            ("currency", json!("CHF")),
            ("at_unix_ms", json!(-1)),
            ("at_unix_ms", json!(NOW + AHEAD_MAX_MS + 1)),
            ("colour", json!("red")),
        ] {
            check(name, value.clone()).expect_err(&format!("{name}: {value}"));
        }
    }
}
