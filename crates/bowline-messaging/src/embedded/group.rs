//! A group as its topic serves it: the table of its deliveries, its consumers, and what survives of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::record::{KeptGroup, Record};
use crate::{
    delivery::{ConsumerId, Deliveries, Effect, Event, Moment, Policy, Position, TakenIn},
    port::{GroupSettings, Message},
};

/// The most messages that a group has in its table and is not done with, without those that are delayed.
pub(super) const WINDOW_MAX: usize = 10_000;

/// The most messages that are delayed for a group; later ones are taken in when earlier ones were delivered.
pub(super) const DELAYED_MAX: usize = 100_000;

/// The most consumers of a group.
pub(super) const CONSUMERS_MAX: usize = 1024;

/// The longest text of a failure that is kept.
const FAILURE_BYTES_MAX: usize = 1024;

/// A message for a consumer.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) message: Arc<Message>,
    pub(super) attempt: u32,
    /// In which life of the group: a seek begins another.
    pub(super) epoch: u64,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    table: Deliveries,
    policy: Policy,
    lease: Duration,
    epoch: u64,
    /// What was known before the process began, and is not taken in yet.
    resume: Kept,
    consumers: BTreeMap<ConsumerId, Consumer>,
    leases: BTreeMap<Position, ConsumerId>,
    failures: BTreeMap<Position, String>,
}

#[derive(Debug)]
struct Consumer {
    ready: mpsc::Sender<Ready>,
    credit: usize,
}

/// What the log says of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    group: KeptGroup,
    pending: BTreeMap<Position, (u32, i64)>,
    /// What is done at or after `group.next`.
    done: BTreeSet<Position>,
    /// What was tried at or after `group.next`.
    failed: BTreeMap<Position, (u32, i64)>,
}

impl Kept {
    pub(super) fn new(mut group: KeptGroup) -> Self {
        let pending = std::mem::take(&mut group.pending);
        let pending = pending.into_iter().map(|(position, attempts, due)| (position, (attempts, due))).collect();
        Self { group, pending, ..Self::default() }
    }

    pub(super) fn done(&mut self, position: Position) {
        self.failed.remove(&position);
        if position < self.group.next {
            self.pending.remove(&position);
        } else {
            self.done.insert(position);
        }
    }

    pub(super) fn failed(&mut self, position: Position, attempts: u32, due: i64) {
        if position >= self.group.next {
            self.failed.insert(position, (attempts, due));
        } else if let Some(tries) = self.pending.get_mut(&position) {
            *tries = (attempts, due);
        }
    }

    /// The first position that is not done.
    fn floor(&self) -> Position {
        self.pending.first_key_value().map_or(self.group.next, |(position, _)| *position)
    }

    /// Forgets all before a position.
    fn pass_over(&mut self, position: Position) {
        self.pending = self.pending.split_off(&position);
        self.done = self.done.split_off(&position);
        self.failed = self.failed.split_off(&position);
    }

    /// Whether a position is done, and the tries it has had.
    fn look_up(&mut self, position: Position) -> Option<(u32, i64)> {
        if position < self.group.next {
            return self.pending.remove(&position);
        }
        let tries = self.failed.remove(&position).unwrap_or((0, i64::MIN));
        (!self.done.remove(&position)).then_some(tries)
    }
}

impl Group {
    /// A group that begins at a position.
    pub(super) fn new(name: &str, settings: &GroupSettings, next: Position, epoch: u64) -> Self {
        let policy = policy(settings);
        let group = KeptGroup {
            name: name.to_owned(),
            policy: Some(policy),
            lease_ms: millis(settings.lease),
            next,
            pending: Vec::new(),
        };
        Self::resume(Kept::new(group), epoch)
    }

