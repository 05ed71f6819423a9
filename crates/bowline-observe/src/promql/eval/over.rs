//! Functions of the samples of a range.

mod fold;
mod rate;
mod statistics;
mod trend;

use super::{
    data::{ABSENT, Charge, Column, Grid, Vector, without_name},
    kahan,
    run::{Reads, Run},
    select,
};
use crate::{
    promql::{
        error::Error,
        expr::{Node, Subquery},
    },
    source::{Sample, Series},
};

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) enum Over {
    Rate,
    Increase,
    Delta,
    InstantRate,
    InstantDelta,
    Derivative,
    PredictLinear,
    Smoothing,
    Changes,
    Resets,
    Average,
    Sum,
    Min,
    Max,
    Count,
    First,
    Last,
    Present,
    Quantile,
    Stddev,
    Stdvar,
    Mad,
    TimeOfFirst,
    TimeOfLast,
    TimeOfMin,
    TimeOfMax,
}

/// Series from which windows are taken.
pub(super) struct Ranges {
    pub(super) series: Vec<Series>,
    pub(super) range_ms: i64,
    pub(super) reads: Reads,
    pub(super) charge: Charge,
}

/// The samples of one series in one range.
#[derive(Debug, Clone, Copy)]
struct Window<'a> {
    samples: &'a [Sample],
    /// Before the first sample.
    start_ms: i64,
    /// Not before the last one.
    end_ms: i64,
    evaluated_ms: i64,
    /// Where the series has what the function counts: indices of samples that differ from the one before.
    marks: &'a [usize],
    /// The index of the first sample in its series.
    first: usize,
}

/// What the parts that give ranges give.
pub(super) fn ranges(run: &Run<'_>, grid: Grid, node: &Node) -> Result<Ranges, Error> {
    match node {
        Node::Range { selector, range_ms } => {
            let reads = run.reads(selector.shift);
            let (series, charge) = select::ranges(run, grid, selector, *range_ms)?;
            Ok(Ranges { series, range_ms: *range_ms, reads, charge })
        }
        Node::Subquery(subquery) => from_subquery(run, grid, subquery),
        _ => Err(Error::InvalidArgument { rule: format!("expected a range vector, got a {}", node.kind()) }),
    }
}

/// Evaluates a subquery for all the steps that any range needs: multiples of its own step.
fn from_subquery(run: &Run<'_>, grid: Grid, subquery: &Subquery) -> Result<Ranges, Error> {
    let reads = run.reads(subquery.shift);
    let default_ms = i64::try_from(run.engine.subquery_step.as_millis()).unwrap_or(i64::MAX);
    let step_ms = subquery.step_ms.unwrap_or(default_ms).max(1);
    let after_ms = reads.at(grid.start_ms).saturating_sub(subquery.range_ms);
    let start_ms = after_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
    let length_ms = reads.at(grid.last_ms()).saturating_sub(start_ms);
    let range_ms = subquery.range_ms;
    if length_ms < 0 {
        return Ok(Ranges { series: Vec::new(), range_ms, reads, charge: run.charge(0)? });
    }
    let count = usize::try_from(length_ms / step_ms).unwrap_or(usize::MAX).saturating_add(1);
    // Whatever is evaluated has at least one value a step.
    drop(run.charge(count)?);
    let inner = Grid { start_ms, step_ms, count };
    let vector = super::vector(run, inner, &subquery.inner)?;
    let charge = run.charge(vector.columns.len().saturating_mul(count))?;
    let mut series = Vec::with_capacity(vector.columns.len());
    for column in vector.columns {
        run.worked(count)?;
        let samples = column.samples(inner);
        series.push(Series { labels: column.labels, samples });
    }
    Ok(Ranges { series, range_ms, reads, charge })
}

/// The function's value at each step, for each series that has one.
pub(super) fn over(run: &Run<'_>, grid: Grid, function: Over, range: &Node, scalars: &[Node]) -> Result<Vector, Error> {
    let mut parameters = Vec::with_capacity(scalars.len());
    for scalar in scalars {
        parameters.push(super::scalar(run, grid, scalar)?);
    }
    if function == Over::Smoothing {
        trend::check_factors(&parameters)?;
    }
    let Ranges { series, range_ms, reads, charge: _charge } = ranges(run, grid, range)?;
    let mut vector = run.vector(series.len(), grid)?;
    let mut scratch = Vec::new();
    // Of a fixed range the value is the same at all steps.
    let is_constant = reads.is_fixed() && parameters.is_empty();
    let windows = if is_constant { Grid { count: 1, ..grid } } else { grid };
    for series in series {
        let marks = marks(function, &series.samples);
        let mut folds = fold::Folds::of(function);
        let at_step = |step: usize, window: Window<'_>| {
            if let Some(folds) = &mut folds {
                return folds.value(&series.samples, &window);
            }
            let parameter = |number: usize| {
                parameters.get(number).and_then(|values| values.values.get(step)).copied().unwrap_or(f64::NAN)
            };
            apply(function, window, [parameter(0), parameter(1)], &mut scratch)
        };
        let mut values = slide(run, windows, reads, range_ms, (&series.samples, &marks), at_step)?;
        if is_constant {
            values.resize(grid.count, values.first().copied().unwrap_or(ABSENT));
        }
        let column = Column { labels: series.labels, values };
        if !column.is_empty() {
            vector.columns.push(column);
        }
    }
    if matches!(function, Over::First | Over::Last) {
        return Ok(vector);
    }
    for column in &mut vector.columns {
        column.labels = without_name(&column.labels);
    }
    vector.unique()
}

