//! Puts together what blocks and head have of each series.

use std::collections::HashMap;

use crate::{
    labels::Labels,
    source::{Sample, Series, SourceError},
};

/// Series by their labels, and their samples as they come.
#[derive(Debug)]
pub(crate) struct Merge {
    /// Only looked up.
    places: HashMap<Labels, usize>,
    series: Vec<Merged>,
    samples: usize,
    samples_max: usize,
}

#[derive(Debug)]
struct Merged {
    series: Series,
    is_sorted: bool,
}

impl Merge {
    pub(crate) fn new(samples_max: usize) -> Self {
        Self { places: HashMap::new(), series: Vec::new(), samples: 0, samples_max }
    }

    /// The place of a series.
    pub(crate) fn series(&mut self, labels: &Labels) -> usize {
        if let Some(at) = self.places.get(labels) {
            return *at;
        }
        let series = Series { labels: labels.clone(), samples: Vec::new() };
        self.series.push(Merged { series, is_sorted: true });
        self.places.insert(labels.clone(), self.series.len() - 1);
        self.series.len() - 1
    }

    /// Adds samples, which are in order; nothing, and `false`, when they cannot be read.
    pub(crate) fn add(&mut self, at: usize, read: impl FnOnce(&mut Vec<Sample>) -> bool) -> Result<bool, SourceError> {
        let Merged { series, is_sorted } = &mut self.series[at];
        let samples = &mut series.samples;
        let before = samples.len();
        if !read(samples) {
            samples.truncate(before);
            return Ok(false);
        }
        if let (Some(first), Some(last)) = (samples.get(before), before.checked_sub(1).and_then(|at| samples.get(at))) {
            *is_sorted &= last.at_ms < first.at_ms;
        }
        self.samples += samples.len() - before;
        if self.samples > self.samples_max {
            return Err(SourceError::TooManySamples { samples_max: self.samples_max });
        }
        Ok(true)
    }

    /// The series that have samples, by their labels.
    pub(crate) fn finish(self) -> Vec<Series> {
        let merged = self.series.into_iter().map(|Merged { mut series, is_sorted }| {
            if !is_sorted {
                crate::series::block::in_order(&mut series.samples);
            }
            series
        });
        let mut series: Vec<_> = merged.filter(|series| !series.samples.is_empty()).collect();
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        series
    }
}
