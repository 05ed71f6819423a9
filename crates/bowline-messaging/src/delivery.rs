//! The deliveries of one topic to one group of consumers: the transition table.
//!
//! A message is taken in once, in the order of its position. It is then *delayed*, *queued* behind others of its
//! key, *ready*, *leased* to a consumer, or *backing off* after a try that failed; when its tries are used up it is
//! *dying*: being put with the dead letters. It leaves the table when it is acknowledged, buried or expired, and
//! never otherwise.
//!
//! Of the messages with one ordering key at most one, the *holder* of the key, is ready, leased or backing off; the
//! next one follows when the holder left. A message that is delayed holds nobody up: it takes its place when its time
//! has come.
//!
//! Positions may be passed over and taken in later, so that what has to wait for long waits outside of the table.
//!
//! Times are milliseconds since 1970. What survives a crash are [`Effect::Done`] and [`Effect::Failed`], once their
//! writer kept them; whoever begins anew takes in what is not done, with the tries that it has had.

use std::collections::{BTreeMap, BTreeSet};

/// Where a message stands in its topic; the first is 1.
pub type Position = u64;

/// Names a consumer of a group, in one process.
pub type ConsumerId = u64;

/// Stands for an ordering key. Keys that meet in one number are kept in order among each other, too.
pub type Key = u64;

/// How often, and when, a message is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How often, before it is put with the dead letters; at least 1.
    pub attempts_max: u32,
    /// How long after the first try that failed, in milliseconds; it doubles with each further one.
    pub backoff_ms: i64,
    /// The longest between two tries.
    pub backoff_ms_max: i64,
}

/// The table of one group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deliveries {
    policy: Policy,
    /// All before it were taken in, or passed over.
    next: Position,
    entries: BTreeMap<Position, Entry>,
    lanes: BTreeMap<Key, Lane>,
    /// Keys whose lane has no holder, and messages behind.
    free: BTreeSet<Key>,
    ready: BTreeSet<Position>,
    /// How many are delayed.
    delayed: usize,
    /// When something happens by itself.
    wakes: BTreeSet<(i64, Position)>,
    /// How many took their place behind others of their key.
    lined_up: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    key: Option<Key>,
    /// When it may be delivered first.
    due: i64,
    /// Its place behind others of its key.
    place: u64,
    expires: Option<i64>,
    /// How often it was tried; the try under way counts.
    attempts: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Delayed,
    Queued,
    Ready,
    Leased { consumer: ConsumerId, until: i64 },
    BackingOff { due: i64 },
    Dying,
}

/// The messages of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Lane {
    holder: Option<Position>,
    /// Whether it is untried, its place, its position: the first is the next holder.
    behind: BTreeSet<(bool, u64, Position)>,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The next message of the topic; it was tried so often before the process began.
    TakeIn {
        /// Where it stands.
        position: Position,
        /// What it is.
        message: TakenIn,
        /// Tries before.
        attempts: u32,
    },
    /// The next position is nothing for this group.
    Pass {
        /// Which.
        position: Position,
    },
    /// A consumer can take one more.
    Ask {
        /// Which.
        consumer: ConsumerId,
        /// The end of the lease, if there is something.
        until: i64,
    },
    /// It was processed.
    Ack {
        /// Which.
        position: Position,
        /// In which try.
        attempt: u32,
    },
    /// It was not processed.
    Nack {
        /// Which.
        position: Position,
        /// In which try.
        attempt: u32,
        /// What becomes of it.
        verdict: Verdict,
    },
    /// It takes longer.
    Extend {
        /// Which.
        position: Position,
        /// In which try.
        attempt: u32,
        /// The new end of the lease.
        until: i64,
    },
    /// A consumer is gone; one of its messages is given back at a time.
    Gone {
        /// Which.
        consumer: ConsumerId,
    },
    /// Time passed; one thing that is due happens at a time.
    Wake,
    /// It is among the dead letters.
    Buried {
        /// Which.
        position: Position,
    },
    /// It could not be put there; that is tried again.
    NotBuried {
        /// Which.
        position: Position,
    },
}

