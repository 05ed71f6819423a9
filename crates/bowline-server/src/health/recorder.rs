//! Follows the registry and records how instances become, in memory and in the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_model::{InstanceId, ServiceName};
use bowline_observe::health::{self, Counts, Edge, Verdict};
use bowline_provider_remote::wire::{HealthState, HealthTransition};
use bowline_registry::{Error, InstanceChange, Query, Registry, Revision, health::ProbeWatcher};
use bowline_runtime::{metric, task, time};
use bowline_store::{Error as StoreError, RANGE_MAX, Store};
use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::{
    log::{Changes, Log, PREFIX, Seen},
    probes::{Probes, Reason},
};

/// Changes recorded at once: each takes five operations of a transaction at most, where an instance moved.
const BATCH_MAX: usize = 25;
/// The wait after the registry could not be followed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest that a question waits for the registry to be read once.
const LOADED_MAX: Duration = Duration::from_secs(5);
/// The longest that the last changes may take at the end.
const END_MAX: Duration = Duration::from_secs(1);

/// Why an instance goes when nobody deregistered it.
const LEASE_ENDED: &str = "its lease was not renewed in time";
/// Why an instance goes that somebody deregisters over the API.
pub(crate) const DEREGISTERED: &str = "it was deregistered";
/// Why an instance goes whose id comes again elsewhere.
pub(crate) const MOVED: &str = "it was registered anew for another service";

/// What a node is told of its system, beside what is registered.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// Its name; absent where it has none.
    pub system: Option<ServiceName>,
    /// Services that should be there: without an instance they are unhealthy.
    pub services: Vec<ServiceName>,
    /// Who calls whom and waits for the answer.
    pub calls: Vec<Edge>,
}

/// The health of all instances and services. Shared by the API and the recorder.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(super) log: Mutex<Log>,
    pub(super) probes: Arc<Probes>,
    declared: Declared,
    is_loaded: watch::Sender<bool>,
}

/// The task that records. When it is dropped the task ends, after a last look.
pub(crate) struct Recorder {
    stop: watch::Sender<bool>,
    task: task::JoinHandle<()>,
}

impl Standing {
    /// The system's name, where it is known.
    pub(crate) fn system(&self) -> Option<&ServiceName> {
        self.declared.system.as_ref()
    }

