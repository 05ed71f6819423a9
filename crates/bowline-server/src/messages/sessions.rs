//! The subscriptions that are answered now, and what their consumers work on.
//!
//! A delivery stays here without its message until it is answered, or its lease has ended.
//!
//! An answer says more than what it is about: whoever answers one delivery has read all before it. A consumer is told of
//! no more deliveries than its credit beyond the last one that it has read for certain, whether or not their leases
//! last. Otherwise the bus would deliver again, when leases end, into an answer that nobody reads, and spend the tries
//! of messages that nobody saw.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_messaging::{Delivery, Error, Message, delivery::Position};
use bowline_provider_remote::wire::DeliveryAnswer;
use bowline_runtime::{
    rand,
    time::{self, Duration, Instant},
};
use tokio::sync::Notify;

/// The most subscriptions that are answered at once.
const SESSIONS_MAX: usize = 4096;

/// The most of one topic.
const TOPIC_SESSIONS_MAX: usize = 1024;

/// So long after its lease ended a delivery is kept: the bus may see its end later.
const SLACK: Duration = Duration::from_secs(2);

/// From how many deliveries on it is looked for those whose leases have ended.
const SWEEP_MIN: usize = 64;

/// The subscriptions that are answered now.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<BTreeMap<String, Arc<Session>>>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Session {
    topic: String,
    held: Mutex<Held>,
    credit: u64,
    /// Is told when something was read.
    read: Notify,
}

#[derive(Debug)]
struct Held {
    deliveries: BTreeMap<u64, Leased>,
    next: u64,
    /// The last one that its consumer has read for certain.
    read: u64,
    sweep_at: usize,
}

#[derive(Debug)]
struct Leased {
    delivery: Arc<Delivery>,
    position: Position,
    until: Instant,
}

/// A session that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Open {
    sessions: Arc<Sessions>,
    pub(super) id: String,
    pub(super) session: Arc<Session>,
}

impl Sessions {
    /// Begins a session of a topic.
    pub(super) fn begin(self: &Arc<Self>, topic: &str, credit: usize) -> Result<Open, Error> {
        let mut sessions = lock(&self.0);
        if sessions.len() >= SESSIONS_MAX {
            return Err(Error::TooMany { what: "subscriptions", max: SESSIONS_MAX });
        }
        if sessions.values().filter(|session| session.topic == topic).count() >= TOPIC_SESSIONS_MAX {
            return Err(Error::TooMany { what: "subscriptions of one topic", max: TOPIC_SESSIONS_MAX });
        }
        let held = Mutex::new(Held { deliveries: BTreeMap::new(), next: 1, read: 0, sweep_at: SWEEP_MIN });
        let session = Session { topic: topic.to_owned(), held, credit: credit as u64, read: Notify::new() };
        let session = Arc::new(session);
        let id = format!("{:032x}", rand::u128());
        sessions.insert(id.clone(), session.clone());
        drop(sessions);
        Ok(Open { sessions: self.clone(), id, session })
    }

    /// The session of that id.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.0).get(id).cloned()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.sessions.0).remove(&self.id);
    }
}

impl Session {
    /// Waits until its consumer may be told of one more.
    pub(super) async fn has_room(&self) {
        let is_full = || {
            let held = lock(&self.held);
            held.next - 1 - held.read >= self.credit
        };
        while is_full() {
            self.read.notified().await;
        }
    }

    /// The consumer has read all up to that one.
    fn note_read(&self, number: u64) {
        let mut held = lock(&self.held);
        if (held.read + 1..held.next).contains(&number) {
            held.read = number;
            self.read.notify_one();
        }
    }

