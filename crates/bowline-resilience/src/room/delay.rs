//! Whether a queue only takes up bursts, or stands: by how long its oldest has waited.
//!
//! A queue that is good drains within an interval; one in which at no moment of a whole interval the oldest had
//! waited less than the target stands, and whoever waits in it waits for nothing. While it stands, whoever has
//! waited twice the target is turned away: at that rate nobody would get a useful answer any more. It takes one to two
//! intervals to see it, since a queue begins with one that has not waited at all.
//!
//! Sources: K. Nichols, V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012 (least delay over an interval);
//! B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015, and folly's `Codel.cpp` (for requests: a fixed time after which
//! they are turned away in place of ever more frequent drops, and the newest first).

use bowline_model::policy::ShedPolicy;

use crate::nanos::nanos;

/// Times are nanoseconds since any origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Delay {
    target: u64,
    interval: u64,
    /// The least that the oldest had waited at any moment of this interval.
    least: u64,
    ends_at: u64,
    is_standing: bool,
}

impl Delay {
    pub(super) fn new(policy: &ShedPolicy) -> Self {
        let ShedPolicy { calls_max: _, queue_max: _, delay_target, interval } = policy;
        let (target, interval) = (nanos(*delay_target), nanos(*interval));
        Self { target, interval, least: u64::MAX, ends_at: 0, is_standing: false }
    }

    /// Somebody comes into an empty queue.
    pub(super) fn begin(self, now: u64) -> Self {
        Self { least: u64::MAX, ends_at: now.saturating_add(self.interval), is_standing: false, ..self }
    }

    /// The oldest has waited that long now.
    pub(super) fn observe(self, age: u64, now: u64) -> Self {
        let least = self.least.min(age);
        if now < self.ends_at {
            return Self { least, ..self };
        }
        let is_standing = least > self.target;
        Self { is_standing, ..self.begin(now) }
    }

    /// How long one may wait in the long run.
    pub(super) fn target(self) -> u64 {
        self.target
    }

    /// Whether the queue stands.
    pub(super) fn is_standing(self) -> bool {
        self.is_standing
    }

    /// Whether who has waited that long is turned away.
    pub(super) fn is_too_old(self, age: u64) -> bool {
        self.is_standing && age > self.target.saturating_mul(2)
    }
}
