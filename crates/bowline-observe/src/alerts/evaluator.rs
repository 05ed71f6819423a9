//! Evaluates rules, each group at its own times, and says what follows: alerts, and series.

mod active;
mod group;
mod views;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::error::chain;
use bowline_runtime::{
    BoxFuture,
    drain::{self, Drain, Drainer},
    task, time,
};
use serde::Serialize;

use super::{
    Clock, duration::rfc3339, error::Error, journal::Journal, manager::AlertManager, metrics::Metrics, rules::Group,
};
use crate::{labels::Labels, source::STALE};

use active::{Active, Kept};
use group::GroupState;

pub use active::ALERTS_PER_RULE_MAX;
pub use views::{ActiveView, GroupView, RuleView};

/// The most transitions that are remembered.
pub const HISTORY_MAX: usize = 1000;

/// After which a manager that did not take what it was told is told again.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Answers expressions: what rules read.
pub trait Evaluate: Send + Sync + 'static {
    /// The series that an expression answers at a time, in milliseconds since 1970; of a scalar, one without labels.
    ///
    /// # Errors
    /// Why it cannot be answered, for people.
    fn instant<'a>(&'a self, expr: &'a str, at_ms: i64) -> BoxFuture<'a, Result<Vec<(Labels, f64)>, String>>;
}

/// Takes the samples that rules record. Never waits.
pub trait Record: Send + Sync + 'static {
    /// Samples of one time, in milliseconds since 1970; [`STALE`](crate::source::STALE) where a series ended.
    fn record(&self, at_ms: i64, samples: &[(Labels, f64)]);
}

/// What the evaluator needs.
pub(crate) struct Parts {
    pub(crate) evaluate: Arc<dyn Evaluate>,
    pub(crate) record: Arc<dyn Record>,
    pub(crate) manager: Arc<dyn AlertManager>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) clock: Clock,
    pub(crate) interval: Duration,
    /// Before it nothing is evaluated.
    pub(crate) is_watching: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) external_url: Arc<str>,
    pub(crate) metrics: Metrics,
}

/// A change of an alert's state.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// When, as RFC 3339.
    pub at: String,
    /// The group of its rule.
    pub group: String,
    /// What tells it from all others.
    pub labels: BTreeMap<String, String>,
    /// `inactive`, `pending`, `firing` or `resolved`.
    pub from: &'static str,
    /// The same.
    pub to: &'static str,
    /// The series' value then.
    pub value: String,
}

/// The evaluator. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Evaluator(Arc<Shared>);

struct Shared {
    parts: Parts,
    groups: Mutex<Vec<Arc<Mutex<GroupState>>>>,
    history: Mutex<VecDeque<Transition>>,
    /// Alerts whose rules are gone, and whose end nobody was told yet.
    untold: Mutex<ByRule>,
    /// Stops the tasks of the groups; held while they are exchanged.
    running: tokio::sync::Mutex<Option<Drainer>>,
}

/// Alerts by the identity of their rule.
pub(super) type ByRule = BTreeMap<String, Vec<Active>>;

impl Evaluator {
    /// Goes on where it ended, with those rules.
    pub(crate) async fn load(parts: Parts, groups: Vec<Group>) -> Result<Self, Error> {
        let mut kept = ByRule::new();
        for (key, active) in parts.journal.load::<Kept>("active/").await? {
            let identity = key.split('/').nth(1).unwrap_or_default().to_owned();
            kept.entry(identity).or_default().push(active.into());
        }
        let shared = Shared {
            parts,
            groups: Mutex::default(),
            history: Mutex::default(),
            untold: Mutex::default(),
            running: tokio::sync::Mutex::default(),
        };
        let evaluator = Self(Arc::new(shared));
        evaluator.run(groups, kept, &mut *evaluator.0.running.lock().await);
        Ok(evaluator)
    }

