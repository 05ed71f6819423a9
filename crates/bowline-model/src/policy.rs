//! Policy as data: what a declared call or a route does about time, failure and choice.
//!
//! The same words in `bowline.toml` and in JSON. The code that acts on them is in
//! `bowline-resilience`, `bowline-balance` and `bowline-upstream`.

mod balance;
mod breaker;
mod bulkhead;
mod fallback;
mod outcome;
mod outlier;
mod retry;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::fallback::{BODILESS, is_media_type};
pub use self::{
    balance::{Balance, BalancePolicy, HashKey, SUBSET_MAX, Zones},
    breaker::{BreakerPolicy, BreakerScope, OpenFor, Window},
    bulkhead::{BulkheadPolicy, CONCURRENCY_MAX, Concurrency, Priority, ShedPolicy},
    fallback::{FALLBACK_BODY_MAX, FallbackPolicy},
    outcome::{CLASSES_MAX, Class, GrpcCode, OutcomePolicy},
    outlier::{Deviations, INSTANCES_MIN_MAX, OutlierPolicy},
    retry::{Backoff, HEDGED_MAX, HedgePolicy, Repeat, RetryPolicy},
};
use crate::units;
pub use crate::units::Share;

/// Attempts beyond this are no retry but a flood.
pub const ATTEMPTS_MAX: u32 = 10;

/// The most calls a breaker's window may wait for, or be of: it counts so many exactly.
pub const CALLS_MIN_MAX: u32 = 10_000;

/// The most probes of a half-open breaker.
pub const PROBES_MAX: u32 = 1000;

/// The longest a duration may be: beyond a day it is a slip of the unit.
pub const DURATION_MAX: Duration = Duration::from_hours(24);

/// What a policy may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidPolicy {
    /// The field at fault: `retry.attempts_max`.
    pub field: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// All that governs one outbound call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallPolicy {
    /// The whole call's time, all attempts included.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Absent: one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Absent: no breaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerPolicy>,
    /// How an instance is picked.
    #[serde(default)]
    pub balance: BalancePolicy,
    /// Which answers are failures.
    #[serde(default)]
    pub outcome: OutcomePolicy,
    /// Absent: no instance is left out for doing worse than the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<OutlierPolicy>,
    /// Absent: a call is sent to one instance at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgePolicy>,
    /// Absent: as many calls at a time as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<BulkheadPolicy>,
    /// Absent: who got no answer is told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackPolicy>,
}

impl Default for CallPolicy {
    /// 15 s, the default retry and breaker, P2C; nothing else.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            retry: Some(RetryPolicy::default()),
            breaker: Some(BreakerPolicy::default()),
            balance: BalancePolicy::default(),
            outcome: OutcomePolicy::default(),
            outlier: None,
            hedge: None,
            bulkhead: None,
            fallback: None,
        }
    }
}

impl CallPolicy {
    /// Checks what the types alone do not: a policy out of `bowline.toml` is valid, one that was
    /// read otherwise need not be.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let Self { timeout, retry, breaker, balance, outcome, outlier, hedge, bulkhead, fallback } = self;
        check_duration("timeout", *timeout)?;
        retry.as_ref().map_or(Ok(()), |retry| retry.check(*timeout))?;
        breaker.as_ref().map_or(Ok(()), |breaker| breaker.check(*timeout))?;
        balance.check()?;
        outcome.check()?;
        outlier.as_ref().map_or(Ok(()), OutlierPolicy::check)?;
        hedge.as_ref().map_or(Ok(()), |hedge| hedge.check(*timeout))?;
        bulkhead.as_ref().map_or(Ok(()), |bulkhead| bulkhead.check(*timeout))?;
        fallback.as_ref().map_or(Ok(()), FallbackPolicy::check)
    }
}

fn check_duration(field: &'static str, duration: Duration) -> Result<(), InvalidPolicy> {
    check_that(!duration.is_zero() && duration <= DURATION_MAX, field, "it is above zero, and not above 1d")
}

