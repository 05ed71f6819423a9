//! The newest samples, in memory: of each series an open chunk and those before it.
//!
//! A *generation* is what is in the head between two blocks; it has a log of its own. When it ends,
//! all chunks leave the head at once ([`Head::roll`]), and with them the series that had none or ended.

mod index;
mod replay;

use std::{collections::HashMap, sync::Arc};

use crate::{
    labels::{Labels, NAME, is_label_name, is_metric_name},
    series::{
        Error,
        chunk::{CHUNK_SAMPLES_MAX, Chunk, Open},
        postings::{self, Tried},
        record::{LABELS_MAX, Operations},
        settings::Settings,
    },
    source::{Appended, Sample, SeriesRef, is_stale},
};

use index::Index;
pub(crate) use replay::Replay;

/// How far ahead of our clock a sample may be.
pub(crate) const FUTURE_MAX_MS: i64 = 10 * 60 * 1000;
/// How far behind the newest sample of all a sample may be: a generation that spans it all is not over soon.
const PAST_MAX_MS: i64 = 60 * 60 * 1000;
/// A chunk has the samples of so much time, counted from 1970: so the chunks of series that are scraped
/// together end together, and their times are the same column.
const CHUNK_MS: i64 = 20 * 60 * 1000;
/// A generation ends when it spans so much time,
const GENERATION_MS: i64 = 2 * 60 * 60 * 1000;
/// or when its chunks take so much memory; at twice that, samples are refused.
const CHUNK_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The most bytes of labels of live series.
const LABEL_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Of a full head, so large a share of ended series makes room by ending the generation.
const ENDED_SHARE: usize = 8;
/// At most so many bytes of operations make one record, but for the last series in it.
const RECORD_BYTES: usize = 1024 * 1024;
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 1024;

/// The series that take samples.
#[derive(Debug)]
pub(crate) struct Head {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Only looked up, never gone through.
    by_labels: HashMap<Labels, u32>,
    index: Index,
    next_stamp: u32,
    series_max: usize,
    /// How many live series have [`crate::source::STALE`] as their last sample.
    ended: usize,
    label_bytes: usize,
    /// The time of the newest sample of all, of generations before, too.
    newest_ms: i64,
    generation: Generation,
    operations: Operations,
    /// Operations of whole records, to be logged before `operations`.
    records: Vec<Vec<u8>>,
    records_bytes: usize,
    log_bytes_max: u64,
    queue_bytes_max: usize,
    is_closed: bool,
}

/// What belongs to the generation.
#[derive(Debug, Clone, Copy)]
struct Generation {
    from_ms: i64,
    to_ms: i64,
    chunk_bytes: usize,
    /// Of its log, with what was taken to be written there.
    log_bytes: u64,
}

impl Generation {
    const NEW: Self = Self { from_ms: i64::MAX, to_ms: i64::MIN, chunk_bytes: 0, log_bytes: 0 };
}

#[derive(Debug)]
struct Slot {
    /// Tells this series from others that had the place before; 0 is none.
    stamp: u32,
    labels: Labels,
    last_ms: i64,
    last_bits: u64,
    /// From this time on, a sample begins a new chunk.
    seal_at_ms: i64,
    /// Whether this process said in this log what it is.
    is_defined: bool,
    open: Option<Open>,
    sealed: Vec<Arc<Chunk>>,
}

/// A series with its chunks, as they left the head or were read from it.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    pub(crate) labels: Labels,
    /// By time, but for what a clock that was set back appended.
    pub(crate) chunks: Vec<Arc<Chunk>>,
}

/// What a sample is to its series.
enum Verdict {
    Kept,
    Repeated,
    Duplicate,
    OutOfOrder,
}

impl Head {
    pub(crate) fn new(settings: &Settings, first_stamp: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_labels: HashMap::new(),
            index: Index::default(),
            next_stamp: first_stamp,
            series_max: settings.series_max,
            ended: 0,
            label_bytes: 0,
            newest_ms: i64::MIN,
            generation: Generation::NEW,
            operations: Operations::default(),
            records: Vec::new(),
            records_bytes: 0,
            log_bytes_max: settings.log_bytes_max(),
            queue_bytes_max: settings.queue_bytes_max(),
            is_closed: false,
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.by_labels.len()
    }

