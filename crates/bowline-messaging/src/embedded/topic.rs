//! One topic: the task that owns its log and its groups.
//!
//! It takes what it is asked for, serves its groups, and writes what there is to write: one batch at a time, while
//! the next one gathers. Nobody hears of a message, and nobody's call is answered, before its batch is durable.

mod answers;
mod burying;
mod open;
mod reading;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bowline_runtime::{fs::File, rand, task, time};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use xxhash_rust::xxh3::xxh3_64;

use self::{
    burying::{Burying, Dying, buried},
    reading::Unreadable,
};
use super::{
    batch::{Batch, Item, Queue, Written},
    command::{Command, Joined},
    dedup::Dedup,
    delayed::Delayed,
    graveyard::{self, Graveyard},
    group::{CONSUMERS_MAX, Group, RETRY_AFTER_MS, millis},
    log::{Log, Place},
    record::Record,
    shelf::{self, Shelf},
};
use crate::{
    Error, Metrics,
    delivery::{ConsumerId, Effect, Event, Key, Moment, Position, Verdict},
    port::{DeadLetter, GroupSettings, Message, Start, TopicSettings},
};

/// The most commands that wait; who comes later waits for a place.
pub(super) const COMMANDS_MAX: usize = 4096;

/// The most who wait at a time for what comes to a topic, beside its groups.
pub(super) const TAILS_MAX: usize = 4096;

/// The most groups of a topic.
pub(super) const GROUPS_MAX: usize = 64;

/// How many messages a group takes in before others have their turn.
const TAKE_IN_MAX: usize = 1024;

/// The most bytes of messages that wait to be written; more are refused.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;

/// How often old messages are deleted while nothing is published.
const TIDY_EVERY: Duration = Duration::from_secs(30);

/// A topic that runs.
pub(super) struct Topic {
    pub(super) name: String,
    /// The folder of its log.
    dir: Arc<Path>,
    settings: TopicSettings,
    /// Not here while a batch is written.
    log: Option<Log>,
    bytes: u64,
    shelf: Shelf,
    loaded: VecDeque<Vec<Arc<Message>>>,
    /// What could not be read last.
    unreadable: Option<Unreadable>,
    dedup: Dedup,
    groups: BTreeMap<String, Group>,
    graveyard: graveyard::Shared,
    queue: Queue,
    /// Who is to be buried.
    dying: VecDeque<Dying>,
    /// The oldest segment when it was last tried to delete some, so that there is room for what waits.
    making_room: Option<u32>,
    /// A group may take in more at once.
    has_more: bool,
    published_ms: i64,
    delayed: Delayed,
    next_consumer: ConsumerId,
    /// Lives of groups, so that none is taken for another.
    next_epoch: u64,
    tidied: time::Instant,
    commands: mpsc::WeakSender<Command>,
    /// Tells who reads by himself of the position of the next message.
    end: watch::Sender<Position>,
    metrics: Metrics,
    /// Nobody else writes to the folder while this one does.
    _lock: Arc<File>,
}

/// How a topic is reached.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    /// Is told when a consumer leaves, or passes something over.
    pub(super) left: Arc<Notify>,
    /// The bytes of messages that may wait.
    pub(super) room: Arc<Semaphore>,
    pub(super) tails: Arc<Tails>,
}

/// Those who read by themselves.
#[derive(Debug)]
pub(super) struct Tails {
    /// The position of the next message.
    pub(super) next: watch::Receiver<Position>,
    /// How many more may wait.
    pub(super) room: Semaphore,
}

/// What woke the topic.
enum Woken {
    Commands(usize),
    Written(Box<Written>),
    Buried(Result<(), Error>),
    /// The thread that wrote panicked, and the log is gone with it.
    Lost,
    Time,
}

