//! What Prometheus' query API answers, of a server or of Prometheus itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A value that PromQL gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum QueryValue {
    /// A number at a time.
    Scalar(Point),
    /// A text at a time.
    String(Point),
    /// Series with one point each.
    Vector(Vec<VectorSeries>),
    /// Series with many points each.
    Matrix(Vec<MatrixSeries>),
}

/// Seconds since 1970, and a number or text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point(pub f64, pub String);

/// One series of a vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorSeries {
    /// Its labels.
    pub metric: BTreeMap<String, String>,
    /// Its value.
    pub value: Point,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixSeries {
    /// Its labels.
    pub metric: BTreeMap<String, String>,
    /// Its values, by time.
    pub values: Vec<Point>,
}

/// The envelope of any answer.
#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum Envelope<T> {
    /// What was asked for.
    Success {
        /// It.
        data: T,
    },
    /// Why there is no answer.
    Error {
        /// What the server says of it.
        error: String,
    },
}
