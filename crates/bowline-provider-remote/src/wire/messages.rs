//! Messages on the wire: topics, what is published and read, deliveries, dead letters.

mod fault;
mod payload;

use std::time::Duration;

use bowline_messaging as port;
use bowline_model::units;
use serde::{Deserialize, Serialize};

pub use fault::{MessageFault, decode_message_error, encode_message_error};

/// `PUT /v1/topics/{topic}`: how a topic is kept. What is absent is as by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TopicDeclaration {
    /// For how long messages stay though every group is done with them; `"1d"` where absent.
    #[serde(with = "units::duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "1d"))]
    pub keep: Duration,
    /// The most bytes on disk, 4 MiB to 1 TiB; 1 GiB where absent.
    pub bytes_max: u64,
    /// For how long an id is remembered; `"2m"` where absent.
    #[serde(with = "units::duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub dedup: Duration,
}

/// `GET /v1/topics`: every topic, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TopicList {
    /// The topics.
    pub topics: Vec<Topic>,
}

/// A topic, and how far its groups are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How it is kept.
    pub settings: TopicDeclaration,
    /// The first position that is still there.
    pub first: u64,
    /// The position of the next message.
    pub next: u64,
    /// Its bytes on disk.
    pub bytes: u64,
    /// How many dead letters there are.
    pub dead: u64,
    /// Its groups, sorted by name.
    pub groups: Vec<TopicGroup>,
}

/// A group of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TopicGroup {
    /// Its name.
    pub name: String,
    /// Its consumers now.
    pub consumers: usize,
    /// How many messages it is not done with.
    pub lag: u64,
    /// How many of them its consumers work on.
    pub leased: usize,
    /// When the oldest of them was published, in milliseconds since 1970; absent where it is not among the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unix_ms: Option<i64>,
}

/// `POST /v1/topics/{topic}/messages`: a message to publish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishedMessage {
    /// Tells it from all others of its topic, at most 256 bytes; one is made up where it is absent. What is published
    /// again with the same id within the topic's `dedup` is kept once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its ordering key, at most 256 bytes: messages with one key are processed one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Pairs of a name and a value, at most 64 with 16 KiB together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<String>>, max_items = 64))]
    pub headers: Vec<(String, String)>,
    /// What it is, in base64, at most 1 MiB of bytes.
    #[serde(default, with = "payload", skip_serializing_if = "bytes::Bytes::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "eyJvcmRlciI6N30="))]
    pub payload: bytes::Bytes,
    /// Instead of `payload`: what it is, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How long after now it is delivered at the earliest, at most `"365d"`.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "10m"))]
    pub delay: Option<Duration>,
    /// How long after now it is not delivered any more, at most `"365d"`.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "1h"))]
    pub expires_in: Option<Duration>,
}

/// One message of a [`PublishBatch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddressedMessage {
    /// The topic it is for.
    pub topic: String,
    /// What is published there.
    pub message: PublishedMessage,
}

/// `POST /v1/messages`: many at once, at most 256, with 8 MiB in all. They are published side by side: who needs an
/// order waits for the answer to one before the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishBatch {
    /// The messages.
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    pub messages: Vec<AddressedMessage>,
}

/// Where a message was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeptMessage {
    /// Its position.
    pub position: u64,
    /// Whether it was there already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_duplicate: bool,
}

/// The answer to a [`PublishBatch`], in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishAnswers {
    /// One for each message.
    pub answers: Vec<PublishAnswer>,
}

/// What became of one message of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PublishAnswer {
    /// It is durable.
    Kept(KeptMessage),
    /// It was refused, or it is unknown whether it is there.
    Failed(MessageFault),
}

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredMessage {
    /// Where it stands in its topic.
    pub position: u64,
    /// Its id.
    pub id: String,
    /// Its ordering key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Pairs of a name and a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<String>>))]
    pub headers: Vec<(String, String)>,
    /// What it is, in base64.
    #[serde(default, with = "payload", skip_serializing_if = "bytes::Bytes::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub payload: bytes::Bytes,
    /// When it was published, in milliseconds since 1970.
    pub published_unix_ms: i64,
    /// When it is delivered at the earliest, in milliseconds since 1970.
    pub due_unix_ms: i64,
    /// From when on it is not delivered any more, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_ms: Option<i64>,
    /// The only group that gets it; absent: all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// `GET /v1/topics/{topic}/messages`: messages, by position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<StoredMessage>,
    /// Whether the page ended at its bound of bytes: ask again from the position behind the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Where the topic begins and ends, where it was asked to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<TopicEnds>,
}

