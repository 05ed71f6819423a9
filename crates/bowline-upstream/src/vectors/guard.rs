//! The vectors against `Guard`, the patterns around a plain call, over virtual time.
//!
//! A guard has one callee and no instances: here the callee is a function that plays the scripts, where there are several
//! one after the other. What makes a call go from one instance to another is no guard's, and left out.

use std::cell::{Cell, RefCell};

use bowline_model::policy::{BreakerScope, GrpcCode, Repeat};
use bowline_resilience::{
    Deadline, Guard,
    bulkhead::Refused,
    guard::{self, Call},
    outcome::{Classes, Classifier, Verdict},
    retry,
};
use bowline_runtime::time;
use futures_util::future::join_all;

use super::*;

/// What is of one callee and not for a guard all the same, and why; what is of instances is told by [`is_of_instances`].
const LEFT_OUT: [(&str, &[&str]); 4] = [
    (
        "a guard reads no headers",
        &["a_negative_pushback_forbids_the_retry", "a_retry_after_beyond_the_deadline_ends_the_retries"],
    ),
    (
        "its caller knows what is worth another try",
        &["a_malformed_answer_is_told", "a_streamed_body_is_not_sent_twice"],
    ),
    ("a guard has one breaker", &["a_breaker_of_a_key_leaves_other_keys_alone"]),
    ("a guard does not know how many instances there are", &["with_one_instance_nothing_is_hedged"]),
];

/// Whether it is of how a call goes from one instance to another, or of which there are.
fn is_of_instances(vector: &Vector) -> bool {
    let CallPolicy { breaker, hedge, outlier, .. } = &vector.policy;
    let is_shared = hedge.is_some() || breaker.as_ref().is_some_and(|breaker| breaker.per == BreakerScope::Route);
    let has_health = vector.instances.values().any(|script| script.health != Health::default());
    let is_alone = vector.instances.len() == 1 || (is_shared && !vector.instances.is_empty());
    !is_alone || has_health || outlier.is_some() || !vector.steering.is_empty()
}

/// What the callee answers, if it does.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    grpc: Option<GrpcCode>,
}

/// What the guard is told that the callee failed with: an answer that is a failure, or none.
#[derive(Debug, Clone)]
enum Fault {
    Answered(Answer),
    Unanswered(&'static str, u16),
}

/// The callee, and what is known of its answers.
struct Callee {
    scripts: Vec<(String, Script)>,
    turns: Cell<usize>,
    served: RefCell<BTreeMap<String, u64>>,
    outcome: Classifier,
    retried: Option<Classes>,
    /// Whether what is a failure counts for more than being tried again.
    is_counted: bool,
}

impl Callee {
    fn new(vector: &Vector) -> Self {
        let CallPolicy { retry, breaker, hedge, outcome, .. } = &vector.policy;
        Self {
            scripts: vector.instances.clone().into_iter().collect(),
            turns: Cell::new(0),
            served: RefCell::default(),
            outcome: Classifier::of(outcome),
            retried: retry.as_ref().map(|retry| Classes::of(&retry.on)),
            is_counted: breaker.is_some() || hedge.is_some(),
        }
    }

    async fn ask(&self) -> Result<Answer, Fault> {
        let turn = self.turns.replace(self.turns.get() + 1);
        let (id, script) = &self.scripts[turn % self.scripts.len()];
        if script.refuses {
            return Err(Fault::Unanswered("upstream_connect", 503));
        }
        let number = {
            let mut served = self.served.borrow_mut();
            let count = served.entry(id.clone()).or_default();
            *count += 1;
            usize::try_from(*count - 1).unwrap()
        };
        let (mut status, mut grpc) = (200, None);
        match script.does.get(number).or(script.does.last()) {
            None => {}
            Some(Behaviour::Answer(answered)) => status = *answered,
            Some(Behaviour::Late { status: answered, after }) => {
                time::sleep(*after).await;
                status = *answered;
            }
            Some(Behaviour::Told { status: answered, headers }) => {
                let code = headers.get("grpc-status").and_then(|code| code.parse::<u32>().ok());
                (status, grpc) = (*answered, code.and_then(GrpcCode::of));
            }
            Some(Behaviour::Reset) => return Err(Fault::Unanswered("upstream_reset", 502)),
            Some(Behaviour::Malformed) => return Err(Fault::Unanswered("upstream_malformed", 502)),
            Some(Behaviour::Hang) => std::future::pending().await,
        }
        let answer = Answer { status, grpc };
        match self.outcome.verdict(status, grpc) {
            Verdict::Bad => Err(Fault::Answered(answer)),
            Verdict::Good | Verdict::Ignored => Ok(answer),
        }
    }

