//! Breakers as an upstream keeps them: one of each instance, or one of a route, or one of each key.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use bowline_model::{
    InstanceId,
    mesh::BreakerOrder,
    policy::{BreakerPolicy, BreakerScope, CallPolicy, HashKey},
};
use bowline_resilience::breaker::{Breaker, Forced, Order, Outcome, OwnedPermit, PROBE_TIMEOUT, State, keyed::Keyed};
use bowline_runtime::time::{self, Duration, Instant};
use http::request::Parts;

use crate::{breakers, call::TIMEOUT_MAX, key, metrics::Breakers};

/// The most keys of a route that have a breaker; of the closed ones, that which was not asked for the longest gives way.
pub(crate) const KEYS_MAX: usize = 2048;

/// What stands in the place of a key's hash where a request has no key.
const KEYLESS: u64 = 0;

/// All that a breaker is made from: while it stays the same, breakers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BreakerRules {
    policy: BreakerPolicy,
    probe_timeout: Duration,
}

impl BreakerRules {
    /// Those of a policy that has a breaker. A probe may be out for longer than any call can take.
    pub(crate) fn of(policy: &CallPolicy) -> Option<Self> {
        let probe_timeout = PROBE_TIMEOUT.max(policy.timeout.min(TIMEOUT_MAX) * 2);
        Some(Self { policy: policy.breaker.clone()?, probe_timeout })
    }

    /// Whether each instance has one of its own.
    pub(crate) fn is_by_instance(&self) -> bool {
        self.policy.per == BreakerScope::Instance
    }
}

/// A breaker whose state the metrics know.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) breaker: Arc<Breaker>,
    /// Whose it is: the instance's id, or `route`, or `key-` and a number, or `key-none`.
    pub(crate) name: InstanceId,
    /// In which state somebody holds it.
    held: Mutex<Option<Forced>>,
    /// The number of the state that was counted last.
    counted: AtomicU8,
    metrics: Breakers,
}

impl Guard {
    pub(crate) fn new(rules: &BreakerRules, name: InstanceId, metrics: &Breakers) -> Self {
        Self {
            breaker: Arc::new(Breaker::new(&rules.policy).probe_timeout(rules.probe_timeout)),
            name,
            held: Mutex::default(),
            counted: AtomicU8::new(0),
            metrics: metrics.clone(),
        }
    }

    /// Gives a permit back with what came of the attempt; `None` where that says nothing.
    pub(crate) fn record(&self, permit: Option<OwnedPermit>, outcome: Option<Outcome>, now: Instant) {
        match (permit, outcome) {
            (Some(permit), Some(outcome)) => permit.record(outcome, now),
            (permit, _) => drop(permit),
        }
        self.note(self.breaker.state(now));
    }

    /// Has it be held in a state, or judge for itself where it was held before; whether that was a change.
    pub(crate) fn hold(&self, forced: Option<Forced>, now: Instant) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_change = *held != forced;
        if is_change {
            *held = forced;
            self.order(forced.map_or(Order::Reset, Order::Force), now);
        }
        is_change
    }

    /// The same from the beginning on, when there is nothing to be told of.
    fn held(self, forced: Option<Forced>) -> Self {
        if let Some(forced) = forced {
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(forced);
            let now = time::now();
            self.breaker.order(Order::Force(forced), now);
            self.count(self.breaker.state(now));
        }
        self
    }

    /// Has it begin anew.
    pub(crate) fn reset(&self, now: Instant) {
        self.order(Order::Reset, now);
    }

    fn order(&self, order: Order, now: Instant) {
        self.breaker.order(order, now);
        self.note(self.breaker.state(now));
    }

    /// Takes note of the state: tells of what became of the callee, if anything did.
    fn note(&self, state: State) {
        let Some(before) = self.count(state) else { return };
        let why = self.breaker.transitions().last().map(|last| last.why.as_str());
        let (callee, instance, from, to) = (&*self.metrics.service, &self.name, before.as_str(), state.as_str());
        // That it is tried again, and in vain, is told by metrics: it may go on for long.
        if matches!((before, state), (_, State::HalfOpen) | (State::HalfOpen, State::Open)) {
            tracing::debug!(callee, %instance, from, to, why, "breaker changed");
        } else {
            tracing::info!(callee, %instance, from, to, why, "breaker changed");
        }
    }

    /// Counts the state, and says which was counted before it, where that was another.
    fn count(&self, state: State) -> Option<State> {
        let number = state as u8;
        // Mostly it is the same, and nothing is written that other cores read.
        if self.counted.load(Relaxed) == number {
            return None;
        }
        let before = state_of(self.counted.swap(number, Relaxed));
        self.metrics.changed(before, state);
        (before != state).then_some(before)
    }
}