/// Where a topic begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TopicEnds {
    /// The first position that is still there.
    pub first: u64,
    /// The position of the next message.
    pub next: u64,
    /// The id of the message before the position that was asked for, where it is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Where a group begins: `"first"`, `"next"` or `{"at": 17}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GroupStart {
    /// At the first message that is there.
    First,
    /// At the next one that is published.
    Next,
    /// At that position.
    At(u64),
}

/// `POST /v1/topics/{topic}/groups/{group}/subscribe`: how a group is served, and how many messages this consumer takes
/// at a time. What is absent is as by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NewSubscription {
    /// The most messages that are with this consumer at a time, 1 to 4096; 16 where absent.
    pub credit: usize,
    /// Where the group begins, if it is made; `"first"` where absent.
    pub start: GroupStart,
    /// For how long a message is a consumer's, `"100ms"` to `"12h"`; `"30s"` where absent.
    #[serde(with = "units::duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "30s"))]
    pub lease: Duration,
    /// How often a message is tried before it is a dead letter, 1 to 1000; 5 where absent.
    pub attempts_max: u32,
    /// How long after the first try that failed; it doubles, up to `backoff_max`. `"1s"` where absent.
    #[serde(with = "units::duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "1s"))]
    pub backoff: Duration,
    /// The longest between two tries, at most `"1d"`; `"1m"` where absent.
    #[serde(with = "units::duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "1m"))]
    pub backoff_max: Duration,
}

/// One line of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SubscriptionEvent {
    /// The consumer is in its group. The first line is this.
    Joined {
        /// Against which deliveries are answered.
        session: String,
    },
    /// A message that is this consumer's until it answers, or the lease ends.
    Delivery {
        /// Which delivery of the subscription it is.
        lease: u64,
        /// The number of the try; the first is 1.
        attempt: u32,
        /// How long it is still this consumer's, in milliseconds: clocks of two machines differ.
        left_ms: u64,
        /// The message.
        message: StoredMessage,
    },
    /// Nothing happened; sent now and then so that a dead connection is noticed.
    Bookmark,
    /// The subscription ends with an error.
    Error(MessageFault),
}

/// `POST /v1/subscriptions/{session}/answers`: what became of deliveries, at most 256. They are acted upon side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeliveryAnswers {
    /// The answers.
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    pub answers: Vec<DeliveryAnswer>,
}

/// What became of one delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum DeliveryAnswer {
    /// It was processed.
    Ack {
        /// Which one.
        lease: u64,
    },
    /// It could not be processed.
    Nack {
        /// Which one.
        lease: u64,
        /// Why.
        #[serde(default)]
        failure: String,
        /// What becomes of it; tried again after the group's back-off where absent.
        #[serde(default)]
        then: NextTry,
    },
    /// More time is needed.
    Extend {
        /// Which one.
        lease: u64,
        /// How long from now the lease ends, `"100ms"` to `"12h"`.
        #[serde(with = "units::duration")]
        #[cfg_attr(feature = "openapi", schema(value_type = String, example = "30s"))]
        by: Duration,
    },
}

/// What becomes of a message that could not be processed: `"retry"`, `{"after": "5s"}` or `"dead"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NextTry {
    /// It is tried again, after the group's back-off.
    #[default]
    Retry,
    /// It is tried again after that time, at most `"365d"`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    After(#[serde(with = "units::duration")] Duration),
    /// It is a dead letter at once.
    Dead,
}

/// The answer to [`DeliveryAnswers`], in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryOutcomes {
    /// One for each: null where it was taken, else why not.
    pub outcomes: Vec<Option<MessageFault>>,
}

