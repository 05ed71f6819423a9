//! Two charts of control: a running average for shifts, a cumulative sum for drifts.
//!
//! EWMA by Roberts 1959 and Lucas and Saccucci 1990, CUSUM by Page 1954; both as in the NIST/SEMATECH handbook 6.3.2.
//! The textbook's limits give a false alarm every second day at one reading in five minutes; ours are wider.

use serde::{Deserialize, Serialize};

use crate::number::narrow;

/// The weight of the newest value in the running average.
const WEIGHT: f64 = 0.25;

/// How many of its own deviations the running average may be off.
const SHIFT_LIMIT: f64 = 5.0;

/// How many deviations of each value the sums forgive.
const DRIFT_SLACK: f64 = 0.5;

/// How many deviations the sums may reach.
const DRIFT_LIMIT: f64 = 12.0;

/// Beyond so many deviations a value counts no more than there: one spike is no shift.
const CLIP: f64 = 3.0;

/// Where the sums end, so that they come down again.
const SUM_MAX: f64 = 1.5 * DRIFT_LIMIT;

/// Where both stand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Charts {
    average: f32,
    up: f32,
    down: f32,
}

impl Charts {
    pub(crate) fn is_sound(&self) -> bool {
        [self.average, self.up, self.down].iter().all(|number| number.is_finite())
    }

    /// Takes a whitened value in; how far shift and drift are, as multiples of their limits.
    pub(crate) fn step(&mut self, whitened: f64) -> (f64, f64) {
        let value = whitened.clamp(-CLIP, CLIP);
        self.average = narrow(WEIGHT * value + (1.0 - WEIGHT) * f64::from(self.average));
        let sum = |before: f32, value: f64| narrow((f64::from(before) + value - DRIFT_SLACK).clamp(0.0, SUM_MAX));
        self.up = sum(self.up, value);
        self.down = sum(self.down, -value);
        let shift_limit = SHIFT_LIMIT * (WEIGHT / (2.0 - WEIGHT)).sqrt();
        (f64::from(self.average).abs() / shift_limit, f64::from(self.up.max(self.down)) / DRIFT_LIMIT)
    }
}
