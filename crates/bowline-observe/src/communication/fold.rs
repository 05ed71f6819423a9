//! Adds up what traces show, under bounds.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bowline_model::{
    observed::{
        BREACHES_MAX, EDGES_MAX, Event, Gap, OPERATIONS_MAX, Observed, ObservedBreach, ObservedEdge, ObservedOperation,
        ObservedUse, USES_MAX,
    },
    system::CallMode,
};
use bowline_telemetry::{SpanData, SpanId, SpanKind, TraceId};

use super::{
    call::{Call, Taken, Trace},
    uses,
};

/// The most messages that wait for the trace of their sender.
const TAKEN_MAX: usize = 16_384;
/// The most operations and topics of all edges together.
const TOLD_MAX: usize = 16_384;

/// Traces as far as they were folded. Its memory is bounded whatever spans say.
#[derive(Debug)]
pub struct Folder {
    /// Where the SQLite databases of the system are, each known by the name of its file alone.
    sqlite_dir: PathBuf,
    edges: BTreeMap<EdgeKey, ObservedEdge>,
    uses: BTreeMap<UseKey, ObservedUse>,
    breaches: BTreeMap<BreachKey, ObservedBreach>,
    /// By the span that sent them. Traces are folded newest first, so that senders come after who takes.
    taken: BTreeMap<(TraceId, SpanId), Vec<Taken>>,
    taken_count: usize,
    /// Operations and topics of all edges.
    told_count: usize,
    traces: u64,
    spans: u64,
    is_cut: bool,
}

type EdgeKey = (Option<String>, String, CallMode, bool);
type UseKey = (String, String, String, Option<String>);
type BreachKey = (String, String, CallMode, Option<Event>, Event);

impl Folder {
    /// Nothing yet, of a system whose SQLite databases are in that folder.
    pub fn new(sqlite_dir: &Path) -> Self {
        Self {
            sqlite_dir: sqlite_dir.to_owned(),
            edges: BTreeMap::new(),
            uses: BTreeMap::new(),
            breaches: BTreeMap::new(),
            taken: BTreeMap::new(),
            taken_count: 0,
            told_count: 0,
            traces: 0,
            spans: 0,
            is_cut: false,
        }
    }

    /// How many spans were folded.
    pub fn span_count(&self) -> u64 {
        self.spans
    }

    /// Adds the spans of one trace, each once, in any order.
    pub fn fold(&mut self, spans: &[SpanData]) {
        self.traces += 1;
        self.spans += spans.len() as u64;
        for span in spans {
            if let Some(using) = uses::of(span, &self.sqlite_dir) {
                self.add_use(using);
            }
        }
        let trace = Trace::new(spans);
        trace.calls().into_iter().for_each(|call| self.add_call(call));
        for (sender, taken) in trace.taken() {
            if self.taken_count == TAKEN_MAX {
                self.is_cut = true;
                break;
            }
            self.taken_count += 1;
            self.taken.entry(sender).or_default().push(taken);
        }
        for span in spans.iter().filter(|span| matches!(span.kind, SpanKind::Producer | SpanKind::Client)) {
            let taken = self.taken.remove(&(span.trace_id, span.span_id)).unwrap_or_default();
            self.taken_count -= taken.len();
            taken.into_iter().filter_map(|taken| taken.call(span)).for_each(|call| self.add_call(call));
        }
    }

    /// What was seen, of that time, so far as it was folded.
    pub fn finish(self, since_unix_ms: u64, until_unix_ms: u64) -> Observed {
        Observed {
            edges: self.edges.into_values().collect(),
            uses: self.uses.into_values().collect(),
            breaches: self.breaches.into_values().collect(),
            traces: self.traces,
            spans: self.spans,
            since_unix_ms,
            whole_since_unix_ms: since_unix_ms,
            until_unix_ms,
            gaps: self.is_cut.then_some(Gap::LeftOut).into_iter().collect(),
            sample: None,
        }
    }

    fn add_use(&mut self, using: ObservedUse) {
        let ObservedUse { service, kind, name, table, is_written, .. } = &using;
        let key = (service.clone(), kind.clone(), name.clone(), table.clone());
        let is_written = *is_written;
        let Some(known) = slot(&mut self.uses, key, USES_MAX, &mut self.is_cut, || ObservedUse { count: 0, ..using })
        else {
            return;
        };
        known.count += 1;
        known.is_written |= is_written;
    }

    fn add_call(&mut self, call: Call) {
        self.add_breach(&call);
        let Call { caller, callee, mode, is_waited_for, is_denied, operation, topic, at_unix_nanos, trace_id, .. } =
            call;
        let (at, sample) = (at_unix_nanos / 1_000_000, trace_id.to_string());
        let key = (caller.clone(), callee.clone(), mode, is_denied);
        let new = || ObservedEdge {
            caller,
            callee,
            mode,
            operations: Vec::new(),
            topics: Vec::new(),
            is_denied,
            count: 0,
            waited: 0,
            first_unix_ms: at,
            last_unix_ms: at,
            sample: sample.clone(),
        };
        let Some(edge) = slot(&mut self.edges, key, EDGES_MAX, &mut self.is_cut, new) else { return };
        edge.count += 1;
        edge.waited += u64::from(is_waited_for);
        edge.first_unix_ms = edge.first_unix_ms.min(at);
        if at > edge.last_unix_ms {
            (edge.last_unix_ms, edge.sample) = (at, sample);
        }
        let told = &mut self.told_count;
        if let Some(operation) = operation {
            let by_name = |one: &ObservedOperation, other: &ObservedOperation| {
                (&one.method, &one.path).cmp(&(&other.method, &other.path))
            };
            match insert(&mut edge.operations, operation, by_name, told) {
                Some(known) => known.count += 1,
                None => self.is_cut = true,
            }
        }
        if let Some(topic) = topic {
            self.is_cut |= insert(&mut edge.topics, topic, String::cmp, told).is_none();
        }
    }

    fn add_breach(&mut self, call: &Call) {
        let Call { caller: Some(caller), callee, mode, breach: Some(breach), trace_id, .. } = call else { return };
        let key = (caller.clone(), callee.clone(), *mode, breach.expected, breach.got);
        let new = || ObservedBreach {
            caller: caller.clone(),
            callee: callee.clone(),
            mode: *mode,
            expected: breach.expected,
            got: breach.got,
            count: 0,
            sample: trace_id.to_string(),
        };
        if let Some(known) = slot(&mut self.breaches, key, BREACHES_MAX, &mut self.is_cut, new) {
            known.count += 1;
        }
    }
}

/// The value of that key, made where there is room for it.
fn slot<'a, K: Ord, V>(
    map: &'a mut BTreeMap<K, V>,
    key: K,
    count_max: usize,
    is_cut: &mut bool,
    new: impl FnOnce() -> V,
) -> Option<&'a mut V> {
    if map.len() >= count_max && !map.contains_key(&key) {
        *is_cut = true;
        return None;
    }
    Some(map.entry(key).or_insert_with(new))
}

/// The same that is there already, or it, added in that order; none where there is no room.
fn insert<'a, T>(
    known: &'a mut Vec<T>,
    value: T,
    order: impl Fn(&T, &T) -> Ordering,
    told_count: &mut usize,
) -> Option<&'a mut T> {
    match known.binary_search_by(|one| order(one, &value)) {
        Ok(at) => known.get_mut(at),
        Err(_) if known.len() == OPERATIONS_MAX || *told_count == TOLD_MAX => None,
        Err(at) => {
            known.insert(at, value);
            *told_count += 1;
            known.get_mut(at)
        }
    }
}

#[cfg(test)]
mod tests;
