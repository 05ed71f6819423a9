//! Evaluates expressions within bounds of memory and time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    labels::Labels,
    promql::{
        error::Error,
        eval::{self, Grid},
        expr::{Expr, Kind},
    },
    source::{Sample, Series, Source},
};

/// How old a sample may be to count as a series' value.
pub const LOOKBACK: Duration = Duration::from_mins(5);
/// How many samples a query holds in memory at most.
pub const SAMPLES_MAX: usize = 50_000_000;
/// How many steps a range query has at most, as in Prometheus.
pub const STEPS_MAX: usize = 11_000;
/// How many series a query gives at most.
pub const SERIES_MAX: usize = 100_000;
/// How long a query takes at most.
pub const TIMEOUT: Duration = Duration::from_mins(2);
/// The step of a subquery that names none.
pub const SUBQUERY_STEP: Duration = Duration::from_mins(1);

/// The farthest time from 1970 that is evaluated, in milliseconds: with any offset and range it is still an `i64`.
const TIME_MAX_MS: i64 = i64::MAX / 4;

/// Evaluates expressions. Everything blocks: call it on a thread for that.
#[derive(Debug, Clone)]
pub struct Engine {
    /// How old a sample may be to count as a series' value, at least 1 ms.
    pub lookback: Duration,
    /// How many samples a query holds in memory at most.
    pub samples_max: usize,
    /// How many steps a range query has at most.
    pub steps_max: usize,
    /// How many series a query gives at most.
    pub series_max: usize,
    /// How long a query takes at most.
    pub timeout: Duration,
    /// The step of a subquery that names none, at least 1 ms.
    pub subquery_step: Duration,
    /// Ends the queries of this engine; give each query a clone of the engine with a flag of its own.
    pub cancel: Cancel,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            lookback: LOOKBACK,
            samples_max: SAMPLES_MAX,
            steps_max: STEPS_MAX,
            series_max: SERIES_MAX,
            timeout: TIMEOUT,
            subquery_step: SUBQUERY_STEP,
            cancel: Cancel::default(),
        }
    }
}

/// A flag that ends queries, which look at it again and again. Clones are the same flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the queries.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether they are to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What an expression gives at one time.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(Sample),
    /// A text.
    Text {
        /// In milliseconds since 1970.
        at_ms: i64,
        /// What it says.
        text: String,
    },
    /// Series with one value each, in the order that `sort` or `topk` gave them; any other order means nothing.
    Vector(Vec<(Labels, Sample)>),
    /// Series with many samples each, by labels.
    Matrix(Vec<Series>),
}

impl Engine {
    /// The value at one time.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn instant(&self, source: &dyn Source, expr: &Expr, at_ms: i64) -> Result<Value, Error> {
        let grid = Grid { start_ms: in_time(at_ms)?, step_ms: 1, count: 1 };
        let run = eval::Run::new(self, source, grid, at_ms);
        eval::instant(&run, &expr.root)
    }

    /// The values at `from_ms`, one `step_ms` later and so on until `to_ms`: series by labels, those with no
    /// value at any step left out. A scalar is a series without labels.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn range(
        &self,
        source: &dyn Source,
        expr: &Expr,
        from_ms: i64,
        to_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<Series>, Error> {
        let kind = expr.kind();
        if !matches!(kind, Kind::Scalar | Kind::Vector) {
            return Err(Error::NotForRange { kind });
        }
        let (start_ms, end_ms) = (in_time(from_ms)?, in_time(to_ms)?);
        if step_ms <= 0 {
            return Err(Error::InvalidTime { rule: "the step must be longer than 0" });
        }
        if end_ms < start_ms {
            return Err(Error::InvalidTime { rule: "the end must not be before the start" });
        }
        // As Prometheus counts: a query of 11,000 steps has 11,001 points.
        let steps = usize::try_from((end_ms - start_ms) / step_ms).unwrap_or(usize::MAX);
        if steps > self.steps_max {
            return Err(Error::TooManySteps { steps_max: self.steps_max });
        }
        let grid = Grid { start_ms, step_ms, count: steps + 1 };
        let run = eval::Run::new(self, source, grid, end_ms);
        eval::range(&run, &expr.root)
    }
}

/// That time, if it is not too far away to reckon with.
fn in_time(at_ms: i64) -> Result<i64, Error> {
    let is_near = (-TIME_MAX_MS..=TIME_MAX_MS).contains(&at_ms);
    is_near.then_some(at_ms).ok_or(Error::InvalidTime { rule: "the time is too far away" })
}
