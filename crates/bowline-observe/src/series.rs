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
mod sinks;
mod store;
mod writer;

use crate::source::SeriesRef;

pub use error::Error;
pub use settings::{BYTES_MAX_MIN, Settings};
pub use store::SeriesStore;

impl SeriesRef {
    /// Of no series.
    const NONE: Self = Self::of(0, u32::MAX);

    /// Of the series at a place, of which the stamp tells those that were there before.
    const fn of(stamp: u32, place: u32) -> Self {
        Self((stamp as u64) << 32 | place as u64)
    }

    const fn stamp(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is meant")]
    const fn place(self) -> u32 {
        self.0 as u32
    }
}
