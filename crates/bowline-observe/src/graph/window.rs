//! The last hour of an edge or an operation, in buckets of ten seconds.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use bowline_telemetry::TraceId;

use super::{
    fact::{Fact, OTHER},
    figures::{Failure, Figures},
    histogram::{Histogram, Sum},
};

/// How long a bucket lasts, in nanoseconds.
const SLOT_NANOS: u64 = 10_000_000_000;
/// The most kinds of failure told apart in one bucket.
const FAILURES_MAX: usize = 8;
/// What a bucket counts for beside its histogram's cells.
const BUCKET_CELLS: usize = 8;

/// What happened, by time.
#[derive(Debug, Default)]
pub(super) struct Series {
    buckets: VecDeque<Bucket>,
    last: Option<(u64, TraceId)>,
    last_failed: Option<(u64, TraceId)>,
}

#[derive(Debug)]
struct Bucket {
    slot: u64,
    count: u64,
    errors: u64,
    failures: Vec<(Arc<str>, u64)>,
    histogram: Histogram,
}

/// What happened in a window.
#[derive(Debug, Default)]
pub(super) struct Totals {
    count: u64,
    errors: u64,
    failures: BTreeMap<Arc<str>, u64>,
    durations: Sum,
}

/// The bucket of a time.
pub(super) fn slot(unix_nanos: u64) -> u64 {
    unix_nanos / SLOT_NANOS
}

/// The buckets of a window that ends now.
#[derive(Debug, Clone)]
pub(super) struct Window {
    slots: RangeInclusive<u64>,
    /// As the window in truth begins with a bucket: up to ten seconds longer than what was asked for.
    length: Duration,
}

impl Window {
    pub(super) fn new(now_unix_nanos: u64, length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let last = slot(now_unix_nanos);
        let first = last.saturating_sub(nanos / SLOT_NANOS);
        Self { slots: first..=last, length: Duration::from_nanos(now_unix_nanos - first * SLOT_NANOS) }
    }

    pub(super) fn first_slot(&self) -> u64 {
        *self.slots.start()
    }

    pub(super) fn contains(&self, slot: u64) -> bool {
        self.slots.contains(&slot)
    }
}

impl Series {
    /// Counts one that ended then; gives by how many cells it grew.
    pub(super) fn record(&mut self, fact: &Fact, end_unix_nanos: u64) -> usize {
        let seen = Some((end_unix_nanos, fact.trace_id));
        self.last = self.last.max(seen);
        if fact.is_error() {
            self.last_failed = self.last_failed.max(seen);
        }
        let (at, is_new) = self.bucket(slot(end_unix_nanos));
        let bucket = &mut self.buckets[at];
        bucket.count += 1;
        if fact.is_error() {
            bucket.errors += 1;
            bucket.fail(fact.failure.clone().unwrap_or_else(|| Arc::from(OTHER)));
        }
        let is_new_cell = bucket.histogram.record(fact.duration_nanos);
        usize::from(is_new_cell) + if is_new { BUCKET_CELLS } else { 0 }
    }

    /// Where the slot's bucket is, and whether it had to be made.
    fn bucket(&mut self, slot: u64) -> (usize, bool) {
        // Mostly the last one.
        let at = self.buckets.iter().rposition(|bucket| bucket.slot <= slot);
        if let Some(at) = at.filter(|at| self.buckets[*at].slot == slot) {
            return (at, false);
        }
        let at = at.map_or(0, |at| at + 1);
        let histogram = Histogram::default();
        self.buckets.insert(at, Bucket { slot, count: 0, errors: 0, failures: Vec::new(), histogram });
        (at, true)
    }

    /// Forgets what is older; gives by how many cells it shrank.
    pub(super) fn forget_before(&mut self, slot: u64) -> usize {
        let mut cells = 0;
        while let Some(oldest) = self.buckets.front().filter(|oldest| oldest.slot < slot) {
            cells += BUCKET_CELLS + oldest.histogram.cell_count();
            self.buckets.pop_front();
        }
        cells
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// When the last one ended.
    pub(super) fn last_seen_unix_nanos(&self) -> u64 {
        self.last.map_or(0, |(at, _)| at)
    }

    /// A trace of the window: one that failed, if any did.
    pub(super) fn sample(&self, window: &Window) -> Option<TraceId> {
        let of_window = |seen: Option<(u64, TraceId)>| seen.filter(|(at, _)| window.contains(slot(*at)));
        of_window(self.last_failed).or_else(|| of_window(self.last)).map(|(_, trace_id)| trace_id)
    }

    pub(super) fn totals(&self, window: &Window) -> Totals {
        let mut totals = Totals::default();
        for bucket in self.buckets.iter().filter(|bucket| window.contains(bucket.slot)) {
            totals.count += bucket.count;
            totals.errors += bucket.errors;
            totals.durations.add(&bucket.histogram);
            for (failure, count) in &bucket.failures {
                *totals.failures.entry(Arc::clone(failure)).or_default() += count;
            }
        }
        totals
    }
}

impl Bucket {
    fn fail(&mut self, failure: Arc<str>) {
        let is_full = self.failures.len() >= FAILURES_MAX;
        let known = self.failures.iter().position(|(known, _)| *known == failure);
        let other = || self.failures.iter().position(|(known, _)| &**known == OTHER);
        match known.or_else(|| if is_full { other() } else { None }) {
            Some(at) => self.failures[at].1 += 1,
            // One more than the bound, for all the others.
            None if is_full => self.failures.push((Arc::from(OTHER), 1)),
            None => self.failures.push((failure, 1)),
        }
    }
}

impl Totals {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.durations.add_sum(&other.durations);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(super) fn figures(&self, window: &Window) -> Figures {
        Figures {
            count: self.count,
            errors: self.errors,
            rate: self.count as f64 / window.length.as_secs_f64().max(1.0),
            error_rate: if self.count == 0 { 0.0 } else { self.errors as f64 / self.count as f64 },
            p50: self.durations.quantile(500),
            p95: self.durations.quantile(950),
            p99: self.durations.quantile(990),
            max: self.durations.max(),
        }
    }

    pub(super) fn failures(self) -> Vec<Failure> {
        let mut failures: Vec<_> = self.failures.into_iter().map(|(status, count)| Failure { status, count }).collect();
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        failures
    }
}
