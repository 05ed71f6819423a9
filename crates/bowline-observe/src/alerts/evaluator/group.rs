//! A group of rules: when it is evaluated, and what is known of each of its rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_model::error::chain;
use bowline_runtime::{drain::Drain, time};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    ALERTS_PER_RULE_MAX, ByRule, Evaluator,
    active::{Active, HELD_PER_RULE_MAX},
    lock,
};
use crate::{
    alerts::{
        duration::millis,
        journal::Journal,
        manager,
        rules::{AlertRule, Group, RecordRule, Rule},
        table::{Event, State},
    },
    labels::{Labels, NAME},
    source::STALE,
};

/// The longest that one expression is waited for.
const EVALUATION_MAX: Duration = Duration::from_secs(30);

/// What is known of a group.
pub(crate) struct GroupState {
    pub(crate) group: Group,
    pub(crate) rules: Vec<RuleState>,
    pub(crate) evaluated: Option<Evaluated>,
}

/// What is known of a rule.
pub(crate) struct RuleState {
    /// Tells it from all others; the same after a restart, and for another expression.
    identity: String,
    /// Its alerts, by labels.
    pub(crate) alerts: BTreeMap<Labels, Active>,
    /// The series that it recorded last.
    recorded: BTreeSet<Labels>,
    pub(crate) evaluated: Option<Evaluated>,
    pub(crate) error: Option<String>,
}

/// When, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evaluated {
    pub(crate) at_ms: i64,
    pub(crate) took: Duration,
}

/// What an evaluation led to.
#[derive(Default)]
struct Consequences {
    tell: Vec<manager::Alert>,
    samples: Vec<(Labels, f64)>,
    /// What alerts were before, of those that changed.
    changed: Vec<(Active, &'static str)>,
    /// How many alerts there was no more room for.
    left_out: u64,
}

impl GroupState {
    pub(super) fn new(group: Group, alerts: &mut ByRule) -> Self {
        let mut counts = BTreeMap::new();
        let rules = group.rules.iter().map(|rule| RuleState::new(identity(&group.name, rule, &mut counts), alerts));
        let rules = rules.collect();
        Self { group, rules, evaluated: None }
    }

    /// Its alerts, for whoever goes on with them.
    pub(super) fn give_up(&mut self, alerts: &mut ByRule) {
        for rule in &mut self.rules {
            let actives = std::mem::take(&mut rule.alerts);
            if !actives.is_empty() {
                alerts.entry(rule.identity.clone()).or_default().extend(actives.into_values());
            }
        }
    }

    /// Alerts that are pending, and that fire.
    pub(super) fn counts(&self) -> (i64, i64) {
        let (mut pending, mut firing) = (0, 0);
        for active in self.rules.iter().flat_map(|rule| rule.alerts.values()) {
            match active.state {
                State::Pending { .. } => pending += 1,
                State::Firing { .. } => firing += 1,
                State::Inactive | State::Resolved { .. } => {}
            }
        }
        (pending, firing)
    }
}

impl RuleState {
    fn new(identity: String, alerts: &mut ByRule) -> Self {
        let actives = alerts.remove(&identity).unwrap_or_default();
        let alerts = actives.into_iter().map(|active| (active.labels.clone(), active)).collect();
        Self { identity, alerts, recorded: BTreeSet::new(), evaluated: None, error: None }
    }

    fn alert(&mut self, rule: &AlertRule, there: Vec<Active>, at: i64, journal: &Journal, url: &str) -> Consequences {
        let mut consequences = Consequences::default();
        let mut gone: BTreeSet<Labels> = self.alerts.keys().cloned().collect();
        for now in there {
            gone.remove(&now.labels);
            if self.alerts.len() >= HELD_PER_RULE_MAX && !self.alerts.contains_key(&now.labels) {
                consequences.left_out += 1;
                continue;
            }
            let active = self.alerts.entry(now.labels.clone()).or_insert_with(|| now.clone());
            // What has resolved is told as it was.
            if !matches!(active.state, State::Resolved { .. }) {
                (active.annotations, active.value) = (now.annotations, now.value);
            }
            let event = Event::Evaluated { is_there: true, at };
            consequences.step(rule, active, event, &self.identity, journal, url);
        }
        for labels in gone {
            if let Some(active) = self.alerts.get_mut(&labels) {
                let event = Event::Evaluated { is_there: false, at };
                consequences.step(rule, active, event, &self.identity, journal, url);
            }
        }
        self.alerts.retain(|_, active| active.state != State::Inactive);
        consequences
    }

