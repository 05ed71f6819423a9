//! A group as this process serves it: the table of its deliveries, its consumers, and what is to be kept of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bowline_messaging::{
    Error, GroupSettings, Message,
    delivery::{ConsumerId, Deliveries, Effect, Event, Moment, Policy, Position, TakenIn},
};
use bowline_runtime::rand;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    kept::{Entry, Kept, STEP_MAX},
    topics::{millis, now},
};

/// How many messages a group has in its hands: waiting for their key, backing off, or with consumers.
const HELD_MAX: usize = 100_000;

/// How many delayed ones a group takes in beside them, where publishers of other processes were not refused in time.
const DELAYED_MAX: usize = 2 * bowline_messaging::DELAYED_MAX;

/// The most bytes of messages that a group has in memory; others are read when they are delivered.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// The most consumers of a group.
const CONSUMERS_MAX: usize = 1024;

/// The longest text of a failure that is kept.
const FAILURE_BYTES_MAX: usize = 1024;

/// How many entries a log has before one says all of it.
const ENTRIES_MAX: u64 = 500;

/// A message for a consumer.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) message: Arc<Message>,
    pub(crate) attempt: u32,
    /// Until when it is this consumer's, in milliseconds since 1970.
    pub(crate) until: i64,
    /// In which life of the group.
    pub(crate) epoch: u64,
}

/// The consumers of a group in this process; they stay while the group is somebody else's.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    all: BTreeMap<ConsumerId, Consumer>,
    next: ConsumerId,
    /// Counts the lives of the group; what is of another one is lost to whoever has it.
    pub(crate) epoch: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Consumer {
    ready: mpsc::Sender<Ready>,
    credit: usize,
    used: usize,
}

impl Consumers {
    pub(crate) fn join(&mut self, credit: usize) -> Result<mpsc::Receiver<Ready>, Error> {
        if self.all.len() >= CONSUMERS_MAX {
            return Err(Error::TooMany { what: "consumers of one group", max: CONSUMERS_MAX });
        }
        self.next += 1;
        // What was lost to it may still be in its channel.
        let (ready, receiver) = mpsc::channel(credit * 2);
        self.all.insert(self.next, Consumer { ready, credit, used: 0 });
        Ok(receiver)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// A consumer that left.
    pub(crate) fn gone(&mut self) -> Option<ConsumerId> {
        let gone = self.all.iter().find(|(_, consumer)| consumer.ready.is_closed()).map(|(id, _)| *id)?;
        self.all.remove(&gone);
        Some(gone)
    }

    /// Another life begins: nobody has anything.
    fn begin_anew(&mut self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for consumer in self.all.values_mut() {
            consumer.used = 0;
        }
    }

    /// Whoever has most room.
    fn free(&self) -> Option<ConsumerId> {
        let room = |consumer: &Consumer| consumer.credit - consumer.used.min(consumer.credit);
        // What a consumer did not take in time may still be in its channel.
        let can_take = self.all.iter().filter(|(_, consumer)| consumer.ready.capacity() > 0);
        let most = can_take.max_by_key(|(_, consumer)| room(consumer))?;
        (room(most.1) > 0).then_some(*most.0)
    }
}

/// A group that is this process's.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    table: Deliveries,
    /// What was written, and what is being written.
    pub(crate) kept: Kept,
    pub(crate) epoch: u64,
    is_resuming: bool,
    leases: BTreeMap<Position, ConsumerId>,
    failures: BTreeMap<Position, String>,
    cache: BTreeMap<Position, Arc<Message>>,
    cache_bytes: usize,
    done: Vec<Position>,
    failed: Vec<(Position, u32, i64)>,
    /// The next entry says all of it.
    wants_whole: bool,
    /// So many entries are followed by one that says all of it.
    whole_at: u64,
}

impl Group {
    /// Begins to serve a group as it was kept.
    pub(crate) fn new(name: &str, kept: Kept, consumers: &mut Consumers) -> Self {
        consumers.begin_anew();
        Self {
            name: name.to_owned(),
            table: Deliveries::new(policy(&kept.settings), kept.floor()),
            kept,
            epoch: consumers.epoch.load(Ordering::Acquire),
            is_resuming: true,
            leases: BTreeMap::new(),
            failures: BTreeMap::new(),
            cache: BTreeMap::new(),
            cache_bytes: 0,
            done: Vec::new(),
            failed: Vec::new(),
            wants_whole: true,
            whole_at: ENTRIES_MAX,
        }
    }

