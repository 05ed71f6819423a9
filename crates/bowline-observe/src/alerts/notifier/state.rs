//! What the notifier knows: alerts with what their receivers were told, groups, silences, the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_runtime::time::Instant;
use serde::{Deserialize, Serialize};

use super::{HELD_MAX, Outcome, SENDS_PER_RECEIVER_MAX};
use crate::{
    alerts::{
        config::{Receiver, Route, Target},
        duration::millis,
        error::Error,
        journal::Journal,
        ledger::{self, Decision, Entry, Ledger},
        manager::{Alert, KeptAlert, fingerprint},
        metrics::Metrics,
        silence::Silences,
        table::{Delivery, Due, Post, Status, Told},
        webhook::{Head, Payload},
    },
    labels::Labels,
};

/// A receiver and the fingerprint of an alert.
type HeldId = (String, String);

/// A receiver and the text of a group's labels.
pub(crate) type GroupId = (String, String);

pub(crate) struct State {
    route: Arc<Route>,
    held: BTreeMap<HeldId, Held>,
    groups: BTreeMap<GroupId, Group>,
    /// Alerts that nobody takes, so that it is said once.
    unrouted: BTreeSet<String>,
    /// Receivers that are not reached, and why, so that it is said once.
    unreached: BTreeMap<String, String>,
    pub(crate) silences: Silences,
    pub(crate) ledger: Ledger,
    journal: Arc<Journal>,
    metrics: Metrics,
}

struct Held {
    alert: Alert,
    group: GroupId,
    delivery: Delivery,
    /// The last decision not to tell, so that it is said once.
    noted: Option<Decision>,
}

struct Group {
    labels: Labels,
    due: Instant,
    is_busy: bool,
}

/// A delivery as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptDelivery {
    receiver: String,
    alert: KeptAlert,
    delivery: Delivery,
}

/// A notification that is to be sent.
pub(crate) struct Plan {
    group: GroupId,
    alerts: Vec<(HeldId, Status)>,
    pub(crate) target: Target,
    pub(crate) body: bytes::Bytes,
    pub(crate) interval: std::time::Duration,
    ledger_id: u64,
    status: &'static str,
    because: &'static str,
}

impl State {
    pub(crate) fn new(ledger: Ledger, journal: Arc<Journal>, metrics: Metrics) -> Self {
        Self {
            route: Arc::default(),
            held: BTreeMap::new(),
            groups: BTreeMap::new(),
            unrouted: BTreeSet::new(),
            unreached: BTreeMap::new(),
            silences: Silences::default(),
            ledger,
            journal,
            metrics,
        }
    }

    pub(crate) fn route(&self) -> Arc<Route> {
        self.route.clone()
    }

    /// Puts back what was kept; its group is found when the route is set.
    pub(crate) fn restore(&mut self, kept: KeptDelivery) {
        let KeptDelivery { receiver, alert, delivery } = kept;
        let alert = Alert::from(alert);
        let id = (receiver, alert.fingerprint());
        if let Some(delivery) = delivery.step(Post::Restarted) {
            self.held.insert(id, Held { alert, group: GroupId::default(), delivery, noted: None });
        } else {
            self.journal.delete(&delivery_key(&id));
        }
    }

    /// Who is told from now on. Alerts of receivers that are gone are forgotten; the others are grouped anew.
    pub(crate) fn set_route(&mut self, route: Route, now: Instant, now_ms: i64) {
        self.route = Arc::new(route);
        self.unrouted.clear();
        self.unreached.clear();
        let ids: Vec<HeldId> = self.held.keys().cloned().collect();
        let mut groups = std::mem::take(&mut self.groups);
        for id in ids {
            if !self.route.receivers.iter().any(|receiver| receiver.name() == id.0) {
                if let Some(held) = self.held.remove(&id) {
                    self.journal.delete(&delivery_key(&id));
                    self.note(&held.group, &held.alert.labels, Decision::NoReceiver, now_ms);
                }
                continue;
            }
            let Some(held) = self.held.get_mut(&id) else { continue };
            let labels = self.route.group_labels(&held.alert.labels);
            held.group = (id.0, labels.to_string());
            if !self.groups.contains_key(&held.group) {
                let new = || Group { labels, due: now + self.route.group_wait, is_busy: false };
                let group = groups.remove(&held.group).unwrap_or_else(new);
                self.groups.insert(held.group.clone(), group);
            }
        }
    }

