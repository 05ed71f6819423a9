//! What the closed breaker looks back upon: calls and failures in a ring of buckets, of time or of calls.
//!
//! Lock-free. Each bucket is one atomic word of epoch, tick, calls and failures, so that a result
//! is counted in the closed state it belongs to or not at all: a late one finds a word of another
//! epoch, and its exchange fails. There are several rings, of which each thread counts in one, so that cores do not
//! wait for each other; the window is the sum of them.

use bowline_model::policy::Window as Span;
use bowline_runtime::{metric::Padded, time::Duration};

use crate::{
    nanos::nanos,
    sync::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
        stripe, stripes_max,
    },
};

/// Into how many buckets the window is cut; it looks back upon nine to ten tenths.
const BUCKETS: u64 = BUCKET_COUNT as u64;

const BUCKET_COUNT: usize = 10;

/// The most rings of a window.
const STRIPES_MAX: usize = 4;

const COUNT_BITS: u32 = 16;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const TICK_BITS: u32 = 22;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;
const EPOCH_MASK: u64 = (1 << 10) - 1;

/// After so many ticks, as a power of two, what has left the window is taken out of all rings: a ring whose threads
/// count no more would come to life again when ticks come round.
const SWEEP_BITS: u32 = 16;

/// Beside the rings, and the number of calls of a window of calls, it is written by failures and transitions only.
#[derive(Debug)]
pub(super) struct Window {
    /// A power of two of them.
    stripes: Box<[Padded<Ring>]>,
    /// How many cells of a ring are in use: all, but for a window of fewer calls.
    cell_count: u64,
    bucket: Width,
    /// One more than the bucket of the last failure; 0 when there was none.
    failed_at: AtomicU64,
}

type Ring = [AtomicU64; BUCKET_COUNT];

/// How wide a bucket is.
#[derive(Debug)]
enum Width {
    /// 2⁶⁴ by the nanoseconds of a bucket, rounded up: a multiplication is quicker than a division.
    Time { buckets_per_nano: u64 },
    /// So many calls, and how many were counted.
    Calls { each: u64, counted: Box<Padded<AtomicU64>> },
}

/// Calls and failures together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failures: u64,
}

impl Window {
    /// An empty one. One of calls is rounded up to whole buckets, so that it holds all that it is said to.
    pub(super) fn new(span: Span) -> Self {
        let (bucket, cell_count) = match span {
            Span::Time(time) => {
                let each = (nanos(time) / BUCKETS).max(2);
                (Width::Time { buckets_per_nano: u64::MAX / each + 1 }, BUCKETS)
            }
            Span::Calls(calls) => {
                let calls = u64::from(calls).max(1);
                let each = calls.div_ceil(BUCKETS);
                (Width::Calls { each, counted: Box::default() }, calls.div_ceil(each))
            }
        };
        let stripes = stripes_max(STRIPES_MAX).next_power_of_two();
        let stripes = (0..stripes).map(|_| Padded::default()).collect();
        Self { stripes, cell_count, bucket, failed_at: AtomicU64::new(0) }
    }

    /// The bucket of now, at that age of the breaker.
    #[inline]
    pub(super) fn tick(&self, age: impl FnOnce() -> Duration) -> u64 {
        match &self.bucket {
            Width::Time { buckets_per_nano } => bucket_of(nanos(age()), *buckets_per_nano),
            Width::Calls { each, counted } => counted.0.load(Relaxed).saturating_sub(1) / each,
        }
    }

    /// The bucket of a call that is counted now.
    #[inline]
    pub(super) fn next_tick(&self, age: impl FnOnce() -> Duration) -> u64 {
        match &self.bucket {
            Width::Time { buckets_per_nano } => bucket_of(nanos(age()), *buckets_per_nano),
            Width::Calls { each, counted } => counted.0.fetch_add(1, Relaxed) / each,
        }
    }

