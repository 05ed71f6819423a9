//! Arithmetic and comparison of two vectors, whose series are paired by their labels.

use std::collections::{BTreeMap, HashMap};

use super::{Column, Combine, Grid, Run, Vector};
use crate::{
    labels::{Labels, NAME},
    promql::{
        error::Error,
        eval::data::{ABSENT, is_absent},
        expr::{Binary, Side},
    },
};

/// Two sides, of which one has at most one series for each key at each step.
struct Sides {
    many: Vector,
    one: Vector,
    is_many_right: bool,
    /// The side that has one, in words.
    one_name: &'static str,
}

/// The columns of both sides with one key, by their places.
#[derive(Debug, Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// The series of the left side each with its counterpart of the right one.
pub(super) fn pair(
    run: &Run<'_>,
    grid: Grid,
    (binary, combine): (&Binary, Combine),
    left: Vector,
    right: Vector,
) -> Result<Vector, Error> {
    let sides = match binary.side {
        Side::ManyRight(_) => Sides { many: right, one: left, is_many_right: true, one_name: LEFT },
        Side::Neither | Side::ManyLeft(_) => Sides { many: left, one: right, is_many_right: false, one_name: RIGHT },
    };
    let groups = groups(binary, &sides);
    let pairs = groups.iter().map(|group| group.many.len().saturating_mul(group.one.len())).sum();
    check_one(run, grid, binary, &sides, &groups)?;
    let mut out = run.vector(pairs, grid)?;
    for group in &groups {
        check_many(run, grid, binary, combine, &sides, group)?;
        for (many, one) in sides.pairs(group) {
            run.worked(grid.count)?;
            let (left, right) = if sides.is_many_right { (one, many) } else { (many, one) };
            let values = left.values.iter().zip(&right.values).map(|(left, right)| {
                let is_missing = is_absent(*left) || is_absent(*right);
                if is_missing { ABSENT } else { combine.apply(*left, *right) }
            });
            let column = Column { values: values.collect(), labels: result_labels(binary, combine, many, one) };
            if !column.is_empty() {
                out.columns.push(column);
            }
        }
    }
    out.unique()
}

const LEFT: &str = "found duplicate series for the match group on the left hand-side of the operation; \
                    many-to-many matching not allowed: matching labels must be unique on one side";
const RIGHT: &str = "found duplicate series for the match group on the right hand-side of the operation; \
                     many-to-many matching not allowed: matching labels must be unique on one side";

impl Sides {
    /// Each of the many with each of the ones; at a step at most one of these has a value.
    fn pairs(&self, group: &Group) -> impl Iterator<Item = (&Column, &Column)> {
        let ones: Vec<&Column> = group.one.iter().filter_map(|at| self.one.columns.get(*at)).collect();
        let many: Vec<&Column> = group.many.iter().filter_map(|at| self.many.columns.get(*at)).collect();
        many.into_iter().flat_map(move |many| ones.clone().into_iter().map(move |one| (many, one)))
    }
}

/// The columns of each key that the one side has, in the order of the many side.
fn groups(binary: &Binary, sides: &Sides) -> Vec<Group> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(sides.one.columns.len());
    let mut groups: Vec<Group> = Vec::new();
    for (at, column) in sides.one.columns.iter().enumerate() {
        let place = *places.entry(binary.matching.key(&column.labels)).or_insert_with(|| {
            groups.push(Group::default());
            groups.len() - 1
        });
        groups[place].one.push(at);
    }
    for (at, column) in sides.many.columns.iter().enumerate() {
        if let Some(place) = places.get(&binary.matching.key(&column.labels)) {
            groups[*place].many.push(at);
        }
    }
    groups
}

/// Refuses two series of the one side at the same step, if the other side has any there.
fn check_one(run: &Run<'_>, grid: Grid, binary: &Binary, sides: &Sides, groups: &[Group]) -> Result<(), Error> {
    if groups.iter().all(|group| group.one.len() <= 1) {
        return Ok(());
    }
    let mut is_needed = vec![false; grid.count];
    for column in &sides.many.columns {
        for (is_needed, value) in is_needed.iter_mut().zip(&column.values) {
            *is_needed |= !is_absent(*value);
        }
    }
    for group in groups.iter().filter(|group| group.one.len() > 1) {
        let mut is_taken = vec![false; grid.count];
        for column in group.one.iter().filter_map(|at| sides.one.columns.get(*at)) {
            run.worked(grid.count)?;
            for ((is_taken, value), is_needed) in is_taken.iter_mut().zip(&column.values).zip(&is_needed) {
                if is_absent(*value) || !is_needed {
                    continue;
                }
                if *is_taken {
                    let labels = binary.matching.key(&column.labels);
                    return Err(Error::Matching { rule: sides.one_name, labels });
                }
                *is_taken = true;
            }
        }
    }
    Ok(())
}

/// Refuses two results of the same labels at the same step, also where a comparison would filter them out.
fn check_many(
    run: &Run<'_>,
    grid: Grid,
    binary: &Binary,
    combine: Combine,
    sides: &Sides,
    group: &Group,
) -> Result<(), Error> {
    if group.many.len() <= 1 || group.one.is_empty() {
        return Ok(());
    }
    let is_explicit = !matches!(binary.side, Side::Neither);
    let mut taken: BTreeMap<Labels, Vec<bool>> = BTreeMap::new();
    for (many, one) in sides.pairs(group) {
        run.worked(grid.count)?;
        let labels = if is_explicit { result_labels(binary, combine, many, one) } else { Labels::default() };
        let is_taken = taken.entry(labels).or_insert_with(|| vec![false; grid.count]);
        for ((is_taken, many_value), one_value) in is_taken.iter_mut().zip(&many.values).zip(&one.values) {
            if is_absent(*many_value) || is_absent(*one_value) {
                continue;
            }
            if *is_taken {
                return Err(Error::Matching { rule: rule(is_explicit), labels: many.labels.clone() });
            }
            *is_taken = true;
        }
    }
    Ok(())
}

fn rule(is_explicit: bool) -> &'static str {
    if is_explicit {
        "multiple matches for labels: grouping labels must ensure unique matches"
    } else {
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    }
}

fn result_labels(binary: &Binary, combine: Combine, many: &Column, one: &Column) -> Labels {
    let is_dropping_name = combine.is_dropping_name();
    let matching = &binary.matching;
    let included = match &binary.side {
        Side::Neither => {
            let is_kept = |name: &str| matching.has(name) == matching.is_by && !(is_dropping_name && name == NAME);
            return many.labels.filtered(is_kept);
        }
        Side::ManyLeft(included) | Side::ManyRight(included) => included,
    };
    let mut labels =
        if is_dropping_name { super::super::data::without_name(&many.labels) } else { many.labels.clone() };
    for name in included {
        labels = labels.with(name, one.labels.get(name).unwrap_or_default());
    }
    labels
}
