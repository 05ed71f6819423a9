//! The detector over a set: what is counted, and who is judged by it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bowline_model::{Instance, policy::OutlierPolicy};
use bowline_runtime::time::Instant;

use super::{Calls, Why, out_max};
use crate::set::{InstanceSet, Member, Snapshot};

/// An instance was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// By which rule.
    pub why: Why,
    /// How often in a row.
    pub in_a_row: u16,
}

/// Judges the instances of one set by what came of the calls to them. Shared by all cores.
pub struct Detector {
    policy: OutlierPolicy,
    interval_nanos: u64,
    /// By the order of [`Why::ALL`].
    ejections: [AtomicU64; Why::ALL.len()],
    told: Option<Told>,
}

type Told = Box<dyn Fn(&Instance, Change) + Send + Sync>;

/// An instance that was in, and had enough calls to be judged.
struct Judged<'s, T> {
    member: &'s Arc<Member<T>>,
    calls: Calls,
}

impl Detector {
    /// A detector by that policy.
    pub fn new(policy: &OutlierPolicy) -> Self {
        let interval_nanos = u64::try_from(policy.interval.as_nanos()).unwrap_or(u64::MAX);
        Self { policy: policy.clone(), interval_nanos, ejections: Default::default(), told: None }
    }

    /// Has `told` called with each instance that is ejected, by whoever records what ejects it: it is to be quick.
    pub fn on_ejection(self, told: impl Fn(&Instance, Change) + Send + Sync + 'static) -> Self {
        Self { told: Some(Box::new(told)), ..self }
    }

    /// What it judges by.
    pub fn policy(&self) -> &OutlierPolicy {
        &self.policy
    }

    /// How many it has ejected, by the order of [`Why::ALL`].
    pub fn ejections(&self) -> [u64; Why::ALL.len()] {
        self.ejections.each_ref().map(|count| count.load(Relaxed))
    }

    /// Counts an answer of a member of the set. Who comes first after an interval judges all: O(n) then, else O(1).
    ///
    /// All of one set are to be recorded by one detector at a time.
    #[inline]
    pub fn record<T>(&self, set: &InstanceSet<T>, member: &Member<T>, ok: bool, now: Instant) {
        let now = set.shared.nanos(now);
        let row = member.load.record().count(ok);
        if self.policy.consecutive.is_some_and(|limit| row >= u64::from(limit)) {
            self.eject(set, member, Why::Consecutive, now);
        }
        let due = set.shared.hot.0.sweep_due.load(Relaxed);
        if now >= due {
            self.sweep_once(set, due, now);
        }
    }

    #[cold]
    fn sweep_once<T>(&self, set: &InstanceSet<T>, due: u64, now: u64) {
        let next = now.saturating_add(self.interval_nanos);
        let is_ours = set.shared.hot.0.sweep_due.compare_exchange(due, next, Relaxed, Relaxed).is_ok();
        // The first to record begins the first interval.
        if is_ours && due != 0 {
            self.sweep(set, now);
        }
    }

    fn sweep<T>(&self, set: &InstanceSet<T>, now: u64) {
        let snapshot = set.snapshot();
        let mut judged = Vec::new();
        for member in snapshot.members() {
            let record = member.load.record();
            let calls = record.take_calls();
            if record.sweep(&set.shared.hot.0.room, now) && calls.all >= u64::from(self.policy.calls_min) {
                judged.push(Judged { member, calls });
            }
        }
        self.recall_beyond(set, &snapshot, now);
        if judged.len() < self.policy.instances_min as usize {
            return;
        }
        // The worst first, since there may not be room for all.
        judged.sort_by(|one, other| other.failure_rate().total_cmp(&one.failure_rate()));
        let floor = self.policy.deviations.map(|factor| success_floor(&judged, factor.factor()));
        for Judged { member, calls } in &judged {
            let is_failing = self.policy.failure_rate.is_some_and(|limit| limit.is_reached_by(calls.bad, calls.all));
            let is_below = floor.is_some_and(|floor| 1.0 - calls.failure_rate() < floor);
            if is_failing {
                self.eject(set, member, Why::FailureRate, now);
            } else if is_below {
                self.eject(set, member, Why::SuccessRate, now);
            }
        }
    }

    /// Has those that would come back first come back at once, where more are out than may be since the set has shrunk.
    fn recall_beyond<T>(&self, set: &InstanceSet<T>, snapshot: &Snapshot<T>, now: u64) {
        let hot = &set.shared.hot.0;
        let beyond = hot.room.out().saturating_sub(out_max(self.policy.ejected_max, hot.members.load(Relaxed)));
        if beyond == 0 {
            return;
        }
        let mut out: Vec<_> = snapshot.members().iter().filter(|member| member.load.record().is_ejected(now)).collect();
        out.sort_by_key(|member| member.load.record().end());
        for member in out.into_iter().take(usize::try_from(beyond).unwrap_or(usize::MAX)) {
            member.load.record().recall(&hot.room);
        }
    }

    #[cold]
    fn eject<T>(&self, set: &InstanceSet<T>, member: &Member<T>, why: Why, now: u64) {
        let hot = &set.shared.hot.0;
        let out_max = out_max(self.policy.ejected_max, hot.members.load(Relaxed));
        let record = member.load.record();
        if record.eject(&hot.room, out_max, self.policy.eject_for, why, now) {
            self.ejections[why as usize].fetch_add(1, Relaxed);
            if let Some(told) = &self.told {
                told(&member.instance, Change { why, in_a_row: record.standing().ejections });
            }
        }
    }
}

impl<T> Judged<'_, T> {
    fn failure_rate(&self) -> f64 {
        self.calls.failure_rate()
    }
}

impl Calls {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn failure_rate(self) -> f64 {
        self.bad as f64 / self.all.max(1) as f64
    }
}

/// So many standard deviations below the mean of the rates of successes.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn success_floor<T>(judged: &[Judged<'_, T>], factor: f64) -> f64 {
    let count = judged.len() as f64;
    let rates = || judged.iter().map(|one| 1.0 - one.failure_rate());
    let mean = rates().sum::<f64>() / count;
    let variance = rates().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    mean - factor * variance.sqrt()
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector").field("policy", &self.policy).field("ejections", &self.ejections).finish()
    }
}
