//! Finds what a function's name means, and puts its arguments in their places.

use std::sync::Arc;

use promql_parser::parser::{Call, Expr};

use super::lower::{Refused, lower};
use crate::{
    labels::Labels,
    promql::{
        eval::{self, Over},
        expr::{LabelJoin, LabelReplace, Node},
    },
};

pub(super) fn lower_call(call: &Call) -> Result<Node, Refused> {
    let name = call.func.name;
    let args: Vec<&Expr> = call.args.args.iter().map(|arg| &**arg).collect();
    let args = Arguments { name, args };
    if let Some(apply) = map(name) {
        return Ok(Node::Map { apply, inner: args.boxed(0)? });
    }
    if let Some(apply) = date(name) {
        let time = || Box::new(Node::Vector(Box::new(Node::Time)));
        let inner = if args.args.is_empty() { time() } else { args.boxed(0)? };
        return Ok(Node::Map { apply, inner });
    }
    if let Some((function, range, scalars)) = over(name) {
        let scalars = scalars.iter().map(|number| args.node(*number)).collect::<Result<_, _>>()?;
        return Ok(Node::Over { function, range: args.boxed(range)?, scalars });
    }
    other(&args)
}

/// A call's arguments, of which the parser crate has checked number and kinds.
struct Arguments<'a> {
    name: &'static str,
    args: Vec<&'a Expr>,
}

impl Arguments<'_> {
    fn get(&self, number: usize) -> Result<&Expr, Refused> {
        let missing = || Refused::new(self.name, format!("`{}` needs more arguments", self.name));
        self.args.get(number).copied().ok_or_else(missing)
    }

    fn node(&self, number: usize) -> Result<Node, Refused> {
        lower(self.get(number)?)
    }

    fn boxed(&self, number: usize) -> Result<Box<Node>, Refused> {
        self.node(number).map(Box::new)
    }

    fn text(&self, number: usize) -> Result<Arc<str>, Refused> {
        match self.node(number)? {
            Node::Text(text) => Ok(text),
            _ => Err(Refused::new(self.name, format!("argument {} of `{}` must be a text", number + 1, self.name))),
        }
    }

    fn texts(&self, first: usize) -> Result<Vec<Arc<str>>, Refused> {
        (first..self.args.len()).map(|number| self.text(number)).collect()
    }

    /// A label's name.
    fn label(&self, number: usize) -> Result<Arc<str>, Refused> {
        let label = self.text(number)?;
        if label.is_empty() {
            return Err(Refused::new(
                self.name,
                format!("argument {} of `{}` must name a label", number + 1, self.name),
            ));
        }
        Ok(label)
    }
}

/// Functions of each value alone.
fn map(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sqrt" => f64::sqrt,
        "sgn" => |value| {
            if value > 0.0 {
                1.0
            } else if value < 0.0 {
                -1.0
            } else {
                value
            }
        },
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => f64::to_degrees,
        "rad" => f64::to_radians,
        _ => return None,
    })
}

/// Functions of a time in seconds, by default the evaluated one.
fn date(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => eval::minute,
        "hour" => eval::hour,
        "day_of_week" => eval::day_of_week,
        "day_of_month" => eval::day_of_month,
        "day_of_year" => eval::day_of_year,
        "days_in_month" => eval::days_in_month,
        "month" => eval::month,
        "year" => eval::year,
        _ => return None,
    })
}

/// Functions of a range, with the places of the range and of the scalars among their arguments.
fn over(name: &str) -> Option<(Over, usize, &'static [usize])> {
    Some(match name {
        "rate" => (Over::Rate, 0, &[]),
        "increase" => (Over::Increase, 0, &[]),
        "delta" => (Over::Delta, 0, &[]),
        "irate" => (Over::InstantRate, 0, &[]),
        "idelta" => (Over::InstantDelta, 0, &[]),
        "deriv" => (Over::Derivative, 0, &[]),
        "predict_linear" => (Over::PredictLinear, 0, &[1]),
        "double_exponential_smoothing" => (Over::Smoothing, 0, &[1, 2]),
        "changes" => (Over::Changes, 0, &[]),
        "resets" => (Over::Resets, 0, &[]),
        "avg_over_time" => (Over::Average, 0, &[]),
        "sum_over_time" => (Over::Sum, 0, &[]),
        "min_over_time" => (Over::Min, 0, &[]),
        "max_over_time" => (Over::Max, 0, &[]),
        "count_over_time" => (Over::Count, 0, &[]),
        "first_over_time" => (Over::First, 0, &[]),
        "last_over_time" => (Over::Last, 0, &[]),
        "present_over_time" => (Over::Present, 0, &[]),
        "quantile_over_time" => (Over::Quantile, 1, &[0]),
        "stddev_over_time" => (Over::Stddev, 0, &[]),
        "stdvar_over_time" => (Over::Stdvar, 0, &[]),
        "mad_over_time" => (Over::Mad, 0, &[]),
        "ts_of_first_over_time" => (Over::TimeOfFirst, 0, &[]),
        "ts_of_last_over_time" => (Over::TimeOfLast, 0, &[]),
        "ts_of_min_over_time" => (Over::TimeOfMin, 0, &[]),
        "ts_of_max_over_time" => (Over::TimeOfMax, 0, &[]),
        _ => return None,
    })
}

