//! What serves calls at one time: a policy and a steering, what is known of the service, and what one call takes of it.

use std::{sync::Arc, time::Duration};

use bowline_balance::{Balancer, Detector, Member as Entry, Snapshot};
use bowline_model::{
    mesh::Steering,
    policy::{Backoff, CallPolicy, FallbackPolicy, HashKey, Repeat},
};
use bowline_resilience::{
    breaker::{self, OwnedPermit},
    bulkhead::Bulkhead,
    hedge::Hedge,
    outcome::{Classes, Classifier},
    retry::Budget,
};
use bowline_runtime::time::Instant;
use http::request::Parts;

use crate::{
    attempt::is_grpc,
    call,
    fallback::NoFallback,
    guard::{BreakerRules, Guard, Shared},
    key,
    member::Member,
    metrics::Metrics,
    mirror::Mirror,
    split::Split,
};

/// A policy, a steering, and what serves them.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) policy: CallPolicy,
    pub(crate) patience: Duration,
    pub(crate) classifier: Classifier,
    /// The answers that are tried again.
    pub(crate) retried: Classes,
    pub(crate) balancer: Balancer,
    pub(crate) kept: Kept,
    pub(crate) steering: Steering,
    pub(crate) split: Option<Split>,
    pub(crate) mirror: Option<Arc<Mirror>>,
}

/// What is known of a service, which may outlive a policy.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Who leaves out those that do worse than the others.
    pub(crate) detector: Option<Arc<Detector>>,
    /// The breakers that are not of an instance.
    pub(crate) shared: Option<Arc<Shared>>,
    pub(crate) budget: Option<Arc<Budget>>,
    pub(crate) hedge: Option<Arc<Hedge>>,
    pub(crate) bulkhead: Option<Bulkhead>,
    pub(crate) fallback: Option<Arc<FallbackPolicy>>,
}

/// What of the policy one call works by.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) deadline: Instant,
    /// What an instance that gives no answer must be given before that tells against it.
    pub(crate) patience: Duration,
    pub(crate) attempts_max: u32,
    pub(crate) per_try_timeout: Option<Duration>,
    pub(crate) backoff: Backoff,
    pub(crate) repeat: Repeat,
    pub(crate) hedge: Option<Arc<Hedge>>,
    /// The hash of the request's key, where the strategy hashes.
    pub(crate) key: Option<u64>,
    /// The breaker of its route or key, where it has one.
    pub(crate) guard: Option<Arc<Guard>>,
    pub(crate) bulkhead: Option<Bulkhead>,
    /// None where the request takes none.
    pub(crate) fallback: Option<Arc<FallbackPolicy>>,
    /// Whether its service's traffic is split between versions.
    pub(crate) is_split: bool,
    /// Where a copy goes, if one does.
    pub(crate) mirror: Option<Arc<Mirror>>,
}

impl Plan {
    /// After a wait for its place: nobody gave an attempt that time, but it never tells less than a tenth of all.
    pub(crate) fn after_waiting(&mut self, timeout: Duration, waited: Duration) {
        let left = timeout.saturating_sub(waited);
        self.patience = self.patience.min(left.mul_f64(0.9).max(timeout / 10));
    }

    pub(crate) fn attempt_deadline(&self, started: Instant) -> Instant {
        let per_try = self.per_try_timeout.and_then(|timeout| started.checked_add(timeout));
        per_try.map_or(self.deadline, |per_try| per_try.min(self.deadline))
    }

    /// Gives a permit back to whose it is, with what came of the attempt; `None` where that says nothing.
    pub(crate) fn record(
        &self,
        member: &Entry<Member>,
        permit: Option<OwnedPermit>,
        outcome: Option<breaker::Outcome>,
        now: Instant,
    ) {
        if let Some(guard) = self.guard.as_deref().or(member.state.breaker.as_ref()) {
            guard.record(permit, outcome, now);
        }
    }
}

impl Kept {
    /// Nothing is known yet.
    pub(crate) fn begin(policy: &CallPolicy, metrics: &Metrics) -> Self {
        let rules = BreakerRules::of(policy);
        Self {
            detector: policy.outlier.as_ref().map(|outlier| Arc::new(metrics.detector(outlier))),
            shared: Shared::of(rules.as_ref(), &metrics.breakers).map(Arc::new),
            budget: policy.retry.as_ref().map(|retry| Arc::new(Budget::new(retry))),
            hedge: policy.hedge.as_ref().map(|hedge| Arc::new(Hedge::new(hedge))),
            bulkhead: policy.bulkhead.as_ref().map(Bulkhead::new),
            fallback: policy.fallback.clone().map(Arc::new),
        }
    }
}

