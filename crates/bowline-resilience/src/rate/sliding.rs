//! At most so many in any window of time, for each key: for promises to customers, where a burst on top of an even pace
//! ([`super::Limiter`]) would be one too many.
//!
//! Time is cut into slices of a tenth of the window. A key's state is what was let through in this slice and in each of
//! the ten before it; one more is let through when that is less than the limit.
//!
//! - **In any window at most the limit**, wherever it begins: a window touches eleven slices at the most, and all of
//!   them are counted in full. The two weighted counters that are usual elsewhere take the last window's calls for
//!   evenly spread, and let through up to twice the limit when they were not.
//! - **What that costs**: a call counts for up to a tenth of the window too long, so that an even pace of more than
//!   10/11 of the limit meets refusals.
//! - **Bounded**: as [`super::Limiter`], of keys; about 100 bytes of each.
//!
//! Sources: the sliding window of buckets, as in Cloudflare, "How we built rate limiting capable of scaling to
//! millions of domains", 2017 (two weighted ones); here with eleven that are counted in full.

use std::fmt;

use bowline_model::gateway::{LIMIT_REFILL_MAX, Window};
use bowline_runtime::{
    metric::Counter,
    time::{Duration, Instant},
};

use super::{Decision, keys::Keys};
use crate::nanos::nanos;

/// Slices of a window.
pub const SLICES: usize = 10;

/// Slices that a window can touch.
const TOUCHED: usize = SLICES + 1;

/// At most so many in any window of time; both above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingLimit {
    count: u32,
    /// In nanoseconds.
    slice: u64,
}

/// What was let through, by slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Slices {
    /// The slice that was written last, since any origin.
    last: u64,
    /// Of slice `n` at `n % TOUCHED`.
    counts: [u32; TOUCHED],
}

impl SlidingLimit {
    /// At most `count` in any `window`.
    ///
    /// Numbers a limit must not hold are taken for the nearest it may: the window is at most [`LIMIT_REFILL_MAX`].
    pub fn new(count: u32, window: Duration) -> Self {
        let window = nanos(window.min(LIMIT_REFILL_MAX));
        Self { count: count.max(1), slice: window.div_ceil(SLICES as u64).max(1) }
    }

    /// How many in any window.
    pub fn count(self) -> u32 {
        self.count
    }

    /// How long a window is; rounded up to ten whole nanoseconds.
    pub fn window(self) -> Duration {
        Duration::from_nanos(self.slice * SLICES as u64)
    }

    /// One request at `now`, in nanoseconds since any origin: what is kept of it, and the answer. Pure.
    fn step(self, slices: Slices, now: u64) -> (Slices, Decision) {
        let before = self.look(slices, now);
        if !before.is_allowed {
            return (slices, before);
        }
        let mut slices = slices.at(now / self.slice);
        slices.counts[slices.place(0)] += 1;
        (slices, Decision { is_allowed: true, retry_after: Duration::ZERO, ..self.look(slices, now) })
    }

    /// What a request would meet, without it.
    fn look(self, slices: Slices, now: u64) -> Decision {
        let slices = slices.at(now / self.slice);
        let now = now.max(slices.last * self.slice);
        let used = slices.used();
        let until = |age: usize| (slices.last + (TOUCHED - age) as u64) * self.slice - now;
        // From the oldest on: when as many have left the window as have to.
        let mut left = used;
        let frees_at = (0..TOUCHED).rev().find(|age| {
            left -= slices.counts[slices.place(*age)];
            left < self.count
        });
        let youngest = (0..TOUCHED).find(|age| slices.counts[slices.place(*age)] > 0);
        let is_allowed = used < self.count;
        Decision {
            is_allowed,
            remaining: self.count.saturating_sub(used),
            reset_after: Duration::from_nanos(youngest.map_or(0, until)),
            retry_after: Duration::from_nanos(frees_at.filter(|_| !is_allowed).map_or(0, until)),
        }
    }

    /// From when on nothing is remembered.
    fn empty_at(self, slices: Slices) -> u64 {
        (slices.last + TOUCHED as u64) * self.slice
    }
}

impl From<Window> for SlidingLimit {
    fn from(window: Window) -> Self {
        Self::new(window.count(), window.length())
    }
}

impl Slices {
    /// As they are in that slice: what is too old is gone. One that is over already is taken for the last.
    fn at(mut self, slice: u64) -> Self {
        let passed = slice.saturating_sub(self.last);
        for step in 1..=passed.min(TOUCHED as u64) {
            let place = (self.last + step) % TOUCHED as u64;
            self.counts[usize::try_from(place).expect("one of eleven")] = 0;
        }
        if passed >= TOUCHED as u64 {
            self.counts = [0; TOUCHED];
        }
        self.last = self.last.max(slice);
        self
    }

    /// Where the slice of that age is, 0 being the last.
    fn place(self, age: usize) -> usize {
        let place = (self.last + (TOUCHED - age) as u64) % TOUCHED as u64;
        usize::try_from(place).expect("one of eleven")
    }

    fn used(self) -> u32 {
        self.counts.iter().sum()
    }
}

