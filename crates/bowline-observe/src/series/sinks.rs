//! What puts samples into the store: scrapes, and rules that record.

use crate::{
    alerts::Record,
    labels::Labels,
    scrape::{Sink, SinkError},
    series::{Error, SeriesStore},
    source::{Appended, SeriesRef},
};

impl Sink for SeriesStore {
    fn intern(&self, labels: &Labels) -> Result<SeriesRef, SinkError> {
        Self::intern(self, labels).map_err(|error| match error {
            Error::TooManySeries { .. } => SinkError::TooManySeries,
            Error::InvalidLabels { .. } => SinkError::InvalidLabels,
            _ => SinkError::Closed,
        })
    }

    fn append(&self, at_ms: i64, samples: &[(SeriesRef, f64)]) -> Appended {
        Self::append(self, at_ms, samples)
    }
}

impl Record for SeriesStore {
    fn record(&self, at_ms: i64, samples: &[(Labels, f64)]) {
        // A series that is refused is counted by the store.
        let interned = |(labels, value): &(Labels, f64)| Some((Self::intern(self, labels).ok()?, *value));
        let samples: Vec<_> = samples.iter().filter_map(interned).collect();
        Self::append(self, at_ms, &samples);
    }
}
