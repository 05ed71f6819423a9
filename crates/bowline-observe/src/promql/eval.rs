//! Evaluates an expression part by part, each for all steps at once.

mod aggregate;
mod binary;
mod data;
mod date;
mod histogram;
mod kahan;
mod label;
mod over;
mod run;
mod select;
mod simple;

use std::sync::Arc;

use self::data::{ABSENT, Column, Data, Scalars, Vector, is_absent};
use crate::{
    labels::{Labels, NAME},
    promql::{
        engine::Value,
        error::Error,
        expr::{Kind, Node},
    },
    source::{Sample, Series},
};

pub(super) use self::{
    aggregate::Reduce, binary::Operator, data::Grid, date::*, label::of_absent, over::Over, run::Run,
};

/// Which labels tell groups apart.
#[derive(Debug, Clone)]
pub(super) struct Grouping {
    labels: Vec<Arc<str>>,
    /// Whether those labels do, or all others.
    is_by: bool,
}

impl Grouping {
    /// Those labels.
    pub(super) fn by(labels: &[String]) -> Self {
        Self { labels: labels.iter().map(|label| label.as_str().into()).collect(), is_by: true }
    }

    /// All but those and the metric's name.
    pub(super) fn without(labels: &[String]) -> Self {
        Self { is_by: false, ..Self::by(labels) }
    }

    fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|known| **known == *label)
    }

    /// What of a series' labels tells its group.
    fn key(&self, labels: &Labels) -> Labels {
        labels.filtered(|name| if self.is_by { self.has(name) } else { name != NAME && !self.has(name) })
    }
}

/// The value at the only step.
pub(super) fn instant(run: &Run<'_>, root: &Node) -> Result<Value, Error> {
    let at_ms = run.grid.start_ms;
    if root.kind() == Kind::Matrix {
        return matrix(run, root).map(Value::Matrix);
    }
    let sample = |values: &[f64]| Sample { at_ms, value: values.first().copied().unwrap_or(ABSENT) };
    match evaluate(run, run.grid, root)? {
        Data::Scalar(Scalars { values, charge: _ }) => Ok(Value::Scalar(sample(&values))),
        Data::Text(text) => Ok(Value::Text { at_ms, text: text.as_ref().into() }),
        Data::Vector(Vector { columns, charge: _ }) => {
            let series = columns.into_iter().map(|column| (column.labels, sample(&column.values)));
            let vector: Vec<_> = series.filter(|(_, sample)| !is_absent(sample.value)).collect();
            bounded(run, vector.len())?;
            Ok(Value::Vector(vector))
        }
    }
}

