//! How instances are and were, in memory, and what the store is to keep of it.
//!
//! `health/now/INSTANCE` says how a registered instance is and since when, `health/past/NUMBER` is a change;
//! numbers grow. Both are JSON.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bowline_model::{InstanceId, ServiceName};
use bowline_observe::health::Counts;
use bowline_provider_remote::wire::{HealthProbe, HealthState, HealthTransition};
use bowline_store::{Entry, Txn};
use serde::{Deserialize, Serialize};

use super::recorder::MOVED;

/// Changes kept of each service.
pub(super) const OF_SERVICE_MAX: usize = 100;

/// Changes kept in all.
pub(super) const PAST_MAX: usize = 20_000;

/// Under which keys all of it is.
pub(super) const PREFIX: &str = "health/";
const NOW: &str = "health/now/";
const PAST: &str = "health/past/";

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Now {
    pub(super) service: ServiceName,
    pub(super) health: HealthState,
    pub(super) since_unix_ms: u64,
}

/// A change as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transition {
    at_unix_ms: u64,
    service: ServiceName,
    instance: InstanceId,
    from: HealthState,
    to: HealthState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probe: Option<HealthProbe>,
}

/// What was seen of an instance.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) at_unix_ms: u64,
    pub(super) instance: InstanceId,
    pub(super) service: ServiceName,
    pub(super) health: HealthState,
    pub(super) why: Option<String>,
    pub(super) probe: Option<HealthProbe>,
}

/// What the store is to put, or delete where there is no value.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<String, Option<Vec<u8>>>);

#[derive(Debug, Default)]
pub(super) struct Log {
    now: BTreeMap<InstanceId, Now>,
    past: BTreeMap<u64, Transition>,
    /// Numbers of the changes of each service, oldest first.
    of_service: BTreeMap<ServiceName, VecDeque<u64>>,
    next: u64,
}

impl Changes {
    fn put(&mut self, key: String, value: &impl Serialize) {
        let value = serde_json::to_vec(value).expect("texts and numbers are JSON");
        self.0.insert(key, Some(value));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it in one transaction.
    pub(super) fn into_txn(self) -> Txn {
        self.0.into_iter().fold(Txn::default(), |txn, (key, value)| match value {
            Some(value) => txn.put(key, value),
            None => txn.delete(key),
        })
    }
}

impl Log {
    /// Takes an entry of the store in; those of [`PREFIX`] come in their order.
    pub(super) fn restore(&mut self, entry: &Entry) {
        let is_read = match (entry.key.strip_prefix(NOW), entry.key.strip_prefix(PAST)) {
            (Some(id), _) => {
                InstanceId::new(id).ok().zip(serde_json::from_slice(&entry.value).ok()).map(|(id, now)| {
                    self.now.insert(id, now);
                })
            }
            (_, Some(number)) => {
                let number = u64::from_str_radix(number, 16).ok();
                number.zip(serde_json::from_slice(&entry.value).ok()).map(|(number, past)| self.keep(number, past))
            }
            _ => None,
        };
        if is_read.is_none() {
            tracing::warn!(key = &*entry.key, "an entry of the health history cannot be read and is left out");
        }
    }

    fn keep(&mut self, number: u64, transition: Transition) {
        self.of_service.entry(transition.service.clone()).or_default().push_back(number);
        self.past.insert(number, transition);
        self.next = self.next.max(number + 1);
    }

    /// Takes in what was seen, unless it is known already; what the store is to keep is added to the changes.
    pub(super) fn see(&mut self, seen: Seen, changes: &mut Changes) {
        if let Some(left) = self.left(&seen) {
            if seen.health == HealthState::Gone {
                // It went from where it is no longer.
                return;
            }
            self.see(left, changes);
        }
        let Seen { at_unix_ms, instance, service, health, why, probe } = seen;
        let before = self.now.get(&instance);
        let from = before.map_or(HealthState::Unknown, |now| now.health);
        if from == health || (before.is_none() && health == HealthState::Gone) {
            return;
        }
        let after_ms = before.map(|now| at_unix_ms.saturating_sub(now.since_unix_ms));
        let key = format!("{NOW}{instance}");
        if health == HealthState::Gone {
            self.now.remove(&instance);
            changes.0.insert(key, None);
        } else {
            let now = Now { service: service.clone(), health, since_unix_ms: at_unix_ms };
            changes.put(key, &now);
            self.now.insert(instance.clone(), now);
        }
        let transition = Transition { at_unix_ms, service, instance, from, to: health, after_ms, why, probe };
        changes.put(past_key(self.next), &transition);
        self.keep(self.next, transition);
        self.prune(changes);
    }

