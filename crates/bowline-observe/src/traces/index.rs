//! The index in memory: which traces there are, a summary of each, and where their spans stand.
//!
//! A trace has one [`Part`] for each segment that holds spans of it, so that deleting a segment
//! takes exactly its share away, without reading anything.

mod operations;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bowline_runtime::{fs::File, time};
use bowline_telemetry::TraceId;

use crate::traces::{
    Query, SpanStatus, TraceSummary,
    codec::Head,
    log::{Place, SEGMENT_FIRST},
};
use operations::{OperationId, Operations};

/// The most spans that are kept of one trace.
pub(crate) const TRACE_SPANS_MAX: usize = 20_000;
/// The most operations noted of one trace in one segment; beyond, its spans are looked at.
const PART_OPERATIONS_MAX: usize = 64;

/// Traces by name and by time.
#[derive(Debug)]
pub(crate) struct Index {
    traces: HashMap<TraceId, Trace>,
    /// Oldest first.
    order: BTreeSet<Key>,
    segments: BTreeMap<u32, Segment>,
    operations: Operations,
    traces_max: usize,
    /// When the newest trace began that had to be forgotten.
    forgotten_at: Option<u64>,
}

/// A place in the order of traces: when the first span that came began (not after it was written,
/// whatever the reporter's clock said), and which.
///
/// It stays while the trace does, so that a [cursor](crate::traces::Cursor) stays true.
pub(crate) type Key = (u64, TraceId);

/// A trace that may match.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) key: Key,
    pub(crate) summary: TraceSummary,
    /// Whether its spans must be read to know.
    pub(crate) is_unsure: bool,
}

/// A record, and the file to read it from; readable also after the file was deleted.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub(crate) file: Arc<File>,
    pub(crate) place: Place,
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    /// Those that have a part in it; some may be forgotten since.
    traces: Vec<TraceId>,
    /// When its first record was written.
    begun_at: Option<u64>,
}

#[derive(Debug)]
struct Trace {
    /// Its time in the order.
    at: u64,
    parts: Vec<Part>,
}

/// What one segment holds of a trace.
#[derive(Debug)]
struct Part {
    segment: u32,
    /// Offsets of the records.
    records: Vec<u32>,
    operations: Vec<OperationId>,
    /// Whether there are operations that are not in `operations`.
    has_more_operations: bool,
    statuses: Statuses,
    first: First,
    span_count: usize,
    start: u64,
    end: u64,
}

/// How spans ended, as a set.
#[derive(Debug, Clone, Copy, Default)]
struct Statuses(u8);

/// The span that names the trace: the one without a parent, else the earliest.
#[derive(Debug, Clone, Copy)]
struct First {
    is_child: bool,
    start: u64,
    status: SpanStatus,
    operation: Option<OperationId>,
}

impl Index {
    pub(crate) fn new(traces_max: usize) -> Self {
        Self {
            traces: HashMap::new(),
            order: BTreeSet::new(),
            segments: BTreeMap::new(),
            operations: Operations::default(),
            traces_max: traces_max.max(1),
            forgotten_at: None,
        }
    }

    /// How many traces can be found.
    pub(crate) fn len(&self) -> usize {
        self.traces.len()
    }

    /// How many spans are kept of a trace.
    pub(crate) fn span_count(&self, trace_id: TraceId) -> usize {
        self.traces.get(&trace_id).map_or(0, |trace| trace.parts.iter().map(|part| part.span_count).sum())
    }

    pub(crate) fn add_segment(&mut self, segment: u32, file: Arc<File>) {
        self.segments.insert(segment, Segment { file, traces: Vec::new(), begun_at: None });
    }

    /// Takes in a record; gives how many old traces had to be forgotten for it.
    pub(crate) fn add_record(&mut self, place: Place, written_at: u64, heads: &[Head<'_>]) -> usize {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.begun_at.get_or_insert(written_at);
        }
        for head in heads {
            self.add_span(place, written_at, head);
        }
        let mut forgotten = 0;
        while self.traces.len() > self.traces_max
            && let Some((at, trace_id)) = self.order.pop_first()
        {
            self.forgotten_at = self.forgotten_at.max(Some(at));
            let trace = self.traces.remove(&trace_id).expect("what is in the order is a trace");
            trace.parts.iter().for_each(|part| part.release(&mut self.operations));
            forgotten += 1;
        }
        forgotten
    }

