//! A statement that both databases take.

/// What stands in a statement for its rows.
pub(crate) const ROWS: &str = "{rows}";

/// A statement with its arguments: `$1`, `$2`, … in the order in which they are bound; or with rows of them.
///
/// What both databases read the same way: `TEXT`, `BIGINT`, `DOUBLE PRECISION` and `BYTEA`; sums as
/// `CAST(SUM(…) AS BIGINT)`; no booleans.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(crate) sql: &'static str,
    pub(crate) args: Args,
    pub(crate) is_locking: bool,
}

/// The arguments of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Args {
    /// One after the other.
    Values(Vec<Value>),
    /// Rows of so many values, one after the other.
    Rows(Vec<Value>, usize),
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
        Self { sql, args: Args::Values(Vec::new()), is_locking: false }
    }

    /// A statement that has rows in the place of `{rows}`, as many as there are, and no other arguments:
    /// `INSERT INTO t (a, b) {rows}`, or `… WHERE (a, b) IN ({rows})`.
    ///
    /// # Panics
    /// Where there is no row.
    pub fn of_rows<const COLUMNS: usize>(sql: &'static str, rows: impl IntoIterator<Item = [Value; COLUMNS]>) -> Self {
        let values: Vec<Value> = rows.into_iter().flatten().collect();
        assert!(!values.is_empty(), "a statement of rows has one");
        Self { sql, args: Args::Rows(values, COLUMNS), is_locking: false }
    }

    /// With the next argument.
    ///
    /// # Panics
    /// Where it is of rows.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        let Args::Values(values) = &mut self.args else { panic!("a statement of rows has no other arguments") };
        values.push(value.into());
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
