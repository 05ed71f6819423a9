//! Maglev's table: each instance holds as many places as its weight is due, to a place, and keeps nearly all of them
//! when others come and go.
//!
//! Source: D. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4;
//! the weights as Envoy's `maglev_lb.cc` has them.

use super::Entry;
use crate::hash::{mix, nth, reduce};

/// The least size of a table, and how many places there are for each instance: a share is off by a hundredth at most.
const SIZE_MIN: usize = 65_537;
const PLACES_EACH: usize = 100;

/// The largest table: beyond forty thousand instances shares become coarser.
const SIZE_MAX: usize = 4_000_037;

/// Numbers for the two hashes of an instance.
const OFFSET: u64 = 1;
const SKIP: u64 = 2;

#[derive(Debug)]
pub(crate) struct Maglev {
    places: Places,
}

/// Whom each place belongs to. Half as large where that is enough: a pick then more often finds it in a cache.
#[derive(Debug)]
enum Places {
    Small(Box<[u16]>),
    Large(Box<[u32]>),
}

impl Maglev {
    /// Among at least one. O(m log m) for a table of m places.
    pub(crate) fn new(entries: &[Entry]) -> Self {
        let places = fill(entries, size_for(entries.len()));
        let places = match u16::try_from(entries.len()) {
            Ok(_) => {
                Places::Small(places.into_iter().map(|owner| u16::try_from(owner).expect("below the count")).collect())
            }
            Err(_) => Places::Large(places.into()),
        };
        Self { places }
    }

    /// Whom a key belongs to; with further steps, to whom it goes where the ones before refuse.
    #[inline]
    pub(crate) fn find(&self, key: u64, step: u64) -> usize {
        let hash = if step == 0 { mix(key) } else { nth(key, step) };
        match &self.places {
            Places::Small(places) => usize::from(places[reduce(hash, places.len())]),
            Places::Large(places) => places[reduce(hash, places.len())] as usize,
        }
    }
}

/// A prime.
fn size_for(count: usize) -> usize {
    let wanted = (count * PLACES_EACH).clamp(SIZE_MIN, SIZE_MAX);
    // There is a prime between a number and its double.
    (wanted..2 * wanted).find(|size| is_prime(*size)).expect("Bertrand's postulate")
}

fn is_prime(number: usize) -> bool {
    !number.is_multiple_of(2) && (3..).step_by(2).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

/// Each in turn takes the next free place of its own order of all places; the heavier more often.
fn fill(entries: &[Entry], size: usize) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let weight_max = entries.iter().map(|entry| entry.weight).max().unwrap_or(1);
    // As the size is a prime, each step size meets all places.
    let start = |entry: &Entry| reduce(nth(entry.hash, OFFSET), size);
    let step = |entry: &Entry| 1 + reduce(nth(entry.hash, SKIP), size - 1);
    let mut orders: Vec<(usize, usize, u32)> = entries.iter().map(|entry| (start(entry), step(entry), 0)).collect();
    let mut places = vec![FREE; size];
    let mut left = size;
    loop {
        for (owner, ((at, step, credit), entry)) in (0u32..).zip(orders.iter_mut().zip(entries)) {
            *credit += entry.weight;
            if *credit < weight_max {
                continue;
            }
            *credit -= weight_max;
            while places[*at] != FREE {
                *at += *step;
                if *at >= size {
                    *at -= size;
                }
            }
            places[*at] = owner;
            left -= 1;
            if left == 0 {
                return places;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash;

    fn entries(weights: impl IntoIterator<Item = u32>) -> Vec<Entry> {
        let entry = |(at, weight): (u32, u32)| Entry { hash: hash(format!("i-{at}").as_bytes()), weight };
        (0..).zip(weights).map(entry).collect()
    }

    fn counts(entries: &[Entry]) -> Vec<usize> {
        let mut counts = vec![0; entries.len()];
        for owner in fill(entries, size_for(entries.len())) {
            counts[owner as usize] += 1;
        }
        counts
    }

    #[test]
    fn sizes_are_primes() {
        for (count, size) in [(1, 65_537), (655, 65_537), (656, 65_609), (10_000, 1_000_003), (1_000_000, 4_000_037)] {
            assert_eq!(size_for(count), size);
        }
    }

    #[test]
    fn equals_hold_the_same_number_of_places_but_for_one() {
        for count in [1, 2, 3, 10, 100, 1000] {
            let counts = counts(&entries(vec![1; count]));
            let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(max - min <= 1, "{count}: {min} to {max}");
        }
    }

    #[test]
    fn weights_are_kept_to_a_place_or_two() {
        let weights = [1000, 500, 333, 100, 50, 17, 1];
        let counts = counts(&entries(weights));
        let total = f64::from(weights.iter().sum::<u32>());
        for (count, weight) in counts.iter().zip(weights) {
            let due = 65_537.0 * f64::from(weight) / total;
            #[expect(clippy::cast_precision_loss, reason = "a test")]
            let off = (*count as f64 - due).abs();
            assert!(off <= 2.0, "weight {weight} has {count} of {due}");
        }
    }

    #[test]
    fn when_one_goes_nearly_nothing_else_moves() {
        let all = entries([1; 100]);
        let before = fill(&all, size_for(100));
        for gone in [0, 17, 99] {
            let rest: Vec<_> = all.iter().copied().enumerate().filter(|(at, _)| *at != gone).map(|(_, e)| e).collect();
            let after = fill(&rest, size_for(99));
            let name = |owner: u32| if (owner as usize) < gone { owner } else { owner + 1 };
            let is_moved = |(before, after): (&u32, &u32)| *before as usize != gone && *before != name(*after);
            let moved = before.iter().zip(&after).filter(|pair| is_moved(*pair)).count();
            assert!(moved * 100 < before.len() * 2, "{moved} places of {} moved", before.len());
        }
    }
}
