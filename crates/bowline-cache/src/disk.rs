//! The level on disk, of one process: what it has survives a restart.
//!
//! What is put or gone goes through a queue, in order, to one writer, which makes it durable every fifth of a second.
//! What is gone is gone at once: it is out of the index, and out of the queue. A put whose load began before is refused
//! by its ticket. After a restart nothing is read before every feed was followed to its end again, from the marks that
//! were durable with what they removed; where that cannot be, it is emptied. A disk that fails closes the level.

mod log;
mod record;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bowline_disk::{Disk, read_record};
use bowline_runtime::{
    fs::File,
    metric::{Counter, Gauge},
    task, time,
};
use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use self::{
    log::{Log, Place, bytes_of},
    record::Record,
};
use crate::{Applied, Feed, LevelStatus, Mark, metrics::LevelMetrics};

/// How often what was put is made durable.
const EVERY: Duration = Duration::from_millis(200);
/// The most bytes that wait for that.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// The most reads at a time.
const READS_MAX: usize = 64;
/// The most entries.
const ENTRIES_MAX: usize = 500_000;
/// Tickets of keys that share one end together.
const BUCKETS: usize = 1024;

/// Where it is, and how many bytes it may take.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) bytes_max: u64,
}

/// The level of one cache.
pub(crate) struct Level {
    settings: Settings,
    state: Mutex<State>,
    reads: Semaphore,
    is_opened: watch::Sender<bool>,
    pub(crate) metrics: LevelMetrics,
    pub(crate) bytes: Gauge,
    pub(crate) dropped: Counter,
    pub(crate) evictions: Counter,
}

struct State {
    standing: Standing,
    index: BTreeMap<String, Known>,
    files: BTreeMap<u32, Arc<File>>,
    /// Up to where each feed was applied, durably or soon.
    marks: BTreeMap<Feed, Mark>,
    queue: Vec<Command>,
    queued_bytes: usize,
    ended: Box<[u64; BUCKETS]>,
    cleared: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Opening,
    /// It may have what was invalidated while nobody was there.
    Behind,
    Ready,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    place: Place,
    fresh_unix: u64,
}

/// Of when a load began: it may be put unless its key was invalidated since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskTicket {
    bucket: usize,
    ended: u64,
    cleared: u64,
}

enum Command {
    Put(DiskTicket, Record),
    Gone(Record),
    Clear(Vec<(Feed, Mark)>),
}

