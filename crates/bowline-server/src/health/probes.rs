//! What this process knows of instances beside the registry: their last probes, and why they leave.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bowline_model::{InstanceId, ServiceName};
use bowline_provider_remote::wire::{HealthProbe, HealthState};
use bowline_registry::{
    INSTANCES_MAX,
    health::{Probe, ProbeWatcher},
};

/// In memory only: a restart probes anew.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<BTreeMap<InstanceId, Known>>);

#[derive(Debug, Clone, Default)]
struct Known {
    service: Option<ServiceName>,
    last: Option<HealthProbe>,
    last_failed: Option<HealthProbe>,
    leaves: Option<&'static str>,
}

/// Why something became of an instance, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Reason {
    pub(super) why: Option<String>,
    pub(super) probe: Option<HealthProbe>,
}

impl Probes {
    /// Why an instance became that.
    pub(super) fn reason(&self, id: &InstanceId, to: HealthState) -> Reason {
        let mut known = self.lock();
        let told = |why: Option<&str>, probe| Reason { why: why.map(str::to_owned), probe };
        match to {
            // What was told stays till then: it may have been told before this was seen.
            HealthState::Gone => {
                let why = known.remove(id).and_then(|known| known.leaves);
                told(why, None)
            }
            HealthState::Draining => told(known.get(id).and_then(|known| known.leaves), None),
            HealthState::Unhealthy => {
                let probe = known.get(id).and_then(|known| known.last_failed.clone());
                told(probe.as_ref().and_then(|probe| probe.failure.as_deref()), probe.clone())
            }
            HealthState::Healthy => {
                let last = known.get(id).and_then(|known| known.last.clone());
                let probe = last.filter(|probe| probe.failure.is_none());
                told(probe.is_some().then_some("its check succeeded"), probe)
            }
            HealthState::Unknown => Reason::default(),
        }
    }

    /// An instance does not leave, though it was told.
    pub(super) fn stays(&self, id: &InstanceId) {
        let mut known = self.lock();
        let Some(of) = known.get_mut(id) else { return };
        of.leaves = None;
        if of.last.is_none() {
            known.remove(id);
        }
    }

    /// The last probe of an instance.
    pub(super) fn last(&self, id: &InstanceId) -> Option<HealthProbe> {
        self.lock().get(id).and_then(|known| known.last.clone())
    }

    /// The instances of a service that are probed.
    pub(super) fn of(&self, service: &ServiceName) -> Vec<InstanceId> {
        let known = self.lock();
        let of = known.iter().filter(|(_, known)| known.service.as_ref() == Some(service));
        of.map(|(id, _)| id.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: InstanceId, change: impl FnOnce(&mut Known)) {
        let mut known = self.lock();
        // There are no more than can be registered, or something forgets them wrongly.
        if known.len() < INSTANCES_MAX || known.contains_key(&id) {
            change(known.entry(id).or_default());
        }
    }
}

impl ProbeWatcher for Probes {
    fn probed(&self, probe: Probe) {
        let Probe { instance, service, at_unix_ms, took, failure } = probe;
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let probe = HealthProbe { at_unix_ms, took_us, failure: failure.map(String::from) };
        self.change(instance, |known| {
            known.service = Some(service);
            if probe.failure.is_some() {
                known.last_failed = Some(probe.clone());
            }
            known.last = Some(probe);
        });
    }

    fn leaves(&self, instance: &InstanceId, why: &'static str) {
        self.change(instance.clone(), |known| known.leaves = Some(why));
    }
}
