//! What the parts of an expression give: columns of values, one for each step.

use std::{cell::Cell, collections::HashMap, rc::Rc, sync::Arc};

use crate::{
    labels::{Labels, NAME},
    promql::error::Error,
    source::{STALE, Sample, is_stale},
};

/// Stands where a series has no value at a step: no evaluation gives a stale value.
pub(super) const ABSENT: f64 = STALE;

/// Whether there is no value.
pub(super) fn is_absent(value: f64) -> bool {
    is_stale(value)
}

/// The times at which an expression is evaluated.
#[derive(Debug, Clone, Copy)]
pub(in crate::promql) struct Grid {
    pub(in crate::promql) start_ms: i64,
    /// At least 1.
    pub(in crate::promql) step_ms: i64,
    /// At least 1.
    pub(in crate::promql) count: usize,
}

impl Grid {
    /// The time of a step.
    pub(super) fn at(self, step: usize) -> i64 {
        self.start_ms + self.step_ms * i64::try_from(step).unwrap_or(i64::MAX)
    }

    pub(super) fn last_ms(self) -> i64 {
        self.at(self.count - 1)
    }

    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |step| self.at(step))
    }
}

/// The values of one series, one a step, [`ABSENT`] where it has none.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) labels: Labels,
    pub(super) values: Vec<f64>,
}

impl Column {
    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_absent(*value))
    }

    /// Its samples.
    pub(super) fn samples(&self, grid: Grid) -> Vec<Sample> {
        let samples = self.values.iter().zip(grid.times()).map(|(value, at_ms)| Sample { at_ms, value: *value });
        samples.filter(|sample| !is_absent(sample.value)).collect()
    }
}

/// Series with at most one value a step, in an order that matters to whoever asked for one time only.
#[derive(Debug)]
pub(super) struct Vector {
    pub(super) columns: Vec<Column>,
    /// What they take of the budget.
    pub(super) charge: Charge,
}

impl Vector {
    /// With the metrics' names dropped.
    pub(super) fn without_names(mut self) -> Result<Self, Error> {
        for column in &mut self.columns {
            column.labels = without_name(&column.labels);
        }
        self.unique()
    }

    /// With the columns of the same labels made one.
    ///
    /// # Errors
    /// [`Error::DuplicateLabels`] when two of them have a value at the same step.
    pub(super) fn unique(mut self) -> Result<Self, Error> {
        let mut seen: HashMap<Labels, usize> = HashMap::with_capacity(self.columns.len());
        let mut kept: Vec<Column> = Vec::with_capacity(self.columns.len());
        for column in self.columns {
            if let Some(first) = seen.get(&column.labels).and_then(|at| kept.get_mut(*at)) {
                merge(first, &column)?;
            } else {
                seen.insert(column.labels.clone(), kept.len());
                kept.push(column);
            }
        }
        self.columns = kept;
        Ok(self)
    }
}

/// Fills what the first lacks.
fn merge(first: &mut Column, other: &Column) -> Result<(), Error> {
    for (value, other_value) in first.values.iter_mut().zip(&other.values) {
        if is_absent(*value) {
            *value = *other_value;
        } else if !is_absent(*other_value) {
            return Err(Error::DuplicateLabels { labels: other.labels.clone() });
        }
    }
    Ok(())
}

pub(super) fn without_name(labels: &Labels) -> Labels {
    if labels.name().is_none() { labels.clone() } else { labels.filtered(|name| name != NAME) }
}

/// One value a step.
#[derive(Debug)]
pub(super) struct Scalars {
    pub(super) values: Vec<f64>,
    /// What they take of the budget.
    pub(super) charge: Charge,
}

/// What a part of an expression gives.
#[derive(Debug)]
pub(super) enum Data {
    Scalar(Scalars),
    Text(Arc<str>),
    Vector(Vector),
}

/// How many samples a query may hold, and holds.
#[derive(Debug)]
pub(super) struct Budget {
    held: Rc<Cell<usize>>,
    samples_max: usize,
}

impl Budget {
    pub(super) fn new(samples_max: usize) -> Self {
        Self { held: Rc::default(), samples_max }
    }

    /// How many more it may hold.
    pub(super) fn left(&self) -> usize {
        self.samples_max.saturating_sub(self.held.get())
    }

    pub(super) fn charge(&self, samples: usize) -> Result<Charge, Error> {
        if samples > self.left() {
            return Err(Error::TooManySamples { samples_max: self.samples_max });
        }
        self.held.set(self.held.get() + samples);
        Ok(Charge { held: Rc::clone(&self.held), samples, samples_max: self.samples_max })
    }
}

/// A part of the budget; dropping gives it back.
#[derive(Debug)]
pub(super) struct Charge {
    held: Rc<Cell<usize>>,
    samples: usize,
    samples_max: usize,
}

impl Charge {
    /// Takes more.
    pub(super) fn grow(&mut self, samples: usize) -> Result<(), Error> {
        let held = self.held.get().saturating_add(samples);
        if held > self.samples_max {
            return Err(Error::TooManySamples { samples_max: self.samples_max });
        }
        self.held.set(held);
        self.samples += samples;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.held.set(self.held.get().saturating_sub(self.samples));
    }
}
