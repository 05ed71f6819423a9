//! One device as it lives: it connects, says what it has to say until that is acknowledged, and does what it is told.
//!
//! What it has said and what was not acknowledged is in the device, not in its connection: when that is lost, all of it
//! is said again, the readings with the same numbers.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use bowline_runtime::{
    rand,
    time::{self, Instant},
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use iot_mqtt::{Ack, Command, Desired, Outcome, Presence, Reported, topic};
use tokio::sync::{Semaphore, watch};

use crate::{
    account::Account,
    book::Book,
    counts::Counts,
    link::{self, Client, Events, Heard},
    now_ms,
    settings::Settings,
    source::Source,
};

/// Messages with readings that are not acknowledged, at most.
const ON_WAY_MAX: usize = 4;

/// What else a device has to say, at most: what is older is left out.
const OWED_MAX: usize = 50;

/// Commands that a device remembers to have carried out.
const REMEMBERED_MAX: usize = 1000;

/// How long a device waits before it connects again, the first time and at most.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How long a goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// What devices are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Read, and say it.
    Reading,
    /// Say what has been read.
    Finishing,
    /// Say goodbye.
    Leaving,
}

/// What all devices of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) counts: Arc<Counts>,
    /// Devices that may connect at once: where all did, the broker would come to none before it has given up.
    pub(crate) connecting: Semaphore,
}

/// How many devices connect at once.
pub(crate) const CONNECTING_MAX: usize = 64;

/// A device.
pub(crate) struct Device {
    shared: Arc<Shared>,
    account: Account,
    phase: watch::Receiver<Phase>,
    source: Source,
    book: Book,
    owed: VecDeque<Owed>,
    tickets: u64,
    /// The version of what is desired that it has applied.
    applied: i64,
    carried_out: VecDeque<String>,
    is_through: bool,
}

/// Something that is to be said besides readings.
struct Owed {
    ticket: u64,
    topic: String,
    payload: Vec<u8>,
    is_retained: bool,
    is_on_way: bool,
}

/// What is on its way.
enum Said {
    Readings { range: Range<usize>, at: Instant },
    Owed(u64),
}

/// What a device has to do with one connection.
struct Session {
    client: Client,
    on_way: FuturesUnordered<BoxFuture<'static, (Said, Result<(), String>)>>,
    readings_on_way: usize,
    /// What was made before has been said on this connection.
    said: usize,
    is_connected: bool,
}

impl Device {
    pub(crate) fn new(shared: Arc<Shared>, account: Account, phase: watch::Receiver<Phase>) -> Self {
        Self {
            source: Source::new(&account, &shared.settings),
            book: Book::new(account.id.clone(), shared.settings.first_sequence),
            shared,
            phase,
            account,
            owed: VecDeque::new(),
            tickets: 0,
            applied: 0,
            carried_out: VecDeque::new(),
            is_through: false,
        }
    }

    /// Lives until it is to leave; what it has read.
    pub(crate) async fn live(mut self) -> Book {
        let mut backoff = BACKOFF_MIN;
        while *self.phase.borrow() < Phase::Leaving {
            let Err(why) = self.connect(&mut backoff).await else { break };
            self.shared.counts.lose(why);
            // Jittered: a thousand that were cut off at once do not come back at once.
            let wait = backoff.mul_f64(0.5 + rand::unit() / 2.0);
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let _or_left = time::timeout(wait, self.phase.wait_for(|phase| *phase == Phase::Leaving)).await;
        }
        self.book
    }

    /// Connects, and does what there is to do until it has said goodbye. Why the connection was lost is the error.
    async fn connect(&mut self, backoff: &mut Duration) -> Result<(), String> {
        let shared = self.shared.clone();
        let mut connecting = Some(shared.connecting.acquire().await.map_err(|_| "nobody may connect any more")?);
        let (client, mut events) = link::open(self.shared.settings.mqtt, &self.account);
        let mut session = Session::new(client);
        let mut connected = None;
        self.greet();
        loop {
            let wait = self.say(&mut session)?;
            tokio::select! {
                heard = events.next() => match heard.ok_or("it is over")?? {
                    Heard::Connected => {
                        *backoff = BACKOFF_MIN;
                        connected = connected.or_else(|| Some(shared.counts.connect()));
                        drop(connecting.take());
                        session.is_connected = true;
                        session.client.subscribe(topic::desired(&self.account.id))?;
                        session.client.subscribe(topic::commands(&self.account.id))?;
                    }
                    Heard::Message { topic, payload } => self.hear(&topic, &payload),
                    Heard::Other => {}
                },
                Some((said, answer)) = session.on_way.next() => {
                    answer?;
                    self.settle(&mut session, said);
                }
                () = time::sleep(wait) => {}
                changed = self.phase.changed() => {
                    if changed.is_err() || *self.phase.borrow() == Phase::Leaving {
                        return if session.is_connected { self.leave(&session.client, &mut events).await } else { Ok(()) };
                    }
                }
            }
        }
    }

    /// What a device says first on a connection.
    fn greet(&mut self) {
        self.owed.retain(|owed| !owed.is_retained);
        for owed in &mut self.owed {
            owed.is_on_way = false;
        }
        self.owe(topic::status(&self.account.id), Presence::Online.text().into(), true);
        self.owed.rotate_right(1);
    }

    fn owe(&mut self, topic: String, payload: Vec<u8>, is_retained: bool) {
        self.tickets += 1;
        if self.owed.len() == OWED_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back(Owed { ticket: self.tickets, topic, payload, is_retained, is_on_way: false });
    }

