//! What is kept of readings for long: minutes and hours.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::reading::Reading;

/// How long one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Step {
    #[serde(rename = "1m")]
    Minute,
    #[serde(rename = "1h")]
    Hour,
}

impl Step {
    pub(crate) const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    pub(crate) const fn ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// When the one began in which that was.
    pub(crate) fn begin_ms(self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.ms()) * self.ms()
    }
}

/// What there was in one of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rollup {
    pub(crate) from_ms: i64,
    pub(crate) count: i64,
    pub(crate) total: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// Rollups of readings, by device and step.
pub(crate) type Rollups = BTreeMap<(String, Step, i64), Rollup>;

/// What readings add to their minutes and hours.
pub(crate) fn of(readings: &[Reading]) -> Rollups {
    let mut rollups = Rollups::new();
    for Reading { device, sequence: _, at_ms, value } in readings {
        for step in Step::ALL {
            let from_ms = step.begin_ms(*at_ms);
            let empty = Rollup { from_ms, count: 0, total: 0.0, lowest: *value, highest: *value };
            let rollup = rollups.entry((device.clone(), step, from_ms)).or_insert(empty);
            rollup.count += 1;
            rollup.total += value;
            rollup.lowest = rollup.lowest.min(*value);
            rollup.highest = rollup.highest.max(*value);
        }
    }
    rollups
}
