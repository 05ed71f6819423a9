//! A message bus in memory that can be told to refuse.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bowline_messaging::{
    DeadLetter, Error, GroupSettings, Message, MessageBus, NewMessage, Published, Start, Subscription, TopicInfo,
    TopicSettings, Which, delivery::Position,
};
use bowline_runtime::BoxFuture;

/// What was published, once each.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    kept: Mutex<Vec<(String, NewMessage)>>,
    /// How many calls are refused from now on; of topics named here only, where any is.
    refuse: AtomicUsize,
    full: Mutex<BTreeSet<String>>,
    invalid: Mutex<BTreeSet<String>>,
    pub(crate) calls: AtomicUsize,
    /// Whether the next call panics.
    pub(crate) panics: std::sync::atomic::AtomicBool,
    /// Whether publishing never ends, though it is done.
    pub(crate) hangs: std::sync::atomic::AtomicBool,
}

impl Bus {
    pub(crate) fn refuse(&self, calls: usize) {
        self.refuse.store(calls, Ordering::SeqCst);
    }

    /// Refuses a topic, or not any more.
    pub(crate) fn set_full(&self, topic: &str, is_full: bool) {
        let mut full = self.full.lock().unwrap();
        if is_full {
            full.insert(topic.to_owned())
        } else {
            full.remove(topic)
        };
    }

    /// Finds all messages of a topic faulty.
    pub(crate) fn set_invalid(&self, topic: &str) {
        self.invalid.lock().unwrap().insert(topic.to_owned());
    }

    pub(crate) fn kept(&self) -> Vec<(String, NewMessage)> {
        self.kept.lock().unwrap().clone()
    }

    /// The payloads of a key, as texts.
    pub(crate) fn texts(&self, key: Option<&str>) -> Vec<String> {
        let is_of = |(_, message): &(String, NewMessage)| message.key.as_deref() == key;
        let text = |(_, message): (String, NewMessage)| String::from_utf8(message.payload.to_vec()).unwrap();
        self.kept().into_iter().filter(is_of).map(text).collect()
    }

    fn take(&self, topic: &str, message: NewMessage) -> Result<Published, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.swap(false, Ordering::SeqCst), "on purpose");
        if self.invalid.lock().unwrap().contains(topic) {
            return Err(Error::Invalid { what: "payload", rule: "it is good" });
        }
        if self.full.lock().unwrap().contains(topic) {
            return Err(Error::Full { topic: topic.to_owned(), by: None });
        }
        if self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::Unavailable { retry_after: None });
        }
        let mut kept = self.kept.lock().unwrap();
        let same = kept.iter().position(|(at, other)| at == topic && other.id == message.id);
        let is_duplicate = same.is_some();
        let position = same.unwrap_or(kept.len()) as u64 + 1;
        if !is_duplicate {
            kept.push((topic.to_owned(), message));
        }
        Ok(Published { position, is_duplicate })
    }
}

fn closed<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, Error>> {
    Box::pin(async { Err(Error::Closed) })
}

impl MessageBus for Bus {
    fn publish(&self, topic: &str, message: NewMessage) -> BoxFuture<'_, Result<Published, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            bowline_runtime::task::yield_now().await;
            let published = self.take(&topic, message);
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            published
        })
    }

    fn declare(&self, _: &str, _: TopicSettings) -> BoxFuture<'_, Result<(), Error>> {
        closed()
    }

    fn subscribe(&self, _: &str, _: &str, _: GroupSettings, _: usize) -> BoxFuture<'_, Result<Subscription, Error>> {
        closed()
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>, Error>> {
        closed()
    }

    fn read(&self, _: &str, _: Position, _: usize) -> BoxFuture<'_, Result<Vec<std::sync::Arc<Message>>, Error>> {
        closed()
    }

    fn seek(&self, _: &str, _: &str, _: Start) -> BoxFuture<'_, Result<(), Error>> {
        closed()
    }

    fn remove_group(&self, _: &str, _: &str) -> BoxFuture<'_, Result<(), Error>> {
        closed()
    }

    fn dead(&self, _: &str, _: Position, _: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, Error>> {
        closed()
    }

    fn redrive(&self, _: &str, _: Which) -> BoxFuture<'_, Result<usize, Error>> {
        closed()
    }

    fn purge(&self, _: &str, _: Which) -> BoxFuture<'_, Result<usize, Error>> {
        closed()
    }
}