    pub(crate) fn chunk_bytes(&self) -> usize {
        self.generation.chunk_bytes
    }

    /// Takes no more samples.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether the generation is long or large enough to become a block.
    pub(crate) fn is_full(&self) -> bool {
        let Generation { from_ms, to_ms, chunk_bytes, log_bytes } = self.generation;
        let is_crowded = self.live() >= self.series_max && self.ended >= (self.series_max / ENDED_SHARE).max(1);
        to_ms.saturating_sub(from_ms) >= GENERATION_MS
            || chunk_bytes >= CHUNK_BYTES_MAX
            || log_bytes + self.queued_bytes() as u64 >= self.log_bytes_max
            || is_crowded
    }

    /// How much waits to be logged.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.records_bytes + self.operations.bytes()
    }

    /// Whether so much waits that the log should be written now.
    pub(crate) fn is_queue_filling(&self) -> bool {
        self.queued_bytes() >= self.queue_bytes_max / 2
    }

    fn is_queue_full(&self) -> bool {
        self.queued_bytes() >= self.queue_bytes_max
    }

    /// The series of those labels, made if it is not there.
    pub(crate) fn intern(&mut self, labels: &Labels) -> Result<SeriesRef, Error> {
        if let Some(at) = self.by_labels.get(labels) {
            return Ok(self.reference(*at));
        }
        if self.is_closed {
            return Err(Error::Closed);
        }
        check_labels(labels)?;
        let label_bytes = bytes_of(labels);
        if self.live() >= self.series_max || self.label_bytes + label_bytes > LABEL_BYTES_MAX {
            return Err(Error::TooManySeries { series_max: self.series_max });
        }
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                u32::try_from(self.slots.len()).map_err(|_| Error::TooManySeries { series_max: self.series_max })?
            }
        };
        let labels = self.index.insert(labels, at);
        self.label_bytes += label_bytes;
        self.by_labels.insert(labels.clone(), at);
        let slot = Slot::new(self.next_stamp.max(1), labels);
        self.next_stamp = self.next_stamp.wrapping_add(1);
        match self.slots.get_mut(at as usize) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        Ok(self.reference(at))
    }

    fn reference(&self, at: u32) -> SeriesRef {
        SeriesRef::of(self.slots[at as usize].stamp, at)
    }

    /// Takes samples of one time, each later than the last one of its series, and notes them for the log.
    pub(crate) fn append(&mut self, at_ms: i64, now_ms: i64, samples: &[(SeriesRef, f64)]) -> Appended {
        let mut appended = Appended::default();
        if at_ms > now_ms.saturating_add(FUTURE_MAX_MS) {
            appended.too_new = samples.len();
            return appended;
        }
        // A clock that was set back says what is old, not what was appended before.
        if at_ms < self.newest_ms.min(now_ms).saturating_sub(PAST_MAX_MS) {
            appended.too_old = samples.len();
            return appended;
        }
        let is_overfull = self.generation.chunk_bytes >= 2 * CHUNK_BYTES_MAX
            || self.generation.log_bytes >= self.log_bytes_max.saturating_mul(2);
        if self.is_closed || self.is_queue_full() || is_overfull {
            appended.refused = samples.len();
            return appended;
        }
        self.operations.begin(at_ms);
        for (series, value) in samples {
            match self.append_one(*series, at_ms, *value, now_ms, true) {
                Some(Verdict::Kept | Verdict::Repeated) => appended.kept += 1,
                Some(Verdict::Duplicate) => appended.duplicate += 1,
                Some(Verdict::OutOfOrder) => appended.out_of_order += 1,
                None => appended.unknown += 1,
            }
            if self.operations.bytes() >= RECORD_BYTES {
                self.end_record();
                self.operations.begin(at_ms);
            }
        }
        self.operations.end();
        appended
    }

    fn end_record(&mut self) {
        self.operations.end();
        let record = self.operations.take();
        self.records_bytes += record.len();
        self.records.push(record);
    }

    /// Takes a sample that was logged before.
    fn append_logged(&mut self, series: SeriesRef, at_ms: i64, value: f64) {
        // The clock of now says nothing about it: whatever the order was, it was taken.
        let _: Option<Verdict> = self.append_one(series, at_ms, value, i64::MIN / 2, false);
    }

    #[inline]
    fn append_one(
        &mut self,
        series: SeriesRef,
        at_ms: i64,
        value: f64,
        now_ms: i64,
        is_logged: bool,
    ) -> Option<Verdict> {
        let slot = self.slots.get_mut(series.place() as usize).filter(|slot| slot.stamp == series.stamp())?;
        let bits = value.to_bits();
        if at_ms <= slot.last_ms {
            if at_ms == slot.last_ms {
                return Some(if bits == slot.last_bits { Verdict::Repeated } else { Verdict::Duplicate });
            }
            if slot.last_ms <= now_ms.saturating_add(FUTURE_MAX_MS) {
                return Some(Verdict::OutOfOrder);
            }
            // Its last sample was taken when the clock was wrong; that shall not keep all others out.
            slot.seal_at_ms = i64::MIN;
        }
        if is_logged {
            let before = if slot.is_defined { slot.last_bits } else { 0 };
            if !slot.is_defined {
                self.operations.define(series.place(), &slot.labels);
                slot.is_defined = true;
            }
            self.operations.sample(series.place(), before, bits);
        }
        self.ended -= usize::from(is_stale(f64::from_bits(slot.last_bits)));
        self.ended += usize::from(is_stale(value));
        let generation = &mut self.generation;
        generation.chunk_bytes += slot.push(at_ms, value);
        generation.from_ms = generation.from_ms.min(at_ms);
        generation.to_ms = generation.to_ms.max(at_ms);
        self.newest_ms = self.newest_ms.max(at_ms);
        Some(Verdict::Kept)
    }

    /// What is to be logged, in records.
    pub(crate) fn take_records(&mut self) -> Vec<Vec<u8>> {
        if self.operations.bytes() > 0 {
            self.end_record();
        }
        self.records_bytes = 0;
        std::mem::take(&mut self.records)
    }

    /// Says how long the log is.
    pub(crate) fn set_log_bytes(&mut self, bytes: u64) {
        self.generation.log_bytes = bytes;
    }

    /// Ends the generation: gives all chunks, and forgets the series that had none or have ended.
    pub(crate) fn roll(&mut self) -> Vec<Chunks> {
        self.generation = Generation::NEW;
        let mut left = Vec::with_capacity(self.live());
        let mut forgotten = Vec::new();
        for (slot, at) in self.slots.iter_mut().zip(0_u32..) {
            if slot.stamp == 0 {
                continue;
            }
            let chunks = slot.take_chunks();
            if chunks.is_empty() || is_stale(f64::from_bits(slot.last_bits)) {
                forgotten.push(at);
            }
            if !chunks.is_empty() {
                left.push(Chunks { labels: slot.labels.clone(), chunks });
            }
        }
        self.forget(&forgotten);
        left
    }

    fn forget(&mut self, places: &[u32]) {
        let mut gone = Vec::with_capacity(places.len());
        for at in places {
            let slot = std::mem::replace(&mut self.slots[*at as usize], Slot::new(0, Labels::default()));
            self.ended -= usize::from(is_stale(f64::from_bits(slot.last_bits)));
            self.label_bytes -= bytes_of(&slot.labels);
            self.by_labels.remove(&slot.labels);
            self.free.push(*at);
            gone.push((*at, slot.labels));
        }
        self.index.remove(&gone);
    }

    /// The series that pass the matchers.
    pub(crate) fn resolve(&self, matchers: &[Tried<'_>]) -> Vec<SeriesRef> {
        let places = postings::resolve_tried(&self.index, matchers);
        places.into_iter().map(|at| self.reference(at)).collect()
    }

    /// A series with those of its chunks that have to do with that time.
    pub(crate) fn chunks(&self, series: SeriesRef, from_ms: i64, to_ms: i64) -> Option<Chunks> {
        let slot = self.slots.get(series.place() as usize).filter(|slot| slot.stamp == series.stamp())?;
        let sealed = slot.sealed.iter().filter(|chunk| chunk.is_overlapping(from_ms, to_ms));
        let mut chunks: Vec<_> = sealed.cloned().collect();
        if let Some(open) = &slot.open
            && open.first_ms() <= to_ms
            && open.last_ms() >= from_ms
        {
            chunks.push(Arc::new(open.clone().sealed()));
        }
        (!chunks.is_empty()).then(|| Chunks { labels: slot.labels.clone(), chunks })
    }

    /// The labels of a series, if it has samples of that time.
    pub(crate) fn labels_within(&self, series: SeriesRef, from_ms: i64, to_ms: i64) -> Option<Labels> {
        let slot = self.slots.get(series.place() as usize).filter(|slot| slot.stamp == series.stamp())?;
        let is_within = slot.sealed.iter().any(|chunk| chunk.is_overlapping(from_ms, to_ms))
            || slot.open.as_ref().is_some_and(|open| open.first_ms() <= to_ms && open.last_ms() >= from_ms);
        is_within.then(|| slot.labels.clone())
    }

    /// Whether it has to do with that time at all.
    pub(crate) fn is_overlapping(&self, from_ms: i64, to_ms: i64) -> bool {
        self.generation.from_ms <= to_ms && self.generation.to_ms >= from_ms
    }

    pub(crate) fn label_names(&self, visit: impl FnMut(&str)) {
        self.index.names(visit);
    }

    pub(crate) fn label_values(&self, name: &str) -> Vec<Arc<str>> {
        self.index.values_of(name)
    }
}

