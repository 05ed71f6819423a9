//! The settings of the trace store.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bowline_runtime::metric;

use crate::traces::Tap;

/// The least cap on disk: sixteen segments of the least size.
pub const BYTES_MAX_MIN: u64 = SEGMENTS * SEGMENT_BYTES_MIN;

/// Into how many segments the cap is divided; deleting one loses this share of the traces.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// Offsets in a segment are kept in 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// How the trace store keeps its spans.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder, its own; made if it is not there.
    pub dir: PathBuf,
    /// The sum of all its files never exceeds this; at least [`BYTES_MAX_MIN`]. 256 MiB.
    pub bytes_max: u64,
    /// The most traces that can be found; the oldest are forgotten first. 100 000.
    pub traces_max: usize,
    /// The most bytes of spans that wait to be written; more are dropped. 32 MiB.
    pub queue_bytes_max: usize,
    /// The most bytes of records that one search reads; it ends there with what it found. 256 MiB.
    pub search_bytes_max: u64,
    /// How long what was written may stay in the system's memory only. 1 s.
    pub flush_every: Duration,
    /// How long a few spans wait for others, to share one record. 100 ms.
    pub gather_for: Duration,
    /// Sees every span that is taken, and at open those of the last [`replay`](Self::replay).
    pub tap: Option<Arc<dyn Tap>>,
    /// How far back spans of earlier runs are shown to the tap; at most the newest 500 000. 1 h.
    pub replay: Duration,
    /// Where the store counts.
    pub metrics: metric::Registry,
}

impl Settings {
    /// The defaults, in that folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            bytes_max: 256 * 1024 * 1024,
            traces_max: 100_000,
            queue_bytes_max: 32 * 1024 * 1024,
            search_bytes_max: 256 * 1024 * 1024,
            flush_every: Duration::from_secs(1),
            gather_for: Duration::from_millis(100),
            tap: None,
            replay: Duration::from_hours(1),
            metrics: metric::Registry::default(),
        }
    }

    /// The size at which a segment is closed and the next one begun.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.bytes_max / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    }
}
