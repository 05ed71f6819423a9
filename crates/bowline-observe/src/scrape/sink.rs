//! The port through which samples are kept.

use crate::{
    labels::Labels,
    source::{Appended, SeriesRef},
};

/// Where samples go: the series store, or what a test keeps in memory.
pub trait Sink: Send + Sync + 'static {
    /// The series of those labels, which is made where it is not known.
    ///
    /// # Errors
    /// When it is not known and cannot be made.
    fn intern(&self, labels: &Labels) -> Result<SeriesRef, SinkError>;

    /// Takes samples of one time, in milliseconds since 1970; never waits for the disk.
    fn append(&self, at_ms: i64, samples: &[(SeriesRef, f64)]) -> Appended;
}

/// Why a series is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// As many are alive as may be.
    #[error("there are too many series")]
    TooManySeries,
    /// Its labels exceed a bound of the store.
    #[error("the series' labels are not taken by the store")]
    InvalidLabels,
    /// The store was closed.
    #[error("the series store is closed")]
    Closed,
}
