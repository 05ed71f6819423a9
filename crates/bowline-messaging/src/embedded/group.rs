//! A group as its topic serves it: the table of its deliveries, its consumers, and what survives of it.

mod kept;
mod parked;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use self::parked::Parked;
pub(super) use self::{kept::Kept, parked::RETRY_AFTER_MS};
use super::record::{KeptGroup, Pending, Record};
use crate::{
    Error,
    delivery::{ConsumerId, Deliveries, Effect, Event, Key, Moment, Policy, Position, TakenIn},
    port::{GroupSettings, Message},
};

/// The most messages that a group has in its table.
pub(super) const WINDOW_MAX: usize = 10_000;

/// The most messages that wait outside of the table, by position only: what comes later is taken in when they are less.
const PARKED_MAX: usize = 2_000_000;

/// The most of one key in the table; and when half of the window is taken, so that no few keys take all of it.
const LANE_MAX: usize = 64;
const LANE_MAX_CROWDED: usize = 1;

/// How much that is pending is kept in one record.
const PENDING_MAX: usize = 50_000;

/// The most consumers of a group.
pub(super) const CONSUMERS_MAX: usize = 1024;

/// How often what is damaged is read until it is given up.
const READS_MAX: u32 = 10;

/// The longest text of a failure that is kept.
const FAILURE_BYTES_MAX: usize = 1024;

/// A message for a consumer.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) message: Arc<Message>,
    pub(super) attempt: u32,
    /// In which life of the group: a seek begins another.
    pub(super) epoch: u64,
    /// The end of its lease.
    pub(super) until: i64,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    table: Deliveries,
    /// What waits outside of the table.
    parked: Parked,
    policy: Policy,
    lease: Duration,
    epoch: u64,
    /// What was known before the process began, and is not taken in yet.
    resume: Kept,
    consumers: BTreeMap<ConsumerId, Consumer>,
    leases: BTreeMap<Position, ConsumerId>,
    failures: BTreeMap<Position, String>,
    /// How often what is damaged was read.
    unread: BTreeMap<Position, u32>,
}

