//! Topics: a stream each, which NATS bounds and this process clears of what is done.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind},
    stream::{Config, DiscardPolicy, Info, RawMessageErrorKind},
};
use bowline_messaging::{
    Error, Message, NewMessage, PAGE_BYTES_MAX, PAGE_MAX, Published, Start, Tail, TopicSettings, delivery::Position,
};
use bowline_runtime::{rand, time};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{failed, is_full},
    group::weight,
    kept,
    link::{Link, Named},
    wire::{self, Envelope, json},
};

/// The most topics.
const TOPICS_MAX: usize = 1024;

/// How many messages are asked for at once.
pub(crate) const ASKED_AT_ONCE: usize = 32;

/// The shortest time that NATS remembers ids for.
const DEDUP_MIN: Duration = Duration::from_millis(100);

/// How a topic is kept, as its stream's description says it: NATS has no place for some of it.
#[derive(Debug, Serialize, Deserialize)]
struct KeptSettings {
    keep_ms: u64,
    bytes_max: u64,
    dedup_ms: u64,
}

/// A topic as its stream tells it.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) settings: TopicSettings,
    pub(crate) first: Position,
    pub(crate) next: Position,
    pub(crate) bytes: u64,
    first_ms: i64,
}

/// Whose publishing this is, when it is not everybody's.
pub(crate) type Only = Option<String>;

/// Makes a topic, or changes how it is kept.
pub(crate) async fn declare(link: &Link, topic: &str, settings: &TopicSettings) -> Result<(), Error> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let TopicSettings { keep, bytes_max, dedup } = settings;
    let kept = KeptSettings { keep_ms: millis(*keep), bytes_max: *bytes_max, dedup_ms: millis(*dedup) };
    let config = Config {
        description: Some(json(&kept)),
        num_replicas: link.replicas,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    // Made last: whoever finds the messages' stream finds the other one, too.
    let letters = Config {
        name: link.names.letters(topic),
        subjects: vec![link.names.letters_subject(topic)],
        duplicate_window: Duration::from_hours(1),
        ..config.clone()
    };
    let messages = Config {
        name: link.names.messages(topic),
        subjects: vec![link.names.messages_subject(topic)],
        max_bytes: i64::try_from(*bytes_max).unwrap_or(i64::MAX),
        duplicate_window: (*dedup).max(DEDUP_MIN),
        ..config
    };
    if find(link, topic).await.is_err() && list(link).await?.len() >= TOPICS_MAX {
        return Err(Error::TooMany { what: "topics", max: TOPICS_MAX });
    }
    for config in [letters, messages] {
        let made = link.jetstream.create_or_update_stream(config).await;
        made.map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStreamUnavailable => Error::Unavailable { retry_after: None },
            _ => failed("declare a topic", error),
        })?;
    }
    let _counts_from_now_on = link.metrics(topic);
    Ok(())
}

/// A topic, as it is now.
pub(crate) async fn find(link: &Link, topic: &str) -> Result<Topic, Error> {
    let found = link.jetstream.get_stream(link.names.messages(topic)).await;
    let stream = found.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => no_topic(topic),
        _ => failed("find a topic", error),
    })?;
    read(link, stream.cached_info()).ok_or_else(|| no_topic(topic))
}

pub(crate) fn no_topic(topic: &str) -> Error {
    Error::NoTopic { topic: topic.to_owned() }
}

/// All topics, sorted by name.
pub(crate) async fn list(link: &Link) -> Result<Vec<Topic>, Error> {
    let streams: Vec<Info> =
        link.jetstream.streams().try_collect().await.map_err(|error| failed("list topics", error))?;
    let mut topics: Vec<Topic> = streams.iter().filter_map(|info| read(link, info)).collect();
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(topics)
}

