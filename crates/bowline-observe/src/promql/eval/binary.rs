//! Operators between two operands.

mod pair;
mod set;

use super::{
    data::{ABSENT, Column, Data, Grid, Scalars, Vector, is_absent},
    run::Run,
};
use crate::promql::{error::Error, expr::Binary};

/// Which operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    And,
    Or,
    Unless,
}

impl Operator {
    /// The operator that is written so.
    pub(in crate::promql) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "+" => Self::Add,
            "-" => Self::Subtract,
            "*" => Self::Multiply,
            "/" => Self::Divide,
            "%" => Self::Modulo,
            "^" => Self::Power,
            "atan2" => Self::Atan2,
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "and" => Self::And,
            "or" => Self::Or,
            "unless" => Self::Unless,
            _ => return None,
        })
    }

    fn is_comparison(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Greater | GreaterOrEqual | Less | LessOrEqual)
    }

    /// What a comparison says; anything else is true.
    #[expect(clippy::float_cmp, reason = "PromQL compares exactly")]
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            _ => true,
        }
    }

    /// What arithmetic gives; a comparison gives its left operand.
    fn value(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
            Self::Atan2 => left.atan2(right),
            _ => left,
        }
    }
}

/// How two values become one.
#[derive(Debug, Clone, Copy)]
struct Combine {
    operator: Operator,
    is_bool: bool,
}

impl Combine {
    /// Nothing where a comparison does not hold.
    fn apply(self, left: f64, right: f64) -> f64 {
        let holds = self.operator.holds(left, right);
        if self.is_bool {
            return f64::from(u8::from(holds));
        }
        if holds { self.operator.value(left, right) } else { ABSENT }
    }

    /// Whether the result is of another metric than the operands.
    fn is_dropping_name(self) -> bool {
        self.is_bool || !self.operator.is_comparison()
    }
}

pub(super) fn binary(run: &Run<'_>, grid: Grid, binary: &Binary) -> Result<Data, Error> {
    let left = super::evaluate(run, grid, &binary.left)?;
    let right = super::evaluate(run, grid, &binary.right)?;
    let combine = Combine { operator: binary.operator, is_bool: binary.is_bool };
    match (left, right) {
        (Data::Scalar(left), Data::Scalar(right)) => Ok(Data::Scalar(scalars(combine, left, &right))),
        (Data::Vector(left), Data::Scalar(right)) => {
            let value = |value, scalar| combine.apply(value, scalar);
            with_scalar(run, combine, left, &right, value).map(Data::Vector)
        }
        (Data::Scalar(left), Data::Vector(right)) => {
            // A comparison keeps the vector's value, on whichever side it is.
            let is_kept = combine.operator.is_comparison() && !combine.is_bool;
            let value = |value, scalar| match combine.apply(scalar, value) {
                result if is_kept && !is_absent(result) => value,
                result => result,
            };
            with_scalar(run, combine, right, &left, value).map(Data::Vector)
        }
        (Data::Vector(left), Data::Vector(right)) => match combine.operator {
            Operator::And | Operator::Unless => set::and(run, grid, binary, left, &right).map(Data::Vector),
            Operator::Or => set::or(run, grid, binary, left, right).map(Data::Vector),
            _ => pair::pair(run, grid, (binary, combine), left, right).map(Data::Vector),
        },
        _ => Err(Error::InvalidArgument { rule: "an operator needs scalars or instant vectors".to_owned() }),
    }
}

fn scalars(combine: Combine, mut left: Scalars, right: &Scalars) -> Scalars {
    for (value, right) in left.values.iter_mut().zip(&right.values) {
        *value = combine.apply(*value, *right);
    }
    left
}

fn with_scalar(
    run: &Run<'_>,
    combine: Combine,
    mut vector: Vector,
    scalars: &Scalars,
    apply: impl Fn(f64, f64) -> f64,
) -> Result<Vector, Error> {
    for column in &mut vector.columns {
        run.worked(column.values.len())?;
        for (value, scalar) in column.values.iter_mut().zip(&scalars.values) {
            if !is_absent(*value) {
                *value = apply(*value, *scalar);
            }
        }
    }
    vector.columns.retain(|column: &Column| !column.is_empty());
    if combine.is_dropping_name() { vector.without_names() } else { Ok(vector) }
}
