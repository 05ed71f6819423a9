//! The instances in memory, and the task that keeps them as the store has them.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use bowline_model::{Health, Instance, InstanceId, ServiceName};
use bowline_runtime::{rand, time};
use bowline_store::{Change, Entry, Error as StoreError, LeaseId, RANGE_MAX, Revision, Store, Update, Watch};
use tokio::sync::watch;

use super::PREFIX;
use crate::{Error, INSTANCES_MAX, Query, ServiceSummary};

/// How long a store that cannot be read is left alone: at least half of it, by chance.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The view and how far it is.
#[derive(Debug)]
pub(super) struct Shared {
    view: RwLock<View>,
    /// The revision that the view shows; none before it was read once.
    reached: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Loading,
    Reached(Revision),
    /// The store is closed.
    Ended,
}

/// The instances at a revision.
#[derive(Debug, Default)]
pub(super) struct View {
    revision: Revision,
    instances: BTreeMap<InstanceId, Arc<Registered>>,
    services: BTreeMap<ServiceName, BTreeMap<InstanceId, Arc<Registered>>>,
}

/// An instance with its lease.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) instance: Instance,
    lease: Option<LeaseId>,
}

/// By what an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It is not registered.
    Unknown,
    /// It stays until it is deregistered.
    Unleased,
    /// It stays while this is renewed.
    Leased(LeaseId),
}

impl Default for Shared {
    fn default() -> Self {
        Self { view: RwLock::default(), reached: watch::Sender::new(Progress::Loading) }
    }
}

impl Shared {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the view shows a revision.
    pub(super) async fn reached(&self, revision: Revision) -> Result<(), Error> {
        let mut reached = self.reached.subscribe();
        let progress = reached
            .wait_for(|progress| match progress {
                Progress::Loading => false,
                Progress::Reached(reached) => *reached >= revision,
                Progress::Ended => true,
            })
            .await;
        match progress.as_deref() {
            Ok(Progress::Loading | Progress::Reached(_)) => Ok(()),
            Ok(Progress::Ended) | Err(_) => Err(Error::Store(StoreError::Closed)),
        }
    }

    fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl View {
    /// Whether there is no room for one more of that id.
    pub(super) fn is_full_for(&self, id: &InstanceId, max: usize) -> bool {
        self.instances.len() >= max && !self.instances.contains_key(id)
    }

    /// By what each of the instances lives.
    pub(super) fn leases(&self, ids: &[InstanceId]) -> Vec<Life> {
        let life = |id| match self.instances.get(id).map(|found| found.lease) {
            None => Life::Unknown,
            Some(None) => Life::Unleased,
            Some(Some(lease)) => Life::Leased(lease),
        };
        ids.iter().map(life).collect()
    }

    /// What matches, sorted by id; whether the limit left some off.
    pub(super) fn find(&self, query: &Query) -> (Revision, Vec<Arc<Registered>>, bool) {
        let none = BTreeMap::new();
        let instances = match &query.service {
            Some(service) => self.services.get(service).unwrap_or(&none),
            None => &self.instances,
        };
        let start = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut matching = instances
            .range::<InstanceId, _>((start, Bound::Unbounded))
            .map(|(_, found)| found)
            .filter(|found| query.health.is_none_or(|health| found.instance.health == health));
        let limit = query.limit.unwrap_or(INSTANCES_MAX).min(INSTANCES_MAX);
        let found = matching.by_ref().take(limit).cloned().collect();
        (self.revision, found, matching.next().is_some())
    }

    pub(super) fn services(&self) -> Vec<ServiceSummary> {
        let summary = |(name, instances): (&ServiceName, &BTreeMap<_, Arc<Registered>>)| ServiceSummary {
            name: name.clone(),
            instances: instances.len(),
            healthy: instances.values().filter(|found| found.instance.health == Health::Healthy).count(),
        };
        self.services.iter().map(summary).collect()
    }

    fn put(&mut self, entry: &Entry) {
        let Some(instance) = parse(entry) else {
            tracing::warn!(key = &*entry.key, "registry entry cannot be read and is left out");
            self.remove_key(&entry.key);
            return;
        };
        let (id, service) = (instance.id.clone(), instance.service.clone());
        self.remove(&id);
        let registered = Arc::new(Registered { instance, lease: entry.lease });
        self.instances.insert(id.clone(), Arc::clone(&registered));
        self.services.entry(service).or_default().insert(id, registered);
    }

    fn remove_key(&mut self, key: &str) {
        if let Some(id) = key.strip_prefix(PREFIX).and_then(|id| InstanceId::new(id).ok()) {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &InstanceId) {
        let Some(registered) = self.instances.remove(id) else { return };
        let service = &registered.instance.service;
        if let Some(instances) = self.services.get_mut(service) {
            instances.remove(id);
            if instances.is_empty() {
                self.services.remove(service);
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(entry) => self.put(entry),
            Change::Delete { key, .. } => self.remove_key(key),
        }
    }
}

/// The instance of an entry; none if it is not one.
pub(super) fn parse(entry: &Entry) -> Option<Instance> {
    serde_json::from_slice(&entry.value).ok()
}

/// Keeps the view as the store has it.
pub(super) struct Follower {
    pub(super) store: Arc<dyn Store>,
    pub(super) view: Arc<Shared>,
}

impl Follower {
    /// Runs until the store is closed.
    pub(super) async fn run(self) {
        loop {
            match self.follow().await {
                StoreError::Closed => break,
                error => tracing::warn!(error = &error as &dyn std::error::Error, "registry reads its store anew"),
            }
            time::sleep(RETRY_AFTER.mul_f64(0.5 + rand::unit() / 2.0)).await;
        }
        self.view.reached.send_replace(Progress::Ended);
    }

    /// Reads everything, then what changes, until that fails.
    async fn follow(&self) -> StoreError {
        let (view, mut watch) = match self.load().await {
            Ok(loaded) => loaded,
            Err(error) => return error,
        };
        self.show(view);
        loop {
            match watch.next_update().await {
                Ok(Update::Event(event)) => self.view.update(|view| view.apply(&event.change)),
                Ok(Update::UpTo(revision)) => {
                    self.view.update(|view| view.revision = revision);
                    self.view.reached.send_replace(Progress::Reached(revision));
                }
                Err(error) => return error,
            }
        }
    }

    fn show(&self, view: View) {
        let revision = view.revision;
        self.view.update(|shown| *shown = view);
        self.view.reached.send_replace(Progress::Reached(revision));
    }

    /// A view of one revision, and a watch from there.
    async fn load(&self) -> Result<(View, Watch), StoreError> {
        let mut view = View::default();
        let page = self.store.range(PREFIX, None, RANGE_MAX).await?;
        let first = page.revision;
        let mut page = page;
        loop {
            page.entries.iter().for_each(|entry| view.put(entry));
            let Some(last) = page.entries.last().filter(|_| page.more) else { break };
            page = self.store.range(PREFIX, Some(&last.key), RANGE_MAX).await?;
        }
        let mut watch = self.store.watch(PREFIX, first).await?;
        view.revision = first;
        // Later pages may be newer than the first one: what happened between is caught up with.
        while view.revision < page.revision {
            match watch.next_update().await? {
                Update::Event(event) => view.apply(&event.change),
                Update::UpTo(revision) => view.revision = revision,
            }
        }
        Ok((view, watch))
    }
}
