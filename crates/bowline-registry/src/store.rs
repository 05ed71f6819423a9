//! The registry over a store.
//!
//! An instance is the key `registry/instances/ID` with the instance as JSON, bound to a lease of
//! its own if it has a lifetime. Nothing else is kept: the view in memory follows the store and is
//! rebuilt from it. Discoveries and heartbeats read the view; a heartbeat renews the lease, which
//! does not touch the disk.

mod view;
mod watch;

use std::{fmt, sync::Arc, time::Duration};

use bowline_model::{Code, Instance, InstanceId, instance::LEASE_TTL_RANGE};
use bowline_runtime::{BoxFuture, task, time};
use bowline_store::{Entry, Error as StoreError, Expect, LeaseId, Revision, Store, Txn};

use self::view::{Follower, Life, Shared};
use crate::{
    Discovered, Error, HEARTBEATS_MAX, HeartbeatAnswer, INSTANCES_MAX, InstanceWatch, Query, Registry, ServiceSummary,
};

/// Under which keys the instances are.
const PREFIX: &str = "registry/instances/";

/// How often a change that others' changes thwart is tried.
const ATTEMPTS_MAX: usize = 16;

/// The longest that a change waits to be seen in the view.
const VIEW_WAIT_MAX: Duration = Duration::from_secs(5);

/// A registry whose instances are keys of a store. Cheap to clone.
#[derive(Clone)]
pub struct StoreRegistry {
    inner: Arc<Inner>,
    /// Instances with this metadata key are not changed by way of this handle.
    protects: Option<&'static str>,
}

struct Inner {
    store: Arc<dyn Store>,
    view: Arc<Shared>,
    _follower: task::Guarded<()>,
}

