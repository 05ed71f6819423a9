//! Publishing to a topic.

use std::time::Duration;

use bowline_telemetry::{SpanKind, current, names};
use serde::Serialize;

use super::{Error, Post, headers_of, port};

/// A topic to publish to. Cheap to clone.
///
/// ```no_run
/// # #[derive(serde::Serialize)] struct OrderPlaced { id: String }
/// # async fn run(service: &bowline::Microservice) -> Result<(), bowline::messages::Error> {
/// let placed = service.topic("order.placed");
/// placed.message(&OrderPlaced { id: "o-1".to_owned() }).key("o-1").publish().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Topic {
    post: Post,
    name: String,
}

/// A message that is being made; nothing happens before [`Outgoing::publish`].
#[derive(Debug)]
#[must_use = "a message does nothing until it is published"]
pub struct Outgoing {
    topic: Topic,
    message: Result<port::NewMessage, serde_json::Error>,
}

impl Topic {
    pub(crate) fn new(post: Post, name: &str) -> Self {
        port::check_name("topic", name).expect("the name in the code is a topic's name");
        Self { post, name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A message with this value, as JSON.
    pub fn message(&self, value: &impl Serialize) -> Outgoing {
        let content = ("content-type".to_owned(), "application/json".to_owned());
        let new = |payload: Vec<u8>| port::NewMessage {
            headers: vec![content],
            payload: payload.into(),
            ..port::NewMessage::default()
        };
        Outgoing { topic: self.clone(), message: serde_json::to_vec(value).map(new) }
    }
}

impl Outgoing {
    fn with(mut self, change: impl FnOnce(&mut port::NewMessage)) -> Self {
        if let Ok(message) = &mut self.message {
            change(message);
        }
        self
    }

    /// Names it: published again under one id, it is there once. Without, it has an id that nobody else has.
    pub fn id(self, id: impl Into<String>) -> Self {
        self.with(|message| message.id = Some(id.into()))
    }

    /// Its ordering key: each group gets messages of one key one after the other.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.with(|message| message.key = Some(key.into()))
    }

    /// Has it delivered no sooner than that long from now.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|message| message.delay = delay)
    }

    /// Has it not delivered any more that long from now.
    pub fn expires_in(self, expires_in: Duration) -> Self {
        self.with(|message| message.expires_in = Some(expires_in))
    }

    /// Adds what is said about it.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|message| message.headers.push((name.into(), value.into())))
    }

    /// Its ordering key, if it has one.
    pub(crate) fn ordering_key(&self) -> Option<&str> {
        self.message.as_ref().ok()?.key.as_deref()
    }

    /// Publishes it; when it answers, the message is durable. While no bus answers, that is tried again for up to
    /// 10 s, or until the deadline of the request that is served.
    ///
    /// # Errors
    /// Any of [`Error`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is published.
    pub async fn publish(self) -> Result<port::Published, Error> {
        let Self { topic: Topic { post, name }, message } = self;
        let mut message = message.map_err(|source| Error::Value { topic: name.clone(), source })?;
        let mut span = producer(&post, &name, &mut message);
        let published = post.publish(&name, message).await;
        if let Err(error) = &published {
            span.fail(bowline_model::error::chain(error));
        }
        published
    }

    /// The message, for an outbox: with the span of who publishes it, which ends at once.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn into_message(self) -> Result<port::NewMessage, Error> {
        let Self { topic: Topic { post, name }, message } = self;
        let mut message = message.map_err(|source| Error::Value { topic: name.clone(), source })?;
        drop(producer(&post, &name, &mut message));
        Ok(message)
    }
}

/// The span of who publishes, written into the message.
fn producer(post: &Post, topic: &str, message: &mut port::NewMessage) -> bowline_telemetry::Span {
    let mut span = post.tracer.start(format!("publish {topic}"), SpanKind::Producer, current::context());
    span.set(names::MESSAGING_SYSTEM, "bowline");
    span.set_with(names::MESSAGING_DESTINATION_NAME, || topic.to_owned());
    span.set(names::MESSAGING_OPERATION_TYPE, "send");
    if let Some(id) = &message.id {
        span.set_with(names::MESSAGING_MESSAGE_ID, || id.clone());
    }
    message.headers.extend(headers_of(span.context()));
    span
}