    /// What the store has kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn open(store: &dyn Store, declared: Declared) -> Result<Self, StoreError> {
        let mut log = Log::default();
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = store.range(PREFIX, after.as_deref(), RANGE_MAX).await?;
            page.entries.iter().for_each(|entry| log.restore(entry));
            after = page.entries.last().filter(|_| page.more).map(|entry| entry.key.clone());
            if after.is_none() {
                break;
            }
        }
        let is_loaded = watch::Sender::new(false);
        Ok(Self { log: Mutex::new(log), probes: Arc::default(), declared, is_loaded })
    }

    /// Who is to be told of probes.
    pub(crate) fn watcher(&self) -> Arc<dyn ProbeWatcher> {
        self.probes.clone()
    }

    /// An instance will leave, for that reason.
    pub(crate) fn leaves(&self, id: &InstanceId, why: &'static str) {
        self.probes.leaves(id, why);
    }

    /// It did not leave.
    pub(crate) fn stays(&self, id: &InstanceId) {
        self.probes.stays(id);
    }

    /// An instance will be registered: if that was another service's, it leaves there.
    pub(crate) fn moves(&self, id: &InstanceId, to: &ServiceName) {
        if self.lock().service_of(id).is_some_and(|service| service != to) {
            self.leaves(id, MOVED);
        }
    }

    /// Waits until the registry was read once; false when that takes too long.
    pub(super) async fn loaded(&self) -> bool {
        let mut is_loaded = self.is_loaded.subscribe();
        time::timeout(LOADED_MAX, is_loaded.wait_for(|is_loaded| *is_loaded)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// The verdict of each service that is declared or has an instance, and of one more that is asked for.
    /// `observed` are synchronous calls that were seen, besides those declared.
    pub(super) fn verdicts(
        &self,
        asked: Option<&ServiceName>,
        observed: &[Edge],
    ) -> BTreeMap<ServiceName, (Counts, Verdict)> {
        let mut counts = self.lock().counts();
        for service in self.declared.services.iter().chain(asked) {
            counts.entry(service.clone()).or_default();
        }
        let verdicts = health::roll_up(&counts, self.declared.calls.iter().chain(observed));
        let both = |(service, verdict): (ServiceName, Verdict)| {
            let counts = counts[&service];
            (service, (counts, verdict))
        };
        verdicts.into_iter().map(both).collect()
    }

    /// The last changes of that time, both ends included, newest first, each with whose instance's it is.
    pub(crate) fn recent(&self, since_ms: u64, until_ms: u64, limit: usize) -> Vec<(ServiceName, HealthTransition)> {
        self.lock().recent(since_ms, until_ms, limit)
    }

    /// Whether the system declares that service, and that it has instances.
    pub(crate) fn is_declared(&self, service: &ServiceName) -> bool {
        self.declared.services.contains(service)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Records from now on, in the current runtime.
    pub(crate) fn start(
        standing: Arc<Standing>,
        registry: Arc<dyn Registry>,
        store: Arc<dyn Store>,
        metrics: &metric::Registry,
    ) -> Self {
        let lost = metrics.counter(
            "bowline_health_transitions_lost_total",
            "Changes of health that the store did not take: a restart forgets them.",
            &[],
        );
        let (stop, stopped) = watch::channel(false);
        let recording = Recording { standing, registry, store, lost };
        Self { stop, task: task::spawn(recording.run(stopped)) }
    }

    /// Records what there is, and ends.
    pub(crate) async fn end(self) {
        self.stop.send_replace(true);
        if time::timeout(END_MAX, self.task).await.is_err() {
            tracing::warn!("the last changes of health were not recorded");
        }
    }
}

struct Recording {
    standing: Arc<Standing>,
    registry: Arc<dyn Registry>,
    store: Arc<dyn Store>,
    lost: metric::Counter,
}

impl Recording {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        while let Err(error) = self.follow(&mut stop).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "health reads the registry anew");
            if time::timeout(RETRY_AFTER, stopped(&mut stop)).await.is_ok() {
                break;
            }
        }
        if let Err(error) = self.catch_up().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last changes of health were not recorded");
        }
    }

    /// Records what changes, until it is to stop.
    async fn follow(&self, stop: &mut watch::Receiver<bool>) -> Result<(), Error> {
        let revision = self.catch_up().await?;
        self.standing.is_loaded.send_replace(true);
        let mut watch = self.registry.watch(&Query::default(), revision).await?;
        loop {
            let first = tokio::select! {
                biased;
                () = stopped(stop) => return Ok(()),
                event = watch.next() => event?.change,
            };
            let (mut changes, mut failed) = (vec![first], None);
            while changes.len() < BATCH_MAX
                && failed.is_none()
                && let Some(event) = watch.next().now_or_never()
            {
                match event {
                    Ok(event) => changes.push(event.change),
                    Err(error) => failed = Some(error),
                }
            }
            let seen = changes.into_iter().map(|change| match change {
                InstanceChange::Put(instance) => self.seen(instance.id, instance.service, instance.health.into()),
                InstanceChange::Delete { id, service } => {
                    let mut seen = self.seen(id, service, HealthState::Gone);
                    seen.why.get_or_insert_with(|| LEASE_ENDED.to_owned());
                    seen
                }
            });
            let seen = seen.collect();
            self.record(seen).await;
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }

    /// Records how the registry is now; the revision to follow it from.
    async fn catch_up(&self) -> Result<Revision, Error> {
        let found = self.registry.discover(&Query::default()).await?;
        let there: BTreeSet<&InstanceId> = found.instances.iter().map(|instance| &instance.id).collect();
        let missing = self.standing.lock().missing(&there);
        let gone = missing.into_iter().map(|(id, service)| (id, service, HealthState::Gone));
        let there = found.instances.iter();
        let there = there.map(|instance| (instance.id.clone(), instance.service.clone(), instance.health.into()));
        let all: Vec<_> = gone.chain(there).collect();
        for some in all.chunks(BATCH_MAX) {
            let seen = some.iter().cloned().map(|(id, service, health)| self.seen(id, service, health));
            self.record(seen.collect()).await;
        }
        Ok(found.revision)
    }

    fn seen(&self, instance: InstanceId, service: ServiceName, health: HealthState) -> Seen {
        let Reason { why, probe } = self.standing.probes.reason(&instance, health);
        Seen { at_unix_ms: time::unix_millis_now(), instance, service, health, why, probe }
    }

    async fn record(&self, seen: Vec<Seen>) {
        let mut changes = Changes::default();
        let count = seen.len() as u64;
        {
            let mut log = self.standing.lock();
            for seen in seen {
                log.see(seen, &mut changes);
            }
        }
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.store.commit(changes.into_txn()).await {
            self.lost.add(count);
            tracing::warn!(%error, count, "changes of health are not in the store");
        }
    }
}

/// Waits until it is to stop; whose other end is gone is to stop too.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _told_or_gone = stop.wait_for(|stop| *stop).await;
}