impl Slot {
    fn new(stamp: u32, labels: Labels) -> Self {
        Self {
            stamp,
            labels,
            last_ms: i64::MIN,
            last_bits: 0,
            seal_at_ms: i64::MIN,
            is_defined: false,
            open: None,
            sealed: Vec::new(),
        }
    }

    /// Adds a sample; gives by how many bytes the chunks grew.
    #[inline]
    fn push(&mut self, at_ms: i64, value: f64) -> usize {
        if at_ms >= self.seal_at_ms || at_ms < self.last_ms {
            self.seal();
            self.seal_at_ms = (at_ms.div_euclid(CHUNK_MS) + 1).saturating_mul(CHUNK_MS);
        }
        let open = self.open.get_or_insert_with(Open::new);
        let before = open.bytes();
        open.push(at_ms, value);
        let grown = open.bytes() - before;
        if open.count() >= CHUNK_SAMPLES_MAX {
            self.seal();
        }
        (self.last_ms, self.last_bits) = (at_ms, value.to_bits());
        grown
    }

    fn seal(&mut self) {
        if let Some(open) = self.open.take() {
            self.sealed.push(Arc::new(open.sealed()));
        }
    }

    fn take_chunks(&mut self) -> Vec<Arc<Chunk>> {
        self.seal();
        self.seal_at_ms = i64::MIN;
        self.is_defined = false;
        std::mem::take(&mut self.sealed)
    }
}

