//! How often a device usually is heard, of its last readings.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many intervals are remembered.
const RECENT_MAX: usize = 32;

/// How many are enough to say what is usual.
const RECENT_MIN: usize = 8;

/// The time from reading to reading.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intervals {
    /// In milliseconds, the newest last.
    recent: VecDeque<i64>,
    median_ms: i64,
    long_ms: i64,
}

impl Intervals {
    pub(crate) fn is_sound(&self) -> bool {
        self.recent.len() <= RECENT_MAX && self.median_ms >= 0 && self.long_ms >= 0
    }

    /// Takes one in: also one of a dropout, which the others outweigh unless it becomes usual.
    pub(crate) fn push(&mut self, interval_ms: i64) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(interval_ms);
        let mut sorted: Vec<i64> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let at = |index: usize| sorted.get(index).copied().unwrap_or(interval_ms);
        (self.median_ms, self.long_ms) = (at(sorted.len() / 2), at(sorted.len() * 9 / 10));
    }

    /// The one in the middle, once enough is known.
    pub(crate) fn median_ms(&self) -> Option<i64> {
        (self.recent.len() >= RECENT_MIN).then_some(self.median_ms)
    }

    /// One that nine of ten are not above: of a regular device the same, of an irregular one more.
    pub(crate) fn long_ms(&self) -> Option<i64> {
        (self.recent.len() >= RECENT_MIN).then_some(self.long_ms)
    }
}
