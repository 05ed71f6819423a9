//! What a group has to see: first what it has seen and is not done with, then everything that is published.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::consumer::{
    AckPolicy, DeliverPolicy,
    pull::{self, Config},
};
use bowline_messaging::{Error, Message, delivery::Position};
use bowline_model::error::chain;
use bowline_runtime::{task, time};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::{
    failure::failed,
    link::{Link, Named},
    topics::{ASKED_AT_ONCE, get},
    wire,
};

/// How many messages wait for the group.
const WAITING_MAX: usize = 64;

/// How many messages NATS sends at a time.
const BATCH: usize = 100;

/// How often NATS says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// For how long NATS keeps a consumer that nobody asks for.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// What comes.
#[derive(Debug)]
pub(crate) enum Fed {
    /// A message: with its tries and when the next is due, where it was seen before.
    Message(Arc<Message>, (u32, i64)),
    /// What was pending there is there no more.
    Gone(Position),
    /// All that was pending came; from here on it is what nobody saw.
    Resumed,
}

/// Messages on their way; who drops it ends it.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) fed: mpsc::Receiver<Fed>,
    _task: task::Guarded<()>,
}

impl Feed {
    /// What is pending, then everything from a position on.
    pub(crate) fn new(link: Arc<Link>, topic: String, pending: BTreeMap<Position, (u32, i64)>, next: Position) -> Self {
        let (tell, fed) = mpsc::channel(WAITING_MAX);
        let run = async move {
            if resume(&link, &topic, pending, &tell).await.is_some() {
                follow(&link, &topic, next, &tell).await;
            }
        };
        Self { fed, _task: task::Guarded::new(task::spawn(run)) }
    }
}

/// Sends what is pending; none: nobody listens.
async fn resume(
    link: &Link,
    topic: &str,
    mut pending: BTreeMap<Position, (u32, i64)>,
    tell: &mpsc::Sender<Fed>,
) -> Option<()> {
    loop {
        if let Err(error) = send_pending(link, topic, &mut pending, tell).await? {
            tracing::warn!(topic, error = %chain(&error), "messages that a group is not done with cannot be read yet");
            time::sleep(AGAIN).await;
            continue;
        }
        return tell.send(Fed::Resumed).await.ok();
    }
}

/// Sends what is pending, and takes off what was sent.
async fn send_pending(
    link: &Link,
    topic: &str,
    pending: &mut BTreeMap<Position, (u32, i64)>,
    tell: &mpsc::Sender<Fed>,
) -> Option<Result<(), Error>> {
    let stream = match link.messages(topic).await {
        Ok(stream) => stream,
        Err(error) => return Some(Err(error)),
    };
    let positions: Vec<Position> = pending.keys().copied().collect();
    let ask = |position| {
        let stream = stream.clone();
        async move { (position, get(&stream, position).await) }
    };
    let mut found = stream::iter(positions).map(ask).buffered(ASKED_AT_ONCE);
    while let Some((position, message)) = found.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        let tries = pending.remove(&position).unwrap_or_default();
        let fed = message.map_or(Fed::Gone(position), |message| Fed::Message(message, tries));
        tell.send(fed).await.ok()?;
    }
    Some(Ok(()))
}

/// Sends everything from a position on, until nobody listens.
async fn follow(link: &Link, topic: &str, mut next: Position, tell: &mpsc::Sender<Fed>) {
    let mut connects = link.connects.clone();
    loop {
        connects.mark_unchanged();
        let failure = match open(link, topic, next).await {
            Ok(messages) => {
                // After NATS was away it may know nothing of the one who asked.
                tokio::select! {
                    failure = send_all(messages, topic, &mut next, tell) => failure,
                    _ = connects.changed() => Some(None),
                }
            }
            Err(error) => Some(Some(error)),
        };
        match failure {
            None => return,
            Some(None) => {}
            Some(Some(error)) => {
                tracing::debug!(topic, error = %chain(&error), "messages cannot be read, once more");
                time::sleep(AGAIN).await;
            }
        }
    }
}

async fn open(link: &Link, topic: &str, next: Position) -> Result<pull::Stream, Error> {
    let what = "read messages as they come";
    let stream: Named = link.messages(topic).await?;
    let config = Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next.max(1) },
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGOTTEN_AFTER,
        memory_storage: true,
        ..Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| failed(what, error))?;
    let messages = consumer.stream().max_messages_per_batch(BATCH).heartbeat(HEARTBEAT).messages();
    messages.await.map_err(|error| failed(what, error))
}

/// Sends messages until one is missing or NATS fails; none: nobody listens.
async fn send_all(
    mut messages: pull::Stream,
    topic: &str,
    next: &mut Position,
    tell: &mpsc::Sender<Fed>,
) -> Option<Option<Error>> {
    let mut place = 0;
    while let Some(message) = messages.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => return Some(Some(failed("read messages as they come", error))),
        };
        let Ok(info) = message.info() else { continue };
        place += 1;
        if info.consumer_sequence != place {
            tracing::debug!(topic, "a message was lost on its way, it is asked for again");
            return Some(None);
        }
        let (position, stored_ms) = (info.stream_sequence, wire::millis(info.published.unix_timestamp_nanos()));
        let read = wire::message(message.headers.as_ref(), position, message.payload.clone(), stored_ms);
        tell.send(Fed::Message(Arc::new(read), (0, 0))).await.ok()?;
        *next = position + 1;
    }
    Some(None)
}
