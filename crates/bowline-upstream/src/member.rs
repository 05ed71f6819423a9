//! What is remembered of one instance: where it is dialled, and its breaker.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use bowline_balance::Member as Entry;
use bowline_model::{
    Protocol,
    policy::{BreakerPolicy, CallPolicy},
};
use bowline_resilience::breaker::{Breaker, Outcome, OwnedPermit, PROBE_TIMEOUT, State};
use bowline_runtime::time::{Duration, Instant};
use bowline_transport::Endpoint;

use crate::{
    call::TIMEOUT_MAX,
    metrics::{Attempts, Breakers, Metrics},
};

/// What is remembered of one instance.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    /// The same over HTTP/2, where that is preferred; whether the instance takes it may change.
    multiplexed: Option<Endpoint>,
    pub(crate) breaker: Option<Guard>,
    /// The release it is; empty when not told.
    pub(crate) version: String,
    /// Counts the attempts at instances of its version.
    pub(crate) attempts: Attempts,
}

/// A breaker whose state the metrics know.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) breaker: Arc<Breaker>,
    /// The number of the state that was counted last.
    counted: AtomicU8,
    metrics: Breakers,
}

/// All that a breaker is made from: while it stays the same, breakers do.
#[derive(Debug, PartialEq, Eq)]
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
}

impl Member {
    /// An instance of a version, at an endpoint; over HTTP/2 once it takes that, where `prefers_http2`.
    pub(crate) fn new(
        endpoint: Endpoint,
        prefers_http2: bool,
        version: &str,
        rules: Option<&BreakerRules>,
        metrics: &Metrics,
    ) -> Self {
        let breaker = rules.map(|rules| Guard {
            breaker: Arc::new(Breaker::new(&rules.policy).probe_timeout(rules.probe_timeout)),
            counted: AtomicU8::new(0),
            metrics: metrics.breakers.clone(),
        });
        let attempts = metrics.attempts(version);
        let multiplexed = prefers_http2.then(|| Endpoint { protocol: Protocol::Http2, ..endpoint.clone() });
        Self { endpoint, multiplexed, breaker, version: version.to_owned(), attempts }
    }

    /// Where and how the instance is dialled now.
    pub(crate) fn endpoint_of(entry: &Entry<Self>) -> &Endpoint {
        let Self { endpoint, multiplexed, .. } = &*entry.state;
        let multiplexed = multiplexed.as_ref().filter(|_| entry.instance.protocol == Protocol::Both);
        multiplexed.unwrap_or(endpoint)
    }

    /// Gives a permit back with what came of the attempt; `None` where that says nothing.
    pub(crate) fn record(&self, permit: Option<OwnedPermit>, outcome: Option<Outcome>, now: Instant) {
        let Some(guard) = &self.breaker else { return };
        match (permit, outcome) {
            (Some(permit), Some(outcome)) => permit.record(outcome, now),
            (permit, _) => drop(permit),
        }
        guard.count(guard.breaker.state(now));
    }
}

impl Guard {
    fn count(&self, state: State) {
        let number = state as u8;
        // Mostly it is the same, and nothing is written that other cores read.
        if self.counted.load(Relaxed) != number {
            let before = state_of(self.counted.swap(number, Relaxed));
            self.metrics.changed(before, state);
        }
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