/// The samples of a range at the only step.
fn matrix(run: &Run<'_>, root: &Node) -> Result<Vec<Series>, Error> {
    let over::Ranges { mut series, range_ms, reads, charge: _charge } = over::ranges(run, run.grid, root)?;
    let end_ms = reads.at(run.grid.start_ms);
    let is_inside = |at_ms: i64| at_ms > end_ms.saturating_sub(range_ms) && at_ms <= end_ms;
    for series in &mut series {
        series.samples.retain(|sample| is_inside(sample.at_ms));
    }
    series.retain(|series| !series.samples.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    bounded(run, series.len())?;
    Ok(series)
}

/// The values at all steps.
pub(super) fn range(run: &Run<'_>, root: &Node) -> Result<Vec<Series>, Error> {
    let grid = run.grid;
    match evaluate(run, grid, root)? {
        Data::Text(_) => Ok(Vec::new()),
        Data::Scalar(Scalars { values, charge: _ }) => {
            let samples = grid.times().zip(values).map(|(at_ms, value)| Sample { at_ms, value }).collect();
            Ok(vec![Series { labels: Labels::default(), samples }])
        }
        Data::Vector(Vector { mut columns, charge: _charge }) => {
            columns.retain(|column| !column.is_empty());
            bounded(run, columns.len())?;
            columns.sort_by(|a, b| a.labels.cmp(&b.labels));
            let series = |column: Column| Series { samples: column.samples(grid), labels: column.labels };
            Ok(columns.into_iter().map(series).collect())
        }
    }
}

fn bounded(run: &Run<'_>, series: usize) -> Result<(), Error> {
    let series_max = run.engine.series_max;
    if series > series_max { Err(Error::TooManySeries { series_max }) } else { Ok(()) }
}

fn evaluate(run: &Run<'_>, grid: Grid, node: &Node) -> Result<Data, Error> {
    run.check()?;
    let all = |node: &Node| vector(run, grid, node);
    let vector = match node {
        Node::Number(value) => return run.scalars(grid, std::iter::repeat(*value)).map(Data::Scalar),
        Node::Time => return run.scalars(grid, grid.times().map(kahan::seconds)).map(Data::Scalar),
        Node::Scalar(inner) => return simple::scalar(run, grid, &all(inner)?).map(Data::Scalar),
        Node::Text(text) => return Ok(Data::Text(Arc::clone(text))),
        Node::Negate(inner) => return simple::negate(evaluate(run, grid, inner)?),
        Node::Binary(binary) => return binary::binary(run, grid, binary),
        Node::Select(selector) => select::instant(run, grid, selector, |sample| sample.value)?,
        Node::Aggregate(aggregate) => aggregate::aggregate(run, grid, aggregate)?,
        Node::Map { apply, inner } => simple::map(all(inner)?, *apply)?,
        Node::MapWith { apply, inner, scalars } => simple::map_with(run, grid, *apply, all(inner)?, scalars)?,
        Node::Over { function, range, scalars } => over::over(run, grid, *function, range, scalars)?,
        Node::Absent { labels, inner } => simple::absent(run, grid, labels, &all(inner)?)?,
        Node::HistogramQuantile { quantile, inner } => {
            let quantiles = scalar(run, grid, quantile)?;
            let at = |step: usize| quantiles.values.get(step).copied().unwrap_or(f64::NAN);
            histogram::histograms(run, grid, all(inner)?, |step, buckets| histogram::quantile(at(step), buckets))?
        }
        Node::HistogramFraction { lower, upper, inner } => {
            let (lower, upper) = (scalar(run, grid, lower)?, scalar(run, grid, upper)?);
            let at = |bound: &Scalars, step: usize| bound.values.get(step).copied().unwrap_or(f64::NAN);
            let fraction = |step: usize, buckets: &mut Vec<histogram::Bucket>| {
                histogram::fraction(at(&lower, step), at(&upper, step), buckets)
            };
            histogram::histograms(run, grid, all(inner)?, fraction)?
        }
        Node::LabelReplace(replace) => label::replace(run, all(&replace.inner)?, replace)?,
        Node::LabelJoin(join) => label::join(run, all(&join.inner)?, join)?,
        Node::Sort { is_descending, inner } => label::sort(all(inner)?, *is_descending),
        Node::SortByLabel { is_descending, labels, inner } => label::sort_by_label(all(inner)?, labels, *is_descending),
        Node::Vector(inner) => simple::vector(scalar(run, grid, inner)?),
        Node::Timestamp(inner) => simple::timestamp(run, grid, inner)?,
        Node::Range { .. } | Node::Subquery(_) => return Err(mismatch(Kind::Vector, Kind::Matrix)),
    };
    Ok(Data::Vector(vector))
}

/// What a part gives that gives a vector.
fn vector(run: &Run<'_>, grid: Grid, node: &Node) -> Result<Vector, Error> {
    match evaluate(run, grid, node)? {
        Data::Vector(vector) => Ok(vector),
        Data::Scalar(_) | Data::Text(_) => Err(mismatch(Kind::Vector, node.kind())),
    }
}

/// What a part gives that gives a scalar.
fn scalar(run: &Run<'_>, grid: Grid, node: &Node) -> Result<Scalars, Error> {
    match evaluate(run, grid, node)? {
        Data::Scalar(scalars) => Ok(scalars),
        Data::Vector(_) | Data::Text(_) => Err(mismatch(Kind::Scalar, node.kind())),
    }
}

/// What a part gives that gives a text.
fn text(run: &Run<'_>, grid: Grid, node: &Node) -> Result<Arc<str>, Error> {
    match evaluate(run, grid, node)? {
        Data::Text(text) => Ok(text),
        Data::Vector(_) | Data::Scalar(_) => Err(mismatch(Kind::Text, node.kind())),
    }
}

/// The parser checks the kinds of operands; this is for what it lets through.
fn mismatch(expected: Kind, met: Kind) -> Error {
    Error::InvalidArgument { rule: format!("expected a {expected}, got a {met}") }
}
