//! A ring on which each instance holds many points, and a key belongs to the next one.
//!
//! A key keeps its instance whoever else comes and goes; shares are even to some tenths only, as the points fall.
//!
//! Sources: D. Karger et al., "Consistent Hashing and Random Trees", STOC 1997; R. Jones, "libketama", 2007, for the
//! many points of each.

use super::Entry;
use crate::hash::{mix, nth};

/// How many points an instance of mean weight has, and how many there are of all together: beyond some thousands of
/// instances each has less.
const POINTS_EACH: usize = 160;
const POINTS_MAX: usize = 1 << 20;

const OWNER_MASK: u64 = (1 << 32) - 1;

#[derive(Debug)]
pub(crate) struct Ring {
    /// `upper half of a hash | owner`, sorted.
    points: Box<[u64]>,
    /// For each value of the upper bits: the first point of it or after it.
    starts: Box<[u32]>,
    start_shift: u32,
}

impl Ring {
    /// Among at least one. O(p log p) for p points.
    pub(crate) fn new(entries: &[Entry]) -> Self {
        let each = POINTS_EACH.min(POINTS_MAX / entries.len()).max(1) as u64;
        let weight_sum: u64 = entries.iter().map(|entry| u64::from(entry.weight)).sum();
        let (all, half) = (each * entries.len() as u64, weight_sum / 2);
        let mut points = Vec::new();
        for (owner, entry) in (0u64..).zip(entries) {
            let count = ((all * u64::from(entry.weight) + half) / weight_sum).max(1);
            points.extend((0..count).map(|point| nth(entry.hash, point) & !OWNER_MASK | owner));
        }
        points.sort_unstable();
        let start_bits = points.len().next_power_of_two().ilog2().max(1);
        let start_shift = u64::BITS - start_bits;
        let mut starts = Vec::with_capacity(1 << start_bits);
        for (at, point) in (0u32..).zip(&points) {
            while starts.len() as u64 <= point >> start_shift {
                starts.push(at);
            }
        }
        // Beyond the last point the first one comes again.
        let past = u32::try_from(points.len()).expect("a million or so");
        starts.resize(1 << start_bits, past);
        Self { points: points.into(), starts: starts.into(), start_shift }
    }

    /// The point at which a key comes onto the ring. O(1), as points lie about as dense everywhere.
    #[inline]
    pub(crate) fn find(&self, key: u64) -> usize {
        let hash = mix(key);
        let at = self.starts[usize::try_from(hash >> self.start_shift).expect("some bits")] as usize;
        let rest = &self.points[at..];
        let ahead = rest.iter().position(|point| *point >= hash & !OWNER_MASK);
        ahead.map_or(0, |ahead| at + ahead)
    }

    /// Whom a point belongs to.
    #[inline]
    pub(crate) fn owner(&self, point: usize) -> usize {
        usize::try_from(self.points[point] & OWNER_MASK).expect("a place in a list")
    }

    /// The point after that one.
    #[inline]
    pub(crate) fn next(&self, point: usize) -> usize {
        if point + 1 < self.points.len() { point + 1 } else { 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(weights: impl IntoIterator<Item = u32>) -> Vec<Entry> {
        (0..).zip(weights).map(|(at, weight)| Entry { hash: mix(at), weight }).collect()
    }

    proptest! {
        #[test]
        fn a_key_belongs_to_the_next_point(weights in proptest::collection::vec(1u32..=1000, 1..40), key: u64) {
            let ring = Ring::new(&entries(weights));
            let hash = mix(key) & !OWNER_MASK;
            let expect = ring.points.iter().position(|point| *point >= hash).unwrap_or(0);
            prop_assert_eq!(ring.find(key), expect);
        }
    }

    #[test]
    fn only_the_keys_of_who_goes_move() {
        let all = entries([1; 20]);
        let (before, after) = (Ring::new(&all), Ring::new(&all[..19]));
        for key in 0..10_000 {
            let (was, is) = (before.owner(before.find(key)), after.owner(after.find(key)));
            assert!(was == 19 || was == is, "key {key} went from {was} to {is}");
        }
    }

    #[test]
    fn shares_follow_weights_about() {
        let ring = Ring::new(&entries([300, 100, 100]));
        let mut counts = [0u32; 3];
        for key in 0..100_000 {
            counts[ring.owner(ring.find(key))] += 1;
        }
        for (count, due) in counts.into_iter().zip([60_000u32, 20_000, 20_000]) {
            assert!(count.abs_diff(due) < due / 4, "{counts:?}");
        }
    }
}
