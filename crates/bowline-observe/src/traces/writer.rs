//! Writes batches: to the log first, then into the index. Everything here blocks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_disk::Disk;
use bowline_runtime::{fs::File, time};
use bowline_telemetry::SpanData;

use crate::traces::{
    Error, Settings,
    codec::{Encoder, Head, Record},
    index::{Index, Location, TRACE_SPANS_MAX},
    log::{Follower, Log, Place},
    metrics::Metrics,
    tap::{Recent, Tap},
};

/// Of about how many bytes of spans in memory a record is made at most: some thousand spans.
///
/// The more there are, the less each takes on the disk; but reading one span reads its whole record.
pub(crate) const RECORD_BYTES: usize = 1024 * 1024;
/// What a span counts for beside its texts.
pub(crate) const SPAN_BYTES: usize = 256;

/// Owns the files; the index it shares with the readers.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Log,
    encoder: Encoder,
    index: SharedIndex,
    tap: Option<Arc<dyn Tap>>,
    metrics: Arc<Metrics>,
}

/// What a folder held when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) writer: Writer,
    pub(crate) index: SharedIndex,
    /// The newest records, for the tap.
    pub(crate) recent: Vec<Location>,
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

    /// Takes in what was found at open; gives when it was written, none when it makes no sense.
    pub(crate) fn found_at(&self, place: Place, record: &[u8]) -> Option<u64> {
        let record = Record::unpack(record).ok()?;
        self.add(place, record.written_at, &record.heads().ok()?);
        Some(record.written_at)
    }

    fn add(&self, place: Place, written_at: u64, heads: &[Head<'_>]) {
        let mut index = self.lock();
        let forgotten = index.add_record(place, written_at, heads);
        self.metrics.traces_forgotten.add(forgotten as u64);
        self.metrics.traces.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
    }
}

impl Follower for SharedIndex {
    fn opened(&mut self, segment: u32, file: Arc<File>) {
        self.lock().add_segment(segment, file);
    }

    fn found(&mut self, place: Place, record: &[u8]) -> bool {
        self.found_at(place, record).is_some()
    }

    fn deleting(&mut self, segment: u32) {
        let mut index = self.lock();
        index.remove_segment(segment);
        self.metrics.traces.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
    }
}

impl Writer {
    /// Opens the folder and reads it.
    pub(crate) fn open(settings: &Settings, disk: Disk, metrics: &Arc<Metrics>) -> Result<Opened, Error> {
        let index = Arc::new(Mutex::new(Index::new(settings.traces_max)));
        let index = SharedIndex { index, metrics: Arc::clone(metrics) };
        let now = time::unix_nanos(time::wall());
        let back = u64::try_from(settings.replay.as_nanos()).unwrap_or(u64::MAX);
        let since = settings.tap.is_some().then(|| now.saturating_sub(back));
        let mut recent = Recent::new(index.clone(), since);
        let log = Log::open(settings, disk, Arc::clone(metrics), &mut recent)?;
        let tap = settings.tap.clone();
        let writer = Self { log, encoder: Encoder::new(), index: index.clone(), tap, metrics: Arc::clone(metrics) };
        Ok(Opened { writer, index, recent: recent.locations() })
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
        if let Some(tap) = &self.tap {
            tap.appended(spans);
        }
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
        let written_at = time::unix_nanos(time::wall());
        let record = self.encoder.encode(spans, written_at);
        let Some(record) = record.filter(|record| record.len() <= self.log.record_bytes_max()) else {
            if let [span] = spans {
                self.metrics.dropped_too_large.increment();
                tracing::warn!(bytes = span_bytes(span), "a span is too large for the trace store");
                return;
            }
            let (left, right) = spans.split_at(spans.len() / 2);
            self.write_admitted(left);
            self.write_admitted(right);
            return;
        };
        match self.log.append(&record, &mut self.index) {
            Ok(place) => {
                self.index.add(place, written_at, &spans.iter().map(Head::of).collect::<Vec<_>>());
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