    /// Takes a delivery in until it is answered, and gives its number and its message.
    pub(super) fn hold(&self, mut delivery: Delivery) -> (u64, Arc<Message>) {
        let message = std::mem::replace(&mut delivery.message, nothing());
        let (now, until) = (time::now(), delivery.until + SLACK);
        let leased = Leased { delivery: Arc::new(delivery), position: message.position, until };
        let mut held = lock(&self.held);
        if held.deliveries.len() >= held.sweep_at {
            held.deliveries.retain(|_, leased| leased.until > now);
            held.sweep_at = SWEEP_MIN.max(held.deliveries.len() * 2);
        }
        let number = held.next;
        held.next += 1;
        held.deliveries.insert(number, leased);
        (number, message)
    }

    /// Acts upon an answer.
    pub(super) async fn answer(&self, answer: DeliveryAnswer) -> Result<(), Error> {
        let number = answer.lease();
        self.note_read(number);
        match answer {
            DeliveryAnswer::Extend { by, .. } => {
                let found = lock(&self.held).deliveries.get(&number).map(|leased| leased.delivery.clone());
                found.ok_or(LOST)?.extend(by).await?;
                if let Some(leased) = lock(&self.held).deliveries.get_mut(&number) {
                    leased.until = time::now() + by + SLACK;
                }
                Ok(())
            }
            DeliveryAnswer::Ack { .. } => {
                let leased = self.take(number)?;
                let answered = leased.delivery.ack().await;
                self.settle(number, leased, answered)
            }
            DeliveryAnswer::Nack { failure, then, .. } => {
                let leased = self.take(number)?;
                let answered = leased.delivery.nack(&failure, then.into()).await;
                self.settle(number, leased, answered)
            }
        }
    }

    fn take(&self, number: u64) -> Result<Leased, Error> {
        lock(&self.held).deliveries.remove(&number).ok_or(LOST)
    }

    /// Keeps a delivery that could not be answered: the consumer may try again.
    fn settle(&self, number: u64, leased: Leased, answered: Result<(), Error>) -> Result<(), Error> {
        match answered {
            Ok(()) => Ok(()),
            Err(Error::LeaseLost { .. }) => Err(Error::LeaseLost { position: leased.position }),
            Err(error) => {
                lock(&self.held).deliveries.insert(number, leased);
                Err(error)
            }
        }
    }
}

/// A delivery that is not known any more; where it was, neither.
const LOST: Error = Error::LeaseLost { position: 0 };

/// Stands for the message of a delivery, so that it is not kept in memory until the answer.
fn nothing() -> Arc<Message> {
    Arc::new(Message {
        position: 0,
        id: String::new(),
        key: None,
        headers: Vec::new(),
        payload: bytes::Bytes::new(),
        published_ms: 0,
        due_ms: 0,
        expires_ms: None,
        only: None,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bowline_messaging::{Lease, Then};
    use bowline_runtime::BoxFuture;

    use super::*;

    /// A bus that takes every answer.
    struct Alive;

    impl Lease for Alive {
        fn ack(&self) -> BoxFuture<'_, Result<(), Error>> {
            Box::pin(async { Ok(()) })
        }

        fn nack(&self, _: &str, _: Then) -> BoxFuture<'_, Result<(), Error>> {
            self.ack()
        }

        fn extend(&self, _: Duration) -> BoxFuture<'_, Result<(), Error>> {
            self.ack()
        }
    }

    fn delivery(lease: Duration) -> Delivery {
        Delivery::new(nothing(), 1, time::now() + lease, Alive)
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_is_kept_for_as_long_as_its_lease_lasts() {
        let sessions = Arc::new(Sessions::default());
        let session = sessions.begin("t", 1000).unwrap().session.clone();
        let (long, _) = session.hold(delivery(Duration::from_mins(10)));
        let (short, _) = session.hold(delivery(Duration::from_secs(30)));
        time::sleep(Duration::from_mins(1)).await; // tidy: sleep: the clock is paused
        for _ in 0..SWEEP_MIN {
            session.hold(delivery(Duration::from_secs(30)));
        }
        session.answer(DeliveryAnswer::Ack { lease: long }).await.unwrap();
        assert!(matches!(session.answer(DeliveryAnswer::Ack { lease: short }).await, Err(Error::LeaseLost { .. })));
    }
}
