//! When a call is tried again, or twice at once.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ATTEMPTS_MAX, CLASSES_MAX, Class, GrpcCode, InvalidPolicy, check_that, check_within};
use crate::{
    text_form::text_form,
    units::{self, Share},
};

/// When a failed attempt is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts, the first included: 1 to 10.
    pub attempts_max: u32,
    /// The wait before a retry.
    pub backoff: Backoff,
    /// Retries as a share of the traffic; a small floor is always granted.
    pub budget: Share,
    /// The longest one attempt may take; absent: the call's timeout.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Duration>,
    /// Answers that are tried again where the request may be sent twice.
    #[serde(default = "transient")]
    pub on: Vec<Class>,
    /// Which requests may be sent twice.
    #[serde(default)]
    pub repeat: Repeat,
}

/// Which requests may be sent twice although the first attempt may have had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeat {
    /// Those of an idempotent method, and those with an `Idempotency-Key`.
    #[default]
    Idempotent,
    /// All: the callee is known to bear it.
    All,
}

impl Repeat {
    /// The ways there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 2] = [("idempotent", Self::Idempotent), ("all", Self::All)];
}

/// Answers that another instance may not give.
fn transient() -> Vec<Class> {
    [502, 503, 504].map(Class::Status).into_iter().chain([Class::Grpc(GrpcCode::Unavailable)]).collect()
}

impl Default for RetryPolicy {
    /// 3 attempts, 25 ms to 250 ms, a budget of 20 %, on 502, 503, 504 and gRPC's `unavailable`.
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff: Backoff { min: Duration::from_millis(25), max: Duration::from_millis(250) },
            budget: Share::from_percent(20),
            per_try_timeout: None,
            on: transient(),
            repeat: Repeat::default(),
        }
    }
}

/// Exponential backoff with full jitter between two bounds. As text: `"20ms..500ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Backoff {
    /// The bound of the first wait.
    pub min: Duration,
    /// The bound no wait exceeds.
    pub max: Duration,
}

impl Backoff {
    /// Reads `"20ms..500ms"`; the first is not above the second, the second not above an hour.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write the least and the most wait: \"20ms..500ms\"";
        let (min, max) = text.split_once("..").ok_or(RULE)?;
        let backoff = Self { min: units::parse_duration(min)?, max: units::parse_duration(max)? };
        if backoff.min.is_zero() || backoff.min > backoff.max || backoff.max > Duration::from_hours(1) {
            return Err("the least is above zero and not above the most, the most not above 1h");
        }
        Ok(backoff)
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", units::format_duration(self.min), units::format_duration(self.max))
    }
}

text_form!(Backoff);

impl RetryPolicy {
    pub(super) fn check(&self, timeout: Duration) -> Result<(), InvalidPolicy> {
        // A backoff and a budget are checked where they are made.
        let Self { attempts_max, backoff: _, budget: _, per_try_timeout, on, repeat: _ } = self;
        check_that(on.len() <= CLASSES_MAX, "retry.on", "it has at most 32 classes")?;
        check_that((1..=ATTEMPTS_MAX).contains(attempts_max), "retry.attempts_max", "it is 1 to 10")?;
        check_within("retry.per_try_timeout", *per_try_timeout, timeout)
    }
}

/// When a call that is not answered yet is sent once more, to another instance: the first good answer counts.
///
/// Of requests that may be sent twice only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HedgePolicy {
    /// How long it is waited for an answer before each further attempt.
    #[serde(with = "units::duration")]
    pub after: Duration,
    /// Attempts at a time, the first included: 2 to 5.
    pub attempts_max: u32,
    /// Further attempts as a share of the traffic; a small floor is always granted.
    pub budget: Share,
}

/// The most attempts that a hedged call has at a time.
pub const HEDGED_MAX: u32 = 5;

impl Default for HedgePolicy {
    /// A second attempt after 50 ms, of 10 % of the calls.
    fn default() -> Self {
        Self { after: Duration::from_millis(50), attempts_max: 2, budget: Share::from_percent(10) }
    }
}

impl HedgePolicy {
    pub(super) fn check(&self, timeout: Duration) -> Result<(), InvalidPolicy> {
        let Self { after, attempts_max, budget: _ } = self;
        check_that((2..=HEDGED_MAX).contains(attempts_max), "hedge.attempts_max", "it is 2 to 5")?;
        check_within("hedge.after", Some(*after), timeout)
    }
}
