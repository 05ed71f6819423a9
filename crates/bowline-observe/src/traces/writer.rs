//! Writes batches: to the log first, then into the index. Everything here blocks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_runtime::{fs::File, time};
use bowline_telemetry::SpanData;

use crate::traces::{
    Error, Settings, codec,
    index::{Index, TRACE_SPANS_MAX},
    log::{Disk, Follower, Log, Place},
    metrics::Metrics,
};

/// Of about how many bytes of names and values a record is made.
///
/// Reading one span reads its whole record, so it is not larger.
pub(crate) const RECORD_BYTES: usize = 128 * 1024;
/// What a span counts for beside its texts.
pub(crate) const SPAN_BYTES: usize = 256;

/// Owns the files; the index it shares with the readers.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Log,
    index: SharedIndex,
    metrics: Arc<Metrics>,
}

/// The index, as writer and readers share it.
#[derive(Debug, Clone)]
pub(crate) struct SharedIndex {
    index: Arc<Mutex<Index>>,
    metrics: Arc<Metrics>,
}

impl SharedIndex {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, place: Place, record: &[u8]) -> bool {
        let Ok((written_at, heads)) = codec::heads(record) else { return false };
        let mut index = self.lock();
        let forgotten = index.add_record(place, written_at, &heads);
        self.metrics.traces_forgotten.add(forgotten as u64);
        self.metrics.traces.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
        true
    }
}

impl Follower for SharedIndex {
    fn opened(&mut self, segment: u32, file: Arc<File>) {
        self.lock().add_segment(segment, file);
    }

    fn found(&mut self, place: Place, record: &[u8]) -> bool {
        self.add(place, record)
    }

    fn deleting(&mut self, segment: u32) {
        let mut index = self.lock();
        index.remove_segment(segment);
        self.metrics.traces.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
    }
}

impl Writer {
    /// Opens the folder and reads it.
    pub(crate) fn open(settings: &Settings, disk: Disk, metrics: &Arc<Metrics>) -> Result<(Self, SharedIndex), Error> {
        let index = Arc::new(Mutex::new(Index::new(settings.traces_max)));
        let mut index = SharedIndex { index, metrics: Arc::clone(metrics) };
        let log = Log::open(settings, disk, Arc::clone(metrics), &mut index)?;
        Ok((Self { log, index: index.clone(), metrics: Arc::clone(metrics) }, index))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.log.is_dirty()
    }

    /// Makes what was written survive a power loss; a failure is logged, and tried again later.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.log.sync().inspect_err(|error| {
            tracing::error!(error = error as &dyn std::error::Error, "cannot sync the trace store");
        })
    }

    /// Writes spans; what fails is dropped, counted and logged.
    pub(crate) fn write(&mut self, spans: &[SpanData]) {
        let mut rest = Rest { spans, metrics: Arc::clone(&self.metrics) };
        while !rest.spans.is_empty() {
            let (chunk, after) = rest.spans.split_at(chunk_length(rest.spans));
            self.write_chunk(chunk);
            rest.spans = after;
        }
    }

    fn write_chunk(&mut self, spans: &[SpanData]) {
        let is_full = {
            let index = self.index.lock();
            spans.iter().any(|span| index.span_count(span.trace_id) + spans.len() > TRACE_SPANS_MAX)
        };
        if is_full {
            self.write_admitted(&self.admit(spans));
        } else {
            self.write_admitted(spans);
        }
    }

    /// Those spans whose traces have room for them.
    fn admit(&self, spans: &[SpanData]) -> Vec<SpanData> {
        let index = self.index.lock();
        let mut counts = std::collections::HashMap::new();
        let mut admitted = Vec::with_capacity(spans.len());
        for span in spans {
            let count = counts.entry(span.trace_id).or_insert_with(|| index.span_count(span.trace_id));
            if *count < TRACE_SPANS_MAX {
                *count += 1;
                admitted.push(span.clone());
            }
        }
        self.metrics.dropped_trace_full.add((spans.len() - admitted.len()) as u64);
        admitted
    }

    fn write_admitted(&mut self, spans: &[SpanData]) {
        if spans.is_empty() {
            return;
        }
        let record = codec::encode(spans, time::unix_nanos(time::wall()));
        if record.len() > self.log.record_bytes_max() {
            if spans.len() == 1 {
                self.metrics.dropped_too_large.increment();
                tracing::warn!(bytes = record.len(), "a span is too large for the trace store");
                return;
            }
            let (left, right) = spans.split_at(spans.len() / 2);
            self.write_admitted(left);
            self.write_admitted(right);
            return;
        }
        match self.log.append(&record, &mut self.index) {
            Ok(place) => {
                let is_known = self.index.add(place, &record);
                debug_assert!(is_known, "what was just encoded can be read");
                self.metrics.spans_written.add(spans.len() as u64);
            }
            Err(error) => {
                self.metrics.dropped_write_failed.add(spans.len() as u64);
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, spans = spans.len(), "cannot write to the trace store");
            }
        }
    }
}

/// Spans that were not written yet; what a panic leaves of them is counted.
struct Rest<'a> {
    spans: &'a [SpanData],
    metrics: Arc<Metrics>,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.metrics.dropped_write_failed.add(self.spans.len() as u64);
    }
}

/// About how much memory a span takes.
pub(crate) fn span_bytes(span: &SpanData) -> usize {
    SPAN_BYTES + span.text_bytes() + 64 * (span.attributes.len() + span.events.len() + span.links.len())
}

/// How many spans make the next record; at least one.
fn chunk_length(spans: &[SpanData]) -> usize {
    let mut bytes = 0;
    let fitting = spans.iter().take_while(|span| {
        bytes += span_bytes(span);
        bytes <= RECORD_BYTES
    });
    fitting.count().max(1)
}
