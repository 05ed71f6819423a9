//! When an instance is left alone.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    CALLS_MIN_MAX, DURATION_MAX, HashKey, InvalidPolicy, PROBES_MAX, check_duration, check_that, check_within,
};
use crate::{
    text_form::text_form,
    units::{self, Share},
};

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
    /// Whose calls are counted together.
    #[serde(default, skip_serializing_if = "BreakerScope::is_instance")]
    pub per: BreakerScope,
}

/// Whose calls a breaker counts together. As text: `"instance"`, `"route"`, or a key as `"header:x-tenant"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BreakerScope {
    /// Those of one instance: while it is left alone, the others are called.
    #[default]
    Instance,
    /// All of a route, or of a declared call, whoever answers.
    Route,
    /// Those of a route that have the same key.
    Key(HashKey),
}

impl BreakerScope {
    /// Reads `"instance"`, `"route"` or a key.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "instance" => Ok(Self::Instance),
            "route" => Ok(Self::Route),
            key => HashKey::parse(key)
                .map(Self::Key)
                .map_err(|_| "write \"instance\", \"route\", or a key: \"header:x-tenant\""),
        }
    }

    fn is_instance(&self) -> bool {
        *self == Self::Instance
    }
}

impl fmt::Display for BreakerScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance => f.write_str("instance"),
            Self::Route => f.write_str("route"),
            Self::Key(key) => key.fmt(f),
        }
    }
}

text_form!(BreakerScope);

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
            per: BreakerScope::Instance,
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

text_form!(Window);

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

    pub(super) fn check(self) -> Result<(), &'static str> {
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

text_form!(OpenFor);

impl fmt::Display for OpenFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&units::format_duration(self.min))?;
        if self.max > self.min { write!(f, "..{}", units::format_duration(self.max)) } else { Ok(()) }
    }
}

impl BreakerPolicy {
    pub(super) fn check(&self, timeout: Duration) -> Result<(), InvalidPolicy> {
        let Self { failure_rate, slow_call, slow_rate, consecutive, window, calls_min, open_for, probes_max, per: _ } =
            self;
        check_that(*failure_rate != Share::ZERO, "breaker.failure_rate", "it is above 0%")?;
        check_within("breaker.slow_call", *slow_call, timeout)?;
        check_that(*slow_rate != Some(Share::ZERO), "breaker.slow_rate", "it is above 0%")?;
        check_that(slow_rate.is_none() || slow_call.is_some(), "breaker.slow_rate", "it needs `slow_call`")?;
        let is_row = consecutive.is_none_or(|row| (1..=CALLS_MIN_MAX).contains(&row));
        check_that(is_row, "breaker.consecutive", "it is 1 to 10000")?;
        match window {
            Window::Time(time) => check_duration("breaker.window", *time)?,
            Window::Calls(calls) => {
                check_that(*calls <= CALLS_MIN_MAX, "breaker.window", "it is of 1 to 10000 calls")?;
                check_that(*calls >= *calls_min, "breaker.window", "it holds `calls_min` calls")?;
            }
        }
        check_that((1..=CALLS_MIN_MAX).contains(calls_min), "breaker.calls_min", "it is 1 to 10000")?;
        open_for.check().map_err(|rule| InvalidPolicy { field: "breaker.open_for", rule })?;
        check_that((1..=PROBES_MAX).contains(probes_max), "breaker.probes_max", "it is 1 to 1000")
    }
}