fn read(link: &Link, info: &Info) -> Option<Topic> {
    let name = link.names.topic_of(&info.config.name)?;
    let kept: KeptSettings = serde_json::from_str(info.config.description.as_deref()?).ok()?;
    let KeptSettings { keep_ms, bytes_max, dedup_ms } = kept;
    let next = info.state.last_sequence + 1;
    Some(Topic {
        name,
        settings: TopicSettings {
            keep: Duration::from_millis(keep_ms),
            bytes_max,
            dedup: Duration::from_millis(dedup_ms),
        },
        first: if info.state.messages == 0 { next } else { info.state.first_sequence },
        next,
        bytes: info.state.bytes,
        first_ms: wire::millis(info.state.first_timestamp.unix_timestamp_nanos()),
    })
}

impl Topic {
    pub(crate) fn position(&self, start: Start) -> Position {
        match start {
            Start::First => self.first,
            Start::Next => self.next,
            Start::At(position) => position.clamp(self.first, self.next),
        }
    }
}

/// Keeps a message.
pub(crate) async fn publish(link: &Link, topic: &str, message: NewMessage, only: Only) -> Result<Published, Error> {
    link.ready().await?;
    let NewMessage { id, key, headers, payload, delay, expires_in } = message;
    let published_ms = now();
    let later = |duration: Duration| published_ms.saturating_add(millis(duration));
    let envelope = Envelope {
        id: id.unwrap_or_else(|| format!("{:032x}", rand::u128())),
        key,
        headers,
        published_ms,
        due_ms: (!delay.is_zero()).then(|| later(delay)),
        expires_ms: expires_in.map(later),
        only,
    };
    if payload.len() + json(&envelope).len() > link.bytes_max() {
        return Err(Error::Invalid {
            what: "message",
            rule: "it is larger than what the NATS server takes: set `max_payload: 2MB` in its configuration",
        });
    }
    let subject = link.names.messages_subject(topic);
    loop {
        let error = match link.publish(&subject, envelope.publish(payload.clone())).await {
            Ok(kept) => {
                link.metrics(topic).published.add(u64::from(!kept.duplicate));
                return Ok(Published { position: kept.sequence, is_duplicate: kept.duplicate });
            }
            Err(error) => error,
        };
        if is_full(&error) {
            make_room(link, topic).await?;
        } else if error.kind() == PublishErrorKind::StreamNotFound {
            find(link, topic).await?;
            return Err(Error::Unavailable { retry_after: None });
        } else {
            // It may be no topic at all.
            if let Some(metrics) = link.known_metrics(topic) {
                metrics.write_failures.increment();
            }
            return Err(failed("keep a message", error));
        }
    }
}

/// Deletes some of what every group is done with, or says who is not.
async fn make_room(link: &Link, topic: &str) -> Result<(), Error> {
    let known = find(link, topic).await?;
    let floors = floors(link).await?.remove(topic).unwrap_or_default();
    let behind = floors.iter().min_by_key(|(_, floor)| **floor);
    let done = behind.map_or(known.next, |(_, floor)| *floor);
    if done <= known.first {
        return Err(Error::Full { topic: topic.to_owned(), by: behind.map(|(group, _)| group.clone()) });
    }
    let some = ((known.next - known.first) / 8).max(1);
    delete_before(link, topic, done.min(known.first + some)).await
}

async fn delete_before(link: &Link, topic: &str, position: Position) -> Result<(), Error> {
    let purge = link.messages(topic).await?.purge().sequence(position);
    purge.await.map(drop).map_err(|error| failed("delete old messages", error))
}

/// Of each topic, what its groups are done with, as they kept it last.
async fn floors(link: &Link) -> Result<BTreeMap<String, BTreeMap<String, Position>>, Error> {
    let mut floors: BTreeMap<String, BTreeMap<String, Position>> = BTreeMap::new();
    for (topic, group) in groups(link).await? {
        let subject = link.names.group_subject(&topic, &group);
        if let Some(last) = kept::last(link, &subject).await? {
            floors.entry(topic).or_default().insert(group, last.entry.floor);
        }
    }
    Ok(floors)
}

/// All groups, with their topics, sorted.
pub(crate) async fn groups(link: &Link) -> Result<Vec<(String, String)>, Error> {
    let what = "list groups";
    let stream = link.groups().await?;
    let subjects = stream.info_with_subjects(link.names.groups_subject()).await;
    let subjects: Vec<(String, usize)> =
        subjects.map_err(|error| failed(what, error))?.try_collect().await.map_err(|error| failed(what, error))?;
    let mut groups: Vec<_> = subjects.iter().filter_map(|(subject, _)| link.names.group_of(subject)).collect();
    groups.sort();
    Ok(groups)
}