    /// The manager has taken what it was told: what has resolved is over.
    fn taken(&mut self, rule: &AlertRule, journal: &Journal) {
        for active in self.alerts.values_mut() {
            active.step(rule, Event::Taken, &self.identity, journal);
        }
        self.alerts.retain(|_, active| active.state != State::Inactive);
    }

    /// Marks the series that were recorded before and are no more.
    fn mark_ended(&mut self, samples: &mut Vec<(Labels, f64)>) {
        let recorded: BTreeSet<Labels> = samples.iter().map(|(labels, _)| labels.clone()).collect();
        samples.extend(self.recorded.difference(&recorded).map(|labels| (labels.clone(), STALE)));
        self.recorded = recorded;
    }
}

impl Consequences {
    fn step(
        &mut self,
        rule: &AlertRule,
        active: &mut Active,
        event: Event,
        identity: &str,
        journal: &Journal,
        url: &str,
    ) {
        let before = active.state.name();
        active.step(rule, event, identity, journal);
        if active.state.name() != before {
            self.changed.push((active.clone(), before));
        }
        self.tell.extend(active.told(url));
        let (State::Pending { since } | State::Firing { since, .. }) = active.state else { return };
        #[expect(clippy::cast_precision_loss, reason = "seconds are exact for millions of years")]
        let since_seconds = since.div_euclid(1000) as f64;
        self.samples.extend(active.series().zip([1.0, since_seconds]));
    }
}

impl Evaluator {
    /// Evaluates a group at its times until the drain begins. What takes longer than its interval leaves times out.
    pub(super) async fn run_group(self, state: Arc<Mutex<GroupState>>, mut drain: Drain) {
        let group = lock(&state).group.clone();
        let interval = millis(group.interval.unwrap_or(self.0.parts.interval)).max(1);
        let phase = i64::try_from(xxh3_64(group.name.as_bytes()) % interval.unsigned_abs()).unwrap_or_default();
        let slot_after = |now: i64| (now - phase).div_euclid(interval) * interval + interval + phase;
        let mut at_ms = slot_after((self.0.parts.clock)());
        loop {
            let wait_ms = at_ms - (self.0.parts.clock)();
            let wait = Duration::from_millis(u64::try_from(wait_ms.min(interval)).unwrap_or_default());
            if drain.or_drain(time::sleep(wait)).await.is_none() {
                return;
            }
            let now = (self.0.parts.clock)();
            if at_ms - now > interval {
                // The clock went back meanwhile.
                at_ms = slot_after(now) - interval;
            }
            // The last evaluation took longer, or the machine slept: times that are over are left out.
            let missed = (now - at_ms).div_euclid(interval).max(0);
            if missed > 0 {
                self.0.parts.metrics.ticks_missed.add(missed.unsigned_abs());
            }
            at_ms += missed * interval;
            if !(self.0.parts.is_watching)() {
                at_ms += interval;
                continue;
            }
            if self.evaluate(&state, &group, at_ms, &mut drain).await.is_none() {
                return;
            }
            at_ms += interval;
        }
    }

    /// Evaluates each rule; none: the drain began. What an expression answers then is no longer waited for, as that
    /// may take 30 s for each rule.
    async fn evaluate(&self, state: &Mutex<GroupState>, group: &Group, at_ms: i64, drain: &mut Drain) -> Option<()> {
        let began = time::now();
        for (index, rule) in group.rules.iter().enumerate() {
            let began = time::now();
            let answer = time::timeout(EVALUATION_MAX, self.0.parts.evaluate.instant(rule.expr(), at_ms));
            let answer = drain.or_drain(answer).await?;
            let answer = answer.unwrap_or_else(|_| Err(format!("there was no answer in {EVALUATION_MAX:?}")));
            let result = match (rule, answer) {
                (_, Err(error)) => Err(error),
                (Rule::Alert(rule), Ok(series)) => self.raise(state, (group, index, rule), series, at_ms).await,
                (Rule::Record(rule), Ok(series)) => self.keep_series(state, (group, index, rule), &series, at_ms),
            };
            let metrics = &self.0.parts.metrics;
            if result.is_ok() { &metrics.evaluations_ok } else { &metrics.evaluations_failed }.increment();
            let mut state = lock(state);
            let Some(known) = state.rules.get_mut(index) else { continue };
            if let (Err(error), None) = (&result, &known.error) {
                tracing::warn!(group = group.name, rule = rule.name(), error, "rule cannot be evaluated");
            }
            known.error = result.err();
            known.evaluated = Some(Evaluated { at_ms, took: time::now() - began });
        }
        lock(state).evaluated = Some(Evaluated { at_ms, took: time::now() - began });
        self.count();
        Some(())
    }

