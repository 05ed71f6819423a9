//! How often the keys of a class are read and how often they change, estimated from a sample of them.
//!
//! Keys are sampled by their hash, at most 512 of a class, so that all that happens to a sampled key is seen (SHARDS:
//! Waldspurger and others, "Efficient MRC Construction with SHARDS", FAST 2015). What was counted fades with a
//! half-life of a minute.

use std::{collections::BTreeMap, time::Duration};

use crate::slot::Ms;

/// The most keys of a class that are observed.
const KEYS_MAX: usize = 512;
const HALF_LIFE: Duration = Duration::from_mins(1);
/// Below so many reads a key is forgotten.
const FAINT: f64 = 0.05;

/// What was seen of the keys of a class.
#[derive(Debug)]
pub(crate) struct Estimator {
    /// Of keys, those whose hash ends in so many zeros are observed.
    zeros: u32,
    keys: BTreeMap<u64, Seen>,
    /// How many reads were sampled, faded.
    reads: f64,
    began: Ms,
    faded: Ms,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    reads: f64,
    invalidations: f64,
    /// Loads that brought something else than the one before.
    differences: f64,
    fingerprint: Option<u64>,
}

/// What a class is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// Reads of a key, a second.
    pub(crate) frequency: f64,
    /// Changes of a key, a second.
    pub(crate) volatility: f64,
    /// From how many sampled reads that is known.
    pub(crate) reads: f64,
}

impl Estimator {
    pub(crate) fn new(now: Ms) -> Self {
        Self { zeros: 0, keys: BTreeMap::new(), reads: 0.0, began: now, faded: now }
    }

    fn is_observed(&self, hash: u64) -> bool {
        hash.trailing_zeros() >= self.zeros
    }

    /// A read that stands for so many.
    pub(crate) fn read(&mut self, hash: u64, weight: u32) {
        if !self.is_observed(hash) {
            return;
        }
        self.reads += 1.0;
        self.keys.entry(hash).or_default().reads += f64::from(weight);
        while self.keys.len() > KEYS_MAX {
            self.zeros += 1;
            let zeros = self.zeros;
            self.keys.retain(|hash, _| hash.trailing_zeros() >= zeros);
        }
    }

    pub(crate) fn invalidated(&mut self, hash: u64) {
        if let Some(seen) = self.keys.get_mut(&hash) {
            seen.invalidations += 1.0;
        }
    }

    /// Whether a load of that key is to say what it brought.
    pub(crate) fn is_curious(&self, hash: u64) -> bool {
        self.keys.contains_key(&hash)
    }

    pub(crate) fn loaded(&mut self, hash: u64, fingerprint: u64) {
        if let Some(seen) = self.keys.get_mut(&hash) {
            let before = seen.fingerprint.replace(fingerprint);
            seen.differences += f64::from(u8::from(before.is_some_and(|before| before != fingerprint)));
        }
    }

    /// What is known now. What was counted before fades.
    pub(crate) fn estimate(&mut self, now: Ms) -> Estimate {
        let fading = 0.5_f64.powf(seconds(now.saturating_sub(self.faded)) / HALF_LIFE.as_secs_f64());
        self.faded = now;
        let (mut reads, mut changes) = (0.0, 0.0);
        for seen in self.keys.values_mut() {
            reads += seen.reads;
            // An invalidation and the load after it tell of one change.
            changes += seen.invalidations.max(seen.differences);
            seen.reads *= fading;
            seen.invalidations *= fading;
            seen.differences *= fading;
        }
        // What has faded counts for as much as it would in a window of this length, all at once.
        let age = seconds(now.saturating_sub(self.began)).max(1.0);
        let half = HALF_LIFE.as_secs_f64();
        let window = half / std::f64::consts::LN_2 * (1.0 - 0.5_f64.powf(age / half));
        #[expect(clippy::cast_precision_loss, reason = "there are at most 512")]
        let all = (self.keys.len().max(1) as f64) * window;
        let estimate = Estimate { frequency: reads / all, volatility: changes / all, reads: self.reads };
        self.reads *= fading;
        self.keys.retain(|_, seen| seen.reads >= FAINT);
        if self.keys.len() < KEYS_MAX / 4 {
            // There are fewer keys than there were.
            self.zeros = self.zeros.saturating_sub(1);
        }
        estimate
    }
}

fn seconds(ms: Ms) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use bowline_runtime::rand;

    use super::*;

    /// Ten minutes of reads and changes of that many keys, estimated every ten seconds.
    fn estimated(keys: u64, reads_each_10s: u32, changes_every_10s: Option<u64>) -> Estimate {
        rand::seed(7);
        let mut estimator = Estimator::new(0);
        let hashes: Vec<u64> = (0..keys).map(|_| rand::u64()).collect();
        let mut last = None;
        for round in 1..=60_u64 {
            for hash in &hashes {
                estimator.read(*hash, reads_each_10s);
                if changes_every_10s.is_some_and(|every| round % every == 0) {
                    estimator.invalidated(*hash);
                }
                estimator.loaded(*hash, changes_every_10s.map_or(0, |every| round / every));
            }
            last = Some(estimator.estimate(round * 10_000));
        }
        assert!(estimator.keys.len() <= KEYS_MAX);
        last.expect("sixty rounds")
    }

    fn is_near(found: f64, expect: f64) -> bool {
        (found - expect).abs() <= 0.2 * expect
    }

    #[test]
    fn frequency_and_volatility_are_those_of_a_key() {
        let estimate = estimated(100, 8, Some(6));
        assert!(is_near(estimate.frequency, 0.8), "{estimate:?}");
        assert!((0.01..0.03).contains(&estimate.volatility), "{estimate:?}");
    }

    #[test]
    fn many_keys_are_estimated_by_a_few() {
        let estimate = estimated(20_000, 3, None);
        assert!(is_near(estimate.frequency, 0.3), "{estimate:?}");
        assert!(estimate.volatility.abs() < f64::EPSILON && estimate.reads >= 100.0, "{estimate:?}");
    }

    #[test]
    fn what_was_is_forgotten() {
        let mut estimator = Estimator::new(0);
        (0..100).for_each(|hash| estimator.read(hash, 10));
        let first = estimator.estimate(10_000);
        for round in 2..=60 {
            estimator.estimate(round * 10_000);
        }
        let last = estimator.estimate(610_000);
        assert!(first.reads >= 100.0 && last.reads < 1.0 && estimator.keys.is_empty(), "{first:?} {last:?}");
    }

    #[test]
    fn what_is_read_after_a_scan_is_seen_again() {
        rand::seed(7);
        let mut estimator = Estimator::new(0);
        (0..1_000_000).for_each(|_| estimator.read(rand::u64(), 1));
        let hot: Vec<u64> = (0..100).map(|_| rand::u64()).collect();
        let mut reads = 0.0;
        for round in 1..=60_u64 {
            for hash in hot.iter().cycle().take(1000) {
                estimator.read(*hash, 1);
            }
            reads = estimator.estimate(round * 10_000).reads;
        }
        assert!(reads >= 5000.0, "{reads}");
        assert!(estimator.keys.len() >= 100);
    }
}
