//! One evaluation: where it reads, what it may take, and when it has to end.

use std::cell::Cell;

use bowline_runtime::time::{self, Instant};

use super::data::{Budget, Charge, Grid, Scalars, Vector};
use crate::{
    labels::Matcher,
    promql::{
        engine::Engine,
        error::Error,
        expr::{At, Shift},
    },
    source::{Series, Source, SourceError},
};

/// How many samples are looked at between two looks at the clock.
const WORK_UNWATCHED_MAX: usize = 100_000;

/// For how many columns room is made at once: they may turn out to be far fewer.
const COLUMNS_RESERVED_MAX: usize = 4096;

/// One evaluation.
pub(in crate::promql) struct Run<'a> {
    pub(super) engine: &'a Engine,
    pub(super) grid: Grid,
    source: &'a dyn Source,
    end_ms: i64,
    budget: Budget,
    deadline: Option<Instant>,
    work: Cell<usize>,
}

/// Where a selector reads for a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads {
    fixed_ms: Option<i64>,
    offset_ms: i64,
}

impl Reads {
    /// The time that is read for the evaluated one.
    pub(super) fn at(self, evaluated_ms: i64) -> i64 {
        self.fixed_ms.unwrap_or(evaluated_ms).saturating_sub(self.offset_ms)
    }

    /// Whether it is the same for all.
    pub(super) fn is_fixed(self) -> bool {
        self.fixed_ms.is_some()
    }
}

impl<'a> Run<'a> {
    pub(in crate::promql) fn new(engine: &'a Engine, source: &'a dyn Source, grid: Grid, end_ms: i64) -> Self {
        let budget = Budget::new(engine.samples_max);
        let deadline = time::now().checked_add(engine.timeout);
        Self { engine, grid, source, end_ms, budget, deadline, work: Cell::new(0) }
    }

    /// Whether to go on.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.work.set(0);
        if self.engine.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match self.deadline {
            Some(deadline) if time::now() > deadline => Err(Error::Timeout),
            _ => Ok(()),
        }
    }

    /// Whether to go on after so many samples were looked at.
    pub(super) fn worked(&self, samples: usize) -> Result<(), Error> {
        let work = self.work.get() + samples + 1;
        self.work.set(work);
        if work > WORK_UNWATCHED_MAX { self.check() } else { Ok(()) }
    }

    pub(super) fn reads(&self, shift: Shift) -> Reads {
        let fixed_ms = shift.at.map(|at| match at {
            At::Start => self.grid.start_ms,
            At::End => self.end_ms,
            At::Millis(at_ms) => at_ms,
        });
        Reads { fixed_ms, offset_ms: shift.offset_ms }
    }

    /// The matching series from `from_ms` to `to_ms`, and what they take of the budget.
    pub(super) fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<(Vec<Series>, Charge), Error> {
        self.check()?;
        let series = self.source.select(matchers, from_ms, to_ms, self.budget.left());
        let series = series.map_err(|error| match error {
            SourceError::TooManySamples { .. } => Error::TooManySamples { samples_max: self.engine.samples_max },
            source => Error::Source { source },
        })?;
        let samples = series.iter().map(|series| series.samples.len()).sum();
        Ok((series, self.charge(samples)?))
    }

    pub(super) fn charge(&self, samples: usize) -> Result<Charge, Error> {
        self.budget.charge(samples)
    }

    /// A value a step.
    pub(super) fn scalars(&self, grid: Grid, values: impl Iterator<Item = f64>) -> Result<Scalars, Error> {
        let charge = self.charge(grid.count)?;
        Ok(Scalars { values: values.take(grid.count).collect(), charge })
    }

    /// Room for so many columns.
    pub(super) fn vector(&self, columns: usize, grid: Grid) -> Result<Vector, Error> {
        self.check()?;
        let charge = self.charge(columns.saturating_mul(grid.count))?;
        Ok(Vector { columns: Vec::with_capacity(columns.min(COLUMNS_RESERVED_MAX)), charge })
    }
}