    /// Evaluates those rules from now on; the alerts of rules that are the same go on.
    ///
    /// # Cancel safety
    /// Once begun it is finished.
    pub(crate) async fn set(&self, groups: Vec<Group>) -> Result<(), Error> {
        let evaluator = self.clone();
        let exchanged = task::spawn(async move {
            let mut running = evaluator.0.running.lock().await;
            let Some(mut before) = running.take() else { return Err(Error::Stopped) };
            before.drain().await;
            let states = std::mem::take(&mut *lock(&evaluator.0.groups));
            let mut alerts = std::mem::take(&mut *lock(&evaluator.0.untold));
            for state in states {
                lock(&state).give_up(&mut alerts);
            }
            evaluator.run(groups, alerts, &mut running);
            Ok(())
        });
        exchanged.await.unwrap_or(Err(Error::Stopped))
    }

    /// Ends once what was evaluated is kept and told.
    pub(crate) async fn stop(&self) {
        if let Some(mut running) = self.0.running.lock().await.take() {
            running.drain().await;
        }
        if let Err(error) = self.0.parts.journal.commit().await {
            tracing::warn!(error = %chain(&error), "the state of alerts was not kept");
        }
    }

    fn run(&self, groups: Vec<Group>, mut alerts: ByRule, running: &mut Option<Drainer>) {
        let (drainer, drain) = drain::channel();
        let states: Vec<_> =
            groups.into_iter().map(|group| Arc::new(Mutex::new(GroupState::new(group, &mut alerts)))).collect();
        for state in &states {
            task::spawn(self.clone().run_group(state.clone(), drain.clone()));
        }
        lock(&self.0.groups).clone_from(&states);
        if !alerts.is_empty() {
            task::spawn(self.clone().end_removed(alerts, drain));
        }
        *running = Some(drainer);
        self.count();
    }

    /// Alerts whose rules are gone are over.
    async fn end_removed(self, alerts: ByRule, mut drain: Drain) {
        let parts = &self.0.parts;
        let at_ms = (parts.clock)();
        let mut over = Vec::new();
        let mut ended = Vec::new();
        for (identity, actives) in alerts {
            for mut active in actives {
                ended.extend(active.series().map(|labels| (labels, STALE)));
                let told = active.remove(&identity, at_ms, &parts.journal);
                if told.is_some() {
                    over.push((identity.clone(), active));
                }
            }
        }
        parts.record.record(at_ms, &ended);
        loop {
            let told = over.iter().filter_map(|(_, active)| active.told("")).collect();
            let kept = parts.journal.commit().await;
            match kept.and(parts.manager.send(told).await) {
                Ok(()) => break,
                Err(error) => tracing::warn!(error = %chain(&error), "the end of alerts was not told"),
            }
            if drain.or_drain(time::sleep(TELL_AGAIN_AFTER)).await.is_none() {
                // Whoever evaluates next tells it.
                let mut untold = lock(&self.0.untold);
                for (identity, active) in over {
                    untold.entry(identity).or_default().push(active);
                }
                return;
            }
        }
        for (identity, active) in over {
            parts.journal.delete(&active.key(&identity));
        }
        if let Err(error) = parts.journal.commit().await {
            tracing::warn!(error = %chain(&error), "the state of alerts was not kept");
        }
    }

    fn remember(&self, group: &str, at_ms: i64, active: &Active, from: &'static str) {
        let mut history = lock(&self.0.history);
        if history.len() >= HISTORY_MAX {
            history.pop_front();
        }
        history.push_back(Transition {
            at: rfc3339(at_ms),
            group: group.to_owned(),
            labels: super::manager::label_map(&active.labels),
            from,
            to: active.state.name(),
            value: active.value.clone(),
        });
    }

    /// Counts alerts by their state.
    fn count(&self) {
        let (mut pending, mut firing) = (0, 0);
        for group in self.groups() {
            let (p, f) = lock(&group).counts();
            (pending, firing) = (pending + p, firing + f);
        }
        self.0.parts.metrics.pending.set(pending);
        self.0.parts.metrics.firing.set(firing);
    }

    fn groups(&self) -> Vec<Arc<Mutex<GroupState>>> {
        lock(&self.0.groups).clone()
    }

    /// The transitions, the newest first.
    pub(crate) fn history(&self) -> Vec<Transition> {
        lock(&self.0.history).iter().rev().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