    /// Takes an alert as it is now.
    pub(crate) fn hear(&mut self, alert: Alert, now: Instant, now_ms: i64) -> Result<(), Error> {
        let fingerprint = fingerprint(&alert.labels);
        let receiver = self.route.receiver(&alert.labels).map(|receiver| receiver.name().to_owned());
        let before: Vec<HeldId> = self
            .route
            .receivers
            .iter()
            .map(|known| (known.name().to_owned(), fingerprint.clone()))
            .filter(|id| Some(&id.0) != receiver.as_ref() && self.held.contains_key(id))
            .collect();
        for id in before {
            // It goes elsewhere now: for who was told of it, it is over.
            self.update(&id, Alert { ends_at_ms: Some(now_ms), ..alert.clone() }, now_ms);
        }
        let is_firing = alert.ends_at_ms.is_none();
        let Some(receiver) = receiver else {
            if !is_firing {
                self.unrouted.remove(&fingerprint);
            } else if self.unrouted.len() < HELD_MAX && self.unrouted.insert(fingerprint) {
                self.metrics.suppressed("no_receiver").increment();
                self.note(&GroupId::default(), &alert.labels, Decision::NoReceiver, now_ms);
            }
            return Ok(());
        };
        let id = (receiver, fingerprint);
        if self.held.contains_key(&id) {
            self.update(&id, alert, now_ms);
        } else if is_firing {
            return self.hold(&id, alert, now, now_ms);
        }
        Ok(())
    }

    /// An alert that its receiver does not know of.
    fn hold(&mut self, id: &HeldId, alert: Alert, now: Instant, now_ms: i64) -> Result<(), Error> {
        if self.held.len() >= HELD_MAX {
            self.metrics.suppressed("too_many").increment();
            return Err(Error::TooMany { what: "alerts to tell of", max: HELD_MAX });
        }
        let labels = self.route.group_labels(&alert.labels);
        let group = (id.0.clone(), labels.to_string());
        let new = || Group { labels, due: now + self.route.group_wait, is_busy: false };
        let due = self.groups.entry(group.clone()).or_insert_with(new).due;
        let until_ms = now_ms + millis(due.saturating_duration_since(now));
        self.note(&group, &alert.labels, Decision::Grouped { until_ms }, now_ms);
        self.held.insert(id.clone(), Held { alert, group, delivery: Delivery::NEW, noted: None });
        self.keep(id);
        Ok(())
    }

    /// An alert that is known, as it is now.
    fn update(&mut self, id: &HeldId, alert: Alert, now_ms: i64) {
        let Some(held) = self.held.get_mut(id) else { return };
        let status = if alert.ends_at_ms.is_none() { Status::Firing } else { Status::Resolved };
        let before = held.delivery;
        if status == Status::Firing || before.status == Status::Firing {
            held.alert = alert;
        }
        match before.step(Post::Heard(status)) {
            Some(delivery) if delivery == before => {}
            Some(delivery) => {
                held.delivery = delivery;
                held.noted = None;
                self.keep(id);
            }
            None => self.forget(id, Some(Decision::NeverTold), now_ms),
        }
    }

    /// Groups whose time has come, as many as are free, and when the next one is due.
    pub(crate) fn take_due(&mut self, now: Instant, mut free: usize) -> (Vec<GroupId>, Option<Instant>) {
        let mut busy: BTreeMap<String, usize> = BTreeMap::new();
        for ((receiver, _), _) in self.groups.iter().filter(|(_, group)| group.is_busy) {
            *busy.entry(receiver.clone()).or_default() += 1;
        }
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for (id, group) in self.groups.iter_mut().filter(|(_, group)| !group.is_busy) {
            let count = busy.entry(id.0.clone()).or_default();
            // What cannot be sent now is looked at when something was sent.
            if free == 0 || *count >= SENDS_PER_RECEIVER_MAX {
                continue;
            }
            if group.due <= now {
                (free, *count, group.is_busy) = (free - 1, *count + 1, true);
                due.push(id.clone());
            } else {
                next = Some(next.map_or(group.due, |next| next.min(group.due)));
            }
        }
        (due, next)
    }

    /// Where a group's receiver is; none: it is gone.
    pub(crate) fn target(&self, group: &GroupId) -> Option<Target> {
        self.receiver(group).map(|receiver| receiver.webhook().clone())
    }

    fn receiver(&self, group: &GroupId) -> Option<&Receiver> {
        self.route.receivers.iter().find(|receiver| receiver.name() == group.0)
    }

