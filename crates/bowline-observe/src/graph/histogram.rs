//! Durations in buckets whose width grows with them: a quantile is wrong by a sixteenth at most.

use std::time::Duration;

/// Buckets of one octave.
const STEPS: u64 = 8;
/// Where the buckets cease to be one microsecond wide.
const STEP_BITS: u32 = STEPS.ilog2();

/// Counts by bucket, of few buckets; ordered.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    cells: Vec<(u8, u32)>,
    max_nanos: u64,
}

impl Histogram {
    /// Counts a duration; says whether it took a new cell.
    pub(super) fn record(&mut self, nanos: u64) -> bool {
        self.max_nanos = self.max_nanos.max(nanos);
        let bucket = bucket(nanos / 1000);
        match self.cells.binary_search_by_key(&bucket, |cell| cell.0) {
            Ok(at) => {
                self.cells[at].1 = self.cells[at].1.saturating_add(1);
                false
            }
            Err(at) => {
                self.cells.insert(at, (bucket, 1));
                true
            }
        }
    }

    /// How many buckets there are counts in.
    pub(super) fn cell_count(&self) -> usize {
        self.cells.len()
    }
}

/// Many histograms in one, for quantiles.
#[derive(Debug, Clone)]
pub(super) struct Sum {
    counts: [u64; 256],
    count: u64,
    max_nanos: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self { counts: [0; 256], count: 0, max_nanos: 0 }
    }
}

impl Sum {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (bucket, count) in &histogram.cells {
            self.counts[usize::from(*bucket)] += u64::from(*count);
            self.count += u64::from(*count);
        }
        self.max_nanos = self.max_nanos.max(histogram.max_nanos);
    }

    pub(super) fn add_sum(&mut self, other: &Self) {
        for (own, others) in self.counts.iter_mut().zip(other.counts) {
            *own += others;
        }
        self.count += other.count;
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.max_nanos)
    }

    /// The duration that so many of a thousand do not exceed; zero where there is none.
    pub(super) fn quantile(&self, thousandths: u64) -> Duration {
        let rank = (self.count * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in (0..=u8::MAX).zip(self.counts) {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(middle_nanos(bucket).min(self.max_nanos));
            }
        }
        Duration::ZERO
    }
}

/// The bucket of so many microseconds; what is longer than an hour is in the last.
fn bucket(micros: u64) -> u8 {
    if micros < STEPS {
        return u8::try_from(micros).unwrap_or(u8::MAX);
    }
    let octave = micros.ilog2() - STEP_BITS;
    let step = (micros >> octave) - STEPS;
    u8::try_from(u64::from(octave + 1) * STEPS + step).unwrap_or(u8::MAX)
}

/// The middle of a bucket.
fn middle_nanos(bucket: u8) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < STEPS {
        return bucket * 1000 + 500;
    }
    let octave = bucket / STEPS - 1;
    let width = 1000 << octave;
    (STEPS + bucket % STEPS) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_wrong_by_a_sixteenth_at_most() {
        let mut sum = Sum::default();
        assert_eq!(sum.quantile(500), Duration::ZERO);
        let mut histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.record(micros * 1000);
        }
        sum.add(&histogram);
        for (thousandths, micros) in [(500_u32, 5000_f64), (950, 9500.0), (990, 9900.0), (1, 10.0)] {
            let found = sum.quantile(thousandths.into()).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() <= 0.0625, "{thousandths}: {found}");
        }
        assert_eq!(sum.max(), Duration::from_millis(10));
        assert!(sum.quantile(1000) <= sum.max());
    }

    #[test]
    fn every_duration_has_a_bucket_whose_middle_is_near() {
        for nanos in [0, 999, 1000, 7999, 8000, 15_999, 16_000, 1_000_000_007, 3_599_000_000_000] {
            let middle = middle_nanos(bucket(nanos / 1000));
            assert!(middle.abs_diff(nanos) <= (nanos / 16).max(1000), "{nanos}: {middle}");
        }
        assert_eq!(bucket(u64::MAX / 1000), u8::MAX);
        assert!((0..100_000_u64).is_sorted_by_key(bucket));
    }
}
