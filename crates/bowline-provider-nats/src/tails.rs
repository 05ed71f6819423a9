//! Those who wait for what comes to a topic: one looks for all of them, at where the topic begins and ends alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_messaging::{Error, TAIL_WAIT_MAX, Tail, delivery::Position};
use bowline_runtime::{task, time};
use tokio::sync::watch;

use crate::{Nats, link::Link, topics};

/// How often is looked.
const EVERY: Duration = Duration::from_millis(250);

/// The most that wait for one topic.
const TAILS_MAX: usize = 4096;

/// The topics that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<BTreeMap<String, watch::Sender<Ends>>>);

/// The first position of a topic, and the next.
type Ends = (Position, Position);

/// What comes to a topic from a position on: at once where there is something, else when it is there, or nothing once
/// that time is over.
pub(crate) async fn tail(
    nats: &Nats,
    topic: &str,
    from: Position,
    limit: usize,
    wait: Duration,
) -> Result<Tail, Error> {
    let until = time::now() + wait.min(TAIL_WAIT_MAX);
    loop {
        let tail = topics::tail(nats.link().await?, topic, from, limit).await?;
        let left = until.saturating_duration_since(time::now());
        if tail.is_due(from) || left.is_zero() {
            return Ok(tail);
        }
        let mut ends = nats.0.tails.watch(&nats.0.link, topic)?;
        // What was looked at before is older than what was just read, and no news.
        let news = async {
            while ends.changed().await.is_ok() {
                let (first, next) = *ends.borrow_and_update();
                if first > from || next != from {
                    break;
                }
            }
        };
        // In whichever way that ends, it is looked at once more.
        time::timeout(left, news).await.ok();
    }
}

impl Tails {
    /// Where the topic begins and ends, as it is found from now on; whoever is the first to ask starts to look.
    fn watch(self: &Arc<Self>, link: &Arc<Link>, topic: &str) -> Result<watch::Receiver<Ends>, Error> {
        let mut topics = self.lock();
        if let Some(ends) = topics.get(topic) {
            if ends.receiver_count() >= TAILS_MAX {
                return Err(Error::TooMany { what: "who wait for what comes to one topic", max: TAILS_MAX });
            }
            return Ok(ends.subscribe());
        }
        let (sender, ends) = watch::channel((0, 0));
        topics.insert(topic.to_owned(), sender);
        // A task that cannot be any more is dropped at once, and locks.
        drop(topics);
        let looker = Looker { tails: Arc::clone(self), topic: topic.to_owned() };
        drop(task::spawn(looker.look(Arc::clone(link))));
        Ok(ends)
    }

    /// Tells where the topic begins and ends, changed or not: what came between a waiter's own read and its wait was
    /// perhaps looked at already. Whether anybody waits.
    fn tell(&self, topic: &str, now: Ends) -> bool {
        let topics = self.lock();
        let Some(ends) = topics.get(topic).filter(|ends| ends.receiver_count() > 0) else { return false };
        ends.send_replace(now);
        true
    }

    /// Whoever waits looks once more, and finds out that it is over.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Ends>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at a topic for all who wait. However that ends, be it by a panic, they look for themselves.
struct Looker {
    tails: Arc<Tails>,
    topic: String,
}

impl Looker {
    /// Looks until nobody waits any more, or it cannot: then whoever waits is told why by his own look.
    async fn look(self, link: Arc<Link>) {
        loop {
            time::sleep(EVERY).await;
            let Ok(known) = topics::find(&link, &self.topic).await else { return };
            if !self.tails.tell(&self.topic, (known.first, known.next)) {
                return;
            }
        }
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        self.tails.lock().remove(&self.topic);
    }
}