    /// Counts one result of `epoch` at `tick` and sums the window up.
    ///
    /// `None` when `is_current` denies that the epoch is still the breaker's: nothing is counted. Nothing is summed up
    /// where no failure is in the window: then there is nothing to decide. Two that come in the same instant may miss
    /// each other; the next one does not.
    #[inline]
    pub(super) fn record(
        &self,
        epoch: u64,
        tick: u64,
        is_failure: bool,
        is_current: impl Fn() -> bool,
    ) -> Option<Counts> {
        let cell = &self.stripes[stripe() & (self.stripes.len() - 1)].0[self.cell_of(tick)];
        // Before it is counted: who counts after it sees it, and who counted before it is summed up by it. The others
        // of a bucket find it written.
        // In one order with what is counted in other rings, so that of two that come at once one sees the other.
        if is_failure && self.failed_at.load(SeqCst) <= tick {
            self.failed_at.fetch_max(tick + 1, SeqCst);
        }
        let mut word = cell.load(Acquire);
        loop {
            // Asked after the word was read: had the window been cleared in between, the exchange fails.
            if !is_current() {
                return None;
            }
            let bucket = Bucket::unpack(word);
            if bucket.tick >> SWEEP_BITS != (tick & TICK_MASK) >> SWEEP_BITS {
                self.sweep(epoch, tick);
            }
            let next = bucket.at(epoch, tick).with(is_failure).pack();
            match cell.compare_exchange_weak(word, next, SeqCst, Acquire) {
                // Without a failure in the window no rate is reached, whatever it holds.
                Ok(_) if !is_failure && !self.has_failed(tick) => return Some(Counts::default()),
                Ok(_) => return Some(self.counts(epoch, tick)),
                Err(current) => word = current,
            }
        }
    }

    /// Where that bucket is in a ring.
    #[inline]
    fn cell_of(&self, tick: u64) -> usize {
        // By a constant, mostly: the compiler makes a multiplication of it.
        let cell = if self.cell_count == BUCKETS { tick % BUCKETS } else { tick % self.cell_count };
        usize::try_from(cell).expect("ten at most")
    }

    /// Whether there was a failure in the window, or may have been.
    #[inline]
    fn has_failed(&self, tick: u64) -> bool {
        let failed_at = self.failed_at.load(SeqCst);
        failed_at != 0 && tick < failed_at + self.cell_count
    }

    /// Begins anew for `epoch`. Under the breaker's mutex, before the epoch is published.
    pub(super) fn clear(&self, epoch: u64, tick: u64) {
        let empty = Bucket::empty(epoch, tick);
        self.cells().for_each(|cell| cell.store(empty.pack(), Release));
    }

    /// Empties what has left the window.
    #[cold]
    fn sweep(&self, epoch: u64, tick: u64) {
        let empty = Bucket::empty(epoch, tick);
        for cell in self.cells() {
            let word = cell.load(Acquire);
            if !Bucket::unpack(word).is_live(tick, self.cell_count) {
                // Where it fails, somebody counts in it.
                cell.compare_exchange(word, empty.pack(), Release, Relaxed).ok();
            }
        }
    }

    /// The window's sum at `tick`, of what was counted in `epoch`.
    ///
    /// A result of the epoch before may still come into a cell that was cleared for the next, which nobody is told of
    /// yet: it is of no weight there.
    pub(super) fn counts(&self, epoch: u64, tick: u64) -> Counts {
        self.cells().map(|cell| Bucket::unpack(cell.load(SeqCst))).fold(Counts::default(), |sum, bucket| {
            let is_of_it = bucket.epoch == epoch & EPOCH_MASK && bucket.is_live(tick, self.cell_count);
            if is_of_it { sum.plus(bucket.counts) } else { sum }
        })
    }

    /// Those in use, of all rings.
    fn cells(&self) -> impl Iterator<Item = &AtomicU64> {
        let count = usize::try_from(self.cell_count).expect("ten at most");
        self.stripes.iter().flat_map(move |ring| &ring.0[..count])
    }
}

#[inline]
fn bucket_of(age: u64, buckets_per_nano: u64) -> u64 {
    u64::try_from((u128::from(age) * u128::from(buckets_per_nano)) >> u64::BITS).expect("the upper half")
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, failures: self.failures + other.failures }
    }
}

