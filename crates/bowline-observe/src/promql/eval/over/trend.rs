//! Where a series is going.

use crate::{
    promql::{
        error::Error,
        eval::{data::Scalars, kahan},
    },
    source::Sample,
};

pub(super) fn derivative(samples: &[Sample]) -> Option<f64> {
    let origin_ms = samples.first()?.at_ms;
    (samples.len() >= 2).then(|| regression(samples, origin_ms).0)
}

/// The value that many seconds after the evaluated time.
pub(super) fn predict(samples: &[Sample], evaluated_ms: i64, ahead_seconds: f64) -> Option<f64> {
    (samples.len() >= 2).then(|| {
        let (slope, value) = regression(samples, evaluated_ms);
        slope * ahead_seconds + value
    })
}

/// The slope of the straight line that fits best (least squares), and its value at the origin.
fn regression(samples: &[Sample], origin_ms: i64) -> (f64, f64) {
    let Some(first) = samples.first() else { return (f64::NAN, f64::NAN) };
    #[expect(clippy::float_cmp, reason = "only equal values are a level line")]
    if samples.iter().all(|sample| sample.value == first.value) {
        return if first.value.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first.value) };
    }
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [kahan::Sum::default(); 4];
    for sample in samples {
        let x = kahan::seconds(sample.at_ms - origin_ms);
        x_sum.add(x);
        y_sum.add(sample.value);
        xy_sum.add(x * sample.value);
        xx_sum.add(x * x);
    }
    let count = kahan::count(samples.len());
    let (x, y) = (x_sum.total(), y_sum.total());
    let covariance = xy_sum.total() - x * y / count;
    let variance = xx_sum.total() - x * x / count;
    let slope = covariance / variance;
    (slope, y / count - slope * x / count)
}

/// Refuses factors of smoothing that are not between 0 and 1.
pub(super) fn check_factors(parameters: &[Scalars]) -> Result<(), Error> {
    for (name, scalars) in ["smoothing", "trend"].iter().zip(parameters) {
        if let Some(wrong) = scalars.values.iter().find(|value| !(**value > 0.0 && **value < 1.0)) {
            let rule = format!("the {name} factor must be greater than 0 and less than 1, it is {wrong}");
            return Err(Error::InvalidArgument { rule });
        }
    }
    Ok(())
}

/// Exponential smoothing of the values and of their trend (Holt's).
pub(super) fn smooth(samples: &[Sample], [smoothing, trending]: [f64; 2]) -> Option<f64> {
    let [first, second, ..] = samples else { return None };
    let mut smoothed = first.value;
    let mut trend = second.value - first.value;
    let mut before = 0.0;
    for (at, sample) in samples.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trending * (smoothed - before) + (1.0 - trending) * trend;
        }
        let value = smoothing * sample.value + (1.0 - smoothing) * (smoothed + trend);
        before = smoothed;
        smoothed = value;
    }
    Some(smoothed)
}
