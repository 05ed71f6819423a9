//! The trace store: takes spans without blocking, writes them behind, finds them again.

mod queue;
mod read;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bowline_disk::Disk;
use bowline_runtime::{
    task,
    time::{self, Instant},
};
use bowline_telemetry::{SpanData, TraceId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::traces::{
    BYTES_MAX_MIN, Error, Found, Page, Query, Settings,
    metrics::Metrics,
    tap,
    writer::{Opened, SharedIndex, Writer},
};
use queue::{Queue, Work};

/// How many searches read at once; others wait.
const SEARCHES_MAX: usize = 4;
/// How many single traces are read at once; each takes up to 64 MiB of memory.
const READS_MAX: usize = 4;
/// How many observations of a whole time are made at once; each reads page after page.
const OBSERVATIONS_MAX: usize = 1;

/// Keeps spans on disk under a hard cap, and finds traces. Cheap to clone.
///
/// **Durability.** Spans are not acknowledged data. They are written within about 100 ms, which a
/// crash of the process survives, and synced once a second and at [`TraceStore::close`], which a
/// power loss survives.
///
/// **Consistency.** [`TraceStore::trace`] and [`TraceStore::search`] see every span whose
/// [`TraceStore::append`] returned before.
#[derive(Clone)]
pub struct TraceStore(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
}

struct Shared {
    queue: Queue,
    index: SharedIndex,
    bytes: AtomicU64,
    search_bytes_max: u64,
    searches: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    observations: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// How far the writer is, in appended batches.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    written: u64,
    synced: u64,
    syncs_failed: u64,
}

impl TraceStore {
    /// Opens the folder, reads what is in it and starts the writer on the current runtime.
    ///
    /// Blocks while it reads: seconds for gigabytes.
    ///
    /// # Errors
    /// [`Error::CapTooSmall`], [`Error::Locked`], [`Error::Version`], [`Error::Io`]. Damage is no
    /// error: it is cut off or skipped, logged and counted.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        Self::open_on(Disk::default(), settings)
    }

    fn open_on(disk: Disk, settings: Settings) -> Result<Self, Error> {
        if settings.bytes_max < BYTES_MAX_MIN {
            return Err(Error::CapTooSmall { bytes_max: settings.bytes_max });
        }
        let metrics = Arc::new(Metrics::new(&settings.metrics));
        let Opened { writer, index, recent } = Writer::open(&settings, disk, &metrics)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.queue_bytes_max),
            index,
            bytes: AtomicU64::new(writer.bytes()),
            search_bytes_max: settings.search_bytes_max,
            searches: Arc::new(Semaphore::new(SEARCHES_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            observations: Arc::new(Semaphore::new(OBSERVATIONS_MAX)),
            metrics,
        });
        if let Some(tap) = settings.tap.clone().filter(|_| !recent.is_empty()) {
            let shared = Arc::clone(&shared);
            drop(task::spawn_blocking(move || tap::replay(&*tap, &recent, || shared.queue.is_closed())));
        }
        let (progress, seen) = watch::channel(Progress::default());
        task::spawn(run(Arc::clone(&shared), writer, settings, progress));
        Ok(Self(Arc::new(Handle { shared, progress: seen })))
    }

    /// Takes spans to be written; gives how many it took: all, or none when there is no room now.
    ///
    /// Never blocks. Of a batch that is larger than the whole queue, the first spans are taken. What
    /// is not taken is dropped and counted in `bowline_traces_spans_dropped_total`.
    pub fn append(&self, spans: Vec<SpanData>) -> usize {
        let shared = &self.0.shared;
        let count = spans.len();
        let taken = shared.queue.push(spans);
        shared.metrics.dropped_queue_full.add((count - taken) as u64);
        taken
    }

    /// The spans of a trace by their begin; `None` when it is not known.
    ///
    /// Spans that were reported twice are given once. Of a huge trace, the spans first written are
    /// given, up to 64 MiB.
    ///
    /// # Errors
    /// [`Error::Closed`]. A record that became unreadable is skipped, logged and counted.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn trace(&self, trace_id: TraceId) -> Result<Option<Vec<SpanData>>, Error> {
        self.written().await?;
        let shared = &self.0.shared;
        read_at_most(&shared.reads, shared, move |shared| read::trace(&shared.index, &shared.metrics, trace_id)).await
    }

    /// Traces that match, the ones that began last first, or in another [`Query::order`].
    ///
    /// A search by attributes reads spans; it ends, and says so, after those of 100 000 traces, or after
    /// [`Settings::search_bytes_max`]. Four searches read at once, others wait for them.
    ///
    /// # Errors
    /// As [`TraceStore::trace`].
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn search(&self, query: &Query) -> Result<Found, Error> {
        self.written().await?;
        let shared = &self.0.shared;
        let query = query.clone();
        let search = move |shared: &Shared| {
            shared.metrics.searches_running.add(1);
            let found = read::search(&shared.index, &shared.metrics, &query, shared.search_bytes_max);
            shared.metrics.searches_running.add(-1);
            found
        };
        read_at_most(&shared.searches, shared, search).await
    }

    /// Traces that match, the ones that began last first, with the spans of all: up to 64 MiB of spans.
    ///
    /// Traces that follow each other mostly share records, and each record is read once.
    ///
    /// # Errors
    /// As [`TraceStore::trace`].
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn page(&self, query: &Query) -> Result<Page, Error> {
        let Found { traces, is_cut, next } = self.search(query).await?;
        let ids: Vec<TraceId> = traces.into_iter().map(|trace| trace.trace_id).collect();
        let shared = &self.0.shared;
        let read = move |shared: &Shared| read::traces(&shared.index, &shared.metrics, &ids);
        let (traces, is_whole) = read_at_most(&shared.reads, shared, read).await?;
        Ok(Page { traces, is_cut: is_cut || !is_whole, next })
    }

    /// From when on every trace that began is kept, in nanoseconds since 1970; 0 where nothing was deleted.
    pub fn kept_since(&self) -> u64 {
        self.0.shared.index.lock().kept_since()
    }

    /// The place of one observation, so long as it is held; waits where another has it.
    pub(crate) async fn observing(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.0.shared.observations).acquire_owned().await.map_err(|_| Error::Closed)
    }

    /// Makes everything appended so far, and kept, survive a power loss.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NotSynced`].
    ///
    /// # Cancel safety
    /// What was begun goes on.
    pub async fn flush(&self) -> Result<(), Error> {
        let failed = self.0.progress.borrow().syncs_failed;
        let appended = self.0.shared.queue.request_sync();
        let now = self.reached(|now| now.synced >= appended || now.syncs_failed > failed).await?;
        if now.synced >= appended { Ok(()) } else { Err(Error::NotSynced) }
    }

    /// Takes no more spans, writes and syncs the rest, and lets the folder go.
    ///
    /// # Cancel safety
    /// What was begun goes on.
    pub async fn close(self) {
        self.0.shared.queue.close();
        let mut progress = self.0.progress.clone();
        // The writer drops its side when all is done.
        while progress.changed().await.is_ok() {}
    }

    /// The sum of the files' sizes now.
    pub fn bytes_on_disk(&self) -> u64 {
        self.0.shared.bytes.load(Ordering::Relaxed)
    }

    /// Waits until what was appended before can be read.
    async fn written(&self) -> Result<(), Error> {
        let appended = self.0.shared.queue.request_write();
        self.reached(|now| now.written >= appended).await.map(drop)
    }

    async fn reached(&self, is_reached: impl Fn(&Progress) -> bool) -> Result<Progress, Error> {
        let mut progress = self.0.progress.clone();
        let reached = progress.wait_for(|now| is_reached(now)).await;
        reached.map(|now| *now).map_err(|_| Error::Closed)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl fmt::Debug for TraceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceStore").field("bytes_on_disk", &self.bytes_on_disk()).finish()
    }
}

