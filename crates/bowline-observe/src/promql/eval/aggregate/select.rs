//! Aggregations that give some of the series, or one for each value.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{Column, Error, Grid, Groups, Run, Vector};
use crate::{
    labels::Labels,
    promql::eval::{
        data::{ABSENT, Charge, Scalars, is_absent},
        kahan,
    },
};

/// How many to select at each step.
pub(super) fn counts(parameter: Scalars) -> Result<Vec<usize>, Error> {
    let count = |value: f64| {
        if value.is_nan() {
            return Err(Error::InvalidArgument { rule: "the parameter of topk or bottomk is NaN".to_owned() });
        }
        #[expect(clippy::cast_precision_loss, reason = "the bound need not be exact")]
        if value.abs() >= i64::MAX as f64 {
            let rule = format!("the parameter of topk or bottomk overflows a 64-bit integer: {value}");
            return Err(Error::InvalidArgument { rule });
        }
        Ok(kahan::index(value))
    };
    parameter.values.into_iter().map(count).collect()
}

/// The greatest or least of each group at each step; at a single step in that order.
pub(super) fn select(
    run: &Run<'_>,
    is_top: bool,
    counts: &[usize],
    groups: Groups,
    charge: Charge,
) -> Result<Vector, Error> {
    let better = |a: f64, b: f64| {
        let by_value = if is_top { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
        a.is_nan().cmp(&b.is_nan()).then(by_value.unwrap_or(Ordering::Equal))
    };
    let mut out = Vector { columns: Vec::new(), charge };
    for (_, mut columns) in groups {
        let mut ranked: Vec<(usize, f64)> = Vec::with_capacity(columns.len());
        for (step, count) in counts.iter().enumerate() {
            run.worked(columns.len())?;
            ranked.clear();
            let values = columns.iter().filter_map(|column| column.values.get(step)).copied().enumerate();
            ranked.extend(values.filter(|(_, value)| !is_absent(*value)));
            ranked.sort_by(|(_, a), (_, b)| better(*a, *b));
            for (place, _) in ranked.iter().skip(*count) {
                if let Some(value) = columns.get_mut(*place).and_then(|column| column.values.get_mut(step)) {
                    *value = ABSENT;
                }
            }
        }
        columns.retain(|column| !column.is_empty());
        if counts.len() == 1 {
            let value = |column: &Column| column.values.first().copied().unwrap_or(f64::NAN);
            columns.sort_by(|a, b| better(value(a), value(b)));
        }
        out.columns.append(&mut columns);
    }
    Ok(out)
}

/// How many series of each group have each value.
pub(super) fn count_values(run: &Run<'_>, grid: Grid, name: &str, groups: Groups) -> Result<Vector, Error> {
    if name.is_empty() {
        return Err(Error::InvalidArgument { rule: "the label of count_values has no name".to_owned() });
    }
    let mut out = run.vector(0, grid)?;
    let mut all: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (labels, columns) in groups {
        // By the bits: all values are told apart, and their order does not matter.
        let mut counts: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for column in &columns {
            run.worked(grid.count)?;
            for (step, value) in column.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
                let value = if value.is_nan() { f64::NAN } else { *value };
                if !counts.contains_key(&value.to_bits()) {
                    out.charge.grow(grid.count)?;
                }
                let counts = counts.entry(value.to_bits()).or_insert_with(|| vec![ABSENT; grid.count]);
                if let Some(count) = counts.get_mut(step) {
                    *count = added(*count, 1.0);
                }
            }
        }
        for (bits, values) in counts {
            // The label may be one that told the groups apart.
            let counts = all
                .entry(labels.with(name, &written(f64::from_bits(bits))))
                .or_insert_with(|| vec![ABSENT; grid.count]);
            for (count, more) in counts.iter_mut().zip(values).filter(|(_, more)| !is_absent(*more)) {
                *count = added(*count, more);
            }
        }
    }
    out.columns = all.into_iter().map(|(labels, values)| Column { labels, values }).collect();
    Ok(out)
}

fn added(count: f64, more: f64) -> f64 {
    if is_absent(count) { more } else { count + more }
}

/// A value as Prometheus writes it into a label.
fn written(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}