impl Topic {
    /// Runs until it is closed or nobody can reach it.
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, left: Arc<Notify>) {
        let mut writing: Option<(task::JoinHandle<Written>, Batch)> = None;
        let mut burying: Option<Burying> = None;
        let mut waiting = Vec::new();
        let mut closing = None;
        loop {
            self.serve().await;
            if burying.is_none() {
                burying = self.begin_burying().await;
            }
            if writing.is_none() && (self.queue.is_due() || self.is_untidy()) {
                writing = self.begin_batch();
            }
            if closing.is_some() && writing.is_none() && burying.is_none() && !self.queue.is_due() {
                break;
            }
            let woken = tokio::select! {
                count = commands.recv_many(&mut waiting, COMMANDS_MAX), if closing.is_none() => Woken::Commands(count),
                written = written(&mut writing) => written.map_or(Woken::Lost, |written| Woken::Written(Box::new(written))),
                buried = buried(&mut burying) => Woken::Buried(buried),
                () = left.notified() => Woken::Time,
                () = time::sleep(self.rest()) => Woken::Time,
            };
            match woken {
                Woken::Commands(0) => closing = Some(None),
                Woken::Commands(_) => {
                    for command in waiting.drain(..) {
                        match command {
                            Command::Close { answer } => closing = Some(Some(answer)),
                            command => self.take(command),
                        }
                    }
                    // Whoever was answered by the last batch gets a chance to be in the next one.
                    task::yield_now().await;
                }
                Woken::Written(written) => {
                    if let Some((_, batch)) = writing.take() {
                        self.end_batch(*written, batch);
                    }
                }
                Woken::Buried(buried) => {
                    for dying in burying.take().into_iter().flat_map(Burying::who) {
                        self.end_burying(dying, &buried);
                    }
                }
                Woken::Lost => {
                    tracing::error!(topic = self.name, "the thread that writes messages failed, the topic is closed");
                    return;
                }
                Woken::Time => {}
            }
        }
        if let Some(Some(answer)) = closing {
            // Whoever hears it may open the folder at once.
            drop(self);
            answer.send(Ok(())).ok();
        }
    }

    /// How long nothing happens by itself.
    fn rest(&self) -> Duration {
        if self.has_more {
            return Duration::ZERO;
        }
        let now = now();
        let wakes = self.groups.values().filter_map(Group::wakes_at).min();
        let until_wake = wakes.map(|at| Duration::from_millis(u64::try_from(at - now).unwrap_or_default()));
        // While a batch is written, its end is waited for.
        let due_at = self.queue.due_at().filter(|_| self.log.is_some());
        let until_retry = due_at.into_iter().chain(self.reads_at()).map(|at| at.saturating_duration_since(time::now()));
        until_wake.into_iter().chain(until_retry).fold(TIDY_EVERY, Duration::min)
    }

    /// Lets every group take in, wake and deliver what it can.
    async fn serve(&mut self) {
        self.has_more = false;
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in names {
            self.release_gone(&name);
            while self.step(&name, Event::Wake) != Effect::Nothing {}
            self.has_more |= self.take_in_parked(&name).await;
            self.has_more |= self.hand_out(&name).await;
        }
    }

    /// Gives back what consumers had that are gone.
    fn release_gone(&mut self, name: &str) {
        while let Some(consumer) = self.groups.get_mut(name).and_then(Group::gone) {
            while self.step(name, Event::Gone { consumer }) != Effect::Nothing {}
        }
    }

    /// Runs an event through a group's table, and sees to what follows.
    fn step(&mut self, name: &str, event: Event) -> Effect {
        let moment = moment();
        let Some(group) = self.groups.get_mut(name) else { return Effect::Stale };
        let effect = group.step(event, moment);
        if let Some(record) = self.follow(name, effect) {
            self.queue.push(Item::Record(record, None));
        }
        effect
    }

    /// Sees to what follows of an effect, and answers what of it is to be kept.
    fn follow(&mut self, name: &str, effect: Effect) -> Option<Record> {
        self.metrics.count(effect);
        if let Effect::Bury { position, attempts } = effect {
            self.dying.push_back(Dying { group: name.to_owned(), position, attempts, answer: None });
        }
        self.groups.get(name)?.record(effect)
    }

    /// Gives a group's consumers what is ready, and shows it what it has not seen only while nothing is: what nobody has
    /// room for would be read now and once again when it is delivered. Whether there is more.
    async fn hand_out(&mut self, name: &str) -> bool {
        for _ in 0..TAKE_IN_MAX {
            if self.is_ready(name) {
                self.offer(name).await;
                // What was ready may have been found to back off.
                if self.is_ready(name) {
                    return false;
                }
            }
            if !self.take_in(name).await {
                return false;
            }
        }
        true
    }

    fn is_ready(&self, name: &str) -> bool {
        self.groups.get(name).is_some_and(Group::is_ready)
    }

    /// Shows a group the next message that it has not seen, or has to see again; whether there was one.
    async fn take_in(&mut self, name: &str) -> bool {
        let wants = self.groups.get(name).and_then(Group::wants);
        let wants = wants.map(|position| position.max(self.shelf.first()));
        let Some(position) = wants.filter(|position| *position < self.shelf.next()) else { return false };
        let message = self.message(position).await;
        if message.as_ref().is_err_and(|error| self.may_pass(error)) {
            return false;
        }
        let Some(group) = self.groups.get_mut(name) else { return false };
        match message {
            Ok(message) => group.take_in(&message, key(&message), moment()),
            Err(_) => group.pass_unread(position, moment()),
        }
        true
    }

    /// The same of what waited by its position only.
    async fn take_in_parked(&mut self, name: &str) -> bool {
        for _ in 0..TAKE_IN_MAX {
            let wants = self.groups.get_mut(name).and_then(|group| group.wants_parked(now()));
            let Some(position) = wants else { return false };
            let message = self.message(position).await;
            let Some(group) = self.groups.get_mut(name) else { return false };
            match message {
                Ok(message) => group.take_in_parked(&message, key(&message), moment()),
                Err(error) => {
                    if group.put_off(position, &error, now()) {
                        self.note_lost(name, position, &error);
                        let record = Record::Done { group: name.to_owned(), position };
                        self.queue.push(Item::Record(record, None));
                    }
                }
            }
        }
        true
    }

    /// Gives consumers of a group what is ready, as far as they have room.
    async fn offer(&mut self, name: &str) {
        // Tries that cannot be kept would be for nothing, and what they leave behind would grow.
        if self.queue.is_failing(self.log.is_none()) {
            return;
        }
        loop {
            let first = self.groups.get_mut(name).and_then(|group| group.first_ready(moment()));
            let Some(position) = first else { return };
            // Before it is a try: what cannot be read for a moment spends none.
            let message = self.message(position).await;
            if message.as_ref().is_err_and(|error| self.may_pass(error)) {
                return;
            }
            let moment = moment();
            let offered = self.groups.get_mut(name).and_then(|group| group.offer(moment));
            let Some((consumer, effect)) = offered else { return };
            if let Some(record) = self.follow(name, effect) {
                self.queue.push(Item::Record(record, None));
            }
            let Effect::Deliver { position, attempt } = effect else { continue };
            let Some(group) = self.groups.get_mut(name) else { return };
            match message {
                Ok(message) => group.deliver(consumer, message, attempt, moment),
                Err(error) => {
                    group.note_failure(position, "the log cannot be read");
                    let is_lost = group.is_lost(position, &error);
                    let verdict = if is_lost { Verdict::Dead } else { Verdict::After(RETRY_AFTER_MS) };
                    let _kept = self.step(name, Event::Nack { position, attempt, verdict });
                }
            }
        }
    }

    /// Makes a consumer's place in a group, which is made if it is not there.
    fn join(&mut self, name: &str, settings: &GroupSettings, credit: usize) -> Result<(Joined, Option<Record>), Error> {
        let is_new = !self.groups.contains_key(name);
        if is_new {
            if self.groups.len() >= GROUPS_MAX {
                return Err(Error::TooMany { what: "groups of one topic", max: GROUPS_MAX });
            }
            let next = self.position(settings.start);
            self.next_epoch += 1;
            self.groups.insert(name.to_owned(), Group::new(name, settings, next, self.next_epoch));
        }
        let Some(group) = self.groups.get_mut(name) else { return Err(Error::Closed) };
        if group.consumers() >= CONSUMERS_MAX {
            return Err(Error::TooMany { what: "consumers of one group", max: CONSUMERS_MAX });
        }
        let served = group.set(settings);
        self.next_consumer += 1;
        let consumer = self.next_consumer;
        let ready = group.join(consumer, credit);
        let record = if is_new { Some(Record::Group(group.begun(group.floor()))) } else { served };
        Ok((Joined { ready }, record))
    }

    fn position(&self, start: Start) -> Position {
        match start {
            Start::First => self.shelf.first(),
            Start::Next => self.shelf.next(),
            Start::At(position) => position.clamp(self.shelf.first(), self.shelf.next()),
        }
    }
}

