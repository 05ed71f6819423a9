//! The port itself: what a message bus promises, and the words it is spoken to in.

use std::{fmt, sync::Arc, time::Duration};

use bowline_runtime::{BoxFuture, time::Instant};
use bytes::Bytes;

use crate::{
    Error, HEADERS_MAX,
    delivery::{Position, Verdict},
    limits::REDRIVEN,
    tail,
};

/// Durable topics; shared by everybody in the process.
///
/// A *topic* holds messages in the order of their *position*. A *group* of consumers gets each message once it is
/// published, to one of them, until it is acknowledged: at least once. Of the messages with one ordering key, one
/// after the other is delivered to a group, in the order of their positions; different keys go in parallel.
///
/// A call is answered when what it did would survive `kill -9` and power loss.
pub trait MessageBus: Send + Sync + 'static {
    /// Makes a topic, or changes how it is kept.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    fn declare(&self, topic: &str, settings: TopicSettings) -> BoxFuture<'_, Result<(), Error>>;

    /// Keeps a message for every group of the topic, and answers where it stands.
    ///
    /// A message whose id was published within the topic's [`TopicSettings::dedup`] is kept once: the answer is that
    /// of the first. After [`Error::Io`] it may or may not be there: publish it again, with the same id.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    fn publish(&self, topic: &str, message: NewMessage) -> BoxFuture<'_, Result<Published, Error>>;

    /// Joins a group, which is made if it is not there; the settings of whoever joined last hold.
    ///
    /// At most `credit` messages are with this consumer at a time. Dropping the subscription leaves: what it has not
    /// acknowledged is delivered to others, as a try that failed.
    fn subscribe(
        &self,
        topic: &str,
        group: &str,
        settings: GroupSettings,
        credit: usize,
    ) -> BoxFuture<'_, Result<Subscription, Error>>;

    /// All topics that can be used, sorted by name.
    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>, Error>>;

    /// Up to `limit` (at most [`PAGE_MAX`](crate::PAGE_MAX)) messages that are still there, from a position on; fewer
    /// where they are more than [`PAGE_BYTES_MAX`](crate::PAGE_BYTES_MAX).
    fn read(&self, topic: &str, from: Position, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Message>>, Error>>;

    /// What comes from a position on, for whoever reads by himself: each reader keeps his own place, and no group is
    /// made. Answered at once where a message is there, at or after `from`, or was and is not any more; else when one
    /// comes, or without one once `wait` (at most [`TAIL_WAIT_MAX`](crate::TAIL_WAIT_MAX)) is over.
    ///
    /// The messages stand one after the other; as many as [`read`](Self::read) gives. Here, `topics` and `read` are
    /// asked every 100 ms.
    ///
    /// # Cancel safety
    /// Nothing is lost: the place is the reader's.
    fn tail(&self, topic: &str, from: Position, limit: usize, wait: Duration) -> BoxFuture<'_, Result<Tail, Error>> {
        let topic = topic.to_owned();
        let look = move || -> BoxFuture<'_, Result<Tail, Error>> {
            let topic = topic.clone();
            Box::pin(async move {
                let topics = self.topics().await?;
                let known = topics.into_iter().find(|info| info.name == topic);
                let known = known.ok_or_else(|| Error::NoTopic { topic: topic.clone() })?;
                let messages = self.read(&topic, from.saturating_sub(1), limit.saturating_add(1)).await?;
                Ok(Tail::new(known.first, known.next, from, messages, limit))
            })
        };
        Box::pin(tail::poll(from, wait, tail::EVERY, look))
    }

    /// Makes a group get everything from a position on, again or not at all; what its consumers work on now is lost
    /// to them.
    fn seek(&self, topic: &str, group: &str, to: Start) -> BoxFuture<'_, Result<(), Error>>;

    /// Forgets a group: nothing is kept for it any more.
    fn remove_group(&self, topic: &str, group: &str) -> BoxFuture<'_, Result<(), Error>>;

    /// Up to `limit` dead letters of a topic after a position among them, the oldest first; fewer where they are more
    /// than [`PAGE_BYTES_MAX`](crate::PAGE_BYTES_MAX).
    fn dead(&self, topic: &str, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, Error>>;

    /// Gives dead letters back to their groups, as new messages at the end of the topic; answers how many.
    fn redrive(&self, topic: &str, which: Which) -> BoxFuture<'_, Result<usize, Error>>;

    /// Deletes dead letters; answers how many.
    fn purge(&self, topic: &str, which: Which) -> BoxFuture<'_, Result<usize, Error>>;
}