    /// A group as it was when the process ended.
    pub(super) fn resume(kept: Kept, epoch: u64) -> Self {
        let policy = kept.group.policy.unwrap_or_else(|| policy(&GroupSettings::default()));
        let mut group = Self {
            name: kept.group.name.clone(),
            table: Deliveries::new(policy, kept.floor()),
            policy,
            lease: Duration::from_millis(u64::try_from(kept.group.lease_ms).unwrap_or_default()),
            epoch,
            resume: kept,
            consumers: BTreeMap::new(),
            leases: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        group.catch_up();
        group
    }

    /// Behind the last message that was pending, there is nothing for it before `next`.
    fn catch_up(&mut self) {
        let position = self.resume.group.next - 1;
        if self.is_resuming() && self.resume.pending.is_empty() {
            let _nothing = self.table.step(Event::Pass { position }, Moment { now: 0, luck: 0 });
        }
    }

    /// Whether it has not seen all again that was pending when the process ended.
    fn is_resuming(&self) -> bool {
        self.table.next() < self.resume.group.next
    }

    /// Everything from a position on, whatever was done of it.
    pub(super) fn seek(&mut self, next: Position, epoch: u64) {
        let group = KeptGroup { next, pending: Vec::new(), ..self.kept() };
        for consumer in std::mem::take(&mut self.leases).into_values() {
            self.give_credit(consumer);
        }
        self.table = Deliveries::new(self.policy, next);
        self.resume = Kept::new(group);
        self.failures.clear();
        self.epoch = epoch;
    }

    /// How it is served from now on; whether that is another way.
    pub(super) fn set(&mut self, settings: &GroupSettings) -> bool {
        let before = (self.policy, self.lease);
        (self.policy, self.lease) = (policy(settings), settings.lease);
        self.table.set_policy(self.policy);
        before != (self.policy, self.lease)
    }

    /// What is to survive of it.
    pub(super) fn kept(&self) -> KeptGroup {
        let mut pending = self.resume.pending.clone();
        let mut next = self.table.next().max(self.resume.group.next);
        // What was done or tried beyond, before the process began, is said as what is pending up to there.
        let beyond = self.resume.done.last().max(self.resume.failed.last_key_value().map(|(last, _)| last));
        let end = beyond.map_or(next, |last| next.max(last + 1));
        for position in (next..end).filter(|position| !self.resume.done.contains(position)) {
            pending.insert(position, self.resume.failed.get(&position).copied().unwrap_or_default());
        }
        next = end;
        pending.extend(self.table.pending().map(|(position, attempts)| (position, (attempts, 0))));
        KeptGroup {
            name: self.name.clone(),
            policy: Some(self.policy),
            lease_ms: millis(self.lease),
            next,
            pending: pending.into_iter().map(|(position, (attempts, due))| (position, attempts, due)).collect(),
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn floor(&self) -> Position {
        self.table.floor()
    }

    pub(super) fn leased(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// How many messages before `next` it is not done with.
    pub(super) fn lag(&self, next: Position) -> u64 {
        let pending = self.table.pending().count() + self.resume.pending.len();
        let unseen = next.saturating_sub(self.table.next().max(self.resume.group.next)) + pending as u64;
        unseen.saturating_sub(self.resume.done.len() as u64)
    }

    pub(super) fn wakes_at(&self) -> Option<i64> {
        self.table.wakes_at()
    }

    /// The position that it wants to see next, if it has room.
    pub(super) fn wants(&self) -> Option<Position> {
        // Between what was pending there is nothing for it.
        if let (true, Some((position, _))) = (self.is_resuming(), self.resume.pending.first_key_value()) {
            return Some(*position);
        }
        let has_room = self.table.window() < WINDOW_MAX && self.table.delayed() < DELAYED_MAX;
        has_room.then(|| self.table.next())
    }

    /// Takes in the message that it wanted.
    pub(super) fn take_in(&mut self, message: &Message, key: Option<u64>, now: Moment) {
        let position = message.position;
        // What is not there any more is passed over.
        self.resume.pass_over(position);
        let is_others = message.only.as_ref().is_some_and(|only| *only != self.name);
        let event = match self.resume.look_up(position) {
            Some((attempts, due)) if !is_others => {
                // What was not delayed does not wait for a clock that went back meanwhile.
                let own = if message.due_ms == message.published_ms { i64::MIN } else { message.due_ms };
                let due = if attempts > 0 { due } else { own };
                let taken_in = TakenIn { key, due, expires: message.expires_ms };
                Event::TakeIn { position, message: taken_in, attempts }
            }
            _ => Event::Pass { position },
        };
        let _nothing = self.table.step(event, now);
        self.catch_up();
    }

    /// The next delivery, if somebody can take one: to whom, which, and the number of the try.
    pub(super) fn offer(&mut self, now: Moment) -> Option<(ConsumerId, Effect)> {
        if !self.table.is_ready() || self.is_resuming() {
            return None;
        }
        // Whoever has most room.
        let (&consumer, _) = self.consumers.iter().filter(|(_, c)| c.credit > 0).max_by_key(|(_, c)| c.credit)?;
        let until = now.now.saturating_add(millis(self.lease));
        match self.table.step(Event::Ask { consumer, until }, now) {
            Effect::Nothing => None,
            effect => Some((consumer, effect)),
        }
    }

    /// Gives a message to a consumer.
    pub(super) fn deliver(&mut self, consumer: ConsumerId, message: Arc<Message>, attempt: u32) {
        let epoch = self.epoch;
        self.leases.insert(message.position, consumer);
        if let Some(known) = self.consumers.get_mut(&consumer) {
            known.credit -= 1;
            // Its channel is as long as its credit; if it is gone, that is found out by who looks for those.
            known.ready.try_send(Ready { message, attempt, epoch }).ok();
        }
    }

    /// Runs an event through the table; what follows is to be kept or done.
    pub(super) fn step(&mut self, event: Event, now: Moment) -> Effect {
        let effect = self.table.step(event, now);
        match effect {
            Effect::Done { position, .. } => {
                self.failures.remove(&position);
                self.release(position);
            }
            Effect::Failed { position, .. } | Effect::Bury { position, .. } => self.release(position),
            Effect::Nothing | Effect::Deliver { .. } | Effect::Stale => {}
        }
        effect
    }

    /// The consumer has room for another one.
    fn release(&mut self, position: Position) {
        if let Some(consumer) = self.leases.remove(&position) {
            self.give_credit(consumer);
        }
    }

    fn give_credit(&mut self, consumer: ConsumerId) {
        if let Some(known) = self.consumers.get_mut(&consumer) {
            known.credit += 1;
        }
    }

    pub(super) fn join(&mut self, consumer: ConsumerId, credit: usize) -> mpsc::Receiver<Ready> {
        // After a seek what was lost to it may still be in its channel.
        let (ready, receiver) = mpsc::channel(credit * 2);
        self.consumers.insert(consumer, Consumer { ready, credit });
        receiver
    }

    /// A consumer that is gone; its messages are to be given back.
    pub(super) fn gone(&mut self) -> Option<ConsumerId> {
        let gone = self.consumers.iter().find(|(_, consumer)| consumer.ready.is_closed()).map(|(id, _)| *id)?;
        self.consumers.remove(&gone);
        let its = self.leases.iter().filter(|(_, consumer)| **consumer == gone).map(|(position, _)| *position);
        for position in its.collect::<Vec<_>>() {
            self.note_failure(position, "its consumer is gone");
        }
        Some(gone)
    }

    pub(super) fn note_failure(&mut self, position: Position, failure: &str) {
        let mut end = failure.len().min(FAILURE_BYTES_MAX);
        while !failure.is_char_boundary(end) {
            end -= 1;
        }
        self.failures.insert(position, failure[..end].to_owned());
    }

    /// Why the last try failed.
    pub(super) fn failure(&self, position: Position) -> &str {
        self.failures.get(&position).map_or("its lease ended without an answer", String::as_str)
    }

    /// What is to be kept of an effect.
    pub(super) fn record(&self, effect: Effect) -> Option<Record> {
        let group = self.name.clone();
        match effect {
            Effect::Done { position, .. } => Some(Record::Done { group, position }),
            Effect::Failed { position, attempts, due } => Some(Record::Failed { group, position, attempts, due }),
            Effect::Nothing | Effect::Deliver { .. } | Effect::Bury { .. } | Effect::Stale => None,
        }
    }
}

fn policy(settings: &GroupSettings) -> Policy {
    Policy {
        attempts_max: settings.attempts_max,
        backoff_ms: millis(settings.backoff),
        backoff_ms_max: millis(settings.backoff_max),
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