/// Milliseconds since 1970, by a clock that makes no steps while the process runs: leases and delays are by it.
pub(super) fn now() -> i64 {
    i64::try_from(time::unix_nanos(time::wall()) / 1_000_000).unwrap_or(i64::MAX)
}

fn moment() -> Moment {
    Moment { now: now(), luck: u16::try_from(rand::below(1 << 16)).unwrap_or(u16::MAX) }
}

fn key(message: &Message) -> Option<Key> {
    message.key.as_ref().map(|key| xxh3_64(key.as_bytes()))
}

/// How a topic is kept, as it is written.
fn kept_settings(settings: &TopicSettings) -> Record {
    let TopicSettings { keep, bytes_max, dedup } = settings;
    Record::Topic { keep_ms: millis(*keep), bytes_max: *bytes_max, dedup_ms: millis(*dedup) }
}

/// Does something with the dead letters where it may block.
async fn in_graveyard<T: Send + 'static>(
    graveyard: graveyard::Shared,
    work: impl FnOnce(&mut Graveyard) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let run = move || work(&mut graveyard.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    task::spawn_blocking(run).await.unwrap_or(Err(Error::Closed))
}

/// Waits for the batch that is being written; for ever, if there is none.
async fn written(writing: &mut Option<(task::JoinHandle<Written>, Batch)>) -> Option<Written> {
    match writing {
        Some((handle, _)) => handle.await.ok(),
        None => std::future::pending().await,
    }
}

/// The folder of a topic's dead letters.
fn graveyard_dir(dir: &Path) -> PathBuf {
    dir.join("dead")
}