/// Messages from a position on, until they are more than a page's bytes, one at least.
pub(crate) async fn page(link: &Link, topic: &str, from: Position, limit: usize) -> Result<Vec<Arc<Message>>, Error> {
    let known = find(link, topic).await?;
    page_of(link, &known, from, limit).await
}

/// What comes from a position on, now.
pub(crate) async fn tail(link: &Link, topic: &str, from: Position, limit: usize) -> Result<Tail, Error> {
    let known = find(link, topic).await?;
    let messages = page_of(link, &known, from.saturating_sub(1), limit.saturating_add(1)).await?;
    Ok(Tail::new(known.first, known.next, from, messages, limit))
}

async fn page_of(link: &Link, known: &Topic, from: Position, limit: usize) -> Result<Vec<Arc<Message>>, Error> {
    let from = from.max(known.first);
    let end = from.saturating_add(limit.min(PAGE_MAX) as u64).min(known.next);
    if from >= end {
        return Ok(Vec::new());
    }
    let stream = link.messages(&known.name).await?;
    let mut asked = stream::iter(from..end).map(|position| get(&stream, position)).buffered(ASKED_AT_ONCE);
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while let Some(message) = asked.try_next().await? {
        bytes += message.as_ref().map_or(0, |message| weight(message));
        if bytes > PAGE_BYTES_MAX && !messages.is_empty() {
            break;
        }
        messages.extend(message);
    }
    Ok(messages)
}

/// The message at a position; none: it is there no more.
pub(crate) async fn get(stream: &Named, position: Position) -> Result<Option<Arc<Message>>, Error> {
    match stream.get_raw_message(position).await {
        Ok(raw) => Ok(Some(Arc::new(wire::stored(raw)))),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed("read a message", error)),
    }
}

/// Deletes what was kept long enough, and is done.
pub(crate) async fn tidy(link: &Link) -> Result<(), Error> {
    let mut old = Vec::new();
    for topic in list(link).await? {
        link.metrics(&topic.name).bytes.set(i64::try_from(topic.bytes).unwrap_or(i64::MAX));
        // NATS learns after a restart from the messages which ids it knows.
        let TopicSettings { keep, dedup, .. } = topic.settings;
        let before = now().saturating_sub(millis(keep.max(dedup)));
        if topic.first < topic.next && topic.first_ms < before {
            old.push((topic, before));
        }
    }
    if old.is_empty() {
        return Ok(());
    }
    let floors = floors(link).await?;
    for (topic, before) in old {
        let done = floors.get(&topic.name).and_then(|groups| groups.values().min().copied());
        let end = done.unwrap_or(topic.next).min(topic.next);
        let stream = link.messages(&topic.name).await?;
        let position = first_since(&stream, topic.first, end, before).await?;
        if position > topic.first {
            delete_before(link, &topic.name, position).await?;
        }
    }
    Ok(())
}

/// The first position from which on messages are not older than that; `end` where all are.
async fn first_since(stream: &Named, first: Position, end: Position, before_ms: i64) -> Result<Position, Error> {
    let (mut low, mut high) = (first, end);
    while low < high {
        let middle = low + (high - low) / 2;
        let stored_ms = match stream.get_raw_message(middle).await {
            Ok(raw) => wire::millis(raw.time.unix_timestamp_nanos()),
            // Somebody else deletes, too.
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => i64::MIN,
            Err(error) => return Err(failed("read a message", error)),
        };
        match stored_ms.cmp(&before_ms) {
            Ordering::Less => low = middle + 1,
            Ordering::Equal | Ordering::Greater => high = middle,
        }
    }
    Ok(low)
}

/// Milliseconds since 1970, by a clock that makes no steps while the process runs: leases and delays are by it.
pub(crate) fn now() -> i64 {
    i64::try_from(time::unix_nanos(time::wall()) / 1_000_000).unwrap_or(i64::MAX)
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
