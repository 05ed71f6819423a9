//! Policy as data: what a declared call or a route does about time, failure and choice.
//!
//! The same words in `bowline.toml` and in JSON. The code that acts on them is in
//! `bowline-resilience`, `bowline-balance` and `bowline-upstream`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

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
    pub balance: Balance,
}

impl Default for CallPolicy {
    /// 15 s, the default retry and breaker, P2C.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            retry: Some(RetryPolicy::default()),
            breaker: Some(BreakerPolicy::default()),
            balance: Balance::default(),
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
        let Self { timeout, retry, breaker, balance: _ } = self;
        check_duration("timeout", *timeout)?;
        retry.as_ref().map_or(Ok(()), |retry| retry.check(*timeout))?;
        breaker.as_ref().map_or(Ok(()), |breaker| breaker.check(*timeout))
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

impl RetryPolicy {
    fn check(&self, timeout: Duration) -> Result<(), InvalidPolicy> {
        // A backoff and a budget are checked where they are made.
        let Self { attempts_max, backoff: _, budget: _, per_try_timeout } = self;
        check_that((1..=ATTEMPTS_MAX).contains(attempts_max), "retry.attempts_max", "it is 1 to 10")?;
        check_within("retry.per_try_timeout", *per_try_timeout, timeout)
    }
}

impl BreakerPolicy {
    fn check(&self, timeout: Duration) -> Result<(), InvalidPolicy> {
        let Self { failure_rate, slow_call, slow_rate, consecutive, window, calls_min, open_for, probes_max } = self;
        check_that(*failure_rate != Share::ZERO, "breaker.failure_rate", "it is above 0%")?;
        check_within("breaker.slow_call", *slow_call, timeout)?;
        check_that(*slow_rate != Some(Share::ZERO), "breaker.slow_rate", "it is above 0%")?;
        check_that(slow_rate.is_none() || slow_call.is_some(), "breaker.slow_rate", "it needs `slow_call`")?;
        let is_row = consecutive.is_none_or(|row| (1..=CALLS_MIN_MAX).contains(&row));
        check_that(is_row, "breaker.consecutive", "it is 1 to 10000")?;
        match window {
            Window::Time(time) => check_duration("breaker.window", *time)?,
            Window::Calls(calls) => check_that(*calls >= *calls_min, "breaker.window", "it holds `calls_min` calls")?,
        }
        check_that((1..=CALLS_MIN_MAX).contains(calls_min), "breaker.calls_min", "it is 1 to 10000")?;
        open_for.check().map_err(|rule| InvalidPolicy { field: "breaker.open_for", rule })?;
        check_that((1..=PROBES_MAX).contains(probes_max), "breaker.probes_max", "it is 1 to 1000")
    }
}

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
}

impl Default for RetryPolicy {
    /// 3 attempts, 25 ms to 250 ms, a budget of 20 %.
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff: Backoff { min: Duration::from_millis(25), max: Duration::from_millis(250) },
            budget: Share::from_percent(20),
            per_try_timeout: None,
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

impl TryFrom<String> for Backoff {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text)
    }
}

impl From<Backoff> for String {
    fn from(backoff: Backoff) -> Self {
        format!("{}..{}", units::format_duration(backoff.min), units::format_duration(backoff.max))
    }
}

/// When an instance is left alone, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerPolicy {
    /// The share of failures in the window that opens it.
    pub failure_rate: Share,
    /// A call at least this long is slow; absent: none is.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    pub slow_call: Option<Duration>,
    /// The share of slow calls in the window that opens it; absent: a slow call is a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_rate: Option<Share>,
    /// Failures in a row that open it, whatever the rate; absent: no number of them does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
    /// What is looked back upon.
    pub window: Window,
    /// Calls in the window below which no rate is decided upon; at least 1.
    pub calls_min: u32,
    /// How long it stays open before it lets probes through.
    pub open_for: OpenFor,
    /// Probes in flight while half open, and successes needed to close: at least 1.
    pub probes_max: u32,
}

impl Default for BreakerPolicy {
    /// 50 % of at least 20 calls in 10 s; open for 5 s; 3 probes.
    fn default() -> Self {
        Self {
            failure_rate: Share::from_percent(50),
            slow_call: None,
            slow_rate: None,
            consecutive: None,
            window: Window::Time(Duration::from_secs(10)),
            calls_min: 20,
            open_for: OpenFor::exactly(Duration::from_secs(5)),
            probes_max: 3,
        }
    }
}

/// What a breaker looks back upon. As text: `"10s"`, `"100 calls"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Window {
    /// The calls of that time.
    Time(Duration),
    /// That many calls, at least 1.
    Calls(u32),
}

impl Window {
    /// Reads `"10s"` or `"100 calls"`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write a time or a number of calls: \"10s\", \"100 calls\"";
        let Some(number) = text.trim().strip_suffix("calls") else {
            let time = units::parse_duration(text).map_err(|_| RULE)?;
            let is_within = !time.is_zero() && time <= DURATION_MAX;
            return if is_within {
                Ok(Self::Time(time))
            } else {
                Err("write a time above zero, and of 1d at most: \"10s\"")
            };
        };
        match number.trim().parse() {
            Ok(calls) if (1..=CALLS_MIN_MAX).contains(&calls) => Ok(Self::Calls(calls)),
            Ok(_) => Err("write 1 to 10000 calls: \"100 calls\""),
            Err(_) => Err(RULE),
        }
    }
}

impl From<Duration> for Window {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl TryFrom<String> for Window {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text)
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => f.write_str(&units::format_duration(*time)),
            Self::Calls(calls) => write!(f, "{calls} calls"),
        }
    }
}

/// How long a breaker stays open: `min` the first time, twice as long each further time in a row, `max` at most. As
/// text: `"5s"`, `"5s..1m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpenFor {
    /// The first time.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl OpenFor {
    /// Always that long.
    pub const fn exactly(time: Duration) -> Self {
        Self { min: time, max: time }
    }

    /// Reads `"5s"` or `"5s..1m"`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write a time, or the first and the longest: \"5s\", \"5s..1m\"";
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let read = |text: &str| units::parse_duration(text).map_err(|_| RULE);
        let open_for = Self { min: read(min)?, max: read(max)? };
        open_for.check().map(|()| open_for)
    }

    fn check(self) -> Result<(), &'static str> {
        let is_within = !self.min.is_zero() && self.min <= self.max && self.max <= DURATION_MAX;
        if is_within {
            Ok(())
        } else {
            Err("write a first time above zero and a longest that is not below it, of 1d at most: \"5s..1m\"")
        }
    }
}

impl From<Duration> for OpenFor {
    fn from(time: Duration) -> Self {
        Self::exactly(time)
    }
}

impl TryFrom<String> for OpenFor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text)
    }
}

impl From<OpenFor> for String {
    fn from(open_for: OpenFor) -> Self {
        open_for.to_string()
    }
}

impl fmt::Display for OpenFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&units::format_duration(self.min))?;
        if self.max > self.min { write!(f, "..{}", units::format_duration(self.max)) } else { Ok(()) }
    }
}

/// How an instance is picked among those that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
    /// In turn, in proportion to weights (smooth).
    Weighted,
    /// The one with the fewest requests in flight.
    LeastConnections,
    /// The less loaded of two at random, by peak-EWMA latency and requests in flight.
    #[default]
    P2cEwma,
}

impl Balance {
    /// The strategies there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("round-robin", Self::RoundRobin),
        ("random", Self::Random),
        ("weighted", Self::Weighted),
        ("least-connections", Self::LeastConnections),
        ("p2c-ewma", Self::P2cEwma),
    ];
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
