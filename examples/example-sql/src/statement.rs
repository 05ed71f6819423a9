//! A statement that both databases take.

use std::borrow::Cow;

/// A statement with its arguments: `$1`, `$2`, … in the order in which they are bound.
///
/// What both databases read the same way: `TEXT`, `BIGINT` and `DOUBLE PRECISION`; sums as `CAST(SUM(…) AS BIGINT)`; no booleans.
#[derive(Debug, Clone)]
pub struct Statement {
    sql: &'static str,
    args: Vec<Value>,
    is_locking: bool,
}

/// A value of an argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text, or nothing.
    Text(Option<String>),
    /// A number, or nothing.
    Int(Option<i64>),
    /// A real number, or nothing.
    Real(Option<f64>),
    /// Bytes, or nothing.
    Bytes(Option<Vec<u8>>),
}

impl Statement {
    /// A statement of that text.
    pub fn new(sql: &'static str) -> Self {
        Self { sql, args: Vec::new(), is_locking: false }
    }

    /// With the next argument.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Locks the rows that it selects until the transaction ends, in the order of its `ORDER BY`. On SQLite the
    /// transaction itself is the lock.
    ///
    /// Rows that refer to these can still be added by others, as no key is changed: so whoever adds one before it locks
    /// what it refers to is in nobody's way.
    #[must_use]
    pub fn locking(self) -> Self {
        Self { is_locking: true, ..self }
    }

    /// Its first word, as spans have it.
    pub(crate) fn operation(&self) -> &'static str {
        self.sql.split_whitespace().next().unwrap_or_default()
    }

    /// Its text, where that is how rows are locked, and its arguments.
    pub(crate) fn into_parts(self, locking: &str) -> (Cow<'static, str>, Vec<Value>) {
        let Self { sql, args, is_locking } = self;
        let is_longer = is_locking && !locking.is_empty();
        (if is_longer { format!("{sql} {locking}").into() } else { sql.into() }, args)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(Some(number))
    }
}

impl From<Option<f64>> for Value {
    fn from(number: Option<f64>) -> Self {
        Self::Real(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(ToOwned::to_owned))
    }
}
