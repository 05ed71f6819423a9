//! How many calls there may be at a time, who waits, and who is turned away.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{DURATION_MAX, InvalidPolicy, check_duration, check_that};
use crate::{text_form::text_form, units};

/// The most calls at a time, and the most that wait.
pub const CONCURRENCY_MAX: u32 = 1_000_000;

/// How many calls one caller has under way at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkheadPolicy {
    /// Calls under way; a range is found out between its ends.
    pub calls_max: Concurrency,
    /// Calls that wait for a place.
    #[serde(default)]
    pub queue_max: u32,
    /// How long one waits at most; zero where none does.
    #[serde(default, with = "units::duration")]
    pub queue_timeout: Duration,
}

impl BulkheadPolicy {
    pub(super) fn check(&self, timeout: Duration) -> Result<(), InvalidPolicy> {
        let Self { calls_max, queue_max, queue_timeout } = self;
        calls_max.check().map_err(|rule| InvalidPolicy { field: "bulkhead.calls_max", rule })?;
        check_that(*queue_max <= CONCURRENCY_MAX, "bulkhead.queue_max", "it is 1000000 at most")?;
        let waits = *queue_max > 0;
        check_that(waits != queue_timeout.is_zero(), "bulkhead.queue_timeout", "it goes with `queue_max`")?;
        check_that(*queue_timeout <= timeout, "bulkhead.queue_timeout", "it is not above the call's timeout")
    }
}

/// What a service turns away when it has more than it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShedPolicy {
    /// Requests at work at a time; a range is found out between its ends.
    pub calls_max: Concurrency,
    /// Requests that wait for their turn, of all priorities.
    pub queue_max: u32,
    /// How long a request may wait in the long run: when for a whole `interval` none waited less, some are turned away.
    #[serde(with = "units::duration")]
    pub delay_target: Duration,
    /// How long that is looked at.
    #[serde(with = "units::duration")]
    pub interval: Duration,
}

impl Default for ShedPolicy {
    /// 4 to 1,000 at work, 1,000 waiting; 20 ms over 100 ms.
    fn default() -> Self {
        Self {
            calls_max: Concurrency { min: 4, max: 1000 },
            queue_max: 1000,
            delay_target: Duration::from_millis(20),
            interval: Duration::from_millis(100),
        }
    }
}

impl ShedPolicy {
    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let Self { calls_max, queue_max, delay_target, interval } = self;
        calls_max.check().map_err(|rule| InvalidPolicy { field: "shed.calls_max", rule })?;
        check_that(*queue_max <= CONCURRENCY_MAX, "shed.queue_max", "it is 1000000 at most")?;
        check_duration("shed.delay_target", *delay_target)?;
        let is_longer = delay_target < interval && *interval <= DURATION_MAX;
        check_that(is_longer, "shed.interval", "it is longer than `delay_target`, and not above 1d")
    }
}

/// How many at a time: a number, or what is found out between two. As text: `"100"`, `"10..500"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Concurrency {
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
}

impl Concurrency {
    /// Always so many.
    pub const fn exactly(number: u32) -> Self {
        Self { min: number, max: number }
    }

    /// Reads `"100"` or `"10..500"`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let read = |text: &str| text.trim().parse().map_err(|_| "write a number, or a range: \"100\", \"10..500\"");
        let concurrency = Self { min: read(min)?, max: read(max)? };
        concurrency.check().map(|()| concurrency)
    }

    fn check(self) -> Result<(), &'static str> {
        let is_within = 1 <= self.min && self.min <= self.max && self.max <= CONCURRENCY_MAX;
        if is_within { Ok(()) } else { Err("write 1 to 1000000, the least first: \"10..500\"") }
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}..{}", self.min, self.max) }
    }
}

text_form!(Concurrency);

/// Who is turned away last. In the header `x-bowline-priority`, and handed on from hop to hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// What can be done at any other time.
    Low,
    /// What is not told.
    #[default]
    Normal,
    /// What somebody waits for.
    High,
    /// What must not fail.
    Critical,
}

impl Priority {
    /// All, the least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// Its name in the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrency_is_read_as_it_is_written() {
        for text in ["1", "100", "10..500", "1..1000000"] {
            assert_eq!(Concurrency::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "0", "0..5", "5..1", "1..1000001", "-1", "1..", "a"] {
            assert!(Concurrency::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn priorities_are_in_order() {
        assert!(Priority::ALL.is_sorted());
        for priority in Priority::ALL {
            assert_eq!(Priority::parse(priority.name()), Some(priority));
        }
        assert_eq!(Priority::parse("urgent"), None);
    }
}
