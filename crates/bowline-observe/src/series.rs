//! The series store: samples in compressed chunks, in memory and in blocks on disk, under a hard cap.
//!
//! A sample goes into the *head*, an open chunk for each series, and into the head's *log*, which is
//! written and synced once a second. After two hours, or when log or head get large, the *generation*
//! ends: its chunks become a *block*, a file that is written once; then its log goes. Log and block of a
//! generation have the same number, so after a crash it is never in doubt which of them counts.
//!
//! Where this departs from Prometheus: times and values are columns of their own, as the series of one
//! scrape share their times; values are differences of decimal numbers where they are such, in whole
//! bytes, which need no shifting about as bits do; the log holds differences, too, so that it takes no
//! more room than blocks do; and one lock guards the head, as a batch holds it for microseconds.

mod block;
mod chunk;
mod error;
mod head;
mod log;
mod metrics;
mod postings;
mod record;
mod select;
mod settings;
mod store;
mod writer;

pub use error::Error;
pub use settings::{BYTES_MAX_MIN, Settings};
pub use store::SeriesStore;

/// A series of one opening of a store, see [`SeriesStore::intern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef {
    stamp: u32,
    place: u32,
}

impl SeriesRef {
    /// Of no series.
    const NONE: Self = Self { stamp: 0, place: u32::MAX };
}

/// What became of samples, see [`SeriesStore::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Appended {
    /// Taken, or there already, the same.
    pub kept: usize,
    /// Older than the last sample of their series.
    pub out_of_order: usize,
    /// Of the time of the last sample of their series, with another value.
    pub duplicate: usize,
    /// Of series that were let go or never were: intern them again.
    pub unknown: usize,
    /// More than 10 minutes in the future.
    pub too_new: usize,
    /// Refused, as too much waits for the disk, or the store is closed.
    pub refused: usize,
}