impl Chunks {
    /// Adds the samples of that time; whether all could be read.
    pub(crate) fn read(&self, from_ms: i64, to_ms: i64, out: &mut Vec<Sample>) -> bool {
        let mut chunks = self.chunks.iter().filter(|chunk| chunk.is_overlapping(from_ms, to_ms));
        chunks.all(|chunk| chunk.read(from_ms, to_ms, out).is_ok())
    }
}

fn bytes_of(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len() + size_of::<(Arc<str>, Arc<str>)>()).sum()
}

fn check_labels(labels: &Labels) -> Result<(), Error> {
    let invalid = |rule| Err(Error::InvalidLabels { rule });
    if labels.is_empty() {
        return invalid("there are none");
    }
    if labels.len() > LABELS_MAX {
        return invalid("there are more than 48");
    }
    for (name, value) in labels.iter() {
        if name.len() > NAME_BYTES_MAX {
            return invalid("a name is longer than 128 bytes");
        }
        if !is_label_name(name) {
            return invalid("a name is not a letter or `_`, then letters, digits and `_`");
        }
        if value.len() > VALUE_BYTES_MAX {
            return invalid("a value is longer than 1024 bytes");
        }
        if name == NAME && !is_metric_name(value) {
            return invalid("a metric's name is not a letter, `_` or `:`, then these and digits");
        }
    }
    Ok(())
}
