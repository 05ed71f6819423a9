//! `and`, `or` and `unless`.

use std::collections::HashMap;

use super::{Column, Grid, Operator, Run, Vector};
use crate::{
    labels::Labels,
    promql::{
        error::Error,
        eval::data::{ABSENT, is_absent},
        expr::Binary,
    },
};

/// The left series where the right side has one of the same labels, or with `unless` where it has none.
pub(super) fn and(run: &Run<'_>, grid: Grid, binary: &Binary, left: Vector, right: &Vector) -> Result<Vector, Error> {
    let present = presence(run, grid, binary, right)?;
    let is_kept_where_present = binary.operator == Operator::And;
    mask(run, binary, left, &present, is_kept_where_present)
}

/// The left series, and the right ones where the left side has none of the same labels.
pub(super) fn or(run: &Run<'_>, grid: Grid, binary: &Binary, mut left: Vector, right: Vector) -> Result<Vector, Error> {
    let present = presence(run, grid, binary, &left)?;
    let right = mask(run, binary, right, &present, false)?;
    let mut both = run.vector(left.columns.len() + right.columns.len(), grid)?;
    both.columns.append(&mut left.columns);
    both.columns.extend(right.columns);
    both.unique()
}

/// At which steps a side has a series of those labels.
type Presence = HashMap<Labels, Vec<bool>>;

fn presence(run: &Run<'_>, grid: Grid, binary: &Binary, side: &Vector) -> Result<Presence, Error> {
    let mut present = Presence::with_capacity(side.columns.len());
    for column in &side.columns {
        run.worked(grid.count)?;
        let steps = present.entry(binary.matching.key(&column.labels)).or_insert_with(|| vec![false; grid.count]);
        for (is_present, value) in steps.iter_mut().zip(&column.values) {
            *is_present |= !is_absent(*value);
        }
    }
    Ok(present)
}

/// The side without what the other's presence takes from it.
fn mask(
    run: &Run<'_>,
    binary: &Binary,
    mut side: Vector,
    present: &Presence,
    is_kept_where_present: bool,
) -> Result<Vector, Error> {
    for column in &mut side.columns {
        run.worked(column.values.len())?;
        match present.get(&binary.matching.key(&column.labels)) {
            Some(steps) => {
                for (value, is_present) in column.values.iter_mut().zip(steps) {
                    if *is_present != is_kept_where_present {
                        *value = ABSENT;
                    }
                }
            }
            None if is_kept_where_present => column.values.fill(ABSENT),
            None => {}
        }
    }
    side.columns.retain(|column: &Column| !column.is_empty());
    Ok(side)
}
