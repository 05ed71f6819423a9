//! An expression as it is evaluated: names resolved, types checked, arguments in their places.

use std::{fmt, sync::Arc};

use crate::{
    labels::{Labels, Matcher},
    promql::eval::{Grouping, Operator, Over, Reduce},
};

/// An expression that can be evaluated; made by [`parse`](super::parse).
#[derive(Debug, Clone)]
pub struct Expr {
    pub(super) root: Node,
    pub(super) text: Arc<str>,
}

impl Expr {
    /// What it gives.
    pub fn kind(&self) -> Kind {
        self.root.kind()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One number at each time.
    Scalar,
    /// A text.
    Text,
    /// Series with at most one value at each time.
    Vector,
    /// Series with many samples at each time.
    Matrix,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        })
    }
}

/// A part of an expression.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Number(f64),
    Text(Arc<str>),
    Select(Selector),
    Range {
        selector: Selector,
        range_ms: i64,
    },
    Subquery(Box<Subquery>),
    Negate(Box<Self>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    /// A function of each value alone.
    Map {
        apply: fn(f64) -> f64,
        inner: Box<Self>,
    },
    /// A function of each value and scalars.
    MapWith {
        apply: fn(f64, &[f64]) -> Option<f64>,
        inner: Box<Self>,
        scalars: Vec<Self>,
    },
    /// A function of the samples of a range.
    Over {
        function: Over,
        range: Box<Self>,
        scalars: Vec<Self>,
    },
    Absent {
        labels: Labels,
        inner: Box<Self>,
    },
    HistogramQuantile {
        quantile: Box<Self>,
        inner: Box<Self>,
    },
    HistogramFraction {
        lower: Box<Self>,
        upper: Box<Self>,
        inner: Box<Self>,
    },
    LabelReplace(Box<LabelReplace>),
    LabelJoin(Box<LabelJoin>),
    Sort {
        is_descending: bool,
        inner: Box<Self>,
    },
    SortByLabel {
        is_descending: bool,
        labels: Vec<Arc<str>>,
        inner: Box<Self>,
    },
    /// A vector's only value as a scalar.
    Scalar(Box<Self>),
    /// A scalar as a vector.
    Vector(Box<Self>),
    Time,
    Timestamp(Box<Self>),
}

/// Which series, and how far from the evaluated time.
#[derive(Debug, Clone)]
pub(super) struct Selector {
    pub(super) matchers: Vec<Matcher>,
    pub(super) shift: Shift,
}

/// How far from the evaluated time something is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shift {
    pub(super) at: Option<At>,
    pub(super) offset_ms: i64,
}

/// A fixed time.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    Start,
    End,
    Millis(i64),
}

/// A vector evaluated again and again over a range.
#[derive(Debug, Clone)]
pub(super) struct Subquery {
    pub(super) inner: Node,
    pub(super) range_ms: i64,
    pub(super) step_ms: Option<i64>,
    pub(super) shift: Shift,
}

/// Two operands and how their series are paired.
#[derive(Debug, Clone)]
pub(super) struct Binary {
    pub(super) operator: Operator,
    pub(super) is_bool: bool,
    pub(super) matching: Grouping,
    pub(super) side: Side,
    pub(super) left: Node,
    pub(super) right: Node,
}

/// Which side may have many series for one of the other, and the labels it takes from that one.
#[derive(Debug, Clone)]
pub(super) enum Side {
    Neither,
    ManyLeft(Vec<Arc<str>>),
    ManyRight(Vec<Arc<str>>),
}

/// Groups of series made one, or fewer.
#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    pub(super) reduce: Reduce,
    pub(super) grouping: Grouping,
    pub(super) parameter: Option<Node>,
    pub(super) inner: Node,
}

/// `label_replace`
#[derive(Debug, Clone)]
pub(super) struct LabelReplace {
    pub(super) inner: Node,
    pub(super) target: Arc<str>,
    pub(super) replacement: Arc<str>,
    pub(super) source: Arc<str>,
    pub(super) regex: regex::Regex,
}

/// `label_join`
#[derive(Debug, Clone)]
pub(super) struct LabelJoin {
    pub(super) inner: Node,
    pub(super) target: Arc<str>,
    pub(super) separator: Arc<str>,
    pub(super) sources: Vec<Arc<str>>,
}

impl Node {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Number(_) | Self::Scalar(_) | Self::Time => Kind::Scalar,
            Self::Text(_) => Kind::Text,
            Self::Range { .. } | Self::Subquery(_) => Kind::Matrix,
            Self::Negate(inner) => inner.kind(),
            Self::Binary(binary) => match (binary.left.kind(), binary.right.kind()) {
                (Kind::Scalar, Kind::Scalar) => Kind::Scalar,
                _ => Kind::Vector,
            },
            _ => Kind::Vector,
        }
    }
}
