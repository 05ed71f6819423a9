//! When an instance that does worse than the others is left out.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{CALLS_MIN_MAX, InvalidPolicy, OpenFor, Share, check_duration, check_that};
use crate::{text_form::text_form, units};

/// The most instances that may be demanded before one is judged by the others.
pub const INSTANCES_MIN_MAX: u32 = 1000;

/// When an instance is ejected for a while, by what its calls come to beside those of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierPolicy {
    /// Failures in a row that eject at once; absent: no number of them does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
    /// How long calls are counted before rates are looked at.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// The share of failures in an interval that ejects; absent: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<Share>,
    /// How many standard deviations below the mean of all a rate of successes ejects; absent: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviations: Option<Deviations>,
    /// Calls in an interval below which an instance is not judged by a rate.
    pub calls_min: u32,
    /// Instances with so many calls below which none is judged by a rate.
    pub instances_min: u32,
    /// How long it stays out: longer each time in a row.
    pub eject_for: OpenFor,
    /// The share of instances that may be out at a time; one may always be.
    pub ejected_max: Share,
}

impl Default for OutlierPolicy {
    /// As Envoy's: 5 in a row; each 10 s a rate of failures of 85 % and 1.9 deviations, of 100 calls and 5 instances;
    /// out for 30 s to 5 min, 10 % at most.
    fn default() -> Self {
        Self {
            consecutive: Some(5),
            interval: Duration::from_secs(10),
            failure_rate: Some(Share::from_percent(85)),
            deviations: Some(Deviations::from_thousandths(1900)),
            calls_min: 100,
            instances_min: 5,
            eject_for: OpenFor { min: Duration::from_secs(30), max: Duration::from_mins(5) },
            ejected_max: Share::from_percent(10),
        }
    }
}

impl OutlierPolicy {
    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        let Self { consecutive, interval, failure_rate, deviations, calls_min, instances_min, eject_for, ejected_max } =
            self;
        let is_row = consecutive.is_none_or(|row| (1..=CALLS_MIN_MAX).contains(&row));
        check_that(is_row, "outlier.consecutive", "it is 1 to 10000")?;
        check_duration("outlier.interval", *interval)?;
        check_that(*failure_rate != Some(Share::ZERO), "outlier.failure_rate", "it is above 0%")?;
        let is_judging = consecutive.is_some() || failure_rate.is_some() || deviations.is_some();
        check_that(is_judging, "outlier", "it judges by something")?;
        check_that((1..=CALLS_MIN_MAX).contains(calls_min), "outlier.calls_min", "it is 1 to 10000")?;
        let is_instances = (1..=INSTANCES_MIN_MAX).contains(instances_min);
        check_that(is_instances, "outlier.instances_min", "it is 1 to 1000")?;
        eject_for.check().map_err(|rule| InvalidPolicy { field: "outlier.eject_for", rule })?;
        check_that(*ejected_max != Share::ZERO, "outlier.ejected_max", "it is above 0%")
    }
}

/// A number of standard deviations, above 0 and up to 10. As text: `"1.9"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Deviations(u32);

impl Deviations {
    const THOUSANDTHS_MAX: u32 = 10_000;

    /// So many thousandths, 1 to 10,000.
    pub const fn from_thousandths(thousandths: u32) -> Self {
        assert!(0 < thousandths && thousandths <= Self::THOUSANDTHS_MAX, "deviations are above 0 and up to 10");
        Self(thousandths)
    }

    /// Reads `"1.9"`: a number above 0 and up to 10, with at most three decimals.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write a number above 0 and up to 10, with at most three decimals: \"1.9\"";
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |part: &str, max| (1..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole, 2) || !is_number(decimals, 3) {
            return Err(RULE);
        }
        let thousandths: u32 = format!("{whole}{decimals:0<3}").parse().map_err(|_| RULE)?;
        if (1..=Self::THOUSANDTHS_MAX).contains(&thousandths) { Ok(Self(thousandths)) } else { Err(RULE) }
    }

    /// As a number.
    pub fn factor(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Deviations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.factor())
    }
}

text_form!(Deviations);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_read_as_they_are_written() {
        for text in ["1.9", "2", "0.001", "10", "1.234"] {
            assert_eq!(Deviations::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "0", "0.0", "10.001", "11", "-1", "1.", ".5", "1.2345", "1e3", "1,9"] {
            assert!(Deviations::parse(bad).is_err(), "{bad}");
        }
    }
}
