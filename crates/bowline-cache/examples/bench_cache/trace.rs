//! Traces of keys, the same each time.

#![expect(clippy::cast_precision_loss, reason = "ranks are small")]

use bowline_runtime::rand;

/// What all traces are made from.
const SEED: u64 = 20_261_126;

/// Keys by Zipf's law: the n-th most frequent of them 1/nᵃ as often as the first; which one that is, is up to chance.
pub(crate) fn zipf(keys: usize, a: f64, length: usize) -> Vec<u32> {
    rand::seed(SEED);
    let mut total = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += (rank as f64).powf(-a);
            total
        })
        .collect();
    let mut names: Vec<u32> = (0..u32::try_from(keys).expect("it is small")).collect();
    for at in (1..keys).rev() {
        names.swap(at, rand::below(at + 1));
    }
    let rank = |luck: f64| sums.partition_point(|sum| *sum < luck * total).min(keys - 1);
    (0..length).map(|_| names[rank(rand::unit())]).collect()
}
