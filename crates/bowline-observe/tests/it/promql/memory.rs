//! Series in memory.

use std::collections::BTreeMap;

use bowline_observe::{
    labels::{Labels, Matcher},
    source::{Sample, Series, Source, SourceError},
};

/// Series that were made up.
#[derive(Debug, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<Labels, Vec<Sample>>);

impl Source for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        samples_max: usize,
    ) -> Result<Vec<Series>, SourceError> {
        let matching = self.0.iter().filter(|(labels, _)| matchers.iter().all(|matcher| matcher.is_matching(labels)));
        let series = matching.map(|(labels, samples)| {
            let first = samples.partition_point(|sample| sample.at_ms < from_ms);
            let past = samples.partition_point(|sample| sample.at_ms <= to_ms);
            Series { labels: labels.clone(), samples: samples.get(first..past).unwrap_or_default().to_vec() }
        });
        let series: Vec<_> = series.filter(|series| !series.samples.is_empty()).collect();
        let samples: usize = series.iter().map(|series| series.samples.len()).sum();
        if samples > samples_max { Err(SourceError::TooManySamples { samples_max }) } else { Ok(series) }
    }
}
