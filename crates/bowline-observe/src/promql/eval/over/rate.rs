//! How fast a series changes.

use super::{Over, Window};
use crate::{promql::eval::kahan, source::Sample};

/// How much longer than the average distance of samples the distance to the range's end may be, for the
/// series to be taken to go on until there.
const GAP_FACTOR_MAX: f64 = 1.1;

/// The change over the range, extrapolated to its ends; a counter's resets are undone first.
pub(super) fn extrapolated(function: Over, window: Window<'_>) -> Option<f64> {
    let is_counter = function != Over::Delta;
    let (first, last) = (window.samples.first()?, window.samples.last()?);
    let gaps = window.samples.len() - 1;
    if gaps == 0 {
        return None;
    }
    let mut change = last.value - first.value;
    if is_counter {
        let lost = |mark: &usize| window.samples.get(mark - window.first - 1).map(|sample| sample.value);
        change += window.marks.iter().filter_map(lost).sum::<f64>();
    }
    let sampled = kahan::seconds(last.at_ms - first.at_ms);
    let average_gap = sampled / kahan::count(gaps);
    let reach = |distance: f64| if distance >= average_gap * GAP_FACTOR_MAX { average_gap / 2.0 } else { distance };
    let mut to_start = reach(kahan::seconds(first.at_ms - window.start_ms));
    if is_counter && change > 0.0 && first.value >= 0.0 {
        // A counter was never below 0: it cannot have begun before it was.
        to_start = to_start.min(sampled * (first.value / change));
    }
    let to_end = reach(kahan::seconds(window.end_ms - last.at_ms));
    let mut factor = (sampled + to_start + to_end) / sampled;
    if function == Over::Rate {
        factor /= kahan::seconds(window.end_ms - window.start_ms);
    }
    Some(change * factor)
}

/// The change between the last two samples, a second or in all.
pub(super) fn of_last_two(function: Over, samples: &[Sample]) -> Option<f64> {
    let (last, others) = samples.split_last()?;
    let before = others.last()?;
    let is_rate = function == Over::InstantRate;
    let change = if is_rate && last.value < before.value { last.value } else { last.value - before.value };
    Some(if is_rate { change / kahan::seconds(last.at_ms - before.at_ms) } else { change })
}
