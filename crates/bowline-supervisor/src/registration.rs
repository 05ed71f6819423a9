//! Keeps the registry in step with what runs, whatever the registry does meanwhile.
//!
//! Each instance has a task that brings the registry to what is wanted of it, one call after the
//! other, and tries again until it is so. One more task sends the heartbeats of all.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_model::{Health, Instance, InstanceId, instance::METADATA_SUPERVISED};
use bowline_registry::{Error, HEARTBEATS_MAX, Query, Registry, health::ProbeWatcher};
use bowline_runtime::{task, time};
use tokio::sync::watch;

/// The longest a call to the registry may take.
const CALL_MAX: Duration = Duration::from_secs(5);

/// The wait after a failed call; it doubles each time, up to the second.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// How often the removal of an earlier run's registrations is tried.
const CLEAR_ATTEMPTS_MAX: u32 = 5;

/// Who registers for all instances. Dropping it ends the heartbeats.
#[derive(Debug)]
pub(crate) struct Registrar {
    shared: Arc<Shared>,
    _heartbeats: task::Guarded<()>,
}

struct Shared {
    registry: Arc<dyn Registry>,
    lease_ttl: Duration,
    /// What is registered now, and where to say that it must be again.
    registered: Mutex<BTreeMap<InstanceId, watch::Sender<Wanted>>>,
}

/// What is wanted of the registry for one instance.
#[derive(Debug, Clone, Default)]
struct Wanted {
    /// Grows with each change.
    generation: u64,
    /// Absent: not registered.
    instance: Option<Instance>,
}

/// One instance's place in the registry. Dropping it leaves the registry as it is, until the lease ends.
#[derive(Debug)]
pub(crate) struct Registration {
    wanted: watch::Sender<Wanted>,
    done: watch::Receiver<u64>,
    _task: task::Guarded<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("lease_ttl", &self.lease_ttl).finish_non_exhaustive()
    }
}

/// Marks an instance as registered by a supervisor.
pub(crate) fn mark(instance: &mut Instance, pid: u32) {
    instance.metadata.insert(METADATA_SUPERVISED.to_owned(), "true".to_owned());
    instance.metadata.insert("pid".to_owned(), pid.to_string());
}

/// Removes what an earlier run left in the registry: its processes are dead.
pub(crate) async fn clear(registry: &dyn Registry, watcher: &dyn ProbeWatcher) -> Result<(), Error> {
    let mut attempt = 1;
    while let Err(error) = clear_once(registry, watcher).await {
        if attempt == CLEAR_ATTEMPTS_MAX {
            return Err(error);
        }
        tracing::warn!(%error, "the registrations of an earlier run are not removed yet");
        time::sleep(retry_wait(attempt)).await;
        attempt += 1;
    }
    Ok(())
}

async fn clear_once(registry: &dyn Registry, watcher: &dyn ProbeWatcher) -> Result<(), Error> {
    let mut query = Query::default();
    loop {
        let found = bounded(registry.discover(&query)).await?;
        for instance in found.instances.iter().filter(|instance| instance.metadata.contains_key(METADATA_SUPERVISED)) {
            watcher.leaves(&instance.id, "an earlier run of Bowline left it behind");
            bounded(registry.deregister(&instance.id)).await?;
        }
        query.after = found.instances.last().map(|instance| instance.id.clone());
        if !found.more || query.after.is_none() {
            return Ok(());
        }
    }
}

impl Registrar {
    pub(crate) fn new(registry: Arc<dyn Registry>, lease_ttl: Duration, heartbeat_every: Duration) -> Self {
        let shared = Arc::new(Shared { registry, lease_ttl, registered: Mutex::default() });
        let heartbeats = task::spawn(beat(shared.clone(), heartbeat_every));
        Self { shared, _heartbeats: task::Guarded::new(heartbeats) }
    }

