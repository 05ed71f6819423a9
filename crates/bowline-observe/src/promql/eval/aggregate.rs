//! Makes groups of series one, or fewer.

mod reduce;
mod select;

use std::collections::BTreeMap;

use super::{
    data::{Column, Grid, Vector},
    run::Run,
};
use crate::{
    labels::Labels,
    promql::{error::Error, expr::Aggregate},
};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) enum Reduce {
    Sum,
    Average,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    Top,
    Bottom,
    CountValues,
}

impl Reduce {
    /// The aggregation of that name.
    pub(in crate::promql) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "sum" => Self::Sum,
            "avg" => Self::Average,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "group" => Self::Group,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "quantile" => Self::Quantile,
            "topk" => Self::Top,
            "bottomk" => Self::Bottom,
            "count_values" => Self::CountValues,
            _ => return None,
        })
    }
}

/// The series of each group by its labels, in their order.
type Groups = BTreeMap<Labels, Vec<Column>>;

pub(super) fn aggregate(run: &Run<'_>, grid: Grid, aggregate: &Aggregate) -> Result<Vector, Error> {
    let Aggregate { reduce, grouping, parameter, inner } = aggregate;
    let missing = || Error::InvalidArgument { rule: "the aggregation needs a parameter".to_owned() };
    let number = || super::scalar(run, grid, parameter.as_ref().ok_or_else(missing)?);
    let vector = super::vector(run, grid, inner)?;
    let mut groups = Groups::new();
    let Vector { columns, charge } = vector;
    for column in columns {
        groups.entry(grouping.key(&column.labels)).or_default().push(column);
    }
    let out = match reduce {
        Reduce::Top | Reduce::Bottom => {
            let parameter = select::counts(number()?)?;
            return select::select(run, *reduce == Reduce::Top, &parameter, groups, charge);
        }
        Reduce::CountValues => {
            let name = super::text(run, grid, parameter.as_ref().ok_or_else(missing)?)?;
            select::count_values(run, grid, &name, groups)?
        }
        Reduce::Quantile => {
            let quantiles = number()?.values;
            reduced(run, grid, groups, |columns| {
                reduce::gathered(columns, grid.count, |step, values| {
                    super::kahan::quantile(quantiles.get(step).copied().unwrap_or(f64::NAN), values)
                })
            })?
        }
        _ => reduced(run, grid, groups, |columns| reduce::reduce(*reduce, columns, grid.count))?,
    };
    drop(charge);
    Ok(out)
}

/// Each group made one series.
fn reduced(run: &Run<'_>, grid: Grid, groups: Groups, values: impl Fn(&[Column]) -> Vec<f64>) -> Result<Vector, Error> {
    let mut out = run.vector(groups.len(), grid)?;
    for (labels, columns) in groups {
        run.worked(columns.len().saturating_mul(grid.count))?;
        out.columns.push(Column { values: values(&columns), labels });
    }
    Ok(out)
}
