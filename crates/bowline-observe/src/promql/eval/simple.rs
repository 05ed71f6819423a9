//! Functions of each value alone, and between scalars and vectors.

use super::{
    data::{ABSENT, Column, Data, Grid, Scalars, Vector, is_absent},
    kahan,
    run::Run,
    select,
};
use crate::{
    labels::Labels,
    promql::{error::Error, expr::Node},
};

/// The function of each value; the metric's name is dropped.
pub(super) fn map(mut vector: Vector, apply: fn(f64) -> f64) -> Result<Vector, Error> {
    for column in &mut vector.columns {
        for value in column.values.iter_mut().filter(|value| !is_absent(**value)) {
            *value = apply(*value);
        }
    }
    vector.without_names()
}

/// The function of each value and of the scalars of its step.
pub(super) fn map_with(
    run: &Run<'_>,
    grid: Grid,
    apply: fn(f64, &[f64]) -> Option<f64>,
    mut vector: Vector,
    scalars: &[Node],
) -> Result<Vector, Error> {
    let mut parameters = Vec::with_capacity(scalars.len());
    for scalar in scalars {
        parameters.push(super::scalar(run, grid, scalar)?);
    }
    let mut at_step = Vec::with_capacity(parameters.len());
    for column in &mut vector.columns {
        run.worked(grid.count)?;
        for (step, value) in column.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
            at_step.clear();
            at_step.extend(parameters.iter().filter_map(|parameter| parameter.values.get(step)));
            *value = apply(*value, &at_step).unwrap_or(ABSENT);
        }
    }
    vector.without_names()
}

pub(super) fn negate(data: Data) -> Result<Data, Error> {
    match data {
        Data::Vector(vector) => map(vector, |value| -value).map(Data::Vector),
        Data::Scalar(mut scalars) => {
            for value in &mut scalars.values {
                *value = -*value;
            }
            Ok(Data::Scalar(scalars))
        }
        Data::Text(text) => Ok(Data::Text(text)),
    }
}

/// The value of the only series at each step; NaN where there is none or more than one.
pub(super) fn scalar(run: &Run<'_>, grid: Grid, vector: &Vector) -> Result<Scalars, Error> {
    let mut values = vec![ABSENT; grid.count];
    for column in &vector.columns {
        run.worked(grid.count)?;
        for (value, other) in values.iter_mut().zip(&column.values).filter(|(_, other)| !is_absent(**other)) {
            *value = if is_absent(*value) { *other } else { f64::NAN };
        }
    }
    run.scalars(grid, values.into_iter().map(|value| if is_absent(value) { f64::NAN } else { value }))
}

/// The scalar as a series without labels.
pub(super) fn vector(scalars: Scalars) -> Vector {
    let Scalars { values, charge } = scalars;
    Vector { columns: vec![Column { labels: Labels::default(), values }], charge }
}

/// 1 at the steps at which no series has a value.
pub(super) fn absent(run: &Run<'_>, grid: Grid, labels: &Labels, vector: &Vector) -> Result<Vector, Error> {
    let mut out = run.vector(1, grid)?;
    let mut values = vec![1.0; grid.count];
    for column in &vector.columns {
        run.worked(grid.count)?;
        for (value, _) in values.iter_mut().zip(&column.values).filter(|(_, other)| !is_absent(**other)) {
            *value = ABSENT;
        }
    }
    out.columns.push(Column { labels: labels.clone(), values });
    Ok(out)
}

/// When a selector's samples were taken; of anything else, the evaluated time.
pub(super) fn timestamp(run: &Run<'_>, grid: Grid, inner: &Node) -> Result<Vector, Error> {
    if let Node::Select(selector) = inner {
        return select::instant(run, grid, selector, |sample| kahan::seconds(sample.at_ms))?.without_names();
    }
    let mut vector = super::vector(run, grid, inner)?;
    for column in &mut vector.columns {
        for (value, at_ms) in column.values.iter_mut().zip(grid.times()).filter(|(value, _)| !is_absent(**value)) {
            *value = kahan::seconds(at_ms);
        }
    }
    vector.without_names()
}