/// `POST /v1/topics/{topic}/groups/{group}/seek`: from where on a group gets everything, again or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Seek {
    /// From there.
    pub to: GroupStart,
}

/// A message that could not be processed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadMessage {
    /// Where it stands among the topic's dead letters.
    pub position: u64,
    /// The group that could not process it.
    pub group: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed.
    pub failure: String,
    /// When it died, in milliseconds since 1970.
    pub died_unix_ms: i64,
    /// The message as it was.
    pub message: StoredMessage,
}

/// `GET /v1/topics/{topic}/dead`: dead letters, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadPage {
    /// The letters.
    pub letters: Vec<DeadMessage>,
    /// Whether the page ended at its bound of bytes: ask again after the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// `POST /v1/topics/{topic}/dead/redrive` and `…/purge`: which dead letters. `"all"` or `{"at": 3}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeadSelection {
    /// Those.
    pub which: WhichDead,
}

/// Which dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WhichDead {
    /// All that are there now.
    All,
    /// The one at that position among them.
    At(u64),
}

/// How many dead letters it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadCount {
    /// So many.
    pub count: usize,
}

impl Default for TopicDeclaration {
    fn default() -> Self {
        port::TopicSettings::default().into()
    }
}

impl Default for NewSubscription {
    fn default() -> Self {
        Self::of(&port::GroupSettings::default(), 16)
    }
}

impl From<port::TopicSettings> for TopicDeclaration {
    fn from(port::TopicSettings { keep, bytes_max, dedup }: port::TopicSettings) -> Self {
        Self { keep, bytes_max, dedup }
    }
}

impl From<TopicDeclaration> for port::TopicSettings {
    fn from(TopicDeclaration { keep, bytes_max, dedup }: TopicDeclaration) -> Self {
        Self { keep, bytes_max, dedup }
    }
}

impl From<port::TopicInfo> for Topic {
    fn from(info: port::TopicInfo) -> Self {
        let port::TopicInfo { name, settings, first, next, bytes, dead, groups } = info;
        let groups = groups.into_iter().map(Into::into).collect();
        Self { name, settings: settings.into(), first, next, bytes, dead, groups }
    }
}

impl From<Topic> for port::TopicInfo {
    fn from(topic: Topic) -> Self {
        let Topic { name, settings, first, next, bytes, dead, groups } = topic;
        let groups = groups.into_iter().map(Into::into).collect();
        Self { name, settings: settings.into(), first, next, bytes, dead, groups }
    }
}

impl From<port::GroupInfo> for TopicGroup {
    fn from(port::GroupInfo { name, consumers, lag, leased, oldest_ms }: port::GroupInfo) -> Self {
        Self { name, consumers, lag, leased, oldest_unix_ms: oldest_ms }
    }
}

impl From<TopicGroup> for port::GroupInfo {
    fn from(TopicGroup { name, consumers, lag, leased, oldest_unix_ms }: TopicGroup) -> Self {
        Self { name, consumers, lag, leased, oldest_ms: oldest_unix_ms }
    }
}

impl From<port::NewMessage> for PublishedMessage {
    fn from(message: port::NewMessage) -> Self {
        let port::NewMessage { id, key, headers, payload, delay, expires_in } = message;
        let delay = (!delay.is_zero()).then_some(delay);
        Self { id, key, headers, payload, text: None, delay, expires_in }
    }
}

impl PublishedMessage {
    /// What is to be published.
    ///
    /// # Errors
    /// When it is said twice.
    pub fn into_message(self) -> Result<port::NewMessage, &'static str> {
        let Self { id, key, headers, payload, text, delay, expires_in } = self;
        let payload = match text {
            None => payload,
            Some(text) if payload.is_empty() => text.into(),
            Some(_) => return Err("text: it stands instead of `payload`, not beside it"),
        };
        Ok(port::NewMessage { id, key, headers, payload, delay: delay.unwrap_or_default(), expires_in })
    }
}

impl From<port::Published> for KeptMessage {
    fn from(port::Published { position, is_duplicate }: port::Published) -> Self {
        Self { position, is_duplicate }
    }
}