/// How a topic is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// For how long messages stay after they were published, though every group is done with them: what can be
    /// replayed; at least for as long as ids are remembered. Never deleted is what a group has not processed.
    pub keep: Duration,
    /// The most bytes on disk. When only messages are left that some group has not processed, publishing is refused.
    pub bytes_max: u64,
    /// For how long an id is remembered; of more than 200,000 in that time, the last ones are. After a restart a topic
    /// may know less: not the ids of messages that it deleted before their time, because it was full.
    pub dedup: Duration,
}

/// How a group is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Where it begins, if it is made.
    pub start: Start,
    /// For how long a message is a consumer's, unless it extends that.
    pub lease: Duration,
    /// How often a message is tried before it is a dead letter.
    pub attempts_max: u32,
    /// How long after the first try that failed; it doubles, up to `backoff_max`, and half of it is up to chance.
    pub backoff: Duration,
    /// The longest between two tries.
    pub backoff_max: Duration,
}

/// Where a group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first message that is there.
    First,
    /// At the next one that is published.
    Next,
    /// At that position.
    At(Position),
}

/// A message to publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// Tells it from all others of its topic; one is made up where there is none.
    pub id: Option<String>,
    /// Its ordering key: messages with one key are processed one after the other.
    pub key: Option<String>,
    /// What is said about it, as `traceparent`.
    pub headers: Vec<(String, String)>,
    /// What it is.
    pub payload: Bytes,
    /// How long after now it is delivered at the earliest; until then it holds nobody up. One more than
    /// [`DELAYED_MAX`](crate::DELAYED_MAX) at a time may be refused, with [`Error::TooMany`].
    pub delay: Duration,
    /// How long after now it is not delivered any more.
    pub expires_in: Option<Duration>,
}

/// Where a message was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its position.
    pub position: Position,
    /// Whether it was there already.
    pub is_duplicate: bool,
}

/// A message that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it stands in its topic.
    pub position: Position,
    /// Its id.
    pub id: String,
    /// Its ordering key.
    pub key: Option<String>,
    /// What is said about it.
    pub headers: Vec<(String, String)>,
    /// What it is.
    pub payload: Bytes,
    /// When it was published, in milliseconds since 1970.
    pub published_ms: i64,
    /// When it is delivered at the earliest, in milliseconds since 1970.
    pub due_ms: i64,
    /// From when on it is not delivered any more, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// The only group that gets it; all do where there is none.
    pub only: Option<String>,
}

/// What [`MessageBus::tail`] reads of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The first position that is still there.
    pub first: Position,
    /// The position of the next message.
    pub next: Position,
    /// The id of the message right before the position that was asked for, where it is still there. It tells a topic
    /// from one that was made anew.
    pub before: Option<String>,
    /// The messages, the first at the position that was asked for, or at `first` where that is later.
    pub messages: Vec<Arc<Message>>,
}

/// Names the position of the message that died.
const REDRIVEN_FROM: &str = "bowline-redriven-from";

/// A message that could not be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stands among the topic's dead letters.
    pub position: Position,
    /// The group that could not process it.
    pub group: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed.
    pub failure: String,
    /// When it died, in milliseconds since 1970.
    pub died_ms: i64,
    /// The message as it was.
    pub message: Message,
}

impl DeadLetter {
    /// The message as it was, to be tried again. Its id is such that it is published once; a header names the position
    /// of the one that died.
    pub fn again(self) -> NewMessage {
        let Self { position, group, message, .. } = self;
        let Message { id, key, mut headers, payload, .. } = message;
        headers.retain(|(name, _)| name != REDRIVEN_FROM);
        // Where there is no room for it, what the publisher said stays.
        if headers.len() < HEADERS_MAX {
            headers.push((REDRIVEN_FROM.to_owned(), message.position.to_string()));
        }
        let id = Some(format!("{REDRIVEN}{position}/{group}/{}", id.rsplit('/').next().unwrap_or_default()));
        NewMessage { id, key, headers, payload, delay: Duration::ZERO, expires_in: None }
    }
}

