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
        drop(task::spawn(Arc::clone(self).look(Arc::clone(link), topic.to_owned())));
        Ok(ends)
    }

    /// Looks until nobody waits any more, or it cannot: then whoever waits looks for himself, and is told why.
    async fn look(self: Arc<Self>, link: Arc<Link>, topic: String) {
        loop {
            time::sleep(EVERY).await;
            let found = topics::find(&link, &topic).await;
            let mut topics = self.lock();
            match (found, topics.get(&topic)) {
                (Ok(known), Some(ends)) if ends.receiver_count() > 0 => {
                    // Told each time, changed or not: what came between a waiter's own read and its wait was
                    // perhaps looked at already.
                    ends.send_replace((known.first, known.next));
                }
                _ => {
                    topics.remove(&topic);
                    return;
                }
            }
        }
    }

    /// Whoever waits looks once more, and finds out that it is over.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Ends>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