/// One [`SlidingLimit`] for each key, shared by all threads.
pub struct SlidingLimiter {
    limit: SlidingLimit,
    keys: Keys<Slices>,
}

impl SlidingLimiter {
    /// A limiter that keeps at most `keys_max` keys, and at least one.
    pub fn new(limit: SlidingLimit, keys_max: usize) -> Self {
        Self { limit, keys: Keys::new(keys_max) }
    }

    /// The same, counting what [`SlidingLimiter::forgotten`] tells in a cell of a registry of metrics.
    #[must_use]
    pub fn forgotten_in(mut self, cell: Counter) -> Self {
        self.keys.forgotten = cell;
        self
    }

    /// The limit of each key.
    pub fn limit(&self) -> SlidingLimit {
        self.limit
    }

    /// Asks for one request of that key now, and counts it where it is let through.
    ///
    /// A `now` before that of another caller is no harm: it counts in the slice of the other. O(log keys).
    pub fn check(&self, key: &[u8], now: Instant) -> Decision {
        let (hash, now) = (self.keys.hash(key), self.keys.since_born(now));
        let mut table = self.keys.table(hash);
        let place = table.find(hash);
        let before = place.map(|place| *table.value(place)).unwrap_or_default();
        let (slices, decision) = self.limit.step(before, now);
        if !decision.is_allowed {
            return decision;
        }
        let empty_at = self.limit.empty_at(slices);
        match place {
            Some(place) => {
                *table.value_mut(place) = slices;
                table.raise(place, empty_at);
            }
            None => self.keys.insert(table, hash, (empty_at, slices), now),
        }
        decision
    }

    /// What [`SlidingLimiter::check`] would find; takes nothing, and remembers no new key.
    pub fn peek(&self, key: &[u8], now: Instant) -> Decision {
        let (hash, now) = (self.keys.hash(key), self.keys.since_born(now));
        let table = self.keys.table(hash);
        let slices = table.find(hash).map(|place| *table.value(place)).unwrap_or_default();
        self.limit.look(slices, now)
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys gave way to others while their calls still counted: they may have had more than the limit.
    pub fn forgotten(&self) -> u64 {
        self.keys.forgotten.get()
    }
}

impl fmt::Debug for SlidingLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, keys } = self;
        f.debug_struct("SlidingLimiter")
            .field("limit", limit)
            .field("len", &keys.len())
            .field("forgotten", &keys.forgotten.get())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use bowline_runtime::time;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_pause_the_whole_limit_is_there_and_nothing_more_for_a_window() {
        let limiter = SlidingLimiter::new(SlidingLimit::new(5, SECOND), 10);
        let now = time::now();
        let allowed = |at: Duration| (0..20).filter(|_| limiter.check(b"key", now + at).is_allowed).count();
        assert_eq!((allowed(Duration::ZERO), allowed(SECOND / 100 * 99), allowed(SECOND * 2)), (5, 0, 5));
        let refused = limiter.check(b"key", now + SECOND * 2);
        assert!(refused.retry_after > SECOND && refused.retry_after <= SECOND + SECOND / 10, "{refused:?}");
        assert!(limiter.check(b"key", now + SECOND * 2 + refused.retry_after).is_allowed);
        assert_eq!(limiter.peek(b"other", now).remaining, 5);
        assert_eq!(limiter.len(), 1);
    }

    #[test]
    fn ten_elevenths_of_the_limit_at_an_even_pace_are_never_refused() {
        let limit = SlidingLimit::new(110, SECOND);
        let mut slices = Slices::default();
        for at in 0..1000u64 {
            let (next, decision) = limit.step(slices, at * 10_000_000);
            assert!(decision.is_allowed, "{at}: {decision:?}");
            slices = next;
        }
    }

    proptest! {
        #[test]
        fn in_any_window_there_are_never_more(
            count in 1u32..8, window in 10u64..200,
            gaps in proptest::collection::vec(0u64..60, 1..400),
        ) {
            let limit = SlidingLimit::new(count, Duration::from_nanos(window));
            let window = u64::try_from(limit.window().as_nanos()).unwrap();
            let (mut slices, mut now, mut let_through) = (Slices::default(), 0, Vec::new());
            for gap in gaps {
                now += gap / 4;
                let (next, decision) = limit.step(slices, now);
                slices = next;
                if decision.is_allowed {
                    let_through.push(now);
                    prop_assert!(decision.retry_after.is_zero());
                } else {
                    let later = now + u64::try_from(decision.retry_after.as_nanos()).unwrap();
                    prop_assert!(limit.step(slices, later).1.is_allowed, "it says when");
                    prop_assert!(!limit.step(slices, later - 1).1.is_allowed, "and not too late");
                }
                let since = now.saturating_sub(window - 1);
                prop_assert!(let_through.iter().filter(|at| **at >= since).count() <= count as usize);
                let empty = now + u64::try_from(decision.reset_after.as_nanos()).unwrap();
                prop_assert_eq!(limit.look(slices, empty).remaining, count);
            }
        }
    }
}