    /// Says of what is due that it is not known where to send it, once for each alert; whether something is due.
    pub(crate) fn note_unset(&mut self, group: &GroupId, error: &str, now_ms: i64) -> bool {
        let Some(sends_resolved) = self.receiver(group).map(Receiver::send_resolved) else { return false };
        let repeat_ms = millis(self.route.repeat_interval);
        let decision = Decision::NotSet { error: error.to_owned() };
        let (mut is_due, mut fresh) = (false, Vec::new());
        for id in self.members(group, sends_resolved, now_ms) {
            let Some(held) = self.held.get_mut(&id) else { continue };
            if held.delivery.due(now_ms, repeat_ms).is_none() {
                continue;
            }
            is_due = true;
            if held.noted.as_ref() != Some(&decision) {
                held.noted = Some(decision.clone());
                fresh.push(held.alert.labels.clone());
                self.metrics.suppressed("not_set").increment();
            }
        }
        if !fresh.is_empty() {
            let (named, alert_count) = ledger::named(fresh.iter());
            self.enter(group, named, alert_count, decision, now_ms);
        }
        is_due
    }

    /// What is to be sent for a group now, and is said in the ledger to be under way; none: nothing.
    pub(crate) fn plan(&mut self, group: &GroupId, external_url: &str, now_ms: i64) -> Option<Plan> {
        let route = self.route.clone();
        let receiver = route.receivers.iter().find(|receiver| receiver.name() == group.0)?;
        let repeat_ms = millis(route.repeat_interval);
        let members = self.members(group, receiver.send_resolved(), now_ms);
        let due = |id: &HeldId| self.held.get(id).and_then(|held| held.delivery.due(now_ms, repeat_ms));
        let reasons: Vec<Due> = members.iter().filter_map(due).collect();
        let because = if reasons.contains(&Due::Again) {
            "again"
        } else if reasons.contains(&Due::News) {
            "news"
        } else if reasons.is_empty() {
            for id in members {
                let until = self.held.get(&id).and_then(|held| held.delivery.repeats_at(repeat_ms));
                if let Some(until_ms) = until {
                    self.note_once(&id, Decision::Unchanged { until_ms }, now_ms);
                }
            }
            return None;
        } else {
            "repeat"
        };
        let labels = self.groups.get(group).map(|group| group.labels.clone()).unwrap_or_default();
        let group_key = format!("{{}}/{{receiver={:?}}}:{}", group.0, group.1);
        let head = Head { group_key: &group_key, receiver: &group.0, group_labels: &labels, external_url };
        let alerts: Vec<&Alert> = members.iter().filter_map(|id| Some(&self.held.get(id)?.alert)).collect();
        let payload = Payload::new(head, alerts.clone());
        let (body, status) = (payload.encode(), payload.status().name());
        let (named, alert_count) = ledger::named(alerts.iter().map(|alert| &alert.labels));
        let decision = Decision::Sending { status: status.to_owned(), because: because.to_owned() };
        let ledger_id = self.enter(group, named, alert_count, decision, now_ms);
        let alerts = members.into_iter().filter_map(|id| self.begin(id)).collect();
        let (target, interval, group) = (receiver.webhook().clone(), route.group_interval, group.clone());
        Some(Plan { group, alerts, target, body, interval, ledger_id, status, because })
    }

    /// The alerts of a group that may be told now. What is silenced is said, what needs no telling is forgotten.
    fn members(&mut self, group: &GroupId, sends_resolved: bool, now_ms: i64) -> Vec<HeldId> {
        let all: Vec<HeldId> = self.held.iter().filter(|(_, h)| h.group == *group).map(|(id, _)| id.clone()).collect();
        let mut members = Vec::new();
        for id in all {
            let Some(held) = self.held.get(&id) else { continue };
            if held.delivery.status == Status::Resolved {
                if sends_resolved {
                    members.push(id);
                } else {
                    self.forget(&id, Some(Decision::ResolveUnwanted), now_ms);
                }
                continue;
            }
            // What was told is ended also under a silence; what fires is not told, nor repeated.
            let silence = self.silences.silencing(&held.alert.labels, now_ms).map(|silence| silence.id.clone());
            match silence {
                Some(silence) => {
                    if self.note_once(&id, Decision::Silenced { silence }, now_ms) {
                        self.metrics.suppressed("silenced").increment();
                    }
                }
                None => members.push(id),
            }
        }
        members
    }

