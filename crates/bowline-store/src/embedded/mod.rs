//! The embedded provider: one file, group commit, durable before answered.
//!
//! ```text
//! commit ─▶ queue ─▶ writer: judge the batch ─▶ write, one sync ─▶ publish ─▶ answer
//!                            (draft)            (disk)             (memory)
//! get, range, watch ◀──────────────────────────────────────────────┘
//! ```
//!
//! Nothing is published, and so nothing is read or watched, before it is durable. When the disk is
//! full or fails, writes are refused and reads go on; a full disk is tried again each second, a
//! disk whose sync failed is not until the process is started again.

mod codec;
mod disk;
mod draft;
mod file;
mod leases;
mod memory;
mod metrics;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::{future::ready, path::PathBuf, sync::Arc, time::Duration};

use bowline_runtime::{BoxFuture, metric, task};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    disk::{Disk, Loaded},
    draft::Bounds,
    file::Opener,
    leases::Leases,
    memory::{Memory, Shared},
    metrics::Metrics,
    watch::{Cursor, Open},
    writer::{Command, QUEUE_MAX, Writer},
};
use crate::{
    Entry, Error, HistoryId, LeaseId, Page, RANGE_MAX, Revision, Store, Txn, Watch, check_key, check_ttl, check_txn,
};

/// Where an [`Embedded`] store lives, and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file; its folder is created.
    pub path: PathBuf,
    /// The most events kept for watchers that resume.
    pub history_max: usize,
    /// The most bytes of keys and values; beyond, puts are refused with [`Error::Full`].
    pub data_bytes_max: u64,
    /// The most watches at once.
    pub watchers_max: usize,
    /// The most leases at once.
    pub leases_max: usize,
}

impl Settings {
    /// A store in that file: 10,000 events, 256 MiB, 10,000 watches, 1,000,000 leases.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            history_max: 10_000,
            data_bytes_max: 256 << 20,
            watchers_max: 10_000,
            leases_max: 1_000_000,
        }
    }
}

/// A store in one file of this process. Cheap to clone; the file is released when the last clone
/// is dropped and what is queued is written.
#[derive(Debug, Clone)]
pub struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Command>,
    watches: Arc<Semaphore>,
    metrics: Metrics,
    _expiry: task::Guarded<()>,
}

impl Embedded {
    /// Opens the file, or creates it, and reads all of it. Its tasks run in the current runtime.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process holds the file, [`Error::Format`] when a later release
    /// wrote it, [`Error::Corrupt`] when it is damaged or no store, [`Error::Io`], [`Error::Full`].
    ///
    /// # Cancel safety
    /// The file is created or left alone, and released.
    pub async fn open(settings: Settings, metrics: &metric::Registry) -> Result<Self, Error> {
        Self::open_with(settings, metrics, file::opener()).await
    }

    async fn open_with(settings: Settings, metrics: &metric::Registry, opener: Opener) -> Result<Self, Error> {
        let path = settings.path.clone();
        // The engine may panic on a file that others damaged.
        let opened = task::spawn_blocking({
            let path = path.clone();
            move || Disk::open(&path, opener)
        });
        let corrupt = |_| Error::Corrupt { path, reason: "the engine cannot read it".to_owned() };
        let (disk, loaded) = opened.await.map_err(corrupt)??;
        Ok(Self::start(&settings, disk, loaded, Metrics::new(metrics)))
    }

    fn start(settings: &Settings, disk: Disk, loaded: Loaded, metrics: Metrics) -> Self {
        let Settings { path: _, history_max, data_bytes_max, watchers_max, leases_max } = *settings;
        let Loaded { history, meta, entries, steps, leases } = loaded;
        let mut memory = Memory::new(entries, meta.revision, history_max);
        for step in steps {
            memory.push(step);
        }
        let leases = Leases::new(&leases, &memory);
        let shared = Arc::new(Shared::new(history, memory, leases));
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let bounds = Bounds { data_bytes_max, leases_max };
        let writer =
            Writer { shared: Arc::clone(&shared), disk, bounds, meta, metrics: metrics.clone(), failure: None };
        writer.measure();
        // Not tied to this handle: what is queued is written when the handle is dropped.
        drop(task::spawn(writer::run(writer, commands)));
        let expiry = task::spawn(leases::expire(Arc::clone(&shared), queue.clone()));
        let watches = Arc::new(Semaphore::new(watchers_max.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { shared, queue, watches, metrics, _expiry: task::Guarded::new(expiry) }))
    }