impl Level {
    pub(crate) fn new(settings: Settings, metrics: LevelMetrics, cells: (Gauge, Counter, Counter)) -> Self {
        let state = State {
            standing: Standing::Opening,
            index: BTreeMap::new(),
            files: BTreeMap::new(),
            marks: BTreeMap::new(),
            queue: Vec::new(),
            queued_bytes: 0,
            ended: Box::new([0; BUCKETS]),
            cleared: 0,
        };
        let (bytes, dropped, evictions) = cells;
        let (reads, is_opened) = (Semaphore::new(READS_MAX), watch::Sender::new(false));
        Self { settings, state: Mutex::new(state), reads, is_opened, metrics, bytes, dropped, evictions }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a load of that key needs to be put.
    pub(crate) fn ticket(&self, key: &str) -> DiskTicket {
        self.lock().ticket(key)
    }

    /// What it has of a key, and for how many more milliseconds that is fresh.
    pub(crate) async fn get(&self, key: &str) -> Option<(Bytes, u64)> {
        let got = self.read(key).await;
        if got.is_none() {
            self.metrics.misses.increment();
        }
        got
    }

    async fn read(&self, key: &str) -> Option<(Bytes, u64)> {
        let (known, file) = self.lock().find(key)?;
        let left = known.fresh_unix.checked_sub(time::unix_millis_now()).filter(|left| *left > 0)?;
        let _place = self.reads.try_acquire().ok()?;
        let Place { segment, offset } = known.place;
        let read = task::spawn_blocking(move || read_record(&file, segment, offset)).await.ok()?;
        let Ok(Ok(Record::Put { key: of, value, .. })) = read.map(|record| Record::decode(&record)) else {
            self.metrics.failed("read");
            return None;
        };
        // It may have gone meanwhile.
        let is_there = of == key && self.lock().find(key).is_some_and(|(now, _)| now == known);
        is_there.then(|| (value.into(), left))
    }

    /// Keeps a value, where nothing was invalidated since its load began.
    pub(crate) fn put(&self, key: &str, ticket: DiskTicket, value: &Bytes, fresh_unix: u64) {
        let mut state = self.lock();
        if state.standing == Standing::Failed || state.ticket(key) != ticket {
            return;
        }
        let bytes = bytes_of(key, value);
        if state.queued_bytes + bytes > QUEUE_BYTES_MAX || state.index.len() >= ENTRIES_MAX {
            self.dropped.increment();
            return;
        }
        state.queued_bytes += bytes;
        let record = Record::Put { key: key.to_owned(), fresh_unix, value: value.to_vec() };
        state.queue.push(Command::Put(ticket, record));
    }

    /// Drops keys at once, and durably soon.
    pub(crate) fn gone(&self, keys: &[String], applied: Option<&Applied>) {
        let mut state = self.lock();
        if state.standing == Standing::Failed {
            return;
        }
        let applied = applied.map(|applied| (applied.feed.clone(), applied.upto.clone()));
        if let Some((feed, mark)) = applied.clone() {
            state.marks.insert(feed, mark);
        }
        for key in keys {
            state.index.remove(key);
            let bucket = bucket(key);
            state.ended[bucket] += 1;
        }
        let bytes: usize = keys.iter().map(|key| bytes_of(key, &[])).sum();
        if state.queued_bytes + bytes > QUEUE_BYTES_MAX {
            let marks = state.marks.clone();
            return state.clear(marks);
        }
        state.queued_bytes += bytes;
        state.queue.push(Command::Gone(Record::Gone { keys: keys.to_vec(), applied }));
    }

    /// Drops everything at once, and durably soon.
    pub(crate) fn clear(&self, marks: impl IntoIterator<Item = (Feed, Mark)>) {
        let mut state = self.lock();
        if state.standing != Standing::Failed {
            state.clear(marks.into_iter().collect());
        }
    }

    /// Up to where a feed was applied to it, once it is open; where it does not know, it is emptied first.
    pub(crate) async fn mark(&self, feed: &str) -> Option<Mark> {
        self.is_opened.subscribe().wait_for(|is_opened| *is_opened).await.ok();
        let mut state = self.lock();
        let mark = state.marks.get(feed).cloned();
        if mark.is_none() && state.standing != Standing::Failed {
            let marks = state.marks.clone();
            state.clear(marks);
        }
        mark
    }

    /// Every feed was followed to its end: what it has now can be read.
    pub(crate) fn caught_up(&self) {
        let mut state = self.lock();
        if state.standing == Standing::Behind {
            state.standing = Standing::Ready;
        }
    }

    pub(crate) fn status(&self) -> LevelStatus {
        let is_left_alone = self.lock().standing == Standing::Failed;
        let bytes = u64::try_from(self.bytes.get()).ok();
        LevelStatus { bytes, bytes_max: Some(self.settings.bytes_max), ..self.metrics.status(is_left_alone) }
    }

    fn fail(&self, operation: &str, error: &std::io::Error) {
        let dir = self.settings.dir.display();
        tracing::warn!(%dir, operation, error = %error, "a cache leaves its disk alone until it is started again");
        self.metrics.failed(operation);
        self.metrics.open.set(1);
        let mut state = self.lock();
        state.standing = Standing::Failed;
        (state.index, state.files, state.queue) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        self.is_opened.send_replace(true);
    }

    /// Opens the folder.
    async fn open(self: &Arc<Self>) -> Option<Log> {
        let Settings { dir, bytes_max } = self.settings.clone();
        let opened = task::spawn_blocking(move || {
            let mut index = BTreeMap::new();
            let log = Log::open(&dir, Disk::default(), bytes_max, |found| match found {
                None => index.clear(),
                Some((place, Record::Put { key, fresh_unix, .. })) => {
                    _ = index.insert(key, Known { place, fresh_unix });
                }
                Some((_, Record::Gone { keys, .. })) => keys.iter().for_each(|key| _ = index.remove(key)),
                Some((_, Record::Begin { .. })) => {}
            });
            log.map(|log| (log, index))
        });
        let (log, index) = match opened.await.map_err(std::io::Error::other).flatten() {
            Ok(opened) => opened,
            Err(error) => {
                self.fail("open", &error);
                return None;
            }
        };
        let mut state = self.lock();
        // What was invalidated or put meanwhile is in the queue, and comes after what is on disk.
        if state.cleared == 0 {
            let gone = state.queued_keys();
            state.index.extend(index.into_iter().filter(|(key, _)| !gone.contains(key)));
            let marks = log.marks().iter().map(|(feed, mark)| (feed.clone(), mark.clone()));
            let marks: Vec<_> = marks.filter(|(feed, _)| !state.marks.contains_key(feed)).collect();
            state.marks.extend(marks);
        }
        state.files = log.files();
        state.standing = Standing::Behind;
        self.bytes.set(i64::try_from(log.bytes()).unwrap_or(i64::MAX));
        self.is_opened.send_replace(true);
        drop(state);
        Some(log)
    }

    /// Writes what is queued.
    fn write(&self, log: &mut Log, queue: Vec<Command>) -> std::io::Result<()> {
        let mut records = Vec::new();
        let mut tickets = Vec::new();
        for command in queue {
            match command {
                Command::Put(ticket, record) => {
                    tickets.push((records.len(), ticket));
                    records.push(record);
                }
                Command::Gone(record) => records.push(record),
                Command::Clear(marks) => {
                    log.clear(marks)?;
                    (records, tickets) = (Vec::new(), Vec::new());
                }
            }
        }
        let places = log.append(&records)?;
        let mut state = self.lock();
        let before = mem::replace(&mut state.files, log.files());
        if before.keys().any(|segment| !state.files.contains_key(segment)) {
            let State { index, files, .. } = &mut *state;
            let count = index.len();
            index.retain(|_, known| files.contains_key(&known.place.segment));
            self.evictions.add((count - index.len()) as u64);
        }
        for (at, ticket) in tickets {
            if let Record::Put { key, fresh_unix, .. } = &records[at]
                && state.ticket(key) == ticket
                && state.files.contains_key(&places[at].segment)
            {
                state.index.insert(key.clone(), Known { place: places[at], fresh_unix: *fresh_unix });
            }
        }
        self.bytes.set(i64::try_from(log.bytes()).unwrap_or(i64::MAX));
        Ok(())
    }
}

/// Opens the level and writes to it, until the cache is gone.
pub(crate) async fn run(level: Weak<Level>) {
    let Some(opening) = level.upgrade() else { return };
    let Some(mut log) = opening.open().await else { return };
    drop(opening);
    loop {
        time::sleep(EVERY).await;
        let Some(level) = level.upgrade() else { return };
        let queue = level.lock().take();
        if queue.is_empty() {
            continue;
        }
        let writing = Arc::clone(&level);
        let written = task::spawn_blocking(move || {
            let written = writing.write(&mut log, queue);
            (log, written)
        });
        match written.await {
            Ok((back, Ok(()))) => log = back,
            Ok((_, Err(error))) => return level.fail("write", &error),
            Err(error) => return level.fail("write", &std::io::Error::other(error)),
        }
    }
}

impl State {
    fn ticket(&self, key: &str) -> DiskTicket {
        let bucket = bucket(key);
        DiskTicket { bucket, ended: self.ended[bucket], cleared: self.cleared }
    }

    fn find(&self, key: &str) -> Option<(Known, Arc<File>)> {
        let known = *self.index.get(key).filter(|_| self.standing == Standing::Ready)?;
        Some((known, Arc::clone(self.files.get(&known.place.segment)?)))
    }

    fn clear(&mut self, marks: BTreeMap<Feed, Mark>) {
        self.index.clear();
        self.queue.clear();
        (self.cleared, self.queued_bytes) = (self.cleared + 1, 0);
        self.queue.push(Command::Clear(marks.iter().map(|(feed, mark)| (feed.clone(), mark.clone())).collect()));
        self.marks = marks;
    }

    fn take(&mut self) -> Vec<Command> {
        self.queued_bytes = 0;
        mem::take(&mut self.queue)
    }

    fn queued_keys(&self) -> std::collections::BTreeSet<String> {
        let keys = self.queue.iter().filter_map(|command| match command {
            Command::Gone(Record::Gone { keys, .. }) => Some(keys.clone()),
            _ => None,
        });
        keys.flatten().collect()
    }
}

/// The same in each run, though it need not be.
fn bucket(key: &str) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    #[expect(clippy::cast_possible_truncation, reason = "the lower bits are as good as any")]
    let bucket = hash as usize % BUCKETS;
    bucket
}