impl AsRef<Breaker> for Guard {
    fn as_ref(&self) -> &Breaker {
        &self.breaker
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.count(State::Closed);
    }
}

fn state_of(number: u8) -> State {
    State::ALL.into_iter().find(|state| *state as u8 == number).expect("it was a state")
}

/// The breakers that are not of an instance.
#[derive(Debug)]
pub(crate) enum Shared {
    Route(Arc<Guard>),
    Keys(Box<Keys>),
}

/// A breaker for each key.
#[derive(Debug)]
pub(crate) struct Keys {
    key: HashKey,
    kept: Keyed<Guard>,
    /// By which those that are still to come are held.
    orders: Arc<Mutex<Vec<BreakerOrder>>>,
}

impl Shared {
    /// Those of the rules' scope; none where each instance has its own.
    pub(crate) fn of(rules: Option<&BreakerRules>, metrics: &Breakers) -> Option<Self> {
        let rules = rules?;
        match &rules.policy.per {
            BreakerScope::Instance => None,
            BreakerScope::Route => Some(Self::Route(Arc::new(Guard::new(rules, named("route"), metrics)))),
            BreakerScope::Key(key) => Some(Self::Keys(Box::new(Keys::new(key, rules, metrics)))),
        }
    }

    /// The breaker of a request; those without the key have one together.
    pub(crate) fn guard(&self, head: &Parts, now: Instant) -> Arc<Guard> {
        match self {
            Self::Route(guard) => Arc::clone(guard),
            Self::Keys(keys) => keys.kept.get(key::of(&keys.key, head).unwrap_or(KEYLESS), now),
        }
    }

    /// All there are.
    pub(crate) fn guards(&self) -> Vec<Arc<Guard>> {
        match self {
            Self::Route(guard) => vec![Arc::clone(guard)],
            Self::Keys(keys) => keys.kept.all(),
        }
    }

    /// By which orders those are held that are still to come.
    pub(crate) fn expect(&self, orders: &[BreakerOrder]) {
        if let Self::Keys(keys) = self {
            *keys.orders.lock().unwrap_or_else(PoisonError::into_inner) = orders.to_vec();
        }
    }
}

impl Keys {
    fn new(key: &HashKey, rules: &BreakerRules, metrics: &Breakers) -> Self {
        let orders = Arc::new(Mutex::new(Vec::new()));
        let (rules, metrics, held_by) = (rules.clone(), metrics.clone(), Arc::clone(&orders));
        let make = move |hash| {
            let name = if hash == KEYLESS { named("key-none") } else { named(&format!("key-{hash:016x}")) };
            let held = breakers::held(&held_by.lock().unwrap_or_else(PoisonError::into_inner), &name);
            Guard::new(&rules, name, &metrics).held(held)
        };
        Self { key: key.clone(), kept: Keyed::new(KEYS_MAX, make), orders }
    }
}

/// What stands in the place of an instance's id where the breaker is not one's.
fn named(name: &str) -> InstanceId {
    InstanceId::new(name).expect("it is written as ids are")
}

#[cfg(test)]
mod tests {
    use bowline_runtime::{metric::Registry, time};

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_key_keeps_its_breaker_while_that_is_open_and_there_are_so_many_at_most() {
        let rules = BreakerRules::of(&CallPolicy {
            breaker: Some(BreakerPolicy {
                per: BreakerScope::Key(HashKey::Path),
                consecutive: Some(1),
                ..BreakerPolicy::default()
            }),
            ..CallPolicy::default()
        });
        let metrics = Metrics::new(&Registry::default(), "client", "callee");
        let keys = Keys::new(&HashKey::Path, &rules.unwrap(), &metrics.breakers);
        let now = time::now();
        let state = |key| keys.kept.get(key, now).breaker.state(now);
        let guard = keys.kept.get(7, now);
        guard.record(guard.breaker.acquire_owned(now).ok(), Some(Outcome::Failure), now);
        for key in 1000..1000 + KEYS_MAX as u64 * 3 {
            assert_eq!(state(key), State::Closed);
        }
        assert!(keys.kept.len() <= KEYS_MAX);
        assert_eq!(state(7), State::Open, "closed ones give way first");
    }
}
