//! A sink in memory, and scrape targets that answer as a test says.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Sink, SinkError};
use crate::{
    labels::Labels,
    source::{Appended, SeriesRef, is_stale},
};

/// Keeps everything.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_labels: BTreeMap<Labels, u64>,
    samples: BTreeMap<u64, (Labels, Vec<(i64, f64)>)>,
    interned: usize,
    series_max: Option<usize>,
    last: u64,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no further series than so many.
    pub(super) fn limit(&self, series_max: usize) {
        self.state().series_max = Some(series_max);
    }

    /// Forgets which series have which reference, as the store does with those long gone.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.by_labels.clear();
    }

    /// How often a series was interned.
    pub(super) fn interned(&self) -> usize {
        self.state().interned
    }

    /// The samples of all series of that text (of whatever reference), by time; `stale` where it ended.
    pub(super) fn samples(&self, series: &str) -> Vec<(i64, String)> {
        let state = self.state();
        let of = state.samples.values().filter(|(labels, _)| labels.to_string() == series);
        let mut samples: Vec<_> = of.flat_map(|(_, samples)| samples).copied().collect();
        samples.sort_by_key(|(at, _)| *at);
        let text = |value: f64| if is_stale(value) { "stale".to_owned() } else { value.to_string() };
        samples.into_iter().map(|(at, value)| (at, text(value))).collect()
    }

    /// As [`Memory::samples`], without the times.
    pub(super) fn values(&self, series: &str) -> Vec<String> {
        self.samples(series).into_iter().map(|(_, value)| value).collect()
    }

    /// All series, as text.
    pub(super) fn series(&self) -> Vec<String> {
        self.state().by_labels.keys().map(ToString::to_string).collect()
    }
}

impl Sink for Memory {
    fn intern(&self, labels: &Labels) -> Result<SeriesRef, SinkError> {
        let mut state = self.state();
        state.interned += 1;
        if let Some(known) = state.by_labels.get(labels) {
            return Ok(SeriesRef(*known));
        }
        if state.series_max.is_some_and(|max| state.by_labels.len() >= max) {
            return Err(SinkError::TooManySeries);
        }
        state.last += 1;
        let last = state.last;
        state.by_labels.insert(labels.clone(), last);
        state.samples.insert(last, (labels.clone(), Vec::new()));
        Ok(SeriesRef(last))
    }

    fn append(&self, at_ms: i64, samples: &[(SeriesRef, f64)]) -> Appended {
        let mut state = self.state();
        let known: Vec<u64> = state.by_labels.values().copied().collect();
        let mut appended = Appended::default();
        for (series, value) in samples {
            let Some((_, kept)) = state.samples.get_mut(&series.0).filter(|_| known.contains(&series.0)) else {
                appended.unknown += 1;
                continue;
            };
            match kept.last() {
                Some((last, _)) if *last > at_ms => appended.out_of_order += 1,
                Some((last, _)) if *last == at_ms => appended.duplicate += 1,
                _ => {
                    kept.push((at_ms, *value));
                    appended.kept += 1;
                }
            }
        }
        appended
    }
}