impl From<KeptMessage> for port::Published {
    fn from(KeptMessage { position, is_duplicate }: KeptMessage) -> Self {
        Self { position, is_duplicate }
    }
}

impl From<&port::Message> for StoredMessage {
    fn from(message: &port::Message) -> Self {
        let port::Message { position, id, key, headers, payload, published_ms, due_ms, expires_ms, only } =
            message.clone();
        let (published_unix_ms, due_unix_ms, expires_unix_ms) = (published_ms, due_ms, expires_ms);
        Self { position, id, key, headers, payload, published_unix_ms, due_unix_ms, expires_unix_ms, only }
    }
}

impl From<StoredMessage> for port::Message {
    fn from(message: StoredMessage) -> Self {
        let StoredMessage {
            position,
            id,
            key,
            headers,
            payload,
            published_unix_ms,
            due_unix_ms,
            expires_unix_ms: expires_ms,
            only,
        } = message;
        let (published_ms, due_ms) = (published_unix_ms, due_unix_ms);
        Self { position, id, key, headers, payload, published_ms, due_ms, expires_ms, only }
    }
}

impl From<port::Start> for GroupStart {
    fn from(start: port::Start) -> Self {
        match start {
            port::Start::First => Self::First,
            port::Start::Next => Self::Next,
            port::Start::At(position) => Self::At(position),
        }
    }
}

impl From<GroupStart> for port::Start {
    fn from(start: GroupStart) -> Self {
        match start {
            GroupStart::First => Self::First,
            GroupStart::Next => Self::Next,
            GroupStart::At(position) => Self::At(position),
        }
    }
}

impl NewSubscription {
    /// A consumer of a group with those settings.
    pub fn of(settings: &port::GroupSettings, credit: usize) -> Self {
        let port::GroupSettings { start, lease, attempts_max, backoff, backoff_max } = *settings;
        Self { credit, start: start.into(), lease, attempts_max, backoff, backoff_max }
    }

    /// The group's settings, and the consumer's credit.
    pub fn into_settings(self) -> (port::GroupSettings, usize) {
        let Self { credit, start, lease, attempts_max, backoff, backoff_max } = self;
        (port::GroupSettings { start: start.into(), lease, attempts_max, backoff, backoff_max }, credit)
    }
}

impl DeliveryAnswer {
    /// Which delivery it is about.
    pub fn lease(&self) -> u64 {
        match self {
            Self::Ack { lease } | Self::Nack { lease, .. } | Self::Extend { lease, .. } => *lease,
        }
    }
}

impl From<port::Then> for NextTry {
    fn from(then: port::Then) -> Self {
        match then {
            port::Then::Retry => Self::Retry,
            port::Then::After(wait) => Self::After(wait),
            port::Then::Dead => Self::Dead,
        }
    }
}

impl From<NextTry> for port::Then {
    fn from(next: NextTry) -> Self {
        match next {
            NextTry::Retry => Self::Retry,
            NextTry::After(wait) => Self::After(wait),
            NextTry::Dead => Self::Dead,
        }
    }
}

impl From<port::DeadLetter> for DeadMessage {
    fn from(letter: port::DeadLetter) -> Self {
        let port::DeadLetter { position, group, attempts, failure, died_ms, message } = letter;
        Self { position, group, attempts, failure, died_unix_ms: died_ms, message: (&message).into() }
    }
}

impl From<DeadMessage> for port::DeadLetter {
    fn from(letter: DeadMessage) -> Self {
        let DeadMessage { position, group, attempts, failure, died_unix_ms, message } = letter;
        Self { position, group, attempts, failure, died_ms: died_unix_ms, message: message.into() }
    }
}

impl From<port::Which> for WhichDead {
    fn from(which: port::Which) -> Self {
        match which {
            port::Which::All => Self::All,
            port::Which::At(position) => Self::At(position),
        }
    }
}

impl From<WhichDead> for port::Which {
    fn from(which: WhichDead) -> Self {
        match which {
            WhichDead::All => Self::All,
            WhichDead::At(position) => Self::At(position),
        }
    }
}