/// A message as far as its delivery depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TakenIn {
    /// Its ordering key.
    pub key: Option<Key>,
    /// When it may be delivered first; what was not delayed has any time that is over, as [`i64::MIN`].
    pub due: i64,
    /// From when on it is not delivered any more.
    pub expires: Option<i64>,
}

/// What becomes of a message that was not processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is tried again, after the policy's time.
    Retry,
    /// It is tried again after that many milliseconds.
    After(i64),
    /// No try will help.
    Dead,
}

/// When an event happens, and the luck that its times are spread by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub now: i64,
    /// Any number: a time to wait is from half of it (0) to all of it.
    pub luck: u16,
}

/// What follows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// The consumer gets it.
    Deliver {
        /// Which.
        position: Position,
        /// The number of the try; the first is 1.
        attempt: u32,
    },
    /// It is over, which is to be kept.
    Done {
        /// Which.
        position: Position,
        /// Its ordering key: the next one of it may follow.
        key: Option<Key>,
        /// Why.
        end: End,
    },
    /// A try failed, which is to be kept.
    Failed {
        /// Which.
        position: Position,
        /// How often it was tried.
        attempts: u32,
        /// When it is tried again.
        due: i64,
    },
    /// It is to be put with the dead letters.
    Bury {
        /// Which.
        position: Position,
        /// How often it was tried.
        attempts: u32,
    },
    /// Whoever says this has the message no longer.
    Stale,
}

/// How a message leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// It was processed.
    Acked,
    /// Its time was over.
    Expired,
    /// It is among the dead letters.
    Buried,
}

impl Policy {
    /// How long to wait after that many tries.
    pub(crate) fn wait_ms(&self, attempts: u32, luck: u16) -> i64 {
        let doubled = self.backoff_ms.saturating_mul(2_i64.saturating_pow(attempts.saturating_sub(1)));
        let whole = doubled.clamp(0, self.backoff_ms_max);
        let half = whole / 2;
        half + (whole - half).saturating_mul(i64::from(luck)) / i64::from(u16::MAX)
    }
}

impl Deliveries {
    /// A table that takes in that position next.
    pub fn new(policy: Policy, next: Position) -> Self {
        Self {
            policy,
            next,
            entries: BTreeMap::new(),
            lanes: BTreeMap::new(),
            free: BTreeSet::new(),
            ready: BTreeSet::new(),
            delayed: 0,
            wakes: BTreeSet::new(),
            lined_up: 0,
        }
    }

    /// How messages are tried from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The position that is taken in next.
    pub fn next(&self) -> Position {
        self.next
    }

    /// The first position that is not done.
    pub fn floor(&self) -> Position {
        self.entries.first_key_value().map_or(self.next, |(position, _)| *position)
    }

