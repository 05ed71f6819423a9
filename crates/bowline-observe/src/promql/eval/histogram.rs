//! Quantiles and fractions of classic histograms.

use std::collections::BTreeMap;

use super::{
    data::{ABSENT, Column, Grid, Vector, is_absent},
    run::Run,
};
use crate::{labels::Labels, promql::error::Error};

/// The label that holds a bucket's upper bound.
const BOUND: &str = "le";
/// How much two counts may differ, against their sum, to be taken for equal: rounding does that.
const ROUNDING_MAX: f64 = 1e-12;

/// A bucket: its upper bound, and how many observations were not above it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    bound: f64,
    count: f64,
}

/// A function of the buckets of each histogram at each step.
pub(super) fn histograms(
    run: &Run<'_>,
    grid: Grid,
    vector: Vector,
    value: impl Fn(usize, &mut Vec<Bucket>) -> f64,
) -> Result<Vector, Error> {
    let Vector { columns, charge } = vector;
    let mut groups: BTreeMap<Labels, Vec<(f64, Column)>> = BTreeMap::new();
    for column in columns {
        let Some(bound) = column.labels.get(BOUND).and_then(|bound| bound.parse().ok()) else { continue };
        groups.entry(column.labels.with(BOUND, "")).or_default().push((bound, column));
    }
    let mut out = run.vector(groups.len(), grid)?;
    for (labels, mut columns) in groups {
        run.worked(columns.len().saturating_mul(grid.count))?;
        columns.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut buckets = Vec::with_capacity(columns.len());
        let at_step = |step: usize| {
            buckets.clear();
            for (bound, column) in &columns {
                let count = column.values.get(step).copied().unwrap_or(ABSENT);
                push(&mut buckets, *bound, count);
            }
            if buckets.is_empty() { ABSENT } else { value(step, &mut buckets) }
        };
        let values = (0..grid.count).map(at_step).collect();
        out.columns.push(Column { labels, values });
    }
    drop(charge);
    out.without_names()
}

/// Adds a bucket to those of lower bounds, or its count to that of the same bound.
fn push(buckets: &mut Vec<Bucket>, bound: f64, count: f64) {
    if is_absent(count) {
        return;
    }
    match buckets.last_mut() {
        #[expect(clippy::float_cmp, reason = "bounds are parsed, not reckoned")]
        Some(last) if last.bound == bound => last.count += count,
        _ => buckets.push(Bucket { bound, count }),
    }
}

/// The value that the quantile of all observations does not exceed, interpolated within its bucket.
pub(super) fn quantile(quantile: f64, buckets: &mut [Bucket]) -> f64 {
    if quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return f64::NAN;
    }
    make_monotonic(buckets);
    let [.., highest_finite, all] = buckets else { return f64::NAN };
    let (all, highest_finite) = (all.count, highest_finite.bound);
    if all == 0.0 {
        return f64::NAN;
    }
    let rank = quantile * all;
    let finite = buckets.split_last().map_or(&[][..], |(_, finite)| finite);
    // Not `>=` in reverse: a count that is NaN is not reached.
    let at = finite.partition_point(|bucket| !matches!(bucket.count.partial_cmp(&rank), Some(o) if o.is_ge()));
    let Some(bucket) = finite.get(at) else { return highest_finite };
    let Some(below) = at.checked_sub(1).and_then(|below| finite.get(below)) else {
        return if bucket.bound <= 0.0 { bucket.bound } else { bucket.bound * (rank / bucket.count) };
    };
    below.bound + (bucket.bound - below.bound) * ((rank - below.count) / (bucket.count - below.count))
}

/// Undoes what counts cannot do, which scrapes of a moving histogram and rounding make of them: fall.
fn make_monotonic(buckets: &mut [Bucket]) {
    let mut buckets = buckets.iter_mut();
    let Some(first) = buckets.next() else { return };
    let mut before = first.count;
    for bucket in buckets {
        if bucket.count < before || is_almost(before, bucket.count) {
            bucket.count = before;
        } else {
            before = bucket.count;
        }
    }
}

#[expect(clippy::float_cmp, reason = "equal is almost equal")]
fn is_almost(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let sum = a.abs() + b.abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return (a - b).abs() < ROUNDING_MAX * f64::MIN_POSITIVE;
    }
    (a - b).abs() / sum.min(f64::MAX) < ROUNDING_MAX
}

/// The fraction of the observations between two values.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last().filter(|last| last.bound == f64::INFINITY) else { return f64::NAN };
    if last.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank(upper, buckets, last.count) - rank(lower, buckets, last.count)) / last.count
}

/// How many observations are not above a value, interpolated within its bucket.
fn rank(value: f64, buckets: &[Bucket], all: f64) -> f64 {
    let is_positive = buckets.first().is_some_and(|first| first.bound > 0.0);
    let mut below = Bucket { bound: if is_positive { 0.0 } else { f64::NEG_INFINITY }, count: 0.0 };
    for bucket in buckets {
        if value <= below.bound {
            return below.count;
        }
        if value < bucket.bound {
            if below.bound == f64::NEG_INFINITY {
                return bucket.count;
            }
            let part = (value - below.bound) / (bucket.bound - below.bound);
            return (below.count + (bucket.count - below.count) * part).min(all);
        }
        below = *bucket;
    }
    all
}
