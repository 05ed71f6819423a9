//! Samples, and the port through which queries read them.

use crate::labels::{Labels, Matcher};

/// The value that says that a series has ended: a NaN of its own bits, as Prometheus writes it.
///
/// Compare with [`is_stale`]: NaN equals nothing.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is [`STALE`], and no NaN that was measured.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// One value at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// In milliseconds since 1970.
    pub at_ms: i64,
    /// What was measured, or [`STALE`].
    pub value: f64,
}

/// Labels with their samples, by time, no time twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Which series.
    pub labels: Labels,
    /// Its samples, [`STALE`] ones among them.
    pub samples: Vec<Sample>,
}

/// A series of one opening of a store, by which samples are appended; what is in it is the store's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u64);

/// What became of samples that were appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Those that are kept, or were there already, the same.
    pub kept: usize,
    /// Those that are older than what is known of their series.
    pub out_of_order: usize,
    /// Those whose series has another sample of that time.
    pub duplicate: usize,
    /// Those whose series is not known, or no more: intern it again.
    pub unknown: usize,
    /// Those that are more than 10 minutes in the future.
    pub too_new: usize,
    /// Those that are more than an hour older than the newest of all series.
    pub too_old: usize,
    /// Those that were not taken, as too much waits for the disk, or the store is closed.
    pub refused: usize,
}

/// Where queries read: the series store, or what a test made up.
///
/// Everything blocks.
pub trait Source: Send + Sync {
    /// The series that pass all matchers and have samples from `from_ms` to `to_ms`, both included, sorted
    /// by labels, with those samples.
    ///
    /// # Errors
    /// [`SourceError::TooManySamples`] when there are more than `samples_max` in all.
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        samples_max: usize,
    ) -> Result<Vec<Series>, SourceError>;
}

/// Why samples could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The answer would take too much memory.
    #[error("more than {samples_max} samples would have to be read: narrow the selector or the time")]
    TooManySamples {
        /// How many were allowed.
        samples_max: usize,
    },
    /// So many series are not listed.
    #[error("more than {series_max} series would have to be listed: narrow the matchers or the time")]
    TooManySeries {
        /// How many are.
        series_max: usize,
    },
    /// The store was closed.
    #[error("the series store is closed")]
    Closed,
}
