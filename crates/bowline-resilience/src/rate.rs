//! Rate limits: so many at once after a pause, and so many in the long run, for each key.
//!
//! The algorithm is the generic cell rate algorithm. A key's whole state is one instant: when it will have
//! its full burst again (the *theoretical arrival time*). Each request that is let through moves it one
//! interval on; a request that would move it further than a burst ahead of now is refused, and moves nothing.
//!
//! - **Limits are exact**, over all threads: of requests at one instant exactly `burst` are let through, and
//!   in any span of time at most `burst + span / interval`.
//! - **Bounded**: at most `keys_max` keys are kept. A new one beyond that takes the place of the key that has
//!   its full burst again the soonest: of one that has it already nothing is lost, of another its debt is
//!   forgotten, and [`Limiter::forgotten`] counts it. Room is shared out among shards; a busy one may begin
//!   with that when a few per cent are left elsewhere.
//! - **Cost**: two hashes of the key, a short mutex of its shard, a search and a few swaps. Nothing is
//!   allocated for a key that is known.
//!
//! Keys are kept as 128-bit keyed hashes, so that long keys cost no more memory than short ones and none can
//! be read out of it.
//!
//! Source: ITU-T I.371 (2004), Annex A.1, the generic cell rate algorithm as virtual scheduling.

mod keys;
mod sliding;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use bowline_model::gateway::LIMIT_REFILL_MAX;
use bowline_runtime::{
    metric::Counter,
    time::{Duration, Instant},
};

use self::keys::Keys;
pub use self::sliding::{SLICES, SlidingLimit, SlidingLimiter};
use crate::nanos::nanos;

/// How many keys a limiter keeps where its owner has no reason for another number; about 8 MiB when full.
pub const KEYS_MAX: usize = 100_000;

/// How often somebody may ask: an interval and a burst, both above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Between two at an even pace, in nanoseconds.
    interval: u64,
    burst: u32,
    /// From nothing to the full burst, in nanoseconds.
    refill: u64,
}

/// The answer for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is let through.
    pub is_allowed: bool,
    /// How many more would be let through at this instant.
    pub remaining: u32,
    /// How long until the full burst is there again, if nobody asks before.
    pub reset_after: Duration,
    /// How long until one would be let through; zero where this one is.
    pub retry_after: Duration,
}

impl Limit {
    /// One each `interval` in the long run, `burst` at once after a pause.
    ///
    /// Numbers a limit must not hold are taken for the nearest it may: the interval is at least 1 ns, the
    /// burst at least 1 and no larger than what [`LIMIT_REFILL_MAX`] refills.
    pub fn new(interval: Duration, burst: u32) -> Self {
        let interval = nanos(interval).clamp(1, nanos(LIMIT_REFILL_MAX));
        let burst_max = u32::try_from(nanos(LIMIT_REFILL_MAX) / interval).unwrap_or(u32::MAX);
        let burst = burst.clamp(1, burst_max);
        Self { interval, burst, refill: interval * u64::from(burst) }
    }

    /// Between two at an even pace.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How many at once after a pause.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// One request of a key that has its full burst again at `full_at`: when it has it then, and the answer.
    ///
    /// Pure; what production runs and the model checker explores. Times are nanoseconds since any origin.
    fn step(self, full_at: u64, now: u64) -> (u64, Decision) {
        let before = self.look(full_at, now);
        if !before.is_allowed {
            return (full_at, before);
        }
        let full_at = full_at.max(now).saturating_add(self.interval);
        (full_at, Decision { is_allowed: true, retry_after: Duration::ZERO, ..self.look(full_at, now) })
    }

    /// What a request would meet, without it.
    fn look(self, full_at: u64, now: u64) -> Decision {
        let owed = full_at.saturating_sub(now);
        let remaining = self.refill.saturating_sub(owed) / self.interval;
        let lacking = owed.saturating_add(self.interval).saturating_sub(self.refill);
        Decision {
            is_allowed: remaining > 0,
            remaining: u32::try_from(remaining).expect("no more than the burst"),
            reset_after: Duration::from_nanos(owed),
            retry_after: Duration::from_nanos(lacking),
        }
    }
}

/// One limit for each key, shared by all threads.
pub struct Limiter {
    limit: Limit,
    keys: Keys<()>,
}

impl Limiter {
    /// A limiter that keeps at most `keys_max` keys, and at least one.
    pub fn new(limit: Limit, keys_max: usize) -> Self {
        Self { limit, keys: Keys::new(keys_max) }
    }

    /// The same, counting what [`Limiter::forgotten`] tells in a cell of a registry of metrics.
    #[must_use]
    pub fn forgotten_in(mut self, cell: Counter) -> Self {
        self.keys.forgotten = cell;
        self
    }

    /// The limit of each key.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Asks for one request of that key now, and counts it where it is let through.
    ///
    /// A `now` before that of another caller is no harm: it finds what the other left. O(log keys).
    pub fn check(&self, key: &[u8], now: Instant) -> Decision {
        let (hash, now) = (self.keys.hash(key), self.keys.since_born(now));
        let mut table = self.keys.table(hash);
        let place = table.find(hash);
        let (full_at, decision) = self.limit.step(place.map_or(0, |place| table.full_at(place)), now);
        if !decision.is_allowed {
            return decision;
        }
        match place {
            Some(place) => table.raise(place, full_at),
            None => self.keys.insert(table, hash, (full_at, ()), now),
        }
        decision
    }

    /// What [`Limiter::check`] would find; takes nothing, and remembers no new key.
    ///
    /// `remaining` counts the request that is asked about.
    pub fn peek(&self, key: &[u8], now: Instant) -> Decision {
        let (hash, now) = (self.keys.hash(key), self.keys.since_born(now));
        let table = self.keys.table(hash);
        let full_at = table.find(hash).map_or(0, |place| table.full_at(place));
        self.limit.look(full_at, now)
    }

    /// How many keys are kept, those that have their full burst again included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys gave way to others before they had their full burst again: what they had used was
    /// forgotten, so that they may have had more than the limit.
    pub fn forgotten(&self) -> u64 {
        self.keys.forgotten.get()
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, keys } = self;
        f.debug_struct("Limiter")
            .field("limit", limit)
            .field("len", &keys.len())
            .field("forgotten", &keys.forgotten.get())
            .finish()
    }
}
