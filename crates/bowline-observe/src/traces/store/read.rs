//! Reads spans back. Everything here blocks.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use bowline_telemetry::{SpanData, TraceId};

use crate::traces::{
    Cursor, Found, LIMIT_MAX, Order, Query,
    codec::Record,
    index::{Candidate, Key, Location},
    log::{self, Place, ReadFailure},
    metrics::Metrics,
    writer::{SharedIndex, span_bytes},
};

/// The most memory that the spans of one answer take.
const TRACE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most traces whose spans one search reads.
const SEARCH_READS_MAX: usize = 100_000;
/// How many traces a search takes from the index at a time.
const CANDIDATES: usize = 256;
/// How many records a search keeps at hand: traces that follow each other share them.
const RECORDS_CACHED: usize = 16;

/// The spans of a trace by their begin.
pub(super) fn trace(index: &SharedIndex, metrics: &Metrics, trace_id: TraceId) -> Option<Vec<SpanData>> {
    let locations = index.lock().records(trace_id)?;
    let mut records = Records::new(metrics);
    let spans = in_order(records.spans(&locations, trace_id));
    (!spans.is_empty()).then_some(spans)
}

/// By their begin, each once.
fn in_order(mut spans: Vec<SpanData>) -> Vec<SpanData> {
    spans.sort_by_key(|span| (span.start_unix_nanos, span.span_id));
    spans.dedup();
    spans
}

/// The spans of several traces, in the order of the ids, and whether these are all.
pub(super) fn traces(index: &SharedIndex, metrics: &Metrics, ids: &[TraceId]) -> (Vec<Vec<SpanData>>, bool) {
    let locations: Vec<Location> = {
        let index = index.lock();
        ids.iter().filter_map(|id| index.records(*id)).flatten().collect()
    };
    let wanted: HashMap<TraceId, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let mut traces: Vec<Vec<SpanData>> = vec![Vec::new(); ids.len()];
    let mut records = Records::new(metrics);
    let (mut decoded, mut bytes) = (HashSet::new(), 0);
    for location in &locations {
        if !decoded.insert(location.place) {
            continue;
        }
        if bytes > TRACE_BYTES_MAX {
            tracing::warn!(traces = ids.len(), "traces are too large to be read together");
            return (finished(traces), false);
        }
        let (_, spans) = records.decode(location, &[], |id| wanted.contains_key(&id));
        bytes += spans.iter().map(span_bytes).sum::<usize>();
        for span in spans {
            if let Some(at) = wanted.get(&span.trace_id) {
                traces[*at].push(span);
            }
        }
    }
    (finished(traces), true)
}

/// Those that there are spans of, each in order.
fn finished(traces: Vec<Vec<SpanData>>) -> Vec<Vec<SpanData>> {
    traces.into_iter().map(in_order).filter(|spans| !spans.is_empty()).collect()
}

/// Traces that match, in the order that is asked for.
pub(super) fn search(index: &SharedIndex, metrics: &Metrics, query: &Query, bytes_max: u64) -> Found {
    let (texts, records) = (query.texts(), Records::new(metrics));
    let search = Search { index, query, texts, records, bytes_max, bytes_read: 0, reads: 0 };
    match query.order {
        Order::Newest => newest(search),
        Order::Slowest => slowest(search),
    }
}

/// Goes back from the newest until there are enough.
fn newest(mut search: Search<'_>) -> Found {
    let Search { index, query, .. } = search;
    let limit = query.limit.clamp(1, LIMIT_MAX);
    let mut found = Found::default();
    let mut before: Option<Key> = query.cursor.map(Cursor::key);
    // Where the index alone decides, no more candidates are taken than are asked for.
    let count = if query.attributes.is_empty() { CANDIDATES.min(limit) } else { CANDIDATES };
    loop {
        let candidates = index.lock().candidates(query, before, count);
        let is_end = candidates.len() < count;
        let mut batch = Batch::new(&candidates);
        for candidate in candidates {
            before = Some(candidate.key);
            if candidate.is_unsure && !search.is_matching(candidate.summary.trace_id, &mut batch) {
                if search.is_spent() {
                    search.report_cut();
                    return Found { is_cut: true, next: before.map(Cursor::new), ..found };
                }
                continue;
            }
            found.traces.push(candidate.summary);
            if found.len() == limit {
                let next = before.filter(|last| index.lock().has_older(*last)).map(Cursor::new);
                return Found { next, ..found };
            }
        }
        if is_end {
            return found;
        }
    }
}