    /// Says what may be said now; for how long there is nothing new to say.
    fn say(&mut self, session: &mut Session) -> Result<Duration, String> {
        const NOTHING: Duration = Duration::from_hours(1);
        let now_ms = now_ms();
        // Where nothing is to be made any more, nothing is due.
        let reading_ms = (*self.phase.borrow() == Phase::Reading).then_some(now_ms);
        if session.is_connected {
            self.say_owed(session)?;
            while session.readings_on_way < ON_WAY_MAX
                && let Some(range) = self.next_readings(session, reading_ms)
            {
                let payload = self.payload(range.clone());
                let said = Said::Readings { range, at: time::now() };
                session.publish(said, topic::readings(&self.account.id), payload, false)?;
                session.readings_on_way += 1;
            }
        }
        let due_ms = reading_ms.and_then(|now_ms| self.source.due_ms(now_ms));
        if due_ms.is_none() && self.book.unacknowledged() == 0 && !self.is_through {
            self.is_through = true;
            self.shared.counts.through.send_modify(|through| *through += 1);
        }
        // Where too many are on their way, an acknowledgement comes first.
        let due_ms = due_ms.filter(|_| session.is_connected && session.readings_on_way < ON_WAY_MAX);
        Ok(due_ms.map_or(NOTHING, |due_ms| Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or_default())))
    }

    fn say_owed(&mut self, session: &Session) -> Result<(), String> {
        for owed in self.owed.iter_mut().filter(|owed| !owed.is_on_way) {
            let (topic, payload) = (owed.topic.clone(), owed.payload.clone());
            session.publish(Said::Owed(owed.ticket), topic, payload, owed.is_retained)?;
            owed.is_on_way = true;
        }
        Ok(())
    }

    /// The readings of the next message: those that were said on a connection before, then new ones.
    fn next_readings(&mut self, session: &mut Session, now_ms: Option<i64>) -> Option<Range<usize>> {
        let batch = self.shared.settings.batch;
        if let Some(range) = self.book.unsaid(session.said, batch) {
            session.said = range.end;
            return Some(range);
        }
        let first = self.book.made();
        while self.book.made() < first + batch
            && let Some(reading) = self.source.take(now_ms?)
        {
            self.book.push(reading);
        }
        session.said = self.book.made();
        (session.said > first).then_some(first..session.said)
    }

    fn payload(&self, range: Range<usize>) -> Vec<u8> {
        let reading = |index: usize| {
            let iot_detect::Reading { at_ms, value } = self.book.made[index];
            iot_mqtt::Reading { sequence: self.book.sequence(index), at_ms, value }
        };
        let readings: Vec<_> = range.map(reading).collect();
        serde_json::to_vec(&readings).expect("numbers can be written")
    }

    /// Books what was acknowledged.
    fn settle(&mut self, session: &mut Session, said: Said) {
        match said {
            Said::Readings { range, at } => {
                session.readings_on_way -= 1;
                self.shared.counts.acknowledge(self.book.acknowledge(range), time::now() - at);
            }
            Said::Owed(ticket) => self.owed.retain(|owed| owed.ticket != ticket),
        }
    }

    /// Does what it is told. What it does not understand is nothing.
    fn hear(&mut self, topic: &[u8], payload: &[u8]) {
        let id = self.account.id.clone();
        if topic == topic::desired(&id).as_bytes() {
            let Ok(Desired { version, desired }) = serde_json::from_slice(payload) else { return };
            if version > self.applied {
                self.applied = version;
                self.shared.counts.apply();
                let reported = Reported { version: Some(version), reported: desired };
                self.owe(topic::reported(&id), serde_json::to_vec(&reported).expect("it came as JSON"), false);
            }
        } else if topic == topic::commands(&id).as_bytes() {
            let Ok(Command { id: command, expires_ms, .. }) = serde_json::from_slice(payload) else { return };
            let is_new = !self.carried_out.contains(&command);
            if is_new && expires_ms <= now_ms() {
                return;
            }
            if is_new {
                self.carry_out(command.clone());
            }
            // Who tells it again has not heard that it was done.
            let ack = Ack { command, state: Outcome::Done, detail: None };
            self.owe(topic::acks(&id), serde_json::to_vec(&ack).expect("texts can be written"), false);
        }
    }

    fn carry_out(&mut self, command: String) {
        self.shared.counts.command();
        if self.carried_out.len() == REMEMBERED_MAX {
            self.carried_out.pop_front();
        }
        self.carried_out.push_back(command);
    }

    /// Says that it is not there any more, and goes.
    async fn leave(&self, client: &Client, events: &mut Events) -> Result<(), String> {
        let status = topic::status(&self.account.id);
        let goodbye = async {
            let mut acknowledged = client.publish(status, Presence::Offline.text().into(), true)?;
            loop {
                tokio::select! {
                    heard = events.next() => drop(heard.ok_or("it is over")??),
                    answer = &mut acknowledged => { answer?; break },
                }
            }
            client.disconnect()?;
            while let Some(heard) = events.next().await {
                heard?;
            }
            Ok(())
        };
        // Whoever does not get away so is cut off, and has a last will.
        time::timeout(GOODBYE_MAX, goodbye).await.unwrap_or(Ok(()))
    }
}

impl Session {
    fn new(client: Client) -> Self {
        Self { client, on_way: FuturesUnordered::new(), readings_on_way: 0, said: 0, is_connected: false }
    }

    fn publish(&self, said: Said, topic: String, payload: Vec<u8>, is_retained: bool) -> Result<(), String> {
        let acknowledged = self.client.publish(topic, payload, is_retained)?;
        self.on_way.push(acknowledged.map(move |answer| (said, answer)).boxed());
        Ok(())
    }
}
