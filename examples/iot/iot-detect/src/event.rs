//! What a detector tells, and the latch that makes one episode of many alarms.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::HOUR_MS;

/// For how long the score has to be below [`QUIET`] before an episode is over.
const QUIET_MS: i64 = 2 * HOUR_MS;

/// The share of the limit below which it is quiet.
const QUIET: f64 = 0.5;

/// What is wrong with a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A value that is far from what was expected.
    Spike,
    /// Values that are all too high, or all too low, at once.
    Shift,
    /// Values that leave what was expected little by little.
    Drift,
    /// Values that do not change any more.
    Stuck,
    /// No values.
    Dropout,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Spike, Self::Shift, Self::Drift, Self::Stuck, Self::Dropout];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Shift => "shift",
            Self::Drift => "drift",
            Self::Stuck => "stuck",
            Self::Dropout => "dropout",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What became of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Began,
    Ended,
}

/// An episode has begun or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// In milliseconds since 1970.
    pub at_ms: i64,
    pub kind: Kind,
    pub change: Change,
    /// How far it is, as a multiple of the limit.
    pub score: f64,
    /// The value it was found at; none for a dropout that begins.
    pub value: Option<f64>,
    /// What was expected instead, where that was known.
    pub expected: Option<f64>,
}

/// Whether an episode is open, and since when it is quiet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latch {
    open_since_ms: Option<i64>,
    quiet_since_ms: Option<i64>,
}

impl Latch {
    /// When the episode began that is open.
    pub(crate) fn open_since_ms(&self) -> Option<i64> {
        self.open_since_ms
    }

    /// Opens above the limit; closes after it was quiet for long enough.
    pub(crate) fn step(&mut self, at_ms: i64, score: f64) -> Option<Change> {
        if self.open_since_ms.is_none() {
            return (score > 1.0).then(|| self.open(at_ms));
        }
        if score >= QUIET {
            self.quiet_since_ms = None;
            return None;
        }
        let quiet_since_ms = *self.quiet_since_ms.get_or_insert(at_ms);
        (at_ms.saturating_sub(quiet_since_ms) >= QUIET_MS).then(|| self.close())
    }

    pub(crate) fn open(&mut self, at_ms: i64) -> Change {
        *self = Self { open_since_ms: Some(at_ms), quiet_since_ms: None };
        Change::Began
    }

    pub(crate) fn close(&mut self) -> Change {
        *self = Self::default();
        Change::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_over_after_two_quiet_hours() {
        let mut latch = Latch::default();
        let mut step = |hours: i64, score| latch.step(hours * HOUR_MS, score);
        assert_eq!(step(0, 1.0), None);
        assert_eq!(step(1, 1.1), Some(Change::Began));
        assert_eq!(step(2, 1.5), None, "it is open already");
        assert_eq!((step(3, 0.1), step(4, 0.6), step(5, 0.1), step(6, 0.4)), (None, None, None, None));
        assert_eq!(step(7, 0.4), Some(Change::Ended));
        assert_eq!(step(8, 2.0), Some(Change::Began));
    }
}
