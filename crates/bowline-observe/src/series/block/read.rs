//! Reads blocks; keeps the indexes that were used last.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_runtime::fs::File;

use super::{
    Block, check,
    index::{Column, Index, Stored},
};
use crate::{
    labels::{Labels, Matcher},
    series::{
        chunk::{decode_times, decode_values, within},
        metrics::Metrics,
        postings,
        select::Merge,
    },
    source::{Sample, SourceError},
};

/// How much memory the indexes take that are kept, one at least.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much is read at a time: at first, and when one column after the other is wanted.
const READ_BYTES_MIN: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 512 * 1024;

/// The indexes that were used last.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<VecDeque<(u32, usize, Arc<Index>)>>);

impl Cache {
    fn get(&self, id: u32) -> Option<Arc<Index>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, ..)| *known == id)?;
        let entry = kept.remove(at)?;
        let index = Arc::clone(&entry.2);
        kept.push_back(entry);
        Some(index)
    }

    fn put(&self, id: u32, index: &Arc<Index>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, ..)| *known != id);
        kept.push_back((id, index.bytes(), Arc::clone(index)));
        while kept.len() > 1 && kept.iter().map(|(_, bytes, _)| bytes).sum::<usize>() > CACHE_BYTES_MAX {
            kept.pop_front();
        }
    }
}

impl Block {
    /// Its index and its file; `None` when it was deleted meanwhile or is damaged, which is counted.
    pub(crate) fn index(&self, cache: &Cache, metrics: &Metrics) -> Option<(Arc<Index>, File)> {
        match self.try_index(cache) {
            Ok(Some(found)) => return Some(found),
            // The block was deleted to make room.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(None) => {
                metrics.reads_corrupt.increment();
                tracing::error!(path = %self.path.display(), "index of a series block is damaged, skipping the block");
            }
            Err(error) => {
                metrics.reads_corrupt.increment();
                tracing::error!(path = %self.path.display(), %error, "cannot read a series block, skipping it");
            }
        }
        None
    }

    fn try_index(&self, cache: &Cache) -> io::Result<Option<(Arc<Index>, File)>> {
        let file = File::open(&self.path)?;
        if let Some(index) = cache.get(self.id) {
            return Ok(Some((index, file)));
        }
        let index = self.read_index(&file)?;
        Ok(index.map(|index| {
            cache.put(self.id, &index);
            (index, file)
        }))
    }

    /// Adds the samples of the series that pass. Damaged columns are skipped, logged and counted.
    pub(crate) fn select(
        &self,
        opened: &(Arc<Index>, File),
        matchers: &[Matcher],
        (from_ms, to_ms): (i64, i64),
        metrics: &Metrics,
        merge: &mut Merge,
    ) -> Result<(), SourceError> {
        let (index, file) = opened;
        let mut reading = Reading {
            index,
            from_ms,
            to_ms,
            values: Window::new(file, self.bytes),
            times_window: Window::new(file, self.bytes),
            times: HashMap::new(),
        };
        let mut is_damaged = false;
        for series in postings::resolve(&**index, matchers) {
            let mut into = None;
            for chunk in index.chunks_within(series, from_ms, to_ms) {
                let at = *into.get_or_insert_with(|| merge.series(&index.labels(series)));
                is_damaged |= !merge.add(at, |out| reading.chunk(chunk, out))?;
            }
        }
        if is_damaged {
            metrics.reads_corrupt.increment();
            tracing::error!(path = %self.path.display(), "series block is damaged, what is damaged was skipped");
        }
        Ok(())
    }

    /// The labels of the series that pass and have samples of that time.
    pub(crate) fn labels(
        index: &Index,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
    ) -> impl Iterator<Item = Labels> {
        let passed = postings::resolve(index, matchers).into_iter();
        let within = passed.filter(move |series| index.chunks_within(*series, from_ms, to_ms).next().is_some());
        within.map(|series| index.labels(series))
    }
}

struct Reading<'a> {
    index: &'a Index,
    from_ms: i64,
    to_ms: i64,
    values: Window<'a>,
    times_window: Window<'a>,
    /// Columns that were read; only looked up.
    times: HashMap<u32, Arc<[i64]>>,
}

impl Reading<'_> {
    /// Adds the samples of a chunk; whether it could be read.
    fn chunk(&mut self, chunk: &Stored, out: &mut Vec<Sample>) -> bool {
        let Some(times) = self.times(chunk.times) else { return false };
        let Some(bytes) = self.values.get(chunk.at, chunk.bytes, chunk.check) else { return false };
        decode_values(chunk.order, bytes, within(&times, self.from_ms, self.to_ms), out).is_ok()
    }

    fn times(&mut self, number: u32) -> Option<Arc<[i64]>> {
        if let Some(times) = self.times.get(&number) {
            return Some(Arc::clone(times));
        }
        let Column { at, bytes, check, count, .. } = *self.index.columns.get(number as usize)?;
        let times: Arc<[i64]> = decode_times(self.times_window.get(at, bytes, check)?, count).ok()?.into();
        self.times.insert(number, Arc::clone(&times));
        Some(times)
    }
}

/// A part of a file in memory, which moves on.
struct Window<'a> {
    file: &'a File,
    file_bytes: u64,
    at: u64,
    bytes: Vec<u8>,
    ahead: usize,
}

impl<'a> Window<'a> {
    fn new(file: &'a File, file_bytes: u64) -> Self {
        Self { file, file_bytes, at: 0, bytes: Vec::new(), ahead: READ_BYTES_MIN }
    }

    /// Those bytes, if they are there and have that checksum.
    fn get(&mut self, at: u64, length: usize, wanted: u32) -> Option<&[u8]> {
        let end = at.checked_add(length as u64).filter(|end| *end <= self.file_bytes)?;
        let window_end = self.at + self.bytes.len() as u64;
        if at < self.at || end > window_end {
            // Who reads on from where the window ends will want what comes then, too.
            let is_next = (self.at..=window_end.saturating_add(READ_BYTES_MIN as u64)).contains(&at);
            self.ahead = if is_next { (self.ahead * 4).min(READ_BYTES_MAX) } else { READ_BYTES_MIN };
            let left = usize::try_from(self.file_bytes - at).unwrap_or(usize::MAX);
            self.bytes.resize(length.max(self.ahead).min(left), 0);
            self.at = at;
            if self.file.read_exact_at(&mut self.bytes, at).is_err() {
                self.bytes.clear();
                return None;
            }
        }
        let from = usize::try_from(at - self.at).ok()?;
        let bytes = self.bytes.get(from..from + length)?;
        (check(bytes) == wanted).then_some(bytes)
    }
}
