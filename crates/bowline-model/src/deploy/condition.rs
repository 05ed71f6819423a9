//! When a release is not good enough: `error_rate > 1% or p99 > 400ms`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    text_form::text_form,
    units::{self, Share},
};

/// The longest text of a condition, in bytes.
pub const CONDITION_BYTES_MAX: usize = 1024;

/// Durations are measured up to this; longer ones are not told apart.
pub const MEASURED_MAX: Duration = Duration::from_secs(10);

/// A condition over what was measured of a release; as text: comparisons joined by `and`, those joined by `or`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    /// Any of these suffices; of each, all comparisons hold.
    pub any: Vec<Vec<Comparison>>,
}

/// One thing that was measured, against a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The share of requests that were answered with a 5xx, or not at all, is above this.
    ErrorRateAbove(Share),
    /// This share of the requests took longer than that.
    QuantileAbove(Quantile, Duration),
}

/// Of a distribution: how many in a thousand lie below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantile {
    /// The median.
    P50,
    /// Nine in ten.
    P90,
    /// Nineteen in twenty.
    P95,
    /// 99 in a hundred.
    P99,
    /// 999 in a thousand.
    P999,
}

impl Quantile {
    /// Those there are, by their names.
    pub const NAMES: [(&'static str, Self); 5] =
        [("p50", Self::P50), ("p90", Self::P90), ("p95", Self::P95), ("p99", Self::P99), ("p999", Self::P999)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, known)| *known == self).map_or("p99", |(name, _)| name)
    }

    /// From 0 to 1.
    pub fn ratio(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
        }
    }
}

/// What was measured of a release within a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// How many requests it answered; 0: nothing can be said of it.
    pub requests: f64,
    /// The share of them that failed, from 0 to 1.
    pub error_ratio: f64,
    /// How long they took, by quantile: those that were asked for.
    pub quantiles: Vec<(Quantile, Duration)>,
}

impl fmt::Display for Figures {
    /// As people read it: `40 requests, 20.5% failed, p99 812ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, error_ratio, quantiles } = self;
        if *requests <= 0.0 {
            return f.write_str("no requests");
        }
        let noun = if requests.round() > 1.0 { "requests" } else { "request" };
        write!(f, "{requests:.0} {noun}, {:.1}% failed", error_ratio * 100.0)?;
        quantiles.iter().try_for_each(|(quantile, took)| write!(f, ", {} {}", quantile.name(), units::rounded(*took)))
    }
}

impl Condition {
    /// Reads `error_rate > 1% or p99 > 400ms`.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err("a condition has at most 1024 bytes");
        }
        let all = |text: &str| text.split(" and ").map(comparison).collect::<Result<Vec<_>, _>>();
        Ok(Self { any: text.split(" or ").map(all).collect::<Result<_, _>>()? })
    }

    /// The quantiles that it asks for.
    pub fn quantiles(&self) -> Vec<Quantile> {
        let of = |comparison: &Comparison| match comparison {
            Comparison::QuantileAbove(quantile, _) => Some(*quantile),
            Comparison::ErrorRateAbove(_) => None,
        };
        let mut quantiles: Vec<_> = self.any.iter().flatten().filter_map(of).collect();
        quantiles.sort_unstable();
        quantiles.dedup();
        quantiles
    }

    /// The comparisons by which it holds; none: it does not.
    pub fn holds(&self, figures: &Figures) -> Option<&[Comparison]> {
        let holds = |comparison: &Comparison| figures.requests > 0.0 && comparison.holds(figures);
        self.any.iter().find(|all| all.iter().all(holds)).map(Vec::as_slice)
    }
}

impl Comparison {
    fn holds(&self, figures: &Figures) -> bool {
        match self {
            Self::ErrorRateAbove(share) => figures.error_ratio > share.ratio(),
            Self::QuantileAbove(quantile, bound) => {
                figures.quantiles.iter().any(|(known, took)| known == quantile && took > bound)
            }
        }
    }
}

fn comparison(text: &str) -> Result<Comparison, &'static str> {
    const RULE: &str = "write `error_rate > 1%`, `p99 > 400ms`, or several joined by `and` and `or`";
    let (name, bound) = text.split_once('>').ok_or(RULE)?;
    let (name, bound) = (name.trim(), bound.trim());
    if name == "error_rate" {
        return match Share::parse(bound)? {
            Share::ALL => Err("no error rate is above 100%: write less"),
            share => Ok(Comparison::ErrorRateAbove(share)),
        };
    }
    let quantile = Quantile::NAMES.iter().find(|(known, _)| *known == name).ok_or(RULE)?.1;
    let bound = units::parse_duration(bound)?;
    if bound >= MEASURED_MAX {
        return Err("durations are measured up to 10s: write less");
    }
    Ok(Comparison::QuantileAbove(quantile, bound))
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRateAbove(share) => write!(f, "error_rate > {share}"),
            Self::QuantileAbove(quantile, bound) => {
                write!(f, "{} > {}", quantile.name(), units::format_duration(*bound))
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, all) in self.any.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { " or " })?;
            for (at, comparison) in all.iter().enumerate() {
                write!(f, "{}{comparison}", if at == 0 { "" } else { " and " })?;
            }
        }
        Ok(())
    }
}

text_form!(Condition);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) -> Condition {
        let condition = Condition::parse(text).unwrap();
        assert_eq!(condition.to_string(), text);
        condition
    }

    fn figures(error_ratio: f64, p99_ms: u64) -> Figures {
        Figures { requests: 10.0, error_ratio, quantiles: vec![(Quantile::P99, Duration::from_millis(p99_ms))] }
    }

    #[test]
    fn either_side_of_an_or_is_enough() {
        let condition = check("error_rate > 1% or p99 > 400ms");
        assert_eq!(condition.quantiles(), [Quantile::P99]);
        assert_eq!(condition.holds(&figures(0.01, 400)), None);
        assert!(condition.holds(&figures(0.011, 0)).is_some());
        assert!(condition.holds(&figures(0.0, 401)).is_some());
        assert_eq!(condition.holds(&Figures { requests: 0.0, ..figures(1.0, 1000) }), None);
    }

    #[test]
    fn both_sides_of_an_and_are_needed() {
        let condition = check("error_rate > 1% and p99 > 400ms");
        assert_eq!(condition.holds(&figures(0.5, 0)), None);
        assert_eq!(condition.holds(&figures(0.0, 500)), None);
        assert!(condition.holds(&figures(0.5, 500)).is_some());
    }

    #[test]
    fn figures_are_told_as_people_read_them() {
        let measured = Figures { requests: 40.0, error_ratio: 0.2049, ..figures(0.0, 812) };
        assert_eq!(measured.to_string(), "40 requests, 20.5% failed, p99 812ms");
        assert_eq!(Figures { requests: 1.0, ..Figures::default() }.to_string(), "1 request, 0.0% failed");
        assert_eq!(Figures::default().to_string(), "no requests");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for bad in ["", "error_rate", "error_rate < 1%", "p98 > 1s", "p99 > 1%", "error_rate > 1s", "p99 > 1s or", "a"]
        {
            assert!(Condition::parse(bad).is_err(), "{bad}");
        }
        for never in ["error_rate > 100%", "p99 > 10s", "error_rate > 1% or p50 > 1m"] {
            assert!(Condition::parse(never).unwrap_err().ends_with("write less"), "{never}");
        }
        check("error_rate > 99.9% and p99 > 9s 999ms");
        assert!(Condition::parse(&format!("p99 > {}1s", " ".repeat(CONDITION_BYTES_MAX))).is_err());
    }
}