#[derive(Debug)]
struct Consumer {
    ready: mpsc::Sender<Ready>,
    credit: usize,
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
            parked: Parked::default(),
            policy,
            lease: Duration::from_millis(u64::try_from(kept.group.lease_ms).unwrap_or_default()),
            epoch,
            resume: kept,
            consumers: BTreeMap::new(),
            leases: BTreeMap::new(),
            failures: BTreeMap::new(),
            unread: BTreeMap::new(),
        };
        group.catch_up();
        group
    }

    /// Behind the last message that was pending, there is nothing for it before `next`, and nothing in what was done
    /// from there on: none of it has to be read.
    fn catch_up(&mut self) {
        if self.is_resuming() && !self.resume.pending.is_empty() {
            return;
        }
        let next = self.resume.take_done(self.table.next().max(self.resume.group.next));
        if next > self.table.next() {
            let _nothing = self.table.step(Event::Pass { position: next - 1 }, Moment { now: 0, luck: 0 });
        }
    }

    /// Whether it has not seen all again that was pending when the process ended.
    fn is_resuming(&self) -> bool {
        self.table.next() < self.resume.group.next
    }

    /// Everything from a position on, whatever was done of it.
    pub(super) fn seek(&mut self, next: Position, epoch: u64) {
        let group = self.begun(next);
        for consumer in std::mem::take(&mut self.leases).into_values() {
            self.give_credit(consumer);
        }
        self.table = Deliveries::new(self.policy, next);
        self.parked = Parked::default();
        self.resume = Kept::new(group);
        self.failures.clear();
        self.unread.clear();
        self.epoch = epoch;
    }

    /// How it is served from now on; what is to be kept of that, if it is another way.
    pub(super) fn set(&mut self, settings: &GroupSettings) -> Option<Record> {
        let before = (self.policy, self.lease);
        (self.policy, self.lease) = (policy(settings), settings.lease);
        self.table.set_policy(self.policy);
        let served = || Record::Served { group: self.name.clone(), policy: self.policy, lease_ms: millis(self.lease) };
        (before != (self.policy, self.lease)).then(served)
    }

    /// It as it begins at a position.
    pub(super) fn begun(&self, next: Position) -> KeptGroup {
        KeptGroup {
            name: self.name.clone(),
            policy: Some(self.policy),
            lease_ms: millis(self.lease),
            next,
            pending: Vec::new(),
        }
    }

    /// What is to survive of it.
    pub(super) fn kept(&self) -> Vec<Record> {
        let mut pending = self.resume.pending.clone();
        let mut next = self.table.next().max(self.resume.group.next);
        // What was done or tried beyond, before the process began, is said as what is pending up to there.
        let beyond = self.resume.done.last().max(self.resume.failed.last_key_value().map(|(last, _)| last));
        let end = beyond.map_or(next, |last| next.max(last + 1));
        for position in (next..end).filter(|position| !self.resume.done.contains(position)) {
            pending.insert(position, self.resume.failed.get(&position).copied().unwrap_or_default());
        }
        next = end;
        pending.extend(self.parked.positions().map(|position| (position, self.parked.tries(position))));
        pending.extend(self.table.pending().map(|(position, attempts, due)| (position, (attempts, due))));
        let pending: Vec<Pending> =
            pending.into_iter().map(|(position, (attempts, due))| (position, attempts, due)).collect();
        let more = |pending: &[Pending]| Record::Pending { group: self.name.clone(), pending: pending.to_vec() };
        [Record::Group(self.begun(next))].into_iter().chain(pending.chunks(PENDING_MAX).map(more)).collect()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn floor(&self) -> Position {
        let parked = self.parked.positions().next();
        parked.map_or(self.table.floor(), |position| position.min(self.table.floor()))
    }

    pub(super) fn leased(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// How many messages before `next` it is not done with.
    pub(super) fn lag(&self, next: Position) -> u64 {
        let pending = self.table.len() + self.parked.len() + self.resume.pending.len();
        let unseen = next.saturating_sub(self.table.next().max(self.resume.group.next)) + pending as u64;
        unseen.saturating_sub(self.resume.done.len() as u64)
    }

    /// When something happens by itself next.
    pub(super) fn wakes_at(&self) -> Option<i64> {
        let parked = self.parked.due_at().filter(|_| self.has_room() && !self.is_resuming());
        self.table.wakes_at().into_iter().chain(parked).min()
    }

    /// Whether a consumer that has room may get something.
    pub(super) fn is_ready(&self) -> bool {
        self.table.is_ready() && !self.is_resuming()
    }

    /// The position that it wants to see next, if it has room.
    pub(super) fn wants(&self) -> Option<Position> {
        // Between what was pending there is nothing for it.
        if let (true, Some((position, _))) = (self.is_resuming(), self.resume.pending.first_key_value()) {
            return Some(*position);
        }
        let has_room = self.has_room() && self.parked.len() < PARKED_MAX;
        has_room.then(|| self.table.next())
    }

    /// The position outside of the table that it wants to see, if there is one whose time has come.
    pub(super) fn wants_parked(&mut self, now: i64) -> Option<Position> {
        if !self.has_room() || self.is_resuming() {
            return None;
        }
        let (table, lane_max) = (&self.table, self.lane_max());
        self.parked.next(now, |key| table.waiting(key) < lane_max)
    }

    fn has_room(&self) -> bool {
        self.table.len() < WINDOW_MAX
    }

    fn lane_max(&self) -> usize {
        if self.table.len() < WINDOW_MAX / 2 { LANE_MAX } else { LANE_MAX_CROWDED }
    }

    /// Takes in the message that it wanted.
    pub(super) fn take_in(&mut self, message: &Message, key: Option<Key>, now: Moment) {
        let position = message.position;
        // What is not there any more is passed over.
        self.resume.pass_over(position);
        if let Some(tries) = self.resume.look_up(position) {
            self.place(message, key, tries, now);
        }
        let _nothing = self.table.step(Event::Pass { position }, now);
        self.catch_up();
    }

    /// The message that it wanted cannot be read now: it waits outside of the table, and others are not held up by it.
    pub(super) fn pass_unread(&mut self, position: Position, now: Moment) {
        self.resume.pass_over(position);
        if let Some(tries) = self.resume.look_up(position) {
            self.parked.add_unread(position, tries, now.now);
        }
        let _nothing = self.table.step(Event::Pass { position }, now);
        self.catch_up();
    }

    /// Takes in the message outside of the table that it wanted.
    pub(super) fn take_in_parked(&mut self, message: &Message, key: Option<Key>, now: Moment) {
        let tries = self.parked.tries(message.position);
        self.unread.remove(&message.position);
        if self.parked.take(message.position, key) {
            self.place_in_table(message, key, tries, now);
        } else {
            self.place(message, key, tries, now);
        }
    }

    /// A message takes its place: in the table, or outside of it, where it waits for long.
    fn place(&mut self, message: &Message, key: Option<Key>, tries: (u32, i64), now: Moment) {
        let position = message.position;
        if message.only.as_ref().is_some_and(|only| *only != self.name) {
            return;
        }
        // What was not delayed does not wait for a clock that went back meanwhile.
        let is_delayed = message.due_ms != message.published_ms && message.due_ms > now.now;
        if tries.0 == 0 && is_delayed {
            self.parked.delay(position, message.due_ms);
        } else if tries.0 == 0 && self.is_far_behind(key) {
            self.line_up(position, key);
        } else {
            self.place_in_table(message, key, tries, now);
        }
    }

    fn place_in_table(&mut self, message: &Message, key: Option<Key>, (attempts, due): (u32, i64), now: Moment) {
        let position = message.position;
        let message = TakenIn { key, due: if attempts > 0 { due } else { i64::MIN }, expires: message.expires_ms };
        let _nothing = self.table.step(Event::TakeIn { position, message, attempts }, now);
    }

    /// The message outside of the table that it wanted cannot be read now; whether it is lost.
    pub(super) fn put_off(&mut self, position: Position, error: &Error, now: i64) -> bool {
        let is_lost = self.is_lost(position, error);
        if is_lost {
            self.unread.remove(&position);
            self.parked.lose(position);
        } else {
            self.parked.put_off(position, now);
        }
        is_lost
    }

    /// Counts that a message cannot be read; whether it was found damaged so often that it is lost. A disk that is away
    /// loses nothing.
    pub(super) fn is_lost(&mut self, position: Position, error: &Error) -> bool {
        if !matches!(error, Error::Corrupt { .. }) {
            return false;
        }
        let reads = self.unread.entry(position).or_default();
        *reads += 1;
        *reads >= READS_MAX
    }

    /// Whether those of a key that come now have to wait outside of the table.
    fn is_far_behind(&self, key: Option<Key>) -> bool {
        key.is_some_and(|key| self.parked.has(key) || self.table.waiting(key) >= self.lane_max())
    }

    fn line_up(&mut self, position: Position, key: Option<Key>) {
        if let Some(key) = key {
            self.parked.line_up(position, key);
        }
    }

    /// Whoever has most room; what a seek took from a consumer may still be in its channel.
    fn free(&self) -> Option<ConsumerId> {
        let has_room = |consumer: &Consumer| consumer.credit > 0 && consumer.ready.capacity() > 0;
        let most = self.consumers.iter().filter(|(_, c)| has_room(c)).max_by_key(|(_, c)| c.credit);
        most.map(|(consumer, _)| *consumer)
    }

    /// The message of the next delivery, if somebody can take one.
    pub(super) fn first_ready(&mut self, now: Moment) -> Option<Position> {
        if !self.is_ready() || self.free().is_none() {
            return None;
        }
        self.table.first_ready(now.now)
    }

    /// The next delivery, if somebody can take one: to whom, which, and the number of the try.
    pub(super) fn offer(&mut self, now: Moment) -> Option<(ConsumerId, Effect)> {
        let consumer = self.free().filter(|_| self.is_ready())?;
        let until = now.now.saturating_add(millis(self.lease));
        match self.step(Event::Ask { consumer, until }, now) {
            Effect::Nothing => None,
            effect => Some((consumer, effect)),
        }
    }

    /// Gives a message to a consumer, as of that moment.
    pub(super) fn deliver(&mut self, consumer: ConsumerId, message: Arc<Message>, attempt: u32, now: Moment) {
        let (epoch, until) = (self.epoch, now.now.saturating_add(millis(self.lease)));
        self.leases.insert(message.position, consumer);
        if let Some(known) = self.consumers.get_mut(&consumer) {
            known.credit -= 1;
            // Its channel had room; if it is gone, that is found out by who looks for those.
            known.ready.try_send(Ready { message, attempt, epoch, until }).ok();
        }
    }

    /// Runs an event through the table; what follows is to be kept or done.
    pub(super) fn step(&mut self, event: Event, now: Moment) -> Effect {
        let effect = self.table.step(event, now);
        match effect {
            Effect::Done { position, key, .. } => {
                self.failures.remove(&position);
                self.unread.remove(&position);
                self.release(position);
                if let Some(key) = key {
                    self.parked.free(key);
                }
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

#[cfg(test)]
mod tests;
