//! The task that follows one service: restore, then list, watch, and again after each failure.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bowline_model::{Instance, ServiceName};
use bowline_runtime::{
    rand, task,
    time::{self, Instant},
};
use bowline_store::Error as StoreError;
use tokio::sync::watch;

use super::{set::Set, snapshot::Snapshot};
use crate::{Error, InstanceEvent, InstanceWatch, Query, Registry};

/// How long a registry has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The bounds of the wait after failures; at least half of it is waited, by chance.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How often the set is listed though nothing failed: heals what a watch may have missed.
const RELIST_AFTER: Duration = Duration::from_mins(5);

/// How long a change waits for others before it is written to the folder.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// The most events that go out as one set.
const EVENTS_AT_ONCE_MAX: usize = 1000;

/// Follows one service.
pub(super) struct Follower {
    registry: Arc<dyn Registry>,
    service: ServiceName,
    path: Option<PathBuf>,
    set: Set,
    instances: watch::Sender<Arc<[Instance]>>,
    is_settled: watch::Sender<bool>,
    /// What is to be in the folder.
    snapshot: watch::Sender<Option<Snapshot>>,
    failures: u32,
}

impl Follower {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        service: ServiceName,
        path: Option<PathBuf>,
        instances: watch::Sender<Arc<[Instance]>>,
        is_settled: watch::Sender<bool>,
    ) -> Self {
        let (set, snapshot) = (Set::default(), watch::Sender::new(None));
        Self { registry, service, path, set, instances, is_settled, snapshot, failures: 0 }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let Some(path) = self.path.clone() else { return self.follow().await };
        self.restore(path.clone()).await;
        let snapshots = self.snapshot.subscribe();
        let written = snapshots.borrow().clone();
        let saver = save(path, self.service.clone(), snapshots, written);
        // Neither ends; both are dropped together.
        tokio::join!(self.follow(), saver);
    }

    /// Takes what the folder holds.
    async fn restore(&mut self, path: PathBuf) {
        let service = self.service.clone();
        let read = task::spawn_blocking(move || Snapshot::read(&path, &service));
        let snapshot = match read.await {
            Ok(Ok(Some(snapshot))) => snapshot,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                return tracing::warn!(service = %self.service, error, "last known instances cannot be read");
            }
            Err(error) => return tracing::error!(service = %self.service, %error, "reading a file failed"),
        };
        self.set = Set::restored(snapshot.instances.to_vec(), snapshot.seen);
        self.snapshot.send_replace(Some(snapshot));
        self.publish();
        if !self.instances.borrow().is_empty() {
            self.is_settled.send_replace(true);
        }
    }

    async fn follow(&mut self) {
        let mut can_resume = false;
        loop {
            let error = self.list_and_watch(can_resume).await;
            // A registry that tells its history refuses to resume in another one.
            let is_named = self.set.seen().is_some_and(|seen| seen.history.is_some());
            can_resume = match error {
                None | Some(Error::Compacted { .. } | Error::OtherHistory) => false,
                Some(_) => is_named && *self.is_settled.borrow(),
            };
            let Some(error) = error else { continue };
            // At its end a process closes its store before whoever follows it is gone.
            if self.failures == 0 && !matches!(error, Error::Store(StoreError::Closed)) {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(service = %self.service, error, "discovery lost the registry, keeps what it knows");
            }
            self.wait().await;
        }
    }

    /// Waits before the next attempt, longer after each failure.
    async fn wait(&mut self) {
        let longest = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let until = time::now() + longest.mul_f64(0.5 + rand::unit() / 2.0);
        while let Some(timer) = self.set.timer().filter(|timer| *timer < until) {
            time::sleep_until(timer).await;
            self.tick();
        }
        time::sleep_until(until).await;
    }

    /// Follows the registry until it fails, or until it is time to list anew.
    async fn list_and_watch(&mut self, can_resume: bool) -> Option<Error> {
        let relist_at = time::now() + RELIST_AFTER.mul_f64(0.5 + rand::unit() / 2.0);
        if !can_resume && let Err(error) = self.list().await {
            return Some(error);
        }
        let mut watch = match self.open_watch().await {
            Ok(watch) => watch,
            Err(error) => return Some(error),
        };
        let opened_at = time::now();
        let failed = self.follow_watch(&mut *watch, relist_at).await;
        if let Some(revision) = watch.revision() {
            self.set.advance(revision);
        }
        // One that fails at once is no recovery.
        if time::now() >= opened_at + BACKOFF_MAX {
            self.recovered();
        }
        failed
    }

    async fn list(&mut self) -> Result<(), Error> {
        let query = Query::service(self.service.clone());
        let discovered = answer(self.registry.discover(&query)).await?;
        if discovered.more {
            tracing::warn!(service = %self.service, "service has more instances than can be followed");
        }
        self.set.list(discovered, time::now());
        self.publish();
        self.is_settled.send_replace(true);
        Ok(())
    }

    async fn open_watch(&self) -> Result<Box<dyn InstanceWatch>, Error> {
        let Some(seen) = self.set.seen() else { return Err(Error::OtherHistory) };
        let query = Query { history: seen.history, ..Query::service(self.service.clone()) };
        answer(self.registry.watch(&query, seen.revision)).await
    }

    async fn follow_watch(&mut self, watch: &mut dyn InstanceWatch, relist_at: Instant) -> Option<Error> {
        loop {
            let wake_at = self.set.timer().map_or(relist_at, |timer| timer.min(relist_at));
            match time::timeout_at(wake_at, watch.next()).await {
                Ok(Ok(event)) => {
                    self.recovered();
                    let failed = self.apply_all(event, watch).await;
                    self.publish();
                    if failed.is_some() {
                        return failed;
                    }
                }
                Ok(Err(error)) => return Some(error),
                Err(_) => {
                    self.tick();
                    if time::now() >= relist_at {
                        return None;
                    }
                }
            }
        }
    }

    /// Applies an event and what is there already after it, to go out as one set.
    async fn apply_all(&mut self, first: InstanceEvent, watch: &mut dyn InstanceWatch) -> Option<Error> {
        self.set.apply(first, time::now());
        for _ in 0..EVENTS_AT_ONCE_MAX {
            match time::timeout(Duration::ZERO, watch.next()).await {
                Ok(Ok(event)) => self.set.apply(event, time::now()),
                Ok(Err(error)) => return Some(error),
                Err(_) => break,
            }
        }
        None
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(service = %self.service, "discovery follows the registry again");
        }
    }

    fn tick(&mut self) {
        self.set.tick(time::now());
        self.publish();
    }

    fn publish(&self) {
        let instances = self.set.instances();
        let is_new = self.instances.send_if_modified(|known| {
            let is_new = *known != instances;
            if is_new {
                *known = Arc::clone(&instances);
            }
            is_new
        });
        if let Some(seen) = self.set.seen().filter(|_| is_new || self.snapshot.borrow().is_none()) {
            self.snapshot.send_replace(Some(Snapshot { seen, instances }));
        }
    }
}

/// Waits for an answer, but not for ever.
async fn answer<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match time::timeout(ANSWER_WITHIN, asked).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(Error::Unavailable(Some(Arc::new(elapsed)))),
    }
}

/// Writes each set to the folder, a while after it changed.
async fn save(
    path: PathBuf,
    service: ServiceName,
    mut snapshots: watch::Receiver<Option<Snapshot>>,
    mut written: Option<Snapshot>,
) {
    while snapshots.changed().await.is_ok() {
        time::sleep(SAVE_AFTER).await;
        let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
        if written.as_ref().is_some_and(|written| written.instances == snapshot.instances) {
            continue;
        }
        let (path, service_name) = (path.clone(), service.clone());
        let to_write = snapshot.clone();
        match task::spawn_blocking(move || to_write.write(&path, &service_name)).await {
            Ok(Ok(())) => written = Some(snapshot),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%service, error, "known instances cannot be written");
            }
            Err(error) => tracing::error!(%service, %error, "writing a file failed"),
        }
    }
}