/// Moves the range over the samples, step by step.
fn slide(
    run: &Run<'_>,
    grid: Grid,
    reads: Reads,
    range_ms: i64,
    (samples, marks): (&[Sample], &[usize]),
    mut at_step: impl FnMut(usize, Window<'_>) -> Option<f64>,
) -> Result<Vec<f64>, Error> {
    let (mut first, mut past) = (0, 0);
    let mut values = Vec::with_capacity(grid.count);
    for (step, evaluated_ms) in grid.times().enumerate() {
        let end_ms = reads.at(evaluated_ms);
        let start_ms = end_ms.saturating_sub(range_ms);
        while samples.get(past).is_some_and(|sample| sample.at_ms <= end_ms) {
            past += 1;
        }
        while first < past && samples.get(first).is_some_and(|sample| sample.at_ms <= start_ms) {
            first += 1;
        }
        let inside = samples.get(first..past).unwrap_or_default();
        if inside.is_empty() {
            values.push(ABSENT);
            continue;
        }
        run.worked(inside.len())?;
        let from = marks.partition_point(|mark| *mark <= first);
        let to = marks.partition_point(|mark| *mark < past);
        let marks = marks.get(from..to).unwrap_or_default();
        let window = Window { samples: inside, start_ms, end_ms, evaluated_ms, marks, first };
        values.push(at_step(step, window).unwrap_or(ABSENT));
    }
    Ok(values)
}

/// The indices of the samples that the function counts or mends.
fn marks(function: Over, samples: &[Sample]) -> Vec<usize> {
    let is_marked: fn(f64, f64) -> bool = match function {
        Over::Rate | Over::Increase | Over::Resets => |before, value| value < before,
        #[expect(clippy::float_cmp, reason = "any difference is a change")]
        Over::Changes => |before, value| before != value && !(before.is_nan() && value.is_nan()),
        _ => return Vec::new(),
    };
    let pairs = samples.iter().zip(samples.iter().skip(1)).enumerate();
    pairs.filter(|(_, (before, sample))| is_marked(before.value, sample.value)).map(|(at, _)| at + 1).collect()
}

fn apply(function: Over, window: Window<'_>, parameters: [f64; 2], scratch: &mut Vec<f64>) -> Option<f64> {
    let samples = window.samples;
    let (first, last) = (samples.first()?, samples.last()?);
    let values = || samples.iter().map(|sample| sample.value);
    Some(match function {
        Over::Rate | Over::Increase | Over::Delta => return rate::extrapolated(function, window),
        Over::InstantRate | Over::InstantDelta => return rate::of_last_two(function, samples),
        Over::Derivative => return trend::derivative(samples),
        Over::PredictLinear => return trend::predict(samples, window.evaluated_ms, parameters[0]),
        Over::Smoothing => return trend::smooth(samples, parameters),
        Over::Changes | Over::Resets => kahan::count(window.marks.len()),
        Over::Average => statistics::average(samples),
        Over::Sum => statistics::sum(samples),
        Over::Min => statistics::extreme(samples, |value, best| value < best || best.is_nan()).value,
        Over::Max => statistics::extreme(samples, |value, best| value > best || best.is_nan()).value,
        Over::TimeOfMin => {
            kahan::seconds(statistics::extreme(samples, |value, best| value <= best || best.is_nan()).at_ms)
        }
        Over::TimeOfMax => {
            kahan::seconds(statistics::extreme(samples, |value, best| value >= best || best.is_nan()).at_ms)
        }
        Over::Count => kahan::count(samples.len()),
        Over::First => first.value,
        Over::Last => last.value,
        Over::TimeOfFirst => kahan::seconds(first.at_ms),
        Over::TimeOfLast => kahan::seconds(last.at_ms),
        Over::Present => 1.0,
        Over::Stdvar => kahan::variance(values()),
        Over::Stddev => kahan::variance(values()).sqrt(),
        Over::Quantile => {
            scratch.clear();
            scratch.extend(values());
            kahan::quantile(parameters[0], scratch)
        }
        Over::Mad => {
            scratch.clear();
            scratch.extend(values());
            statistics::median_deviation(scratch)
        }
    })
}