/// Reads on a blocking thread, when there is a place.
async fn read_at_most<T: Send + 'static>(
    places: &Arc<Semaphore>,
    shared: &Arc<Shared>,
    read: impl FnOnce(&Shared) -> T + Send + 'static,
) -> Result<T, Error> {
    // Held by the thread: a caller that gives up does not end the reading.
    let place = Arc::clone(places).acquire_owned().await.map_err(|_| Error::Closed)?;
    let shared = Arc::clone(shared);
    let reading = task::spawn_blocking(move || {
        let _place = place;
        read(&shared)
    });
    reading.await.map_err(|_| Error::Closed)
}

/// Closes the queue when the writer ends, however it does.
struct CloseAtEnd(Arc<Shared>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        let lost = self.0.queue.abandon();
        self.0.metrics.dropped_write_failed.add(lost as u64);
    }
}

/// The writer's task: waits here, works on a blocking thread.
async fn run(shared: Arc<Shared>, writer: Writer, settings: Settings, progress: watch::Sender<Progress>) {
    let writer = Arc::new(Mutex::new(writer));
    // Dropped before `progress`: who hears that the writer is gone finds the queue closed.
    let _close = CloseAtEnd(Arc::clone(&shared));
    let mut now = Progress::default();
    let mut sync_at: Option<Instant> = None;
    loop {
        let work = shared.queue.next(now.synced, settings.gather_for, sync_at).await;
        let Work { spans, appended, is_sync, is_last } = work;
        let worker = Arc::clone(&writer);
        let done = task::spawn_blocking(move || {
            let mut writer = worker.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write(&spans);
            let is_synced = is_sync && writer.sync().is_ok();
            (writer.bytes(), writer.is_dirty(), is_synced)
        });
        let Ok((bytes, is_dirty, is_synced)) = done.await else {
            tracing::error!("the trace store's writer failed");
            return;
        };
        shared.bytes.store(bytes, Ordering::Relaxed);
        now.written = appended;
        if is_synced {
            now.synced = appended;
        } else if is_sync {
            now.syncs_failed += 1;
        }
        sync_at = match sync_at {
            _ if !is_dirty => None,
            Some(at) if !is_sync => Some(at),
            Some(_) | None => Some(time::now() + settings.flush_every),
        };
        if is_last {
            drop(writer);
            return;
        }
        progress.send_replace(now);
    }
}

#[cfg(test)]
mod tests;