    /// What a result is taken for; of those that are only tried again or not, by that.
    fn judge(&self, result: &Result<Answer, Fault>) -> Verdict {
        let (Ok(answer) | Err(Fault::Answered(answer))) = result else { return Verdict::Bad };
        match self.retried.as_ref().filter(|_| !self.is_counted) {
            Some(retried) if retried.holds(answer.status, answer.grpc) => Verdict::Bad,
            Some(_) => Verdict::Ignored,
            None => self.outcome.verdict(answer.status, answer.grpc),
        }
    }
}

async fn call(guard: &Guard, callee: &Callee, policy: &CallPolicy, ask: &Ask) -> Seen {
    let is_repeated = policy.retry.as_ref().is_some_and(|retry| retry.repeat == Repeat::All);
    let call = Call {
        deadline: ask.deadline.map(|deadline| Deadline::after(time::now(), deadline)),
        is_repeatable: is_repeated || retry::is_idempotent(&ask.method, ask.has_key),
    };
    let fallback = |policy: &bowline_model::policy::FallbackPolicy, _| Answer { status: policy.status, grpc: None };
    let result = guard.call_or(call, |result| callee.judge(result), |_| callee.ask(), fallback).await;
    let failed = |status, reason: &str| Seen { status, reason: Some(reason.to_owned()) };
    match result {
        Ok(answer) | Err(guard::Error::Failed(Fault::Answered(answer))) => Seen { status: answer.status, reason: None },
        Err(guard::Error::Failed(Fault::Unanswered(reason, status))) => failed(status, reason),
        Err(guard::Error::DeadlineExceeded) => failed(504, "timeout"),
        Err(guard::Error::Breaker(_)) => failed(503, "breaker_open"),
        Err(guard::Error::Bulkhead(Refused::Full)) => failed(503, "bulkhead_full"),
        Err(guard::Error::Bulkhead(_)) => failed(503, "bulkhead_timeout"),
        Err(error) => panic!("{error:?} is told by nobody"),
    }
}

/// Holds a guard against a vector.
async fn hold(vector: &Vector) -> Result<(), String> {
    let (guard, callee) = (Guard::new(&vector.policy), Callee::new(vector));
    for (number, step) in vector.steps.iter().enumerate() {
        time::sleep(step.after.unwrap_or_default()).await;
        let calls = (0..step.times).map(|_| call(&guard, &callee, &vector.policy, &step.ask));
        let seen = if step.at_once {
            join_all(calls).await
        } else {
            let mut seen = Vec::new();
            for call in calls {
                seen.push(call.await);
            }
            seen
        };
        check(&format!("step {}", number + 1), &counted(seen), &step.expect)?;
    }
    let served = callee.served.into_inner();
    if let Some(expect) = &vector.served {
        check("requests served", &served, expect)?;
    }
    let (least, most) = vector.served_between.unwrap_or((0, u64::MAX));
    let total: u64 = served.values().sum();
    check("requests served within bounds", &(least..=most).contains(&total), &true)?;
    let state = |breaker: &std::sync::Arc<bowline_resilience::Breaker>| breaker.state(time::now()).as_str().to_owned();
    let breakers: BTreeMap<_, _> = match guard.breaker().map(state) {
        Some(state) => vector.breakers.keys().map(|id| (id.clone(), state.clone())).collect(),
        None => BTreeMap::new(),
    };
    check("breakers", &breakers, &vector.breakers)
}

#[tokio::test(start_paused = true)]
async fn a_guard_holds_what_is_not_of_instances() {
    let left_out: Vec<&str> = LEFT_OUT.iter().flat_map(|(_, names)| *names).copied().collect();
    let vectors = all();
    let unknown: Vec<_> = left_out.iter().filter(|name| !vectors.iter().any(|vector| vector.name == **name)).collect();
    assert!(unknown.is_empty(), "no vector is called {unknown:?}");
    let mut failed = Vec::new();
    let mut held = 0;
    for vector in vectors.iter().filter(|it| !left_out.contains(&it.name) && !is_of_instances(it)) {
        held += 1;
        failed.extend(hold(vector).await.err().map(|told| format!("{}: {told}", vector.name)));
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    assert!(held > 50, "{held} vectors are held");
}
