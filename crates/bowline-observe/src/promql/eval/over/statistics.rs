//! What the values of a range have in common.

use crate::{promql::eval::kahan, source::Sample};

pub(super) fn sum(samples: &[Sample]) -> f64 {
    let mut sum = kahan::Sum::default();
    for sample in samples {
        sum.add(sample.value);
    }
    sum.total()
}

pub(super) fn average(samples: &[Sample]) -> f64 {
    let Some((first, others)) = samples.split_first() else { return f64::NAN };
    let mut mean = kahan::Mean::of(first.value);
    for sample in others {
        mean.add(sample.value);
    }
    mean.mean()
}

/// The sample that none after it is better than; there is at least one.
pub(super) fn extreme(samples: &[Sample], is_better: fn(f64, f64) -> bool) -> Sample {
    let mut samples = samples.iter().copied();
    let first = samples.next().unwrap_or(Sample { at_ms: 0, value: f64::NAN });
    samples.fold(first, |best, sample| if is_better(sample.value, best.value) { sample } else { best })
}

/// The median distance from the median.
pub(super) fn median_deviation(values: &mut [f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = kahan::quantile(0.5, values);
    for value in values.iter_mut() {
        *value = (*value - median).abs();
    }
    kahan::quantile(0.5, values)
}
