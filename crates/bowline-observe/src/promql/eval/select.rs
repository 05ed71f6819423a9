//! The values of selectors.

use super::{
    data::{ABSENT, Charge, Column, Grid, Vector},
    run::{Reads, Run},
};
use crate::{
    promql::{error::Error, expr::Selector},
    source::{Sample, Series, is_stale},
};

/// The newest sample of each series that is no older than the lookback, as `value` sees it.
///
/// A stale sample ends its series.
pub(super) fn instant(
    run: &Run<'_>,
    grid: Grid,
    selector: &Selector,
    value: fn(&Sample) -> f64,
) -> Result<Vector, Error> {
    let reads = run.reads(selector.shift);
    let lookback_ms = i64::try_from(run.engine.lookback.as_millis()).unwrap_or(i64::MAX).max(1);
    let from_ms = reads.at(grid.start_ms).saturating_sub(lookback_ms).saturating_add(1);
    let (series, _charge) = run.select(&selector.matchers, from_ms, reads.at(grid.last_ms()))?;
    let mut vector = run.vector(series.len(), grid)?;
    for series in series {
        run.worked(series.samples.len() + grid.count)?;
        let values = if reads.is_fixed() {
            let newest = series.samples.last().filter(|sample| !is_stale(sample.value));
            vec![newest.map_or(ABSENT, value); grid.count]
        } else {
            newest(&series, grid, reads, lookback_ms, value)
        };
        let column = Column { labels: series.labels, values };
        if !column.is_empty() {
            vector.columns.push(column);
        }
    }
    Ok(vector)
}

/// The newest sample at each step.
fn newest(series: &Series, grid: Grid, reads: Reads, lookback_ms: i64, value: fn(&Sample) -> f64) -> Vec<f64> {
    let mut samples = series.samples.iter().peekable();
    let mut newest: Option<&Sample> = None;
    let at_step = |evaluated_ms| {
        let at_ms = reads.at(evaluated_ms);
        while let Some(sample) = samples.next_if(|sample| sample.at_ms <= at_ms) {
            newest = Some(sample);
        }
        let fresh = newest.filter(|sample| sample.at_ms > at_ms.saturating_sub(lookback_ms) && !is_stale(sample.value));
        fresh.map_or(ABSENT, value)
    };
    grid.times().map(at_step).collect()
}

/// All samples of each series that a range needs at any step, the stale ones left out.
pub(super) fn ranges(
    run: &Run<'_>,
    grid: Grid,
    selector: &Selector,
    range_ms: i64,
) -> Result<(Vec<Series>, Charge), Error> {
    let reads = run.reads(selector.shift);
    let from_ms = reads.at(grid.start_ms).saturating_sub(range_ms).saturating_add(1);
    let (mut series, charge) = run.select(&selector.matchers, from_ms, reads.at(grid.last_ms()))?;
    for series in &mut series {
        run.worked(series.samples.len())?;
        series.samples.retain(|sample| !is_stale(sample.value));
    }
    Ok((series, charge))
}