    /// How it is served from now on.
    pub(crate) fn set(&mut self, settings: &GroupSettings) {
        let settings = GroupSettings { start: self.kept.settings.start, ..settings.clone() };
        self.wants_whole |= settings != self.kept.settings;
        self.table.set_policy(policy(&settings));
        self.kept.settings = settings;
    }

    pub(crate) fn leased(&self) -> usize {
        self.leases.len()
    }

    /// How many messages before `next` it is not done with.
    pub(crate) fn lag(&self, next: Position) -> u64 {
        if self.is_resuming {
            return next.saturating_sub(self.kept.next) + self.kept.pending.len() as u64;
        }
        next.saturating_sub(self.table.next()) + self.table.pending().count() as u64
    }

    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.cache.get(&self.table.floor()).map(|message| message.published_ms)
    }

    pub(crate) fn wakes_at(&self) -> Option<i64> {
        self.table.wakes_at()
    }

    /// Whether it has room for another message.
    pub(crate) fn wants(&self) -> bool {
        let delayed = self.table.delayed();
        self.is_resuming || (self.table.len() - delayed < HELD_MAX && delayed < DELAYED_MAX)
    }

    /// How many are delayed.
    pub(crate) fn delayed(&self) -> usize {
        self.table.delayed()
    }

    /// All that was pending is here.
    pub(crate) fn resumed(&mut self) {
        self.is_resuming = false;
        if let Some(position) = self.kept.next.checked_sub(1) {
            let _nothing = self.table.step(Event::Pass { position }, moment());
        }
    }

    /// What was pending is not there any more.
    pub(crate) fn pass_over(&mut self, position: Position) {
        self.done.push(position);
    }

    /// Takes in the next message.
    pub(crate) fn take_in(&mut self, message: Arc<Message>, (attempts, due): (u32, i64)) {
        let (position, moment) = (message.position, moment());
        if position < self.table.next() {
            return;
        }
        if position > self.table.next() && !self.is_resuming {
            // Somebody deleted what is between; entries go on by what was seen.
            self.wants_whole = true;
        }
        if message.only.as_ref().is_some_and(|only| *only != self.name) {
            let _nothing = self.table.step(Event::Pass { position }, moment);
            self.done.push(position);
            return;
        }
        // What was not delayed does not wait for a clock that went back meanwhile.
        let own = if message.due_ms == message.published_ms { i64::MIN } else { message.due_ms };
        let due = if attempts > 0 { due } else { own };
        let key = message.key.as_ref().map(|key| xxh3_64(key.as_bytes()));
        let taken_in = TakenIn { key, due, expires: message.expires_ms };
        let _nothing = self.table.step(Event::TakeIn { position, message: taken_in, attempts }, moment);
        if due <= moment.now && self.cache_bytes < CACHE_BYTES_MAX {
            self.cache_bytes += weight(&message);
            self.cache.insert(position, message);
        }
    }

    pub(crate) fn cached(&self, position: Position) -> Option<Arc<Message>> {
        self.cache.get(&position).cloned()
    }

    /// The next delivery, if somebody can take one: to whom, until when, which, and the number of the try.
    pub(crate) fn offer(&mut self, consumers: &Consumers) -> Option<(ConsumerId, i64, Effect)> {
        if !self.table.is_ready() || self.is_resuming {
            return None;
        }
        let (consumer, moment) = (consumers.free()?, moment());
        let until = moment.now.saturating_add(millis(self.kept.settings.lease));
        let effect = self.table.step(Event::Ask { consumer, until }, moment);
        self.note(effect);
        (effect != Effect::Nothing).then_some((consumer, until, effect))
    }

    /// Gives a message to a consumer.
    pub(crate) fn deliver(
        &mut self,
        consumers: &mut Consumers,
        (consumer, until): (ConsumerId, i64),
        message: Arc<Message>,
        attempt: u32,
    ) {
        self.leases.insert(message.position, consumer);
        if let Some(known) = consumers.all.get_mut(&consumer) {
            known.used += 1;
            // If it is gone, that is found out by who looks for those.
            known.ready.try_send(Ready { message, attempt, until, epoch: self.epoch }).ok();
        }
    }

    /// Runs an event through the table.
    pub(crate) fn step(&mut self, consumers: &mut Consumers, event: Event) -> Effect {
        let effect = self.table.step(event, moment());
        self.note(effect);
        if let Effect::Done { position, .. } | Effect::Failed { position, .. } | Effect::Bury { position, .. } = effect
            && let Some(consumer) = self.leases.remove(&position)
            && let Some(known) = consumers.all.get_mut(&consumer)
        {
            known.used = known.used.saturating_sub(1);
        }
        effect
    }

    /// Remembers what is to be kept of an effect.
    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Done { position, .. } => {
                self.done.push(position);
                self.failures.remove(&position);
                if let Some(message) = self.cache.remove(&position) {
                    self.cache_bytes -= weight(&message);
                }
            }
            Effect::Failed { position, attempts, due } => self.failed.push((position, attempts, due)),
            Effect::Nothing | Effect::Deliver { .. } | Effect::Bury { .. } | Effect::Stale => {}
        }
    }

    /// Notes of what a consumer had that it is gone.
    pub(crate) fn note_gone(&mut self, consumer: ConsumerId) {
        let its = self.leases.iter().filter(|(_, by)| **by == consumer).map(|(position, _)| *position);
        for position in its.collect::<Vec<_>>() {
            self.note_failure(position, "its consumer is gone");
        }
    }

    pub(crate) fn note_failure(&mut self, position: Position, failure: &str) {
        let mut end = failure.len().min(FAILURE_BYTES_MAX);
        while !failure.is_char_boundary(end) {
            end -= 1;
        }
        self.failures.insert(position, failure[..end].to_owned());
    }

    /// Why the last try failed.
    pub(crate) fn failure(&self, position: Position) -> &str {
        self.failures.get(&position).map_or("its lease ended without an answer", String::as_str)
    }

    /// Whether there is something to keep.
    pub(crate) fn is_due(&self) -> bool {
        self.wants_whole || !self.done.is_empty() || !self.failed.is_empty() || self.unsaid() > HELD_MAX as u64
    }

    /// The position behind all that was seen.
    fn next(&self) -> Position {
        // While it resumes, the table knows less than what was kept.
        if self.is_resuming { self.kept.next } else { self.table.next() }
    }

    /// How far it is beyond the last entry.
    fn unsaid(&self) -> u64 {
        self.next().saturating_sub(self.kept.next)
    }

    /// What is to be kept since the last entry, as far as one can say it: what was done before its `next`. `bytes_max`:
    /// what one may have.
    pub(crate) fn entry(&mut self, owner: Option<String>, bytes_max: usize) -> Entry {
        let is_step = self.unsaid() <= HELD_MAX as u64 && !self.wants_whole;
        let (from, next) = if is_step { (None, self.next()) } else { self.go_on() };
        let is_said = |position: Position| position < next;
        let done = self.done.extract_if(.., |position| is_said(*position)).collect();
        let failed = self.failed.extract_if(.., |(position, ..)| is_said(*position)).collect();
        let mut entry = Entry { owner: owner.clone(), next, from, done, failed, ..Entry::default() };
        let is_possible = self.kept.apply(&entry);
        debug_assert!(is_possible.is_some(), "steps are bounded");
        entry.floor = self.kept.floor();
        self.kept.entries += 1;
        if !is_step || self.kept.entries >= self.whole_at {
            let whole = self.kept.whole(owner);
            if crate::wire::json(&whole).len() < bytes_max {
                self.kept.entries = 1;
                self.whole_at = ENTRIES_MAX;
                self.wants_whole = false;
                return whole;
            }
            // It is more than NATS takes at once: that is not found out with every entry.
            self.whole_at = self.kept.entries + ENTRIES_MAX;
        }
        self.wants_whole = false;
        entry
    }

    /// Goes on as far as one entry can, by what is in the table: between there was nothing. From where, and to where.
    fn go_on(&mut self) -> (Option<Position>, Position) {
        let end = self.next();
        let known = self.table.pending().map(|(position, ..)| position).filter(|position| *position >= self.kept.next);
        let seen: Vec<Position> = known.collect();
        let from = seen.first().copied().unwrap_or(end);
        let next = end.min(from.saturating_add(STEP_MAX));
        let said = seen.into_iter().take_while(|position| *position < next);
        self.kept.pending.extend(said.map(|position| (position, (0, 0))));
        self.kept.next = self.kept.next.max(next);
        (Some(from), next)
    }
}

