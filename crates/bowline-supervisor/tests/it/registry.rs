//! A registry in memory that a test can make fail and forget.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_model::{Instance, InstanceId};
use bowline_registry::{Discovered, Error, HeartbeatAnswer, InstanceWatch, Query, Registry, Revision, ServiceSummary};
use bowline_runtime::BoxFuture;

#[derive(Clone, Default)]
pub(crate) struct FakeRegistry(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    instances: BTreeMap<InstanceId, Instance>,
    /// Every registration and deregistration, as `+id health` and `-id`.
    log: Vec<String>,
    failures_left: u32,
    heartbeats: u32,
    /// Of the last heartbeat.
    renewed: Vec<String>,
}

impl FakeRegistry {
    pub(crate) fn with(instances: impl IntoIterator<Item = Instance>) -> Self {
        let registry = Self::default();
        let instances = instances.into_iter().map(|instance| (instance.id.clone(), instance));
        registry.0.lock().unwrap().instances.extend(instances);
        registry
    }

    /// Lets the next calls fail.
    pub(crate) fn fail(&self, count: u32) {
        self.0.lock().unwrap().failures_left = count;
    }

    /// Loses everything, as after the loss of the leases.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().instances.clear();
    }

    pub(crate) fn instances(&self) -> Vec<Instance> {
        self.0.lock().unwrap().instances.values().cloned().collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<Instance> {
        self.0.lock().unwrap().instances.get(id).cloned()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    pub(crate) fn heartbeats(&self) -> u32 {
        self.0.lock().unwrap().heartbeats
    }

    /// Whose leases the last heartbeat renewed.
    pub(crate) fn renewed(&self) -> Vec<String> {
        self.0.lock().unwrap().renewed.clone()
    }

    fn call<T>(&self, work: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        let mut state = self.0.lock().unwrap();
        if state.failures_left > 0 {
            state.failures_left -= 1;
            return Err(Error::Unavailable(None));
        }
        Ok(work(&mut state))
    }
}

impl Registry for FakeRegistry {
    fn register(&self, instance: Instance, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision, Error>> {
        assert!(ttl.is_some(), "a supervised instance has a lease");
        instance.validate().unwrap();
        let answer = self.call(|state| {
            state.log.push(format!("+{} {}", instance.id, instance.health.as_str()));
            state.instances.insert(instance.id.clone(), instance);
            1
        });
        Box::pin(async { answer })
    }

    fn heartbeat(&self, ids: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>> {
        let answer = self.call(|state| {
            state.heartbeats += 1;
            state.renewed = ids.iter().map(ToString::to_string).collect();
            let known = |id: &InstanceId| state.instances.contains_key(id);
            ids.iter().map(|id| HeartbeatAnswer { id: id.clone(), known: known(id), ttl: None }).collect()
        });
        Box::pin(async { answer })
    }

    fn deregister(&self, id: &InstanceId) -> BoxFuture<'_, Result<bool, Error>> {
        let answer = self.call(|state| {
            state.log.push(format!("-{id}"));
            state.instances.remove(id).is_some()
        });
        Box::pin(async { answer })
    }

    fn discover(&self, query: &Query) -> BoxFuture<'_, Result<Discovered, Error>> {
        assert_eq!(query.service, None);
        let answer = self.call(|state| Discovered {
            revision: 1,
            history: None,
            instances: state.instances.values().cloned().collect(),
            more: false,
        });
        Box::pin(async { answer })
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>> {
        Box::pin(async { unreachable!("a supervisor has no use for it") })
    }

    fn watch(&self, _: &Query, _: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>> {
        Box::pin(async { unreachable!("a supervisor has no use for it") })
    }
}