    /// What is not done, with the tries it has had, and when it is tried again: 0 where that is now.
    pub fn pending(&self) -> impl Iterator<Item = (Position, u32, i64)> {
        let due = |entry: &Entry| match entry.state {
            State::BackingOff { due } => due,
            State::Queued | State::Delayed if entry.attempts > 0 => entry.due,
            _ => 0,
        };
        self.entries.iter().map(move |(position, entry)| (*position, entry.attempts, due(entry)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them are delayed: they hold nobody up.
    pub fn delayed(&self) -> usize {
        self.delayed
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of a key took their place.
    pub fn waiting(&self, key: Key) -> usize {
        self.lanes.get(&key).map_or(0, |lane| lane.behind.len() + usize::from(lane.holder.is_some()))
    }

    /// Whether a consumer that asks may get something.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty() || !self.free.is_empty()
    }

    /// What a consumer that asks now gets, unless its time is over.
    pub fn first_ready(&mut self, now: i64) -> Option<Position> {
        while let Some(key) = self.free.pop_first() {
            self.promote(key, now);
        }
        self.ready.first().copied()
    }

    /// When something happens by itself next.
    pub fn wakes_at(&self) -> Option<i64> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The table.
    pub fn step(&mut self, event: Event, moment: Moment) -> Effect {
        match event {
            Event::TakeIn { position, message, attempts } => self.take_in(position, message, attempts, moment.now),
            Event::Pass { position } => self.next = self.next.max(position + 1),
            Event::Ask { consumer, until } => return self.ask(consumer, until, moment.now),
            Event::Ack { position, attempt } if self.is_leased(position, attempt) => {
                return self.end(position, End::Acked);
            }
            Event::Nack { position, attempt, verdict } if self.is_leased(position, attempt) => {
                return self.fail(position, verdict, moment);
            }
            Event::Extend { position, attempt, until } if self.is_leased(position, attempt) => {
                self.change(position, |entry| {
                    if let State::Leased { until: end, .. } = &mut entry.state {
                        *end = until;
                    }
                });
            }
            Event::Gone { consumer } => return self.give_back(consumer, moment),
            Event::Wake => return self.wake(moment),
            Event::Buried { position } if self.state(position) == Some(State::Dying) => {
                return self.end(position, End::Buried);
            }
            Event::NotBuried { position } if self.state(position) == Some(State::Dying) => {
                return self.back_off(position, self.policy.backoff_ms_max, moment.now);
            }
            Event::Ack { .. }
            | Event::Nack { .. }
            | Event::Extend { .. }
            | Event::Buried { .. }
            | Event::NotBuried { .. } => return Effect::Stale,
        }
        Effect::Nothing
    }

    fn state(&self, position: Position) -> Option<State> {
        self.entries.get(&position).map(|entry| entry.state)
    }

    /// Whether that try of that message is under way.
    fn is_leased(&self, position: Position, attempt: u32) -> bool {
        let is = |entry: &Entry| entry.attempts == attempt && matches!(entry.state, State::Leased { .. });
        self.entries.get(&position).is_some_and(is)
    }

    fn take_in(&mut self, position: Position, message: TakenIn, attempts: u32, now: i64) {
        self.next = self.next.max(position + 1);
        let TakenIn { key, due, expires } = message;
        let entry = Entry { key, due, place: 0, expires, attempts, state: State::Delayed };
        self.wakes.extend(entry.wakes_at().map(|at| (at, position)));
        self.entries.insert(position, entry);
        self.delayed += 1;
        // What was tried before the process began keeps its place also while it backs off.
        if due <= now || attempts > 0 {
            self.line_up(position, now);
        }
    }

    /// Its time has come: it takes its place.
    fn line_up(&mut self, position: Position, now: i64) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        self.lined_up += 1;
        entry.place = self.lined_up;
        let (key, place) = (entry.key, (entry.attempts == 0, entry.place, position));
        if let Some(key) = key {
            let lane = self.lanes.entry(key).or_default();
            lane.behind.insert(place);
            if lane.holder.is_none() {
                self.free.insert(key);
            }
            self.change(position, |entry| entry.state = State::Queued);
        } else {
            self.come_forward(position, now);
        }
    }

    fn ask(&mut self, consumer: ConsumerId, until: i64, now: i64) -> Effect {
        let Some(position) = self.first_ready(now) else { return Effect::Nothing };
        if self.entries.get(&position).is_some_and(|entry| entry.is_expired(now)) {
            return self.end(position, End::Expired);
        }
        self.ready.remove(&position);
        let mut attempt = 0;
        self.change(position, |entry| {
            entry.attempts = entry.attempts.saturating_add(1);
            entry.state = State::Leased { consumer, until };
            attempt = entry.attempts;
        });
        Effect::Deliver { position, attempt }
    }

    /// The first behind becomes the holder.
    fn promote(&mut self, key: Key, now: i64) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let Some((_, _, position)) = lane.behind.pop_first() else { return };
        lane.holder = Some(position);
        self.come_forward(position, now);
    }

    /// Nothing is before it: it is ready, or backs off still.
    fn come_forward(&mut self, position: Position, now: i64) {
        let Some(entry) = self.entries.get(&position) else { return };
        let due = entry.due;
        if due > now {
            self.change(position, |entry| entry.state = State::BackingOff { due });
        } else {
            self.change(position, |entry| entry.state = State::Ready);
            self.ready.insert(position);
        }
    }

    /// What is known of a consumer that is gone: its tries failed.
    fn give_back(&mut self, consumer: ConsumerId, moment: Moment) -> Effect {
        let is_its = |(_, entry): &(&Position, &Entry)| matches!(entry.state, State::Leased { consumer: by, .. } if by == consumer);
        let Some((&position, _)) = self.entries.iter().find(is_its) else { return Effect::Nothing };
        self.fail(position, Verdict::Retry, moment)
    }

    fn wake(&mut self, moment: Moment) -> Effect {
        loop {
            let Some(&(at, position)) = self.wakes.first() else { return Effect::Nothing };
            let Some(entry) = self.entries.get(&position).filter(|_| at <= moment.now) else { return Effect::Nothing };
            match entry.state {
                State::Leased { .. } => return self.fail(position, Verdict::Retry, moment),
                _ if entry.is_expired(moment.now) => return self.end(position, End::Expired),
                State::Delayed => self.line_up(position, moment.now),
                State::BackingOff { .. } => {
                    self.change(position, |entry| entry.state = State::Ready);
                    self.ready.insert(position);
                }
                // Only its end wakes what is queued, ready or dying.
                State::Queued | State::Ready | State::Dying => drop(self.wakes.pop_first()),
            }
        }
    }

    fn fail(&mut self, position: Position, verdict: Verdict, moment: Moment) -> Effect {
        let attempts = self.entries.get(&position).map_or(0, |entry| entry.attempts);
        let wait_ms = match verdict {
            Verdict::Dead => None,
            _ if attempts >= self.policy.attempts_max => None,
            Verdict::Retry => Some(self.policy.wait_ms(attempts, moment.luck)),
            Verdict::After(wait_ms) => Some(wait_ms.max(0)),
        };
        if let Some(wait_ms) = wait_ms {
            return self.back_off(position, wait_ms, moment.now);
        }
        self.change(position, |entry| entry.state = State::Dying);
        Effect::Bury { position, attempts }
    }

    fn back_off(&mut self, position: Position, wait_ms: i64, now: i64) -> Effect {
        let due = now.saturating_add(wait_ms);
        let mut attempts = 0;
        self.change(position, |entry| {
            entry.state = State::BackingOff { due };
            attempts = entry.attempts;
        });
        Effect::Failed { position, attempts, due }
    }

    fn end(&mut self, position: Position, end: End) -> Effect {
        let Some(entry) = self.entries.remove(&position) else { return Effect::Stale };
        if let Some(at) = entry.wakes_at() {
            self.wakes.remove(&(at, position));
        }
        self.delayed -= usize::from(entry.state == State::Delayed);
        self.ready.remove(&position);
        if let Some(key) = entry.key {
            self.leave(key, &entry, position);
        }
        Effect::Done { position, key: entry.key, end }
    }

    /// A message left its lane; the next one may follow.
    fn leave(&mut self, key: Key, entry: &Entry, position: Position) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.behind.remove(&(entry.attempts == 0, entry.place, position));
        if lane.holder == Some(position) {
            lane.holder = None;
        }
        match (lane.holder, lane.behind.is_empty()) {
            (Some(_), _) => {}
            (None, false) => drop(self.free.insert(key)),
            (None, true) => {
                self.free.remove(&key);
                self.lanes.remove(&key);
            }
        }
    }

    /// Changes a message, and when it wakes.
    fn change(&mut self, position: Position, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        let (before, was_delayed) = (entry.wakes_at(), entry.state == State::Delayed);
        change(entry);
        let after = entry.wakes_at();
        self.delayed -= usize::from(was_delayed && entry.state != State::Delayed);
        if let Some(at) = before {
            self.wakes.remove(&(at, position));
        }
        self.wakes.extend(after.map(|at| (at, position)));
    }
}

impl Entry {
    fn is_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// When something happens to it by itself.
    fn wakes_at(&self) -> Option<i64> {
        let soonest = |at: i64| Some(self.expires.map_or(at, |expires| expires.min(at)));
        match self.state {
            State::Delayed => soonest(self.due),
            State::BackingOff { due } => soonest(due),
            // What is being worked on is not taken away.
            State::Leased { until, .. } => Some(until),
            State::Queued | State::Ready => self.expires,
            State::Dying => None,
        }
    }
}

#[cfg(test)]
mod tests;
