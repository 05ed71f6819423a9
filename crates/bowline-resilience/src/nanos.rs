//! Durations as numbers: what atomics hold of them.

use bowline_runtime::time::Duration;

/// Its nanoseconds; as many as there can be of one beyond 584 years.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