/// About how much memory a message takes.
pub(crate) fn weight(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    message.payload.len() + headers + message.id.len() + 256
}

fn policy(settings: &GroupSettings) -> Policy {
    Policy {
        attempts_max: settings.attempts_max,
        backoff_ms: millis(settings.backoff),
        backoff_ms_max: millis(settings.backoff_max),
    }
}

fn moment() -> Moment {
    Moment { now: now(), luck: u16::try_from(rand::below(1 << 16)).unwrap_or(u16::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(position: Position, key: Option<&str>, payload: bytes::Bytes, delay_ms: i64) -> Arc<Message> {
        let published_ms = now();
        Arc::new(Message {
            position,
            id: position.to_string(),
            key: key.map(str::to_owned),
            headers: Vec::new(),
            payload,
            published_ms,
            due_ms: published_ms + delay_ms,
            expires_ms: None,
            only: None,
        })
    }

    fn group() -> Group {
        let mut group = Group::new("g", Kept::new(GroupSettings::default(), 1), &mut Consumers::default());
        group.resumed();
        group
    }

    #[test]
    fn many_bytes_behind_one_key_hold_no_other_up() {
        let mut group = group();
        let large = bytes::Bytes::from(vec![0; 1 << 20]);
        for position in 1..=100 {
            group.take_in(message(position, Some("k"), large.clone(), 0), (0, 0));
        }
        assert!(group.wants());
        assert!(group.cache_bytes <= CACHE_BYTES_MAX + (2 << 20), "the others are read when they are delivered");
        assert!(group.cached(1).is_some() && group.cached(100).is_none());
    }

    #[test]
    fn many_delayed_ones_hold_no_other_up() {
        let mut group = group();
        let held = HELD_MAX as Position;
        for position in 1..=held + 1 {
            group.take_in(message(position, None, bytes::Bytes::new(), 86_400_000), (0, 0));
        }
        assert!(group.wants());
        assert_eq!(group.delayed(), HELD_MAX + 1);
        for position in held + 2..=2 * held + 1 {
            group.take_in(message(position, None, bytes::Bytes::new(), 0), (0, 0));
        }
        assert!(!group.wants(), "what is not delayed is bounded");
    }

    #[test]
    fn what_is_more_than_one_step_is_said_in_steps() {
        let mut group = group();
        let first = 5_000_000;
        let end = first + STEP_MAX + 2;
        for position in first..end {
            group.take_in(message(position, None, bytes::Bytes::new(), 86_400_000), (0, 0));
        }
        group.pass_over(end - 1);
        let mut again = Kept::new(GroupSettings::default(), 1);
        let mut steps = 0;
        while group.is_due() {
            // So small that none says all of it.
            let entry = group.entry(None, 1);
            assert!(again.apply(&entry).is_some(), "step {steps}");
            assert_eq!(entry.next, group.kept.next);
            steps += 1;
        }
        assert_eq!((steps, again.pending.len() as u64, again.next), (2, end - first - 1, end));
        assert!(again.pending == group.kept.pending);
    }

    #[test]
    fn what_is_too_much_for_one_entry_is_tried_now_and_then() {
        let mut group = group();
        let mut wholes = 0;
        for position in 1..3 * ENTRIES_MAX {
            group.take_in(message(position, None, bytes::Bytes::new(), 86_400_000), (0, 0));
            // Small enough in the end.
            let bytes_max = if position <= ENTRIES_MAX + 10 { 1 } else { 1 << 20 };
            wholes += u64::from(group.entry(None, bytes_max).whole.is_some());
        }
        assert_eq!(wholes, 1);
    }
}
