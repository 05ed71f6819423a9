//! Evaluates an expression part by part, each for all steps at once.

mod aggregate;
mod binary;
mod data;
mod over;
mod run;
mod select;

use std::sync::Arc;

use self::data::{Data, Vector, is_absent};
use crate::{
    labels::Labels,
    promql::{engine::Value, error::Error, expr::Node},
    source::{Sample, Series},
};

pub(super) use self::{aggregate::Reduce, binary::Operator, data::Grid, over::Over, run::Run};

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
}

/// The value at the only step.
pub(super) fn instant(run: &Run<'_>, root: &Node) -> Result<Value, Error> {
    let at_ms = run.grid.start_ms;
    let sample = |value| Sample { at_ms, value };
    match evaluate(run, run.grid, root)? {
        Data::Scalar(values) => Ok(Value::Scalar(sample(values.first().copied().unwrap_or(f64::NAN)))),
        Data::Text(text) => Ok(Value::Text { at_ms, text: text.as_ref().into() }),
        Data::Vector(Vector { columns, charge: _ }) => {
            let first =
                |column: data::Column| (column.labels, sample(column.values.first().copied().unwrap_or(data::ABSENT)));
            let vector: Vec<_> =
                columns.into_iter().map(first).filter(|(_, sample)| !is_absent(sample.value)).collect();
            bounded(run, vector.len())?;
            Ok(Value::Vector(vector))
        }
    }
}

/// The values at all steps.
pub(super) fn range(run: &Run<'_>, root: &Node) -> Result<Vec<Series>, Error> {
    let grid = run.grid;
    match evaluate(run, grid, root)? {
        Data::Text(_) => Ok(Vec::new()),
        Data::Scalar(values) => {
            let samples = grid.times().zip(values).map(|(at_ms, value)| Sample { at_ms, value }).collect();
            Ok(vec![Series { labels: Labels::default(), samples }])
        }
        Data::Vector(vector) => {
            let columns = vector.columns.iter().filter(|column| !column.is_empty());
            let series = columns.map(|column| Series { labels: column.labels.clone(), samples: column.samples(grid) });
            let mut series: Vec<_> = series.collect();
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            bounded(run, series.len())?;
            Ok(series)
        }
    }
}

fn bounded(run: &Run<'_>, series: usize) -> Result<(), Error> {
    let series_max = run.engine.series_max;
    if series > series_max { Err(Error::TooManySeries { series_max }) } else { Ok(()) }
}

fn evaluate(run: &Run<'_>, grid: Grid, node: &Node) -> Result<Data, Error> {
    run.check()?;
    Ok(match node {
        Node::Number(value) => Data::Scalar(vec![*value; grid.count]),
        Node::Text(text) => Data::Text(Arc::clone(text)),
        Node::Select(selector) => Data::Vector(select::instant(run, grid, selector, |sample| sample.value)?),
        _ => return Err(Error::InvalidArgument { rule: format!("{node:?} is not evaluated") }),
    })
}