/// A duration that the timeout would make pointless if it were longer.
fn check_within(field: &'static str, duration: Option<Duration>, timeout: Duration) -> Result<(), InvalidPolicy> {
    let is_within = duration.is_none_or(|duration| !duration.is_zero() && duration <= timeout);
    check_that(is_within, field, "it is above zero, and not above the call's timeout")
}

fn check_that(is_so: bool, field: &'static str, rule: &'static str) -> Result<(), InvalidPolicy> {
    if is_so { Ok(()) } else { Err(InvalidPolicy { field, rule }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut CallPolicy), expect: Option<&str>) {
        let mut policy = CallPolicy::default();
        change(&mut policy);
        assert_eq!(policy.check().err().map(|error| error.field), expect);
    }

    fn retry(policy: &mut CallPolicy) -> &mut RetryPolicy {
        policy.retry.as_mut().unwrap()
    }

    fn breaker(policy: &mut CallPolicy) -> &mut BreakerPolicy {
        policy.breaker.as_mut().unwrap()
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_found() {
        check(|_| (), None);
        check(|policy| (policy.retry, policy.breaker) = (None, None), None);
        check(|policy| policy.timeout = Duration::ZERO, Some("timeout"));
        check(|policy| policy.timeout = DURATION_MAX + Duration::from_nanos(1), Some("timeout"));
        check(|policy| retry(policy).attempts_max = 0, Some("retry.attempts_max"));
        check(|policy| retry(policy).attempts_max = ATTEMPTS_MAX + 1, Some("retry.attempts_max"));
        check(|policy| retry(policy).per_try_timeout = Some(policy_timeout()), None);
        check(|policy| retry(policy).per_try_timeout = Some(policy_timeout() * 2), Some("retry.per_try_timeout"));
        check(|policy| retry(policy).per_try_timeout = Some(Duration::ZERO), Some("retry.per_try_timeout"));
        check(|policy| breaker(policy).failure_rate = Share::ZERO, Some("breaker.failure_rate"));
        check(|policy| breaker(policy).slow_call = Some(policy_timeout() * 2), Some("breaker.slow_call"));
        check(|policy| breaker(policy).window = Window::Time(Duration::ZERO), Some("breaker.window"));
        check(|policy| breaker(policy).window = Window::Calls(19), Some("breaker.window"));
        check(|policy| breaker(policy).window = Window::Calls(20), None);
        check(|policy| breaker(policy).window = Window::Calls(10_001), Some("breaker.window"));
        check(|policy| breaker(policy).slow_rate = Some(Share::from_percent(50)), Some("breaker.slow_rate"));
        check(|policy| breaker(policy).consecutive = Some(0), Some("breaker.consecutive"));
        check(|policy| breaker(policy).calls_min = 0, Some("breaker.calls_min"));
        check(|policy| breaker(policy).open_for = OpenFor::exactly(Duration::ZERO), Some("breaker.open_for"));
        let falling = OpenFor { min: policy_timeout() * 2, max: policy_timeout() };
        check(|policy| breaker(policy).open_for = falling, Some("breaker.open_for"));
        check(|policy| breaker(policy).probes_max = PROBES_MAX + 1, Some("breaker.probes_max"));
    }

    #[test]
    fn windows_and_open_times_are_read_as_they_are_written() {
        for text in ["10s", "100 calls", "1 calls", "1d"] {
            assert_eq!(Window::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "calls", "0 calls", "-1 calls", "10001 calls", "0s", "25h", "ten calls", "10 s calls"] {
            assert!(Window::parse(bad).is_err(), "{bad}");
        }
        for text in ["5s", "5s..1m", "1ms..1d"] {
            assert_eq!(OpenFor::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "..", "5s..", "1m..5s", "0s", "0s..1s", "5s..2d"] {
            assert!(OpenFor::parse(bad).is_err(), "{bad}");
        }
    }

    fn policy_timeout() -> Duration {
        CallPolicy::default().timeout
    }
}