    /// Writes what is queued, stops, and releases the file; later writes are [`Error::Closed`].
    ///
    /// # Cancel safety
    /// It closes all the same.
    pub async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.0.queue.send(Command::Close { answer }).await.is_ok() {
            closed.await.ok();
        }
    }

    /// Hands the writer a command and waits for the answer.
    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.0.queue.send(make(answer)).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    async fn write(&self, txn: Txn, ttl: Option<Duration>) -> Result<(Revision, Option<LeaseId>), Error> {
        check_txn(&txn)?;
        ttl.map_or(Ok(()), check_ttl)?;
        self.ask(|answer| Command::Commit { txn, ttl, answer }).await
    }

    async fn write_leased(&self, txn: Txn, ttl: Duration) -> Result<(Revision, LeaseId), Error> {
        let (revision, lease) = self.write(txn, Some(ttl)).await?;
        Ok((revision, lease.expect("a commit with a lifetime grants a lease")))
    }

    fn open_watch(&self, prefix: &str, from: Revision) -> Result<Watch, Error> {
        let Ok(permit) = Arc::clone(&self.0.watches).try_acquire_owned() else {
            self.0.metrics.watches_refused.increment();
            return Err(Error::TooMany { what: "watches" });
        };
        let open = Open::new(&self.0.metrics.watches);
        Cursor::new(Arc::clone(&self.0.shared), prefix, from, permit, open).map(Watch::new)
    }
}

/// A future of what is known already.
fn now<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(ready(value))
}

impl Store for Embedded {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        now(check_key(key).map(|()| self.0.shared.read().entries.get(key).cloned()))
    }

    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Page, Error>> {
        now(Ok(self.0.shared.read().page(prefix, after, limit.min(RANGE_MAX))))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        Box::pin(async { self.write(txn, None).await.map(|(revision, _)| revision) })
    }

    fn commit_leased(&self, txn: Txn, ttl: Duration) -> BoxFuture<'_, Result<(Revision, LeaseId), Error>> {
        Box::pin(self.write_leased(txn, ttl))
    }

    fn watch(&self, prefix: &str, from: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        now(self.open_watch(prefix, from))
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        Box::pin(async move { self.write_leased(Txn::default(), ttl).await.map(|(_, lease)| lease) })
    }

    fn keep_alive(&self, leases: &[LeaseId]) -> BoxFuture<'_, Result<Vec<Result<Duration, Error>>, Error>> {
        now(Ok(self.0.shared.leases.renew(leases)))
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            // The place first: once the lease is ending, nothing may keep its end from the writer.
            let place = self.0.queue.reserve().await.map_err(|_| Error::Closed)?;
            self.0.shared.leases.revoke(lease);
            let (answer, answered) = oneshot::channel();
            place.send(Command::End { lease, answer: Some(answer) });
            answered.await.map_err(|_| Error::Closed)?
        })
    }

    fn time_left(&self, lease: LeaseId) -> BoxFuture<'_, Result<Duration, Error>> {
        now(self.0.shared.leases.time_left(lease))
    }

    fn lease_keys(&self, lease: LeaseId) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        now(Ok(self.0.shared.leases.keys(lease).into_iter().collect()))
    }

    fn history(&self) -> BoxFuture<'_, Result<HistoryId, Error>> {
        now(Ok(self.0.shared.history))
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        now(Ok(self.0.shared.read().revision))
    }

    fn is_writable(&self) -> bool {
        !self.0.shared.is_lost()
    }
}
