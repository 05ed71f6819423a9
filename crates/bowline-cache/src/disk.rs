//! The level on disk, of one process: what it has survives a restart.
//!
//! What is put or gone goes through a queue, in order, to one writer, which makes it durable every fifth of a second.
//! What is gone is gone at once: it is out of the index, and out of the queue. A put whose load began before is refused
//! by its ticket. After a restart nothing is read before every feed was followed to its end again, from the marks that
//! were durable with what they removed; where that cannot be, it is emptied. A disk that fails closes the level, and
//! what it has is deleted: nobody would tell it what is invalidated from then on.

mod log;
mod record;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    io::ErrorKind,
    mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_disk::{Disk, RECORD_BYTES_MAX};
use bowline_runtime::{
    fs::File,
    metric::{Counter, Gauge},
    task, time,
};
use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use self::{
    log::{Bounds, Known, Log, Place, bytes_of, discard},
    record::Record,
};
use crate::{Applied, Feed, LevelStatus, Mark, metrics::LevelMetrics};

/// How often what was put is made durable.
const EVERY: Duration = Duration::from_millis(200);
/// The most bytes that wait for that.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// The most bytes of one record that says what is gone.
const GONE_BYTES_MAX: usize = RECORD_BYTES_MAX / 2;
/// The most reads at a time.
const READS_MAX: usize = 64;
/// The longest that a request waits for the disk.
const READ_MAX: Duration = Duration::from_millis(100);
/// So many reads that fail one after the other close the level. One that takes too long does not count: the disk, or
/// the machine, may be busy.
const READS_FAILED_MAX: u32 = 16;
/// The longest that feeds wait until it is open.
const OPEN_MAX: Duration = Duration::from_secs(15);
/// Tickets of keys that share one end together.
const BUCKETS: usize = 1024;

/// Where it is, and how many bytes it may take.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) bytes_max: u64,
    pub(crate) disk: Disk,
}

