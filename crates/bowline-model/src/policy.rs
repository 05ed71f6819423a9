//! Policy as data: what a declared call or a route does about time, failure and choice.
//!
//! The same words in `bowline.toml` and in JSON. The code that acts on them is in
//! `bowline-resilience`, `bowline-balance` and `bowline-upstream`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{self, Share};

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
    /// A call at least this long counts as a failure; absent: slowness is no failure.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    pub slow_call: Option<Duration>,
    /// What is looked back upon.
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// Calls in the window below which nothing is decided; at least 1.
    pub calls_min: u32,
    /// How long it stays open before it lets probes through.
    #[serde(with = "units::duration")]
    pub open_for: Duration,
    /// Probes in flight while half open, and successes needed to close: at least 1.
    pub probes_max: u32,
}

impl Default for BreakerPolicy {
    /// 50 % of at least 20 calls in 10 s; open for 5 s; 3 probes.
    fn default() -> Self {
        Self {
            failure_rate: Share::from_percent(50),
            slow_call: None,
            window: Duration::from_secs(10),
            calls_min: 20,
            open_for: Duration::from_secs(5),
            probes_max: 3,
        }
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
