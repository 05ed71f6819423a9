//! Reads spans back. Everything here blocks.

use std::collections::VecDeque;

use bowline_telemetry::{SpanData, TraceId};

use crate::{
    LIMIT_MAX, Query, TraceSummary, codec,
    index::{Key, Location},
    log::{self, Place},
    metrics::Metrics,
    writer::{SharedIndex, span_bytes},
};

/// The most memory that the spans of one answer take.
const TRACE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most traces whose spans one search reads.
const SEARCH_READS_MAX: usize = 20_000;
/// How many traces a search takes from the index at a time.
const CANDIDATES: usize = 256;
/// How many records a search keeps at hand: traces that follow each other share them.
const RECORDS_CACHED: usize = 16;

/// The spans of a trace by their begin.
pub(super) fn trace(index: &SharedIndex, metrics: &Metrics, trace_id: TraceId) -> Option<Vec<SpanData>> {
    let locations = index.lock().records(trace_id)?;
    let mut records = Records::new(metrics);
    let mut spans = records.spans(&locations, trace_id);
    spans.sort_by_key(|span| (span.start_unix_nanos, span.span_id));
    spans.dedup();
    (!spans.is_empty()).then_some(spans)
}

/// Traces that match, newest first.
pub(super) fn search(index: &SharedIndex, metrics: &Metrics, query: &Query) -> Vec<TraceSummary> {
    let limit = query.limit.clamp(1, LIMIT_MAX);
    let mut found = Vec::new();
    let mut records = Records::new(metrics);
    let mut before: Option<Key> = None;
    let mut reads = 0;
    // Where the index alone decides, no more candidates are taken than are asked for.
    let count = if query.attributes.is_empty() { CANDIDATES.min(limit) } else { CANDIDATES };
    loop {
        let candidates = index.lock().candidates(query, before, count);
        let is_end = candidates.len() < count;
        for candidate in candidates {
            before = Some(candidate.key);
            if candidate.is_unsure {
                reads += 1;
                let spans = records.spans(&candidate.records, candidate.summary.trace_id);
                if !spans.iter().any(|span| query.is_span_matching(span)) {
                    continue;
                }
            }
            found.push(candidate.summary);
            if found.len() == limit {
                return found;
            }
        }
        if is_end {
            return found;
        }
        if reads >= SEARCH_READS_MAX {
            metrics.searches_cut.increment();
            tracing::warn!(reads, "a search of traces ended at its bound of work");
            return found;
        }
    }
}

/// Records read lately.
struct Records<'a> {
    cache: VecDeque<(Place, Vec<u8>)>,
    metrics: &'a Metrics,
}

impl<'a> Records<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        Self { cache: VecDeque::with_capacity(RECORDS_CACHED), metrics }
    }

    /// The spans of a trace; records that cannot be read are skipped, loudly.
    fn spans(&mut self, locations: &[Location], trace_id: TraceId) -> Vec<SpanData> {
        let mut spans = Vec::new();
        let mut bytes = 0;
        for location in locations {
            let Some(record) = self.get(location) else { continue };
            match codec::decode(record, |id| id == trace_id) {
                Ok(more) => {
                    bytes += more.iter().map(span_bytes).sum::<usize>();
                    spans.extend(more);
                }
                Err(error) => self.report(location, &error),
            }
            if bytes > TRACE_BYTES_MAX {
                tracing::warn!(%trace_id, spans = spans.len(), "a trace is too large to be read as a whole");
                break;
            }
        }
        spans
    }

    fn get(&mut self, location: &Location) -> Option<&[u8]> {
        let at = self.cache.iter().position(|(place, _)| *place == location.place);
        if let Some(at) = at {
            return self.cache.get(at).map(|(_, record)| &**record);
        }
        match log::read_record(&location.file, location.place.segment, location.place.offset) {
            Ok(record) => {
                if self.cache.len() == RECORDS_CACHED {
                    self.cache.pop_front();
                }
                self.cache.push_back((location.place, record));
                self.cache.back().map(|(_, record)| &**record)
            }
            Err(error) => {
                self.report(location, &error);
                None
            }
        }
    }

    fn report(&self, location: &Location, error: &(dyn std::error::Error + 'static)) {
        let Place { segment, offset } = location.place;
        tracing::error!(segment, offset, error, "cannot read a record of the trace store, skipping it");
        self.metrics.records_unreadable.increment();
    }
}