    fn add_span(&mut self, place: Place, written_at: u64, head: &Head<'_>) {
        let Some(segment) = self.segments.get_mut(&place.segment) else { return };
        let at = head.start_unix_nanos.min(written_at);
        let trace = self.traces.entry(head.trace_id).or_insert_with(|| {
            self.order.insert((at, head.trace_id));
            Trace { at, parts: Vec::with_capacity(1) }
        });
        if trace.parts.last().is_none_or(|part| part.segment != place.segment) {
            trace.parts.push(Part::new(place.segment));
            segment.traces.push(head.trace_id);
        }
        let part = trace.parts.last_mut().expect("a part was just added or was there");
        part.add(place.offset, head, &mut self.operations);
    }

    /// Forgets what a segment holds.
    pub(crate) fn remove_segment(&mut self, segment: u32) {
        let Some(Segment { traces, .. }) = self.segments.remove(&segment) else { return };
        for trace_id in traces {
            let Some(trace) = self.traces.get_mut(&trace_id) else { continue };
            trace.parts.retain(|part| {
                let is_kept = part.segment != segment;
                if !is_kept {
                    part.release(&mut self.operations);
                }
                is_kept
            });
            if trace.parts.is_empty() {
                self.order.remove(&(trace.at, trace_id));
                self.traces.remove(&trace_id);
            }
        }
    }

    /// From when on every trace that began is kept whole, in nanoseconds since 1970; 0 where nothing was deleted.
    ///
    /// Segments are deleted oldest first, and spans are written after they began.
    pub(crate) fn kept_since(&self) -> u64 {
        let is_deleted = self.segments.first_key_value().is_some_and(|(first, _)| *first > SEGMENT_FIRST);
        let begun_at = is_deleted.then(|| {
            // Where nothing is left of what was deleted, what comes is kept.
            let known = self.segments.values().find_map(|segment| segment.begun_at);
            known.unwrap_or_else(|| time::unix_nanos(time::wall()))
        });
        let remembered = self.forgotten_at.map(|at| at.saturating_add(1));
        begun_at.max(remembered).unwrap_or(0)
    }

    /// The records that hold spans of a trace, oldest first; none when it is not known.
    pub(crate) fn records(&self, trace_id: TraceId) -> Option<Vec<Location>> {
        self.traces.get(&trace_id).map(|trace| self.locations(trace))
    }

    /// Up to `count` traces that match or may, newest first, older than `before`.
    pub(crate) fn candidates(&self, query: &Query, before: Option<Key>, count: usize) -> Vec<Candidate> {
        let wanted = (query.service.is_some() || query.operation.is_some())
            .then(|| self.operations.matching(query.service.as_deref(), query.operation.as_deref()));
        let older = match before {
            Some(key) => self.order.range(..key),
            None => self.order.range::<Key, _>(..),
        };
        let candidates = older.rev().filter_map(|key| {
            let trace = self.traces.get(&key.1)?;
            let is_unsure = trace.may_match(query, wanted.as_deref())?;
            Some(Candidate { key: *key, summary: self.summary(key.1, trace), is_unsure })
        });
        candidates.take(count).collect()
    }

    /// Whether there are traces behind that place.
    pub(crate) fn has_older(&self, than: Key) -> bool {
        self.order.range(..than).next_back().is_some()
    }

    /// The place, with the file to read it from.
    pub(crate) fn location(&self, place: Place) -> Option<Location> {
        self.segments.get(&place.segment).map(|segment| Location { file: Arc::clone(&segment.file), place })
    }

    fn locations(&self, trace: &Trace) -> Vec<Location> {
        let mut locations = Vec::new();
        for part in &trace.parts {
            let Some(segment) = self.segments.get(&part.segment) else { continue };
            locations.extend(part.records.iter().map(|offset| Location {
                file: Arc::clone(&segment.file),
                place: Place { segment: part.segment, offset: *offset },
            }));
        }
        locations
    }

    fn summary(&self, trace_id: TraceId, trace: &Trace) -> TraceSummary {
        let first = trace.parts.iter().map(|part| part.first).min_by_key(First::rank).unwrap_or(First::NONE);
        let (service, name) = first.operation.map_or(("", ""), |id| self.operations.get(id));
        let operations = trace.parts.iter().flat_map(|part| &part.operations);
        let services: BTreeSet<&str> = operations.map(|id| self.operations.get(*id).0).collect();
        let (start, duration_nanos) = trace.extent();
        TraceSummary {
            trace_id,
            root_service: service.to_owned(),
            root_name: name.to_owned(),
            root_status: first.status,
            has_root: !first.is_child,
            start_unix_nanos: start,
            duration_nanos,
            span_count: trace.parts.iter().map(|part| part.span_count).sum(),
            services: services.into_iter().map(ToOwned::to_owned).collect(),
            has_error: trace.has_error(),
        }
    }
}