/// The level of one cache.
pub(crate) struct Level {
    settings: Settings,
    state: Mutex<State>,
    reads: Arc<Semaphore>,
    /// How many reads have failed since one went well.
    reads_failed: AtomicU32,
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
        let (reads, reads_failed) = (Arc::new(Semaphore::new(READS_MAX)), AtomicU32::new(0));
        let (state, is_opened) = (Mutex::new(state), watch::Sender::new(false));
        Self { settings, state, reads, reads_failed, is_opened, metrics, bytes, dropped, evictions }
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
        let now = time::unix_millis_now();
        // Put in the future: the clock was set back, and it is not known how old it is.
        let left = known.fresh_unix.checked_sub(now).filter(|left| *left > 0 && known.put_unix <= now)?;
        // Held until the disk has answered, however long the request waits.
        let place = Arc::clone(&self.reads).try_acquire_owned().ok()?;
        let (disk, Place { segment, offset }) = (self.settings.disk.clone(), known.place);
        let reading = task::spawn_blocking(move || {
            let _place = place;
            disk.read_record(&file, segment, offset).ok().and_then(|record| Record::decode(&record).ok())
        });
        let Ok(read) = time::timeout(READ_MAX, reading).await else {
            self.metrics.failed("read");
            return None;
        };
        let Ok(Some(Record::Put { key: of, value, .. })) = read else {
            self.read_failed();
            return None;
        };
        self.reads_failed.store(0, Relaxed);
        // It may have gone meanwhile.
        let is_there = of == key && self.lock().find(key).is_some_and(|(now, _)| now == known);
        is_there.then(|| (value.into(), left))
    }

    fn read_failed(&self) {
        if self.reads_failed.fetch_add(1, Relaxed) + 1 < READS_FAILED_MAX {
            self.metrics.failed("read");
        } else {
            self.fail("read", &std::io::Error::other("nothing can be read any more"));
        }
    }

    /// Keeps a value, where nothing was invalidated since its load began.
    pub(crate) fn put(&self, key: &str, ticket: DiskTicket, value: &Bytes, fresh_unix: u64) {
        let mut state = self.lock();
        if state.standing == Standing::Failed || state.ticket(key) != ticket {
            return;
        }
        let bytes = bytes_of(key, value);
        if state.queued_bytes + bytes > QUEUE_BYTES_MAX {
            self.dropped.increment();
            return;
        }
        state.queued_bytes += bytes;
        let (key, put_unix) = (key.to_owned(), time::unix_millis_now());
        let record = Record::Put { key, put_unix, fresh_unix, value: value.to_vec() };
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
        if state.queued_bytes + bytes > QUEUE_BYTES_MAX || bytes > GONE_BYTES_MAX {
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
        let mut is_opened = self.is_opened.subscribe();
        if time::timeout(OPEN_MAX, is_opened.wait_for(|is_opened| *is_opened)).await.is_err() {
            self.fail("open", &ErrorKind::TimedOut.into());
        }
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
        tracing::warn!(%dir, "a cache leaves its disk alone until it is started again");
        self.metrics.failed_by(operation, error);
        self.metrics.open.set(1);
        self.bytes.set(0);
        let mut state = self.lock();
        state.standing = Standing::Failed;
        (state.index, state.files, state.queue) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        self.is_opened.send_replace(true);
    }

    fn has_failed(&self) -> bool {
        self.lock().standing == Standing::Failed
    }

    /// Opens the folder; else why not.
    async fn open(self: &Arc<Self>) -> Result<Log, ErrorKind> {
        let Settings { dir, bytes_max, disk } = self.settings.clone();
        let opened = task::spawn_blocking(move || Log::open(&dir, disk, Bounds::of(bytes_max)));
        let (log, index) = match opened.await.map_err(std::io::Error::other).flatten() {
            Ok(opened) => opened,
            Err(error) => {
                self.fail("open", &error);
                return Err(error.kind());
            }
        };
        let mut state = self.lock();
        if state.standing == Standing::Failed {
            return Err(ErrorKind::TimedOut);
        }
        // What was invalidated or put meanwhile is in the queue, and comes after what is on disk.
        if state.cleared == 0 {
            let gone = state.queued_keys();
            state.index = index;
            for key in &gone {
                state.index.remove(key);
            }
            let marks = log.marks().iter().map(|(feed, mark)| (feed.clone(), mark.clone()));
            let marks: Vec<_> = marks.filter(|(feed, _)| !state.marks.contains_key(feed)).collect();
            state.marks.extend(marks);
        }
        state.files = log.files();
        state.standing = Standing::Behind;
        self.bytes.set(i64::try_from(log.bytes()).unwrap_or(i64::MAX));
        self.is_opened.send_replace(true);
        drop(state);
        Ok(log)
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
        if state.standing == Standing::Failed {
            return Ok(());
        }
        let before = mem::replace(&mut state.files, log.files());
        if before.keys().any(|segment| !state.files.contains_key(segment)) {
            let State { index, files, .. } = &mut *state;
            let count = index.len();
            index.retain(|_, known| files.contains_key(&known.place.segment));
            self.evictions.add((count - index.len()) as u64);
        }
        for (at, ticket) in tickets {
            if let Record::Put { key, put_unix, fresh_unix, .. } = &records[at]
                && state.ticket(key) == ticket
                && state.files.contains_key(&places[at].segment)
            {
                let known = Known { place: places[at], put_unix: *put_unix, fresh_unix: *fresh_unix };
                state.index.insert(key.clone(), known);
            }
        }
        self.bytes.set(i64::try_from(log.bytes()).unwrap_or(i64::MAX));
        Ok(())
    }
}

/// Opens the level and writes to it, until the cache is gone. Where it fails, deletes what can be deleted.
pub(crate) async fn run(level: Weak<Level>) {
    let Some(opening) = level.upgrade() else { return };
    let settings = opening.settings.clone();
    let opened = opening.open().await;
    drop(opening);
    let has_failed = match opened {
        Ok(log) => work(&level, log).await,
        // It is another process's.
        Err(ErrorKind::ResourceBusy) => false,
        Err(_) => true,
    };
    if !has_failed {
        return;
    }
    let discarded = task::spawn_blocking(move || discard(&settings.dir, &settings.disk)).await;
    if let Err(error) = discarded.map_err(std::io::Error::other).flatten() {
        tracing::warn!(error = %error, "a cache cannot delete what it has on a disk that has failed");
    }
}

/// Writes what is queued again and again; true where the level has failed, false where the cache is gone.
async fn work(level: &Weak<Level>, mut log: Log) -> bool {
    loop {
        time::sleep(EVERY).await;
        let Some(level) = level.upgrade() else { return false };
        if level.has_failed() {
            return true;
        }
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
            Ok((_, Err(error))) => {
                level.fail("write", &error);
                return true;
            }
            Err(error) => {
                level.fail("write", &std::io::Error::other(error));
                return true;
            }
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

#[cfg(test)]
mod tests;
