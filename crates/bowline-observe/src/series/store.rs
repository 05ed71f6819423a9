//! The series store: takes samples without waiting for the disk, writes them behind, finds them again.

mod read;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bowline_disk::Disk;
use bowline_runtime::{rand, task, time};
use tokio::sync::Notify;

use crate::{
    labels::Labels,
    series::{
        BYTES_MAX_MIN, Error, Settings,
        block::{Block, Cache},
        head::{Chunks, Head},
        metrics::Metrics,
        writer::Writer,
    },
    source::{Appended, SeriesRef},
};

/// Keeps samples on disk under a hard cap, and finds series. Cheap to clone; a [`Source`](crate::source::Source).
///
/// **Durability.** Samples are not acknowledged data. They are written and synced every
/// [`Settings::flush_every`] and at [`SeriesStore::close`]: what was appended before that survives both a
/// crash of the process and a power loss. While a block is written, that is about a second later.
///
/// **Consistency.** A reader sees every sample whose [`SeriesStore::append`] returned before.
#[derive(Clone)]
pub struct SeriesStore(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<Writer>>>,
}

/// What readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    head: Mutex<Head>,
    /// What left the head and is no block yet. A reader looks at the head first, then here, then at the
    /// blocks: in that order samples move, so none is missed, and one that is seen twice is given once.
    frozen: Mutex<Option<Arc<Vec<Chunks>>>>,
    blocks: Mutex<Arc<Vec<Arc<Block>>>>,
    cache: Cache,
    bytes: AtomicU64,
    is_closed: AtomicBool,
    changed: Notify,
    pub(crate) metrics: Metrics,
}

