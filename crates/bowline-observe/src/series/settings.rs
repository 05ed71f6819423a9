//! The settings of the series store.

use std::{path::PathBuf, time::Duration};

use bowline_runtime::metric;

/// The least cap on disk.
pub const BYTES_MAX_MIN: u64 = 4 * 1024 * 1024;

/// The share of the cap that the log may take, and what waits to be written to it.
const LOG_SHARE: u64 = 8;
/// The most that the log of one block takes: it is read whole at open.
const LOG_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// The most that waits for the disk, in memory.
const QUEUE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How the series store keeps its samples.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder, its own; made if it is not there.
    pub dir: PathBuf,
    /// The sum of all its files never exceeds this; at least [`BYTES_MAX_MIN`]. 512 MiB.
    pub bytes_max: u64,
    /// Samples older than this are deleted, a block of about two hours at a time. 15 days.
    pub retention: Duration,
    /// The most series that take samples at a time; further ones are refused. 200 000.
    pub series_max: usize,
    /// How long a sample may be in memory only. 1 s.
    pub flush_every: Duration,
    /// Where the store counts.
    pub metrics: metric::Registry,
}

impl Settings {
    /// The defaults, in that folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            bytes_max: 512 * 1024 * 1024,
            retention: Duration::from_hours(15 * 24),
            series_max: 200_000,
            flush_every: Duration::from_secs(1),
            metrics: metric::Registry::default(),
        }
    }

    /// When the log is so large, a block is made of what is in it.
    pub(crate) fn log_bytes_max(&self) -> u64 {
        (self.bytes_max / LOG_SHARE).min(LOG_BYTES_MAX)
    }

    /// When so much waits for the disk, samples are refused.
    pub(crate) fn queue_bytes_max(&self) -> usize {
        usize::try_from((self.bytes_max / LOG_SHARE).min(QUEUE_BYTES_MAX)).unwrap_or(usize::MAX)
    }
}