    fn begin(&mut self, id: HeldId) -> Option<(HeldId, Status)> {
        let held = self.held.get_mut(&id)?;
        let status = held.delivery.status;
        (held.delivery, held.noted) = (held.delivery.step(Post::Begun)?, None);
        self.keep(&id);
        Some((id, status))
    }

    /// How a receiver is now, by the last notification to it: why it is not reached. Whether that is other than before.
    pub(crate) fn changes(&mut self, receiver: &str, failed: Option<&str>) -> bool {
        match failed {
            None => self.unreached.remove(receiver).is_some(),
            Some(error) if self.unreached.get(receiver).is_some_and(|known| known == error) => false,
            Some(error) => {
                self.unreached.insert(receiver.to_owned(), error.to_owned());
                true
            }
        }
    }

    /// What came of it.
    pub(crate) fn conclude(&mut self, plan: &Plan, outcome: &Outcome, now_ms: i64) {
        let never_told = outcome.failed.as_ref().map(|_| Decision::NeverTold);
        for (id, status) in &plan.alerts {
            let Some(held) = self.held.get_mut(id) else { continue };
            let post = match &outcome.failed {
                None => Post::Sent { status: *status, at: now_ms },
                Some((_, is_certain)) => Post::Failed { is_certain: *is_certain },
            };
            match held.delivery.step(post) {
                Some(delivery) => {
                    held.delivery = delivery;
                    self.keep(id);
                }
                None => self.forget(id, never_told.clone(), now_ms),
            }
        }
        let decision = outcome.decision(plan.status, plan.because);
        if let Some(entry) = self.ledger.decide(plan.ledger_id, decision) {
            self.journal.put(&ledger::key(entry.id), &entry);
        }
        let result = if outcome.failed.is_none() { "sent" } else { "failed" };
        self.metrics.notifications(&plan.group.0, result).increment();
    }

    /// The group waits for its next time, or goes where it has no alerts.
    pub(crate) fn rest(&mut self, id: &GroupId, began: Instant) {
        if !self.held.values().any(|held| held.group == *id) {
            self.groups.remove(id);
        } else if let Some(group) = self.groups.get_mut(id) {
            (group.is_busy, group.due) = (false, began + self.route.group_interval);
        }
    }

    fn keep(&self, id: &HeldId) {
        if let Some(held) = self.held.get(id) {
            let alert = KeptAlert::from(&held.alert);
            let kept = KeptDelivery { receiver: id.0.clone(), alert, delivery: held.delivery };
            self.journal.put(&delivery_key(id), &kept);
        }
    }

    fn forget(&mut self, id: &HeldId, decision: Option<Decision>, now_ms: i64) {
        let Some(held) = self.held.remove(id) else { return };
        self.journal.delete(&delivery_key(id));
        let was_told = held.delivery.told != Told::Nothing;
        if let Some(decision) = decision.filter(|decision| was_told || *decision != Decision::ResolveUnwanted) {
            self.note(&held.group, &held.alert.labels, decision, now_ms);
        }
    }

    /// Says of an alert why nobody is told, unless that is what was said last; whether it was said.
    fn note_once(&mut self, id: &HeldId, decision: Decision, now_ms: i64) -> bool {
        let Some(held) = self.held.get_mut(id) else { return false };
        if held.noted.as_ref() == Some(&decision) {
            return false;
        }
        held.noted = Some(decision.clone());
        let (group, labels) = (held.group.clone(), held.alert.labels.clone());
        self.note(&group, &labels, decision, now_ms);
        true
    }

    fn note(&mut self, group: &GroupId, labels: &Labels, decision: Decision, now_ms: i64) {
        self.enter(group, vec![labels.to_string()], 1, decision, now_ms);
    }

    fn enter(
        &mut self,
        group: &GroupId,
        alerts: Vec<String>,
        alert_count: usize,
        decision: Decision,
        now_ms: i64,
    ) -> u64 {
        let (receiver, group) = group.clone();
        let (entry, gone) =
            self.ledger.add(Entry { id: 0, at_ms: now_ms, receiver, group, alerts, alert_count, decision });
        self.journal.put(&ledger::key(entry.id), &entry);
        if let Some(gone) = gone {
            self.journal.delete(&ledger::key(gone));
        }
        entry.id
    }
}

fn delivery_key(id: &HeldId) -> String {
    format!("deliveries/{}/{}", id.1, id.0)
}
