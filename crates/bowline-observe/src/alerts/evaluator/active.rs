//! One alert of a rule, from its first series to its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    alerts::{
        duration::millis,
        journal::Journal,
        manager::{self, fingerprint, label_map},
        rules::{AlertRule, Scope},
        table::{Demands, Event, State, Status},
    },
    labels::{Labels, NAME},
};

/// The most alerts of one rule, where its group has no limit.
pub const ALERTS_PER_RULE_MAX: usize = 1000;

/// The most alerts of one rule that are held, those whose series are gone included: more are left out.
pub(crate) const HELD_PER_RULE_MAX: usize = 2 * ALERTS_PER_RULE_MAX;

/// An alert that is not inactive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Active {
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    /// As text: JSON has no NaN.
    pub(crate) value: String,
    pub(crate) state: State,
}

/// The same as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    value: String,
    state: State,
}

impl Active {
    /// What a series of a rule is as an alert; inactive so far.
    pub(crate) fn new(rule: &AlertRule, series: &Labels, value: f64, external_url: &str) -> Self {
        let base = series.with(NAME, "");
        let scope = Scope { labels: &base, value, external_url };
        let filled = rule.labels.iter().map(|(name, text)| (name.clone(), text.fill(scope)));
        let pairs = base.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let alertname = ("alertname".to_owned(), rule.name.clone());
        Self {
            labels: Labels::new(pairs.chain(filled).chain([alertname])),
            annotations: rule.annotations.iter().map(|(name, text)| (name.clone(), text.fill(scope))).collect(),
            value: value.to_string(),
            state: State::Inactive,
        }
    }

    /// Steps the table, and keeps the state where it is another one.
    pub(crate) fn step(&mut self, rule: &AlertRule, event: Event, identity: &str, journal: &Journal) -> Option<Status> {
        let demands = Demands { hold_ms: millis(rule.hold), keep_ms: millis(rule.keep_firing) };
        self.apply(demands, event, identity, journal)
    }

    /// Its rule is gone.
    pub(crate) fn remove(&mut self, identity: &str, at: i64, journal: &Journal) -> Option<Status> {
        self.apply(Demands { hold_ms: 0, keep_ms: 0 }, Event::Removed { at }, identity, journal)
    }

    fn apply(&mut self, demands: Demands, event: Event, identity: &str, journal: &Journal) -> Option<Status> {
        let (next, told) = self.state.step(demands, event);
        if next != self.state {
            self.state = next;
            match next {
                State::Inactive => journal.delete(&self.key(identity)),
                _ => journal.put(&self.key(identity), &Kept::from(&*self)),
            }
        }
        told
    }

    /// The series that tell of it, while it is pending or fires: `ALERTS` and `ALERTS_FOR_STATE`.
    pub(crate) fn series(&self) -> impl Iterator<Item = Labels> {
        let is_told = matches!(self.state, State::Pending { .. } | State::Firing { .. });
        let alerts = self.labels.with(NAME, "ALERTS").with("alertstate", self.state.name());
        let since = self.labels.with(NAME, "ALERTS_FOR_STATE");
        [alerts, since].into_iter().filter(move |_| is_told)
    }

    /// What its manager has to know.
    pub(crate) fn told(&self, generator_url: &str) -> Option<manager::Alert> {
        let (starts_at_ms, ends_at_ms) = match self.state {
            State::Inactive | State::Pending { .. } => return None,
            State::Firing { fired, .. } => (fired, None),
            State::Resolved { fired, at, .. } => (fired, Some(at)),
        };
        Some(manager::Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at_ms,
            ends_at_ms,
            generator_url: generator_url.to_owned(),
        })
    }

    /// Under which key it is kept.
    pub(crate) fn key(&self, identity: &str) -> String {
        format!("active/{identity}/{}", fingerprint(&self.labels))
    }
}

impl From<&Active> for Kept {
    fn from(active: &Active) -> Self {
        let Active { labels, annotations, value, state } = active;
        Self { labels: label_map(labels), annotations: annotations.clone(), value: value.clone(), state: *state }
    }
}

impl From<Kept> for Active {
    fn from(kept: Kept) -> Self {
        let Kept { labels, annotations, value, state } = kept;
        Self { labels: Labels::new(labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))), annotations, value, state }
    }
}
