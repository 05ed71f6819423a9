//! Rules and alerts as Prometheus' API shows them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Evaluator,
    active::Active,
    group::{Evaluated, GroupState, RuleState},
    lock,
};
use crate::alerts::{
    duration::{self, rfc3339},
    manager::label_map,
    rules::{Rule, Template},
    table::State,
};

/// A group in `/api/v1/rules`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Where it was read from.
    pub file: String,
    /// How often it is evaluated, in seconds.
    pub interval: f64,
    /// The most alerts or series of a rule; 0: no limit of its own.
    pub limit: usize,
    /// Its rules.
    pub rules: Vec<RuleView>,
    /// How long it took, in seconds.
    pub evaluation_time: f64,
    /// When it was last evaluated, as RFC 3339.
    pub last_evaluation: String,
}

/// A rule in `/api/v1/rules`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleView {
    /// Of an alert: the most that any of its alerts is: `inactive`, `pending` or `firing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// Its name.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// `for`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// `keep_firing_for`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<f64>,
    /// Its labels, as they were written.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, as they were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Its alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Vec<ActiveView>>,
    /// `unknown`, `ok` or `err`.
    pub health: &'static str,
    /// Why it is `err`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How long it took, in seconds.
    pub evaluation_time: f64,
    /// When it was last evaluated, as RFC 3339.
    pub last_evaluation: String,
    /// `alerting` or `recording`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// An alert in `/api/v1/alerts`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveView {
    /// What tells it from all others.
    pub labels: BTreeMap<String, String>,
    /// What people are told.
    pub annotations: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: &'static str,
    /// Since when its series is there, as RFC 3339.
    pub active_at: String,
    /// Since when it fires although its series is gone, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_since: Option<String>,
    /// Its series' value.
    pub value: String,
}

impl Evaluator {
    /// All groups, in order.
    pub(crate) fn rules(&self) -> Vec<GroupView> {
        let default_seconds = self.0.parts.interval.as_secs_f64();
        self.groups().iter().map(|group| group_view(&lock(group), default_seconds)).collect()
    }

    /// All alerts that are pending or fire.
    pub(crate) fn alerts(&self) -> Vec<ActiveView> {
        let groups = self.groups();
        groups.iter().flat_map(|group| lock(group).rules.iter().flat_map(actives).collect::<Vec<_>>()).collect()
    }
}

fn group_view(state: &GroupState, default_seconds: f64) -> GroupView {
    let (evaluation_time, last_evaluation) = evaluated(state.evaluated);
    GroupView {
        name: state.group.name.clone(),
        file: state.group.file.clone(),
        interval: state.group.interval.map_or(default_seconds, |interval| interval.as_secs_f64()),
        limit: state.group.limit.unwrap_or(0),
        rules: state.group.rules.iter().zip(&state.rules).map(|(rule, known)| rule_view(rule, known)).collect(),
        evaluation_time,
        last_evaluation,
    }
}

fn rule_view(rule: &Rule, known: &RuleState) -> RuleView {
    let texts = |texts: &BTreeMap<String, Template>| {
        texts.iter().map(|(name, text)| (name.clone(), text.text().to_owned())).collect::<BTreeMap<_, _>>()
    };
    let health = match (&known.evaluated, &known.error) {
        (None, _) => "unknown",
        (Some(_), None) => "ok",
        (Some(_), Some(_)) => "err",
    };
    let (evaluation_time, last_evaluation) = evaluated(known.evaluated);
    let view = RuleView {
        state: None,
        name: rule.name().to_owned(),
        query: rule.expr().trim().to_owned(),
        duration: None,
        keep_firing_for: None,
        labels: BTreeMap::new(),
        annotations: None,
        alerts: None,
        health,
        last_error: known.error.clone(),
        evaluation_time,
        last_evaluation,
        kind: "recording",
    };
    match rule {
        Rule::Record(rule) => RuleView { labels: rule.labels.clone(), ..view },
        Rule::Alert(rule) => {
            let alerts: Vec<ActiveView> = actives(known).collect();
            let is_there = |state| alerts.iter().any(|alert| alert.state == state);
            let state = ["firing", "pending"].into_iter().find(|state| is_there(*state)).unwrap_or("inactive");
            RuleView {
                state: Some(state),
                duration: Some(rule.hold.as_secs_f64()),
                keep_firing_for: Some(rule.keep_firing.as_secs_f64()),
                labels: texts(&rule.labels),
                annotations: Some(texts(&rule.annotations)),
                alerts: Some(alerts),
                kind: "alerting",
                ..view
            }
        }
    }
}

fn actives(known: &RuleState) -> impl Iterator<Item = ActiveView> + '_ {
    known.alerts.values().filter(|active| !matches!(active.state, State::Resolved { .. })).map(active_view)
}

fn active_view(active: &Active) -> ActiveView {
    let gone = match active.state {
        State::Firing { gone, .. } => gone,
        _ => None,
    };
    ActiveView {
        labels: label_map(&active.labels),
        annotations: active.annotations.clone(),
        state: active.state.name(),
        active_at: rfc3339(active.state.since().unwrap_or_default()),
        keep_firing_since: gone.map(duration::rfc3339),
        value: active.value.clone(),
    }
}

/// Seconds that it took, and when; Prometheus' zero time where it was not yet.
fn evaluated(evaluated: Option<Evaluated>) -> (f64, String) {
    match evaluated {
        Some(Evaluated { at_ms, took }) => (took.as_secs_f64(), rfc3339(at_ms)),
        None => (0.0, "0001-01-01T00:00:00Z".to_owned()),
    }
}