    /// The place of an instance that is not registered yet. Calls back whenever it was registered, with its
    /// health, or deregistered.
    pub(crate) fn place(
        &self,
        id: InstanceId,
        on_change: impl Fn(Option<Health>) + Send + Sync + 'static,
    ) -> Registration {
        let (wanted, changes) = watch::channel(Wanted::default());
        let (done, done_seen) = watch::channel(0);
        let keeping = Keeping { shared: self.shared.clone(), id, wanted: wanted.clone(), on_change };
        Registration { wanted, done: done_seen, _task: task::Guarded::new(task::spawn(keeping.run(changes, done))) }
    }
}

impl Registration {
    /// Wants the instance registered like this, or not at all, and returns at once. What is wanted already is not
    /// done again.
    pub(crate) fn want(&self, instance: Option<Instance>) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.instance != instance;
            if is_new {
                wanted.generation += 1;
                wanted.instance = instance;
            }
            is_new
        });
    }

    /// Waits until the registry is as wanted now.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn settled(&self) {
        let generation = self.wanted.borrow().generation;
        self.done.clone().wait_for(|done| *done >= generation).await.ok();
    }
}

/// What the task of one instance works with.
struct Keeping<F> {
    shared: Arc<Shared>,
    id: InstanceId,
    wanted: watch::Sender<Wanted>,
    on_change: F,
}

impl<F: Fn(Option<Health>) + Send + Sync> Keeping<F> {
    /// Brings the registry to what is wanted, again and again.
    async fn run(self, mut changes: watch::Receiver<Wanted>, done: watch::Sender<u64>) {
        let mut attempt = 0;
        loop {
            let wanted = changes.borrow_and_update().clone();
            if wanted.generation > *done.borrow() {
                // Never cancelled for a newer wish: two calls at once could happen in either order.
                if let Err(error) = self.bring(wanted.instance).await {
                    attempt += 1;
                    tracing::warn!(%error, instance = %self.id, attempt, "the registry is not in step yet");
                    time::timeout(retry_wait(attempt), changes.changed()).await.ok();
                    continue;
                }
                attempt = 0;
                done.send_replace(wanted.generation);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn bring(&self, instance: Option<Instance>) -> Result<(), Error> {
        let shared = &self.shared;
        if let Some(instance) = instance {
            let health = instance.health;
            bounded(shared.registry.register(instance, Some(shared.lease_ttl))).await?;
            shared.lock().insert(self.id.clone(), self.wanted.clone());
            (self.on_change)(Some(health));
        } else {
            shared.lock().remove(&self.id);
            bounded(shared.registry.deregister(&self.id)).await?;
            (self.on_change)(None);
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, watch::Sender<Wanted>>> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the leases; who is no longer known is registered again.
    async fn beat_once(&self) -> Result<(), Error> {
        let ids: Vec<InstanceId> = {
            let mut registered = self.lock();
            // Whose place is given up, though the registry was never told: its lease is to end.
            registered.retain(|_, wanted| !wanted.is_closed());
            registered.keys().cloned().collect()
        };
        for ids in ids.chunks(HEARTBEATS_MAX) {
            let answers = bounded(self.registry.heartbeat(ids)).await?;
            for answer in answers.into_iter().filter(|answer| !answer.known) {
                let Some(wanted) = self.lock().get(&answer.id).cloned() else { continue };
                tracing::warn!(instance = %answer.id, "the registry lost an instance; it is registered again");
                wanted.send_modify(|wanted| wanted.generation += 1);
            }
        }
        Ok(())
    }
}

async fn beat(shared: Arc<Shared>, every: Duration) {
    let mut interval = time::interval(every);
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = shared.beat_once().await {
            tracing::warn!(%error, "the registry does not take heartbeats");
        }
    }
}

fn retry_wait(attempt: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << attempt.min(10)).min(RETRY_MAX)
}

async fn bounded<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    time::timeout(CALL_MAX, call).await.unwrap_or(Err(Error::Unavailable(None)))
}