/// Goes through all that match, and keeps the longest.
fn slowest(mut search: Search<'_>) -> Found {
    let Search { index, query, .. } = search;
    let limit = query.limit.clamp(1, LIMIT_MAX);
    let mut found = Found::default();
    let mut wanted = query.clone();
    let mut before: Option<Key> = None;
    loop {
        let candidates = index.lock().candidates(&wanted, before, CANDIDATES);
        let is_end = candidates.len() < CANDIDATES;
        let mut batch = Batch::new(&candidates);
        for Candidate { key, summary, is_unsure } in candidates {
            before = Some(key);
            // Of two that took as long, the newer one stands first.
            let place = found.partition_point(|longer| longer.duration_nanos >= summary.duration_nanos);
            if place == limit || is_unsure && !search.is_matching(summary.trace_id, &mut batch) {
                if search.is_spent() {
                    search.report_cut();
                    return Found { is_cut: true, ..found };
                }
                continue;
            }
            found.traces.truncate(limit - 1);
            found.traces.insert(place, summary);
        }
        if is_end {
            return found;
        }
        // What is shorter than all that are kept is not taken from the index any more.
        if let Some(shortest) = found.get(limit - 1) {
            wanted.min_duration = Some(Duration::from_nanos(shortest.duration_nanos));
        }
    }
}

/// A search, and what it cost so far.
struct Search<'a> {
    index: &'a SharedIndex,
    query: &'a Query,
    /// What a record with a matching span has.
    texts: Vec<&'a str>,
    records: Records<'a>,
    bytes_max: u64,
    bytes_read: u64,
    /// How many traces were looked at.
    reads: usize,
}

/// Traces that are looked at together: mostly they share records, and each is decoded once.
struct Batch {
    unsure: HashSet<TraceId>,
    matching: HashSet<TraceId>,
    decoded: HashSet<Place>,
}

impl Batch {
    fn new(candidates: &[Candidate]) -> Self {
        let unsure = candidates.iter().filter(|candidate| candidate.is_unsure);
        Self {
            unsure: unsure.map(|candidate| candidate.summary.trace_id).collect(),
            matching: HashSet::new(),
            decoded: HashSet::new(),
        }
    }
}

impl Search<'_> {
    /// Whether the trace has a span that matches, as far as may be read.
    fn is_matching(&mut self, trace_id: TraceId, batch: &mut Batch) -> bool {
        self.reads += 1;
        // None when it was deleted meanwhile.
        let locations = self.index.lock().records(trace_id).unwrap_or_default();
        for location in locations {
            if batch.matching.contains(&trace_id) || self.is_spent() {
                break;
            }
            if !batch.decoded.insert(location.place) {
                continue;
            }
            let (length, spans) = self.records.decode(&location, &self.texts, |id| batch.unsure.contains(&id));
            self.bytes_read += length as u64;
            let matching = spans.iter().filter(|span| self.query.is_span_matching(span));
            batch.matching.extend(matching.map(|span| span.trace_id));
        }
        batch.matching.contains(&trace_id)
    }

    fn report_cut(&self) {
        let Search { reads, bytes_read, .. } = self;
        self.records.metrics.searches_cut.increment();
        tracing::info!(reads, bytes_read, "a search of traces ended at its bound of work");
    }

    fn is_spent(&self) -> bool {
        self.reads >= SEARCH_READS_MAX || self.bytes_read >= self.bytes_max
    }
}

/// Records read lately.
struct Records<'a> {
    cache: VecDeque<(Place, Record)>,
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
            let (_, more) = self.decode(location, &[], |id| id == trace_id);
            bytes += more.iter().map(span_bytes).sum::<usize>();
            spans.extend(more);
            if bytes > TRACE_BYTES_MAX {
                tracing::warn!(%trace_id, spans = spans.len(), "a trace is too large to be read as a whole");
                break;
            }
        }
        spans
    }

    /// A record's length, and the wanted spans in it if it has the texts; none when it cannot be read.
    fn decode(
        &mut self,
        location: &Location,
        texts: &[&str],
        is_wanted: impl Fn(TraceId) -> bool,
    ) -> (usize, Vec<SpanData>) {
        let Some(record) = self.get(location) else { return (0, Vec::new()) };
        let length = record.bytes();
        let read = match record.has_texts(texts) {
            Ok(true) => record.decode(is_wanted),
            Ok(false) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let spans = read.unwrap_or_else(|error| {
            self.report(location, &error);
            Vec::new()
        });
        (length, spans)
    }

    fn get(&mut self, location: &Location) -> Option<&Record> {
        let at = self.cache.iter().position(|(place, _)| *place == location.place);
        if let Some(at) = at {
            return self.cache.get(at).map(|(_, record)| record);
        }
        let read = log::read_record(&location.file, location.place.segment, location.place.offset);
        let read = read.and_then(|record| Record::unpack(&record).map_err(|_| ReadFailure::Corrupt));
        match read {
            Ok(record) => {
                if self.cache.len() == RECORDS_CACHED {
                    self.cache.pop_front();
                }
                self.cache.push_back((location.place, record));
                self.cache.back().map(|(_, record)| record)
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