impl Trace {
    /// Begin and duration.
    fn extent(&self) -> (u64, u64) {
        let start = self.parts.iter().map(|part| part.start).min().unwrap_or(0);
        let end = self.parts.iter().map(|part| part.end).max().unwrap_or(0);
        (start, end.saturating_sub(start))
    }

    fn has_error(&self) -> bool {
        self.has_status(SpanStatus::Error)
    }

    fn has_status(&self, status: SpanStatus) -> bool {
        self.parts.iter().any(|part| part.statuses.contains(status))
    }

    /// Whether the trace as a whole is as wanted.
    fn is_whole_matching(&self, query: &Query) -> bool {
        let (start, duration) = self.extent();
        query.has_error.is_none_or(|wanted| wanted == self.has_error())
            && query.min_duration.is_none_or(|min| u128::from(duration) >= min.as_nanos())
            && query.max_duration.is_none_or(|max| u128::from(duration) <= max.as_nanos())
            && query.since_unix_nanos.is_none_or(|since| start >= since)
            && query.until_unix_nanos.is_none_or(|until| start < until)
    }

    /// `None` when it does not match, else whether its spans must be read to know.
    fn may_match(&self, query: &Query, wanted: Option<&[bool]>) -> Option<bool> {
        if !self.is_whole_matching(query) || query.status.is_some_and(|status| !self.has_status(status)) {
            return None;
        }
        let is_wanted = |id: &OperationId| wanted.is_none_or(|wanted| wanted[id.index()]);
        let is_noted = self.parts.iter().any(|part| part.operations.iter().any(is_wanted));
        let has_more = self.parts.iter().any(|part| part.has_more_operations);
        if is_noted || has_more || wanted.is_none() {
            // That one span has all of it is not noted.
            let is_joint = wanted.is_some() && query.status.is_some();
            Some(!query.attributes.is_empty() || is_joint || (wanted.is_some() && !is_noted))
        } else {
            None
        }
    }
}

impl Part {
    fn new(segment: u32) -> Self {
        Self {
            segment,
            records: Vec::with_capacity(1),
            operations: Vec::with_capacity(4),
            has_more_operations: false,
            statuses: Statuses::default(),
            first: First::NONE,
            span_count: 0,
            start: u64::MAX,
            end: 0,
        }
    }

    fn add(&mut self, offset: u32, head: &Head<'_>, operations: &mut Operations) {
        if self.records.last() != Some(&offset) {
            self.records.push(offset);
        }
        self.span_count += 1;
        self.statuses.insert(head.status);
        self.start = self.start.min(head.start_unix_nanos);
        self.end = self.end.max(head.start_unix_nanos.saturating_add(head.duration_nanos));
        let known = operations.find(head.service, head.name);
        if known.is_none_or(|id| !self.operations.contains(&id)) {
            let is_room = self.operations.len() < PART_OPERATIONS_MAX;
            match is_room.then(|| operations.acquire(head.service, head.name)).flatten() {
                Some(id) => self.operations.push(id),
                None => self.has_more_operations = true,
            }
        }
        let (is_child, start, status) = (!head.is_root, head.start_unix_nanos, head.status);
        let first = First { is_child, start, status, operation: None };
        if first.rank() < self.first.rank() || self.span_count == 1 {
            // The old one is given back last, so that an equal one is not freed in between.
            let operation = operations.acquire(head.service, head.name);
            let old = std::mem::replace(&mut self.first, First { operation, ..first });
            old.operation.into_iter().for_each(|id| operations.release(id));
        }
    }

    fn release(&self, operations: &mut Operations) {
        self.operations.iter().copied().chain(self.first.operation).for_each(|id| operations.release(id));
    }
}

impl First {
    const NONE: Self = Self { is_child: true, start: u64::MAX, status: SpanStatus::Unset, operation: None };

    /// The least one names the trace.
    fn rank(&self) -> (bool, u64) {
        (self.is_child, self.start)
    }
}

impl Statuses {
    fn insert(&mut self, status: SpanStatus) {
        self.0 |= 1 << status as u8;
    }

    fn contains(self, status: SpanStatus) -> bool {
        self.0 & 1 << status as u8 != 0
    }
}

#[cfg(test)]
mod tests;