impl StoreRegistry {
    /// A registry over that store. It begins to read it in the current runtime; what is called
    /// meanwhile waits.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let view = Arc::new(Shared::default());
        let follower = Follower { store: Arc::clone(&store), view: Arc::clone(&view) };
        let follower = task::Guarded::new(task::spawn(follower.run()));
        Self { inner: Arc::new(Inner { store, view, _follower: follower }), protects: None }
    }

    /// The same registry for those who may not touch instances with that metadata key: neither
    /// register one, nor change or deregister one that is there.
    ///
    /// They are refused with [`Code::PermissionDenied`], whatever happens at the same time.
    pub fn protecting(&self, key: &'static str) -> Self {
        Self { inner: Arc::clone(&self.inner), protects: Some(key) }
    }

    async fn register(&self, instance: Instance, ttl: Option<Duration>) -> Result<Revision, Error> {
        instance.validate().map_err(Error::InvalidInstance)?;
        let (min, max) = LEASE_TTL_RANGE;
        if ttl.is_some_and(|ttl| !(min..=max).contains(&ttl)) {
            return Err(Error::Invalid { what: "ttl", rule: "it is 1s to 1h" });
        }
        self.permit(&instance)?;
        self.loaded().await?;
        if self.inner.view.read().is_full_for(&instance.id, INSTANCES_MAX) {
            return Err(Error::Full);
        }
        let value = serde_json::to_vec(&instance).expect("an instance can be written as JSON");
        for _ in 0..ATTEMPTS_MAX {
            if let Some(revision) = self.try_register(&instance, &value, ttl).await? {
                self.seen(revision).await?;
                return Ok(revision);
            }
        }
        Err(Error::Unavailable(None))
    }

    /// Registers once; none if it changed under our hands, or is on its way out.
    async fn try_register(
        &self,
        instance: &Instance,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Option<Revision>, Error> {
        let key = key(&instance.id);
        let entry = self.inner.store.get(&key).await.map_err(Error::Store)?;
        let Some(entry) = entry else {
            return self.put(Txn::default().when(&*key, Expect::Missing), &key, value, Lease::of(ttl)).await;
        };
        let unchanged = Txn::default().when(&*key, Expect::Modified(entry.modified));
        let before = view::parse(&entry);
        before.as_ref().map_or(Ok(()), |before| self.permit(before))?;
        if before.is_some_and(|before| before.service != instance.service) {
            // Watchers of the old service see it leave, those of the new one see it come.
            self.delete(&entry).await?;
            return Ok(None);
        }
        let renewed = self.renew(entry.lease).await?;
        let is_same_lease = entry.lease.is_some() == ttl.is_some() && renewed == ttl;
        if is_same_lease && entry.value == value {
            return Ok(Some(entry.modified));
        }
        if is_same_lease {
            let lease = entry.lease.map_or(Lease::None, Lease::Old);
            return self.put(unchanged, &key, value, lease).await;
        }
        let revision = self.put(unchanged, &key, value, Lease::of(ttl)).await?;
        if let Some((_, old)) = revision.zip(entry.lease) {
            // It has no keys any more; if this fails it expires by itself.
            self.inner.store.revoke(old).await.ok();
        }
        Ok(revision)
    }

    /// Puts the key if the transaction's conditions hold; none if they do not.
    async fn put(&self, txn: Txn, key: &str, value: &[u8], lease: Lease) -> Result<Option<Revision>, Error> {
        let value = value.to_vec();
        let put = match lease {
            Lease::None => self.inner.store.commit(txn.put(key, value)).await,
            Lease::Old(lease) => self.inner.store.commit(txn.put_leased(key, value, lease)).await,
            Lease::New(ttl) => {
                self.inner.store.commit_leased(txn.put(key, value), ttl).await.map(|(revision, _)| revision)
            }
        };
        match put {
            Ok(revision) => Ok(Some(revision)),
            Err(StoreError::Conflict { .. } | StoreError::NoLease(_)) => Ok(None),
            Err(error) => Err(Error::Store(error)),
        }
    }

    /// The lifetime to which a lease was renewed; none if there is none.
    async fn renew(&self, lease: Option<LeaseId>) -> Result<Option<Duration>, Error> {
        let Some(lease) = lease else { return Ok(None) };
        let renewed = self.inner.store.keep_alive(&[lease]).await.map_err(Error::Store)?;
        Ok(renewed.into_iter().next().and_then(Result::ok))
    }

    /// Deletes an entry as it is, with its lease; false if it changed meanwhile.
    async fn delete(&self, entry: &Entry) -> Result<bool, Error> {
        if let Some(lease) = entry.lease
            && self.inner.store.revoke(lease).await.map_err(Error::Store)?
        {
            return Ok(true);
        }
        let txn = Txn::default().when(&*entry.key, Expect::Modified(entry.modified)).delete(&*entry.key);
        match self.inner.store.commit(txn).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(Error::Store(error)),
        }
    }

    async fn deregister(&self, id: InstanceId) -> Result<bool, Error> {
        let key = key(&id);
        for _ in 0..ATTEMPTS_MAX {
            let Some(entry) = self.inner.store.get(&key).await.map_err(Error::Store)? else { return Ok(false) };
            view::parse(&entry).map_or(Ok(()), |instance| self.permit(&instance))?;
            if self.delete(&entry).await? {
                let revision = self.inner.store.revision().await.map_err(Error::Store)?;
                self.seen(revision).await?;
                return Ok(true);
            }
        }
        Err(Error::Unavailable(None))
    }

    async fn heartbeat(&self, ids: Vec<InstanceId>) -> Result<Vec<HeartbeatAnswer>, Error> {
        if ids.len() > HEARTBEATS_MAX {
            return Err(Error::Invalid { what: "heartbeat", rule: "it has at most 10,000 ids" });
        }
        self.loaded().await?;
        let found = self.inner.view.read().leases(&ids);
        let lease = |life: &Life| if let Life::Leased(lease) = life { Some(*lease) } else { None };
        let leases = found.iter().filter_map(lease).collect::<Vec<_>>();
        let mut renewed = self.inner.store.keep_alive(&leases).await.map_err(Error::Store)?.into_iter();
        let answers = ids.into_iter().zip(found).map(|(id, life)| match life {
            Life::Unknown => HeartbeatAnswer { id, known: false, ttl: None },
            Life::Unleased => HeartbeatAnswer { id, known: true, ttl: None },
            Life::Leased(_) => {
                let ttl = renewed.next().and_then(Result::ok);
                HeartbeatAnswer { id, known: ttl.is_some(), ttl }
            }
        });
        Ok(answers.collect())
    }

    async fn discover(&self, query: Query) -> Result<Discovered, Error> {
        // So that nobody reads less than a watch has told already.
        self.seen(self.inner.store.revision().await.map_err(Error::Store)?).await?;
        let history = self.inner.store.history().await.map_err(Error::Store)?;
        // The instances are copied after the view is free again.
        let (revision, found, more) = self.inner.view.read().find(&query);
        let instances = found.iter().map(|found| found.instance.clone()).collect();
        Ok(Discovered { revision, history: Some(history), instances, more })
    }

    async fn open_watch(&self, query: Query, from: Revision) -> Result<Box<dyn InstanceWatch>, Error> {
        let Query { service, health, after, limit, history } = query;
        if health.is_some() || after.is_some() || limit.is_some() {
            return Err(Error::Invalid { what: "watch", rule: "it is filtered by service only" });
        }
        let own = self.inner.store.history().await.map_err(Error::Store)?;
        if history.is_some_and(|history| history != own) {
            return Err(Error::OtherHistory);
        }
        let watch = self.inner.store.watch(PREFIX, from).await.map_err(watch::error)?;
        Ok(Box::new(watch::Instances::new(watch, service, from)))
    }

    /// Refuses to touch what this handle protects.
    fn permit(&self, instance: &Instance) -> Result<(), Error> {
        match self.protects {
            Some(key) if instance.metadata.contains_key(key) => {
                let detail = format!("the instance `{}` is another's: its metadata has `{key}`", instance.id);
                Err(Error::Refused { code: Code::PermissionDenied, detail })
            }
            _ => Ok(()),
        }
    }

    /// Waits until the view was read once.
    async fn loaded(&self) -> Result<(), Error> {
        self.seen(0).await
    }

    /// Waits until the view shows that revision.
    async fn seen(&self, revision: Revision) -> Result<(), Error> {
        time::timeout(VIEW_WAIT_MAX, self.inner.view.reached(revision)).await.map_err(|_| Error::Unavailable(None))?
    }
}

/// The lease an instance is put with.
enum Lease {
    None,
    Old(LeaseId),
    New(Duration),
}

impl Lease {
    fn of(ttl: Option<Duration>) -> Self {
        ttl.map_or(Self::None, Self::New)
    }
}

fn key(id: &InstanceId) -> String {
    format!("{PREFIX}{id}")
}

impl fmt::Debug for StoreRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreRegistry").finish_non_exhaustive()
    }
}

impl Registry for StoreRegistry {
    fn register(&self, instance: Instance, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision, Error>> {
        Box::pin(self.register(instance, ttl))
    }

    fn heartbeat(&self, ids: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>> {
        Box::pin(self.heartbeat(ids.to_vec()))
    }

    fn deregister(&self, id: &InstanceId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.deregister(id.clone()))
    }

    fn discover(&self, query: &Query) -> BoxFuture<'_, Result<Discovered, Error>> {
        Box::pin(self.discover(query.clone()))
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>> {
        Box::pin(async {
            self.loaded().await?;
            Ok(self.inner.view.read().services())
        })
    }

    fn watch(&self, query: &Query, from: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>> {
        Box::pin(self.open_watch(query.clone(), from))
    }
}