    async fn raise(
        &self,
        state: &Mutex<GroupState>,
        (group, index, rule): (&Group, usize, &AlertRule),
        series: Vec<(Labels, f64)>,
        at_ms: i64,
    ) -> Result<(), String> {
        let parts = &self.0.parts;
        check_limit(group, series.len())?;
        let there = series.iter().map(|(labels, value)| Active::new(rule, labels, *value, &parts.external_url));
        let there: Vec<Active> = there.collect();
        check_unique(there.iter().map(|active| &active.labels))?;
        let url = generator_url(&parts.external_url, &rule.expr);
        let consequences = {
            let mut state = lock(state);
            let Some(known) = state.rules.get_mut(index) else { return Ok(()) };
            let mut consequences = known.alert(rule, there, at_ms, &parts.journal, &url);
            known.mark_ended(&mut consequences.samples);
            consequences
        };
        for (active, before) in &consequences.changed {
            self.remember(&group.name, at_ms, active, before);
        }
        if consequences.left_out > 0 {
            parts.metrics.suppressed("too_many").add(consequences.left_out);
        }
        parts.record.record(at_ms, &consequences.samples);
        // Kept before it is told, so that what was told is known after a restart.
        if let Err(error) = parts.journal.commit().await {
            tracing::warn!(group = group.name, error = %chain(&error), "the state of alerts was not kept");
        }
        if consequences.tell.is_empty() {
            return Ok(());
        }
        match parts.manager.send(consequences.tell).await {
            Ok(()) => {
                if let Some(known) = lock(state).rules.get_mut(index) {
                    known.taken(rule, &parts.journal);
                }
            }
            Err(error) => tracing::warn!(group = group.name, error = %chain(&error), "alerts were not taken"),
        }
        Ok(())
    }

    fn keep_series(
        &self,
        state: &Mutex<GroupState>,
        (group, index, rule): (&Group, usize, &RecordRule),
        series: &[(Labels, f64)],
        at_ms: i64,
    ) -> Result<(), String> {
        check_limit(group, series.len())?;
        let labelled = |(labels, value): &(Labels, f64)| {
            let named = labels.with(NAME, &rule.name);
            (rule.labels.iter().fold(named, |labels, (name, value)| labels.with(name, value)), *value)
        };
        let mut samples: Vec<(Labels, f64)> = series.iter().map(labelled).collect();
        check_unique(samples.iter().map(|(labels, _)| labels))?;
        if let Some(known) = lock(state).rules.get_mut(index) {
            known.mark_ended(&mut samples);
        }
        self.0.parts.record.record(at_ms, &samples);
        Ok(())
    }
}

/// Tells a rule from all others by group, name and labels; of several that are alike by their order.
fn identity(group: &str, rule: &Rule, counts: &mut BTreeMap<String, usize>) -> String {
    let labels: Vec<(&str, &str)> = match rule {
        Rule::Alert(rule) => rule.labels.iter().map(|(name, text)| (name.as_str(), text.text())).collect(),
        Rule::Record(rule) => rule.labels.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect(),
    };
    let text = format!("{group:?} {:?} {labels:?}", rule.name());
    let count = counts.entry(text.clone()).or_default();
    *count += 1;
    format!("{:016x}", xxh3_64(format!("{text} {count}").as_bytes()))
}

fn check_limit(group: &Group, count: usize) -> Result<(), String> {
    let max = group.limit.unwrap_or(ALERTS_PER_RULE_MAX);
    if count > max { Err(format!("the expression answers {count} series, the limit is {max}")) } else { Ok(()) }
}

fn check_unique<'a>(mut labels: impl Iterator<Item = &'a Labels>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match labels.find(|labels| !seen.insert(*labels)) {
        Some(twice) => Err(format!("two series of the answer have the labels {twice}")),
        None => Ok(()),
    }
}

/// Where people see an expression.
fn generator_url(external_url: &str, expr: &str) -> String {
    let mut url = format!("{}/api/v1/query?query=", external_url.trim_end_matches('/'));
    for byte in expr.trim().bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("a String takes everything");
        }
    }
    url
}