/// One bucket, unpacked: 10 bits of epoch, 22 of tick, 16 each of calls and failures.
///
/// A tick comes round after 2²¹ buckets without a single call: 24 days of a 10 s window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    epoch: u64,
    tick: u64,
    counts: Counts,
}

impl Bucket {
    #[inline]
    fn empty(epoch: u64, tick: u64) -> Self {
        Self { epoch: epoch & EPOCH_MASK, tick: tick & TICK_MASK, counts: Counts::default() }
    }

    #[inline]
    fn unpack(word: u64) -> Self {
        Self {
            epoch: word >> (TICK_BITS + 2 * COUNT_BITS),
            tick: (word >> (2 * COUNT_BITS)) & TICK_MASK,
            counts: Counts { calls: (word >> COUNT_BITS) & COUNT_MAX, failures: word & COUNT_MAX },
        }
    }

    #[inline]
    fn pack(self) -> u64 {
        let Self { epoch, tick, counts: Counts { calls, failures } } = self;
        epoch << (TICK_BITS + 2 * COUNT_BITS) | tick << (2 * COUNT_BITS) | calls << COUNT_BITS | failures
    }

    /// The bucket a result of that time goes into: this one, or an empty one in its place.
    ///
    /// A thread whose clock reading is older than the bucket counts into it nevertheless.
    #[inline]
    fn at(self, epoch: u64, tick: u64) -> Self {
        let age = self.age(tick);
        let is_older = age != 0 && age <= TICK_MASK / 2;
        if is_older || self.epoch != epoch & EPOCH_MASK { Self::empty(epoch, tick) } else { self }
    }

    /// With one more result. A full bucket is halved first, which keeps its rate; beside another ring it weighs less then.
    #[inline]
    fn with(self, is_failure: bool) -> Self {
        let Counts { mut calls, mut failures } = self.counts;
        if calls == COUNT_MAX {
            calls /= 2;
            failures /= 2;
        }
        Self { counts: Counts { calls: calls + 1, failures: failures + u64::from(is_failure) }, ..self }
    }

    /// Whether it is within the window that ends at `tick`, or newer than that reading.
    #[inline]
    fn is_live(self, tick: u64, cell_count: u64) -> bool {
        let age = self.age(tick);
        !(cell_count..=TICK_MASK / 2).contains(&age)
    }

