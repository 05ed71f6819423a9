//! Aggregations that give one series a group.

use super::Reduce;
use crate::promql::eval::{
    data::{ABSENT, Column, is_absent},
    kahan::{Mean, Sum},
};

/// The value of the group at each step; none where no series has one.
pub(super) fn reduce(reduce: Reduce, columns: &[Column], count: usize) -> Vec<f64> {
    match reduce {
        Reduce::Sum => fold(columns, count, Sum::of, Sum::add, Sum::total),
        Reduce::Average => fold(columns, count, Mean::of, Mean::add, Mean::mean),
        Reduce::Min => fold(columns, count, |first| first, |min, value| keep(min, value, value < *min), |min| min),
        Reduce::Max => fold(columns, count, |first| first, |max, value| keep(max, value, value > *max), |max| max),
        Reduce::Count => fold(columns, count, |_| 1.0, |count, _| *count += 1.0, |count| count),
        Reduce::Group => fold(columns, count, |_| 1.0, |_, _| (), |group| group),
        Reduce::Stddev => fold(columns, count, Spread::of, Spread::add, |spread| spread.variance().sqrt()),
        _ => fold(columns, count, Spread::of, Spread::add, Spread::variance),
    }
}

fn keep(best: &mut f64, value: f64, is_better: bool) {
    if is_better || best.is_nan() {
        *best = value;
    }
}

/// Runs over the series one after the other, with the state of all steps side by side.
fn fold<T: Copy>(
    columns: &[Column],
    count: usize,
    first: impl Fn(f64) -> T,
    add: impl Fn(&mut T, f64),
    end: impl Fn(T) -> f64,
) -> Vec<f64> {
    let mut states: Vec<Option<T>> = vec![None; count];
    for column in columns {
        for (state, value) in states.iter_mut().zip(&column.values) {
            if is_absent(*value) {
                continue;
            }
            match state {
                Some(state) => add(state, *value),
                None => *state = Some(first(*value)),
            }
        }
    }
    states.into_iter().map(|state| state.map_or(ABSENT, &end)).collect()
}

/// The variance so far (Welford's way).
#[derive(Debug, Clone, Copy)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn of(first: f64) -> Self {
        Self { count: 1.0, mean: first, squares: if first.is_finite() { 0.0 } else { f64::NAN } }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn variance(self) -> f64 {
        self.squares / self.count
    }
}

/// A function of all values of the group at each step.
pub(super) fn gathered(columns: &[Column], count: usize, value: impl Fn(usize, &mut [f64]) -> f64) -> Vec<f64> {
    let mut gathered = Vec::with_capacity(columns.len());
    let at_step = |step: usize| {
        gathered.clear();
        let values = columns.iter().filter_map(|column| column.values.get(step).copied());
        gathered.extend(values.filter(|value| !is_absent(*value)));
        if gathered.is_empty() { ABSENT } else { value(step, &mut gathered) }
    };
    (0..count).map(at_step).collect()
}