/// Which dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All that are there now.
    All,
    /// The one at that position among them.
    At(Position),
}

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How it is kept.
    pub settings: TopicSettings,
    /// The first position that is still there.
    pub first: Position,
    /// The position of the next message.
    pub next: Position,
    /// Its bytes on disk.
    pub bytes: u64,
    /// How many dead letters there are.
    pub dead: u64,
    /// Its groups, sorted by name.
    pub groups: Vec<GroupInfo>,
}

/// What is known of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// Its consumers now.
    pub consumers: usize,
    /// How many messages it is not done with.
    pub lag: u64,
    /// How many of them its consumers work on.
    pub leased: usize,
    /// When the oldest of them was published, in milliseconds since 1970; none where it is not among the last ones.
    pub oldest_ms: Option<i64>,
}

/// A consumer's place in a group. Dropping it leaves the group.
pub struct Subscription(Box<dyn DeliverySource>);

/// Where a [`Subscription`] gets its messages from; implemented by providers.
pub trait DeliverySource: Send {
    /// See [`Subscription::next`].
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>>;
}

impl Subscription {
    /// A subscription over a provider's source.
    pub fn new(source: impl DeliverySource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// Waits for the next message, and for credit. After an error the subscription is over.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call answers the same message.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        self.0.next().await
    }
}

/// A message that is with a consumer until its lease ends. Dropping it unanswered leaves it to the end of its lease.
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// The number of the try; the first is 1.
    pub attempt: u32,
    /// When its lease ends, unless it is extended: by the settings of the group, which others may have joined since.
    pub until: Instant,
    lease: Box<dyn Lease>,
}

/// How a [`Delivery`] is answered; implemented by providers.
pub trait Lease: Send + Sync {
    /// See [`Delivery::ack`].
    fn ack(&self) -> BoxFuture<'_, Result<(), Error>>;
    /// See [`Delivery::nack`].
    fn nack(&self, failure: &str, then: Then) -> BoxFuture<'_, Result<(), Error>>;
    /// See [`Delivery::extend`].
    fn extend(&self, by: Duration) -> BoxFuture<'_, Result<(), Error>>;
}

/// What becomes of a message that could not be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is tried again, after the group's back-off.
    Retry,
    /// It is tried again after that time, at most [`DELAY_MAX`](crate::DELAY_MAX).
    After(Duration),
    /// It is a dead letter at once: no try will help.
    Dead,
}

impl From<Then> for Verdict {
    fn from(then: Then) -> Self {
        match then {
            Then::Retry => Self::Retry,
            Then::After(wait) => Self::After(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
            Then::Dead => Self::Dead,
        }
    }
}

impl Delivery {
    /// A delivery that is answered through a provider's lease.
    pub fn new(message: Arc<Message>, attempt: u32, until: Instant, lease: impl Lease + 'static) -> Self {
        Self { message, attempt, until, lease: Box::new(lease) }
    }

    /// Says that it was processed: it is not delivered to this group again.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the lease ended before: it may be delivered again. After [`Error::Io`] too.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    pub async fn ack(&self) -> Result<(), Error> {
        self.lease.ack().await
    }

    /// Says that it could not be processed, and why.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the lease ended before.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    pub async fn nack(&self, failure: &str, then: Then) -> Result<(), Error> {
        self.lease.nack(failure, then).await
    }

    /// Asks for more time: the lease ends that long from now.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the lease ended before.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    pub async fn extend(&self, by: Duration) -> Result<(), Error> {
        self.lease.extend(by).await
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self { keep: Duration::from_hours(24), bytes_max: 1 << 30, dedup: Duration::from_mins(2) }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            start: Start::First,
            lease: Duration::from_secs(30),
            attempts_max: 5,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_mins(1),
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("attempt", &self.attempt)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}