    /// That an instance has left the service it was of, where it is another's now and nobody saw it go: while this
    /// process was down, or the registry's history was lost.
    fn left(&self, seen: &Seen) -> Option<Seen> {
        let before = self.now.get(&seen.instance).filter(|before| before.service != seen.service)?;
        let (instance, service) = (seen.instance.clone(), before.service.clone());
        let why = Some(MOVED.to_owned());
        Some(Seen { at_unix_ms: seen.at_unix_ms, instance, service, health: HealthState::Gone, why, probe: None })
    }

    /// Forgets the oldest of what is too much, after one more came.
    fn prune(&mut self, changes: &mut Changes) {
        let newest = self.past.values().next_back().map(|newest| &newest.service);
        let of_newest = newest.and_then(|service| self.of_service.get(service));
        let oldest = of_newest.filter(|of| of.len() > OF_SERVICE_MAX).and_then(|of| of.front().copied());
        let oldest = oldest.or_else(|| self.past.keys().next().copied().filter(|_| self.past.len() > PAST_MAX));
        let Some((number, gone)) = oldest.and_then(|number| self.past.remove_entry(&number)) else { return };
        changes.0.insert(past_key(number), None);
        // The oldest of all is the oldest of its service.
        if let Some(of) = self.of_service.get_mut(&gone.service) {
            of.pop_front();
            if of.is_empty() {
                self.of_service.remove(&gone.service);
            }
        }
    }

    /// Those that are registered, as far as it is known here, and not among these.
    pub(super) fn missing(&self, there: &BTreeSet<&InstanceId>) -> Vec<(InstanceId, ServiceName)> {
        let missing = self.now.iter().filter(|(id, _)| !there.contains(id));
        missing.map(|(id, now)| (id.clone(), now.service.clone())).collect()
    }

    /// What a registered instance is a copy of.
    pub(super) fn service_of(&self, id: &InstanceId) -> Option<&ServiceName> {
        self.now.get(id).map(|now| &now.service)
    }

    /// The instances of each service, counted.
    pub(super) fn counts(&self) -> BTreeMap<ServiceName, Counts> {
        let mut all: BTreeMap<ServiceName, Counts> = BTreeMap::new();
        for now in self.now.values() {
            let counts = all.entry(now.service.clone()).or_default();
            match now.health {
                HealthState::Healthy => counts.healthy += 1,
                HealthState::Draining => counts.draining += 1,
                HealthState::Unhealthy | HealthState::Unknown | HealthState::Gone => counts.unhealthy += 1,
            }
        }
        all
    }

    /// The registered instances of a service, sorted by id.
    pub(super) fn instances<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = (&'a InstanceId, &'a Now)> {
        self.now.iter().filter(move |(_, now)| now.service == *service)
    }

    /// The last changes of that time, both ends included, newest first, each with whose instance's it is.
    pub(super) fn recent(&self, since_ms: u64, until_ms: u64, limit: usize) -> Vec<(ServiceName, HealthTransition)> {
        let is_then = |past: &&Transition| (since_ms..=until_ms).contains(&past.at_unix_ms);
        let newest = self.past.values().rev().filter(is_then).take(limit);
        newest.map(|past| (past.service.clone(), wire_of(past))).collect()
    }

    /// The changes of a service's instances, newest first.
    pub(super) fn transitions(&self, service: &ServiceName) -> Vec<HealthTransition> {
        let numbers = self.of_service.get(service).into_iter().flatten().rev();
        numbers.filter_map(|number| self.past.get(number)).map(wire_of).collect()
    }
}

fn past_key(number: u64) -> String {
    format!("{PAST}{number:016x}")
}

fn wire_of(transition: &Transition) -> HealthTransition {
    let Transition { at_unix_ms, service: _, instance, from, to, after_ms, why, probe } = transition.clone();
    HealthTransition { at_unix_ms, instance, from, to, after_ms, why, probe }
}

#[cfg(test)]
mod tests;
