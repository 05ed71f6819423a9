//! What is remembered of one instance: where it is dialled, and its breaker.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use bowline_model::{Instance, policy::BreakerPolicy};
use bowline_resilience::breaker::{Breaker, Outcome, OwnedPermit, State};
use bowline_runtime::time::Instant;
use bowline_transport::Endpoint;

use crate::metrics::Breakers;

/// What is remembered of one instance.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    pub(crate) breaker: Option<Guard>,
}

/// A breaker whose state the metrics know.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) breaker: Arc<Breaker>,
    /// The state that was counted last: 0 closed, 1 open, 2 half open.
    counted: AtomicU8,
    metrics: Breakers,
}

impl Member {
    pub(crate) fn new(instance: &Instance, policy: Option<&BreakerPolicy>, metrics: &Breakers) -> Self {
        let breaker = policy.map(|policy| Guard {
            breaker: Arc::new(Breaker::new(policy)),
            counted: AtomicU8::new(0),
            metrics: metrics.clone(),
        });
        Self { endpoint: Endpoint::from(instance), breaker }
    }

    /// Gives a permit back with what came of the attempt; `None` where that says nothing.
    pub(crate) fn record(&self, permit: Option<OwnedPermit>, outcome: Option<Outcome>, now: Instant) {
        let Some(guard) = &self.breaker else { return };
        match (permit, outcome) {
            (Some(permit), Some(outcome)) => permit.record(outcome, now),
            (permit, _) => drop(permit),
        }
        // A success in the closed state changes nothing; slow ones are noticed at the next failure.
        if outcome != Some(Outcome::Success) || guard.counted.load(Relaxed) != 0 {
            guard.count(guard.breaker.state(now));
        }
    }
}

impl Guard {
    fn count(&self, state: State) {
        let number = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        let before = state_of(self.counted.swap(number, Relaxed));
        self.metrics.changed(before, state);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.count(State::Closed);
    }
}

fn state_of(number: u8) -> State {
    match number {
        0 => State::Closed,
        1 => State::Open,
        _ => State::HalfOpen,
    }
}
