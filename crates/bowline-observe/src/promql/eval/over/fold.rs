//! Sums and extremes of ranges that slide, without looking at each sample again for each step.
//!
//! A range is cut in two: of its older part every suffix is folded once, its newer part grows by one sample at
//! a time. When the older part is used up, the newer one takes its place. Nothing is ever subtracted, so that
//! rounding does not add up and infinities leave with their samples. (This is a queue made of two stacks.)

use super::{Over, Window, statistics};
use crate::{promql::eval::kahan, source::Sample};

/// What has been folded for a function that can be.
#[derive(Debug)]
pub(super) enum Folds {
    Sum(Halves<kahan::Sum>),
    Average(Halves<kahan::Sum>),
    Extreme(Halves<f64>, fn(f64, f64) -> f64),
}

impl Folds {
    pub(super) fn of(function: Over) -> Option<Self> {
        Some(match function {
            Over::Sum => Self::Sum(Halves::default()),
            Over::Average => Self::Average(Halves::default()),
            Over::Min => Self::Extreme(Halves::default(), f64::min),
            Over::Max => Self::Extreme(Halves::default(), f64::max),
            _ => return None,
        })
    }

    /// The function's value for a range of a series, which begins and ends no earlier than the one before.
    pub(super) fn value(&mut self, series: &[Sample], window: &Window<'_>) -> Option<f64> {
        let (first, past) = (window.first, window.first + window.samples.len());
        match self {
            Self::Sum(halves) => {
                halves.fold(series, first, past, kahan::Sum::of, kahan::Sum::join).map(kahan::Sum::total)
            }
            Self::Average(halves) => {
                let sum = halves.fold(series, first, past, kahan::Sum::of, kahan::Sum::join)?.total();
                let is_overflown = sum.is_infinite();
                Some(if is_overflown { statistics::average(window.samples) } else { sum / kahan::count(past - first) })
            }
            // Of a number and NaN these give the number, as wanted.
            Self::Extreme(halves, better) => halves.fold(series, first, past, |value| value, *better),
        }
    }
}

/// A range in two parts.
#[derive(Debug)]
pub(super) struct Halves<T> {
    /// The folds of the older part from each of its samples on, the last one's first.
    suffixes: Vec<T>,
    /// Where the newer part begins.
    middle: usize,
    newer: Option<T>,
    /// Where the newer part ends.
    past: usize,
}

impl<T> Default for Halves<T> {
    fn default() -> Self {
        Self { suffixes: Vec::new(), middle: 0, newer: None, past: 0 }
    }
}

impl<T: Copy> Halves<T> {
    fn fold(
        &mut self,
        series: &[Sample],
        first: usize,
        past: usize,
        lift: impl Fn(f64) -> T,
        join: impl Fn(T, T) -> T,
    ) -> Option<T> {
        let joined = |older: Option<T>, newer: T| older.map_or(newer, |older| join(older, newer));
        if first >= self.middle {
            self.suffixes.clear();
            let mut suffix = None;
            for sample in series.get(first..past)?.iter().rev() {
                let value = lift(sample.value);
                let longer = suffix.map_or(value, |suffix| join(value, suffix));
                self.suffixes.push(longer);
                suffix = Some(longer);
            }
            (self.middle, self.newer) = (past, None);
        } else {
            for sample in series.get(self.past..past)? {
                self.newer = Some(joined(self.newer, lift(sample.value)));
            }
        }
        self.past = past;
        let older = self.middle.checked_sub(first + 1).and_then(|at| self.suffixes.get(at)).copied();
        match self.newer {
            Some(newer) => Some(joined(older, newer)),
            None => older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slides_is_what_is_summed_up_anew() {
        let value = |at: i64| if at % 17 == 0 { 1e17 } else { f64::from(i32::try_from(at * 7 % 13).unwrap()) };
        let series: Vec<Sample> = (0..200).map(|at| Sample { at_ms: at, value: value(at) }).collect();
        for (length, step) in [(1, 1), (10, 1), (10, 3), (10, 10), (7, 20), (150, 2)] {
            for function in [Over::Sum, Over::Average, Over::Min, Over::Max] {
                let mut folds = Folds::of(function).unwrap();
                for first in (0..200 - length).step_by(step) {
                    let samples = &series[first..first + length];
                    let window = Window { samples, start_ms: 0, end_ms: 0, evaluated_ms: 0, marks: &[], first };
                    let folded = folds.value(&series, &window).unwrap();
                    let expected = super::super::apply(function, window, [0.0; 2], &mut Vec::new()).unwrap();
                    assert!(
                        (folded - expected).abs() <= expected.abs() * 1e-15,
                        "{function:?} {length} {step} {first}"
                    );
                }
            }
        }
    }
}