impl Shared {
    pub(crate) fn head(&self) -> MutexGuard<'_, Head> {
        lock(&self.head)
    }

    pub(crate) fn set_frozen(&self, series: Option<Arc<Vec<Chunks>>>) {
        let before = std::mem::replace(&mut *lock(&self.frozen), series);
        // Not while the lock is held: it is much to give back.
        drop(before);
    }

    pub(crate) fn set_blocks(&self, blocks: &[Arc<Block>]) {
        *lock(&self.blocks) = Arc::new(blocks.to_vec());
    }

    pub(crate) fn bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl SeriesStore {
    /// Opens the folder, reads what its log says and starts the writer on the current runtime.
    ///
    /// Blocks while it reads: about a second for two hours of 10 000 series.
    ///
    /// # Errors
    /// [`Error::CapTooSmall`], [`Error::Locked`], [`Error::Version`], [`Error::Io`]. Damage is no error: it
    /// is cut off or skipped, logged and counted.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[expect(clippy::needless_pass_by_value, reason = "as the trace store is opened")]
    pub fn open(settings: Settings) -> Result<Self, Error> {
        Self::open_on(Disk::default(), &settings)
    }

    pub(crate) fn open_on(disk: Disk, settings: &Settings) -> Result<Self, Error> {
        if settings.bytes_max < BYTES_MAX_MIN {
            return Err(Error::CapTooSmall { bytes_max: settings.bytes_max });
        }
        // So that a reference of another opening is not taken for one of this: not impossible, but unlikely.
        let first_stamp = (rand::u64() >> 33) as u32;
        let shared = Arc::new(Shared {
            head: Mutex::new(Head::new(settings, first_stamp)),
            frozen: Mutex::default(),
            blocks: Mutex::default(),
            cache: Cache::default(),
            bytes: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            changed: Notify::new(),
            metrics: Metrics::new(&settings.metrics),
        });
        let writer = Arc::new(Mutex::new(Some(Writer::open(settings, disk, &shared)?)));
        task::spawn(run(Arc::clone(&shared), Arc::clone(&writer), settings.flush_every));
        Ok(Self(Arc::new(Handle { shared, writer })))
    }

    /// The series of those labels, to append to; of this opening of the store.
    ///
    /// It holds as long as the series takes samples: one that had none for two to four hours, or whose last
    /// one was [`STALE`](crate::source::STALE) when a block was written, is let go, and has to be asked for
    /// again ([`Appended::unknown`]).
    ///
    /// # Errors
    /// [`Error::TooManySeries`], [`Error::InvalidLabels`], [`Error::Closed`].
    pub fn intern(&self, labels: &Labels) -> Result<SeriesRef, Error> {
        let shared = &self.0.shared;
        let mut head = shared.head();
        let interned = head.intern(labels);
        let is_full = interned.is_err() && head.is_full();
        drop(head);
        if let Err(Error::TooManySeries { .. }) = interned {
            shared.metrics.series_refused.increment();
        }
        if is_full {
            shared.changed.notify_one();
        }
        interned
    }

    /// Takes samples of one time, in milliseconds since 1970; never waits for the disk.
    ///
    /// Each has to be later than the last one of its series, at most an hour older than the newest of all series
    /// and at most 10 minutes in the future; the same once more is fine. What is not taken is dropped and counted in
    /// `bowline_series_samples_dropped_total`, but for unknown references.
    pub fn append(&self, at_ms: i64, samples: &[(SeriesRef, f64)]) -> Appended {
        let shared = &self.0.shared;
        let now_ms = i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX);
        let mut head = shared.head();
        let appended = head.append(at_ms, now_ms, samples);
        let is_due = appended.refused > 0 || head.is_queue_filling() || head.is_full();
        drop(head);
        let metrics = &shared.metrics;
        metrics.appended.add(appended.kept as u64);
        if appended.kept < samples.len() {
            metrics.dropped_out_of_order.add(appended.out_of_order as u64);
            metrics.dropped_duplicate.add(appended.duplicate as u64);
            metrics.dropped_too_new.add(appended.too_new as u64);
            metrics.dropped_too_old.add(appended.too_old as u64);
            metrics.dropped_queue_full.add(appended.refused as u64);
        }
        if is_due {
            shared.changed.notify_one();
        }
        appended
    }

    /// Makes everything appended so far survive a power loss.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoRoom`]: it is tried again with the next flush. [`Error::Closed`].
    ///
    /// # Cancel safety
    /// What was begun goes on.
    pub async fn flush(&self) -> Result<(), Error> {
        work(&self.0.writer, false).await
    }

    /// Takes no more samples, writes and syncs the rest, and lets the folder go.
    ///
    /// # Cancel safety
    /// What was begun goes on; at the latest the store's own task closes it.
    pub async fn close(self) {
        self.0.shared.close();
        if let Err(error) = work(&self.0.writer, true).await
            && !matches!(error, Error::Closed)
        {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot flush the series store");
        }
    }

    /// How many samples it took since it was opened.
    pub fn samples_taken(&self) -> u64 {
        self.0.shared.metrics.appended.get()
    }

    /// The sum of the files' sizes now.
    pub fn bytes_on_disk(&self) -> u64 {
        self.0.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn close(&self) {
        self.head().close();
        self.is_closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for SeriesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesStore").field("bytes_on_disk", &self.bytes_on_disk()).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the writer work, on a thread that may block; the last time, it lets the folder go.
async fn work(writer: &Arc<Mutex<Option<Writer>>>, is_last: bool) -> Result<(), Error> {
    let writer = Arc::clone(writer);
    let working = task::spawn_blocking(move || {
        let mut writer = lock(&writer);
        let worked = writer.as_mut().map_or(Err(Error::Closed), Writer::work);
        if is_last {
            drop(writer.take());
        }
        worked
    });
    working.await.map_err(|_| Error::Closed)?
}

/// The writer's task: waits here, works on a blocking thread.
async fn run(shared: Arc<Shared>, writer: Arc<Mutex<Option<Writer>>>, flush_every: time::Duration) {
    loop {
        // Whether woken or late, what is to be done is seen below.
        drop(time::timeout(flush_every, shared.changed.notified()).await);
        let is_last = shared.is_closed.load(Ordering::Acquire);
        match work(&writer, is_last).await {
            Ok(()) => {}
            Err(Error::Closed) => return,
            Err(error) => {
                shared.metrics.writes_failed.increment();
                tracing::error!(error = &error as &dyn std::error::Error, "cannot write the series store");
                if !is_last {
                    // However much waits, a disk that refuses is not asked more often.
                    time::sleep(flush_every).await;
                }
            }
        }
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
