//! All instances of the registry, kept current.
//!
//! Unlike [`bowline_registry::Discovery`], which callers of a service use, this follows all services at once, and
//! believes every list: the registry is this node's own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_model::{Instance, InstanceId};
use bowline_registry::{Error, HistoryId, InstanceChange, InstanceEvent, InstanceWatch, Query, Registry, Revision};
use bowline_runtime::{rand, time};

use super::census::Census;

/// How long a change waits for others: what follows looks at all instances.
const GATHER: Duration = Duration::from_millis(100);
/// The bounds of the wait after failures; at least half of it is waited, by chance.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The instances by their ids.
pub(super) type Instances = BTreeMap<InstanceId, Instance>;

/// Follows the registry.
pub(super) struct Follower<F> {
    registry: Arc<dyn Registry>,
    census: Census,
    publish: F,
    instances: Instances,
    /// Up to where the registry was heard.
    seen: Option<(Revision, Option<HistoryId>)>,
    failures: u32,
}

impl<F: FnMut(&Instances) + Send> Follower<F> {
    /// A follower that publishes every set of instances.
    pub(super) fn new(registry: Arc<dyn Registry>, census: Census, publish: F) -> Self {
        Self { registry, census, publish, instances: Instances::new(), seen: None, failures: 0 }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let Err(error) = self.follow().await;
            if matches!(error, Error::Compacted { .. } | Error::OtherHistory) {
                self.seen = None;
            }
            if self.failures == 1 && !matches!(error, Error::Store(bowline_store::Error::Closed)) {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "collecting lost the registry, keeps the targets it knows");
            }
            let longest = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
            self.failures = self.failures.saturating_add(1);
            time::sleep(longest.mul_f64(0.5 + rand::unit() / 2.0)).await;
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Error> {
        let (revision, history) = match self.seen {
            Some(seen) => seen,
            None => self.list().await?,
        };
        let query = Query { history, ..Query::default() };
        let mut watch = self.registry.watch(&query, revision).await?;
        loop {
            let event = watch.next().await?;
            self.failures = 0;
            self.apply(event);
            let gathered = self.gather(&mut *watch).await;
            self.tell();
            gathered?;
        }
    }

    async fn list(&mut self) -> Result<(Revision, Option<HistoryId>), Error> {
        let discovered = self.registry.discover(&Query::default()).await?;
        self.instances = discovered.instances.into_iter().map(|instance| (instance.id.clone(), instance)).collect();
        let seen = (discovered.revision, discovered.history);
        self.seen = Some(seen);
        self.tell();
        Ok(seen)
    }

    /// Applies what comes within a moment.
    async fn gather(&mut self, watch: &mut dyn InstanceWatch) -> Result<(), Error> {
        let until = time::now() + GATHER;
        while let Ok(event) = time::timeout_at(until, watch.next()).await {
            self.apply(event?);
        }
        Ok(())
    }

    fn apply(&mut self, event: InstanceEvent) {
        let InstanceEvent { revision, change } = event;
        match change {
            InstanceChange::Put(instance) => drop(self.instances.insert(instance.id.clone(), instance)),
            InstanceChange::Delete { id, service: _ } => drop(self.instances.remove(&id)),
        }
        if let Some((seen, _)) = &mut self.seen {
            *seen = revision;
        }
    }

    fn tell(&mut self) {
        self.census.count(self.instances.values());
        (self.publish)(&self.instances);
    }
}