fn other(args: &Arguments<'_>) -> Result<Node, Refused> {
    Ok(match args.name {
        "time" => Node::Time,
        "pi" => Node::Number(std::f64::consts::PI),
        "scalar" => Node::Scalar(args.boxed(0)?),
        "vector" => Node::Vector(args.boxed(0)?),
        "timestamp" => Node::Timestamp(args.boxed(0)?),
        "absent" => absent(args.node(0)?),
        "absent_over_time" => {
            let range = args.node(0)?;
            let labels = absent_labels(&range);
            let present = Node::Over { function: Over::Present, range: Box::new(range), scalars: Vec::new() };
            Node::Absent { labels, inner: Box::new(present) }
        }
        "sort" | "sort_desc" => Node::Sort { is_descending: args.name == "sort_desc", inner: args.boxed(0)? },
        "sort_by_label" | "sort_by_label_desc" => {
            let is_descending = args.name == "sort_by_label_desc";
            Node::SortByLabel { is_descending, labels: args.texts(1)?, inner: args.boxed(0)? }
        }
        "round" | "clamp" | "clamp_min" | "clamp_max" => with_scalars(args)?,
        "histogram_quantile" => Node::HistogramQuantile { quantile: args.boxed(0)?, inner: args.boxed(1)? },
        "histogram_fraction" => {
            Node::HistogramFraction { lower: args.boxed(0)?, upper: args.boxed(1)?, inner: args.boxed(2)? }
        }
        "label_replace" => label_replace(args)?,
        "label_join" => label_join(args)?,
        name => return Err(Refused::new(name, format!("the function `{name}` is not evaluated here"))),
    })
}

fn absent(inner: Node) -> Node {
    Node::Absent { labels: absent_labels(&inner), inner: Box::new(inner) }
}

fn absent_labels(inner: &Node) -> Labels {
    match inner {
        Node::Select(selector) | Node::Range { selector, .. } => eval::of_absent(&selector.matchers),
        _ => Labels::default(),
    }
}

fn with_scalars(args: &Arguments<'_>) -> Result<Node, Refused> {
    let apply: fn(f64, &[f64]) -> Option<f64> = match args.name {
        "round" => |value, scalars| {
            let inverse = 1.0 / scalars.first().copied().unwrap_or(1.0);
            Some((value * inverse + 0.5).floor() / inverse)
        },
        "clamp_min" => |value, scalars| Some(greater(scalars.first().copied().unwrap_or(f64::NAN), value)),
        "clamp_max" => |value, scalars| Some(-greater(-scalars.first().copied().unwrap_or(f64::NAN), -value)),
        _ => |value, scalars| {
            let [min, max] = scalars else { return None };
            (min.is_nan() || max.is_nan() || min <= max).then(|| greater(*min, -greater(-max, -value)))
        },
    };
    let scalars = (1..args.args.len()).map(|number| args.node(number)).collect::<Result<_, _>>()?;
    Ok(Node::MapWith { apply, inner: args.boxed(0)?, scalars })
}

/// The greater one; NaN if any is and the other is not infinite.
fn greater(a: f64, b: f64) -> f64 {
    match a.max(b) {
        f64::INFINITY => f64::INFINITY,
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        greater => greater,
    }
}

fn label_replace(args: &Arguments<'_>) -> Result<Node, Refused> {
    let expression = args.text(4)?;
    let regex = crate::labels::anchored(&expression).map_err(|error| Refused::new(args.name, error.to_string()))?;
    Ok(Node::LabelReplace(Box::new(LabelReplace {
        inner: args.node(0)?,
        target: args.label(1)?,
        replacement: args.text(2)?,
        source: args.text(3)?,
        regex,
    })))
}

fn label_join(args: &Arguments<'_>) -> Result<Node, Refused> {
    let sources = (3..args.args.len()).map(|number| args.label(number)).collect::<Result<_, _>>()?;
    Ok(Node::LabelJoin(Box::new(LabelJoin {
        inner: args.node(0)?,
        target: args.label(1)?,
        separator: args.text(2)?,
        sources,
    })))
}
