//! Where messages live and how topics are kept, as the file says it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    monitor::SecretText,
    problem::Position,
    system::{CallMode, Resource, System, TOPIC},
};

/// What the file says of messages: `[messages]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessagesPolicy {
    /// The NATS server that keeps them; absent: Bowline does, in its data folder.
    pub nats: Option<NatsServer>,
}

/// A NATS server with JetStream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer {
    /// Where it is: `nats://127.0.0.1:4222`.
    pub url: String,
    /// Where the token stands that it demands, if it does.
    pub credential: Option<SecretText>,
}

/// How one topic is kept: `[topic."order.placed"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDeclaration {
    /// Its name, without its kind.
    pub name: String,
    /// Where it is declared.
    pub position: Position,
    /// For how long messages stay that every group is done with.
    pub keep: Duration,
    /// The most bytes it takes.
    pub bytes_max: u64,
    /// For how long the id of a message is remembered.
    pub dedup: Duration,
}

/// The least and the most of [`TopicDeclaration::keep`].
pub const KEEP_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24 * 365));
/// The least and the most of [`TopicDeclaration::dedup`].
pub const DEDUP_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));
/// The least and the most of [`TopicDeclaration::bytes_max`].
pub const BUS_BYTES_RANGE: (u64, u64) = (4 << 20, 1 << 40);

impl TopicDeclaration {
    /// A topic that is kept for a day, in 1 GiB at most, and knows ids for two minutes.
    pub fn new(name: String, position: Position) -> Self {
        let (keep, dedup) = (Duration::from_hours(24), Duration::from_mins(2));
        Self { name, position, keep, bytes_max: 1 << 30, dedup }
    }
}

/// The topic that hands `callee` what `caller` asks of it by [`CallMode::Async`].
pub fn calls_topic(caller: &str, callee: &str) -> String {
    format!("calls.{caller}.{callee}")
}

impl System {
    /// Every topic there is to be, by its name: those that services own or send messages through, those by which
    /// asynchronous calls are handed on, and those that the file says something of.
    pub fn all_topics(&self) -> BTreeMap<String, TopicDeclaration> {
        let mut topics = BTreeMap::new();
        let mut add = |topic: TopicDeclaration| drop(topics.insert(topic.name.clone(), topic));
        for service in &self.services {
            let owned = service.boundary.state.iter().filter(|resource| resource.kind == TOPIC);
            let sent = service.calls.iter().flat_map(|call| &call.topics);
            owned.chain(sent).for_each(|Resource { name, position, .. }| {
                add(TopicDeclaration::new(name.clone(), *position));
            });
            for call in service.calls.iter().filter(|call| call.mode == CallMode::Async) {
                let name = calls_topic(service.name.as_str(), call.target.as_str());
                add(TopicDeclaration::new(name, call.position));
            }
        }
        self.topics.iter().cloned().for_each(add);
        topics
    }
}