impl Active {
    pub(crate) fn new(policy: CallPolicy, kept: Kept) -> Self {
        Self {
            patience: patience(&policy),
            classifier: Classifier::of(&policy.outcome),
            retried: Classes::of(policy.retry.as_ref().map_or(&[], |retry| &retry.on)),
            balancer: Balancer::new(&policy.balance),
            kept,
            policy,
            steering: Steering::default(),
            split: None,
            mirror: None,
        }
    }

    /// Begins a call: pays into the budgets, and takes of the policy what the call needs.
    pub(crate) fn plan(&self, head: &Parts, now: Instant, deadline: Option<Instant>) -> Plan {
        let Self { policy, kept, patience, split, mirror, .. } = self;
        if let Some(budget) = &kept.budget {
            budget.deposit(now);
        }
        let own = now.checked_add(policy.timeout).unwrap_or(now + call::TIMEOUT_MAX);
        let retry = policy.retry.as_ref();
        // What is answered in gRPC ends with a status that a fallback does not have.
        let takes_fallback = head.extensions.get::<NoFallback>().is_none() && !is_grpc(&head.headers);
        let key = |key: &HashKey| key::of(key, head);
        Plan {
            deadline: deadline.map_or(own, |deadline| deadline.min(own)),
            patience: *patience,
            attempts_max: retry.map_or(1, |retry| retry.attempts_max),
            per_try_timeout: retry.and_then(|retry| retry.per_try_timeout),
            backoff: retry.map_or(Backoff { min: Duration::ZERO, max: Duration::ZERO }, |retry| retry.backoff),
            repeat: retry.map_or(Repeat::default(), |retry| retry.repeat),
            hedge: kept.hedge.clone(),
            key: policy.balance.key.as_ref().and_then(key),
            guard: kept.shared.as_ref().map(|shared| shared.guard(head, now)),
            bulkhead: kept.bulkhead.clone(),
            fallback: kept.fallback.as_ref().filter(|_| takes_fallback).map(Arc::clone),
            is_split: split.is_some(),
            mirror: mirror.as_ref().filter(|mirror| mirror.draws()).map(Arc::clone),
        }
    }

    /// Takes note of who is there now.
    pub(crate) fn renew(&self, all: &Snapshot<Member>) {
        if let Some(split) = &self.split {
            split.renew(all);
        }
        if let Some(mirror) = &self.mirror {
            mirror.renew(all);
        }
    }
}

/// The least of the times that the policy itself gives an attempt.
///
/// Of its whole timeout, a tenth may have gone before: to an attempt that found nobody, or to the
/// caller, who began to count earlier.
fn patience(policy: &CallPolicy) -> Duration {
    let per_try = policy.retry.as_ref().and_then(|retry| retry.per_try_timeout);
    let slow_call = policy.breaker.as_ref().and_then(|breaker| breaker.slow_call);
    let whole = policy.timeout.saturating_sub(policy.timeout / 10);
    [per_try, slow_call].into_iter().flatten().fold(whole, Duration::min)
}

#[cfg(test)]
mod tests {
    use bowline_runtime::{metric::Registry, time};

    use super::*;

    #[test]
    fn an_attempt_has_had_its_time_when_it_had_what_the_policy_leaves_it() {
        let timeout = Duration::from_secs(10);
        let policy = CallPolicy { timeout, breaker: None, retry: None, ..CallPolicy::default() };
        let (head, ()) = http::Request::get("/").body(()).unwrap().into_parts();
        let metrics = Metrics::new(&Registry::default(), "client", "callee");
        let active = Active::new(policy.clone(), Kept::begin(&policy, &metrics));
        let after = |waited| {
            let mut plan = active.plan(&head, time::now(), None);
            plan.after_waiting(timeout, Duration::from_secs(waited));
            plan.patience
        };
        let millis = [0, 5, 9, 10].map(|waited| after(waited).as_millis());
        assert_eq!(millis, [9000, 4500, 1000, 1000], "what is left of the timeout, and enough to tell");
    }
}