    #[inline]
    fn age(self, tick: u64) -> u64 {
        tick.wrapping_sub(self.tick) & TICK_MASK
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window() -> Window {
        Window::new(Span::Time(Duration::from_secs(10)))
    }

    fn record(window: &Window, tick: u64, is_failure: bool) -> Counts {
        window.record(0, tick, is_failure, || true).unwrap();
        window.counts(0, tick)
    }

    #[test]
    fn results_leave_the_window_with_their_bucket() {
        let window = window();
        for tick in 0..10 {
            assert_eq!(record(&window, tick, tick == 0).calls, tick + 1);
        }
        assert_eq!(record(&window, 9, false), Counts { calls: 11, failures: 1 });
        assert_eq!(record(&window, 10, false), Counts { calls: 11, failures: 0 });
        assert_eq!(record(&window, 100, true), Counts { calls: 1, failures: 1 });
    }

    #[test]
    fn an_older_clock_reading_neither_clears_nor_is_lost() {
        let window = window();
        record(&window, 15, true);
        assert_eq!(record(&window, 5, true), Counts { calls: 2, failures: 2 });
        assert_eq!(record(&window, 15, false), Counts { calls: 3, failures: 2 });
    }

    #[test]
    fn a_result_of_another_epoch_is_not_counted() {
        let window = window();
        record(&window, 3, true);
        window.clear(1, 3);
        assert_eq!(window.record(0, 3, true, || false), None);
        window.record(1, 3, false, || true).unwrap();
        assert_eq!(window.counts(1, 3), Counts { calls: 1, failures: 0 });
    }

    #[test]
    fn a_window_cleared_between_look_and_count_refuses_the_count() {
        let window = window();
        record(&window, 3, true);
        let looks = std::cell::Cell::new(0);
        let result = window.record(0, 3, true, || {
            looks.set(looks.get() + 1);
            if looks.get() == 1 {
                window.clear(1, 3);
                return true; // The old truth, as a preempted thread would still hold it.
            }
            false
        });
        assert_eq!((result, looks.get()), (None, 2));
        assert_eq!(window.counts(1, 3), Counts::default());
    }

    #[test]
    fn a_result_that_comes_between_clearing_and_telling_counts_in_neither_state() {
        let window = window();
        record(&window, 3, true);
        window.clear(1, 3);
        // The epoch is not told yet: the result of before still takes itself for current.
        assert_eq!(window.record(0, 3, true, || true), Some(Counts { calls: 1, failures: 1 }));
        assert_eq!(window.counts(1, 3), Counts::default());
        window.record(1, 3, false, || true).unwrap();
        assert_eq!(window.counts(1, 3), Counts { calls: 1, failures: 0 });
    }

    #[test]
    fn a_window_of_calls_holds_what_it_says_and_at_most_a_tenth_more() {
        for number in (1..200).chain([999, 1000, 1001, 9_999, 10_000]) {
            let window = Window::new(Span::Calls(number));
            let count = |_| {
                let tick = window.next_tick(|| Duration::ZERO);
                window.record(0, tick, true, || true).unwrap().calls
            };
            let seen: Vec<u64> = (0..number * 3).map(count).collect();
            let (first, later) = seen.split_at(number as usize);
            let number = u64::from(number);
            assert!(first.iter().copied().eq(1..=number), "{number}");
            let (least, most) = (*later.iter().min().unwrap(), *later.iter().max().unwrap());
            let each = number.div_ceil(BUCKETS);
            assert!((number..number + each).contains(&most), "{number}: {most}");
            assert_eq!(least + each - 1, most, "{number}");
        }
    }

    #[test]
    fn a_late_reader_of_a_small_window_sums_no_more_than_it_holds() {
        let window = Window::new(Span::Calls(3));
        for tick in 0..9 {
            record(&window, tick, true);
        }
        assert_eq!(window.counts(0, 8).calls, 3);
        assert!(window.counts(0, 5).calls <= 3);
    }

    #[test]
    fn what_a_ring_counted_that_is_used_no_more_does_not_come_back() {
        let window = window();
        record(&window, 0, true);
        let left = Bucket { epoch: 0, tick: 3, counts: Counts { calls: 9, failures: 9 } };
        window.stripes.last().unwrap().0[3].store(left.pack(), Release);
        assert_eq!(window.counts(0, 4).calls, 10);
        for tick in (1..200).map(|step| step * 50_000 + 7) {
            assert_eq!(record(&window, tick, true), Counts { calls: 1, failures: 1 }, "{tick}");
        }
    }

    #[test]
    fn a_full_bucket_keeps_its_rate() {
        let window = window();
        let mut counts = Counts::default();
        for i in 0..COUNT_MAX * 3 {
            counts = record(&window, 0, i % 4 == 0);
        }
        assert!(counts.calls > COUNT_MAX / 2, "{counts:?}");
        #[expect(clippy::cast_precision_loss, reason = "16 bits")]
        let rate = counts.failures as f64 / counts.calls as f64;
        assert!((rate - 0.25).abs() < 0.001, "{rate}");
    }

    proptest! {
        #[test]
        fn a_packed_bucket_unpacks_the_same(word in any::<u64>()) {
            prop_assert_eq!(Bucket::unpack(word).pack(), word);
        }

        #[test]
        fn the_window_counts_what_a_list_counts(steps in proptest::collection::vec((0u64..4, any::<bool>()), 1..200)) {
            let window = window();
            let (mut tick, mut list) = (0, Vec::new());
            for (by, is_failure) in steps {
                tick += by;
                list.push((tick, is_failure));
                let live = list.iter().filter(|(at, _)| at + BUCKETS > tick);
                let (calls, failures) = live.fold((0, 0), |(c, f), (_, bad)| (c + 1, f + u64::from(*bad)));
                prop_assert_eq!(record(&window, tick, is_failure), Counts { calls, failures });
            }
        }
    }
}
