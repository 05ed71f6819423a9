//! Messages over HTTP: topics and what is read of them, groups; in the rooms below what is published, subscribed to
//! and dead.

pub(crate) mod letters;
pub(crate) mod meter;
mod opened;
pub(crate) mod publish;
mod sessions;
pub(crate) mod subscribe;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use bowline_messaging::{Error, Message, PAGE_MAX, Tail, TopicSettings};
use bowline_model::{Code, units};
use bowline_provider_remote::wire::{self, AuditClass, ChangeKind};
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

pub use opened::Messages;
pub(crate) use opened::Opened;
pub(crate) use sessions::Sessions;

/// How many messages a page has where nothing else is asked for.
const LIMIT_DEFAULT: usize = 100;

/// So many bytes of JSON end a page: what asks for it reads 16 MiB.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// How many messages are read at a time, so that no page of large ones is in memory as a whole.
const STEP: usize = 16;

/// The topic a request is about.
type TopicPath = Result<Path<String>, PathRejection>;

/// The group a request is about.
type GroupPath = Result<Path<(String, String)>, PathRejection>;

/// Every topic with its groups: how far behind they are, and how many dead letters there are.
#[utoipa::path(get, path = "/v1/topics", tag = "messages", responses((status = 200, body = wire::TopicList)))]
pub(crate) async fn topics(State(shared): State<Shared>) -> Result<Json<wire::TopicList>, ApiError> {
    let topics = shared.messages.topics().await?;
    Ok(Json(wire::TopicList { topics: topics.into_iter().map(Into::into).collect() }))
}

/// Makes a topic, or changes how it is kept.
#[utoipa::path(put, path = "/v1/topics/{topic}", tag = "messages", request_body = wire::TopicDeclaration,
    params(("topic" = String, Path, description = "1 to 128 of `a-z A-Z 0-9 . _ -`, the first is no dot")),
    responses(
        (status = 204, description = "it is there, and kept like that"),
        (status = 400, description = "its name or a setting breaks a rule"),
        (status = 503, description = "there are as many topics as there may be")))]
pub(crate) async fn declare(
    State(shared): State<Shared>,
    topic: TopicPath,
    body: Result<Json<wire::TopicDeclaration>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let (Path(topic), Json(declaration)) = (topic?, body?);
    let settings = TopicSettings::from(declaration);
    let topics = shared.messages.topics().await?;
    // Applications declare their topics whenever they start.
    if !topics.iter().any(|info| info.name == topic && info.settings == settings) {
        record(&shared, ChangeKind::Put, &topic, "").await?;
    }
    shared.messages.declare(&topic, settings).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What `GET /v1/topics/{topic}/messages` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadQuery {
    /// From that position on; from the first where absent.
    #[serde(default)]
    from: u64,
    /// At most so many, 1 to 1000; 100 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where there is none yet, waits for so long for one, up to `30s`, and says where the topic begins and ends.
    wait: Option<String>,
}

/// Messages that are still there, by position, whoever processed them.
#[utoipa::path(get, path = "/v1/topics/{topic}/messages", tag = "messages",
    params(("topic" = String, Path, description = "which topic"), ReadQuery),
    responses((status = 200, body = wire::MessagePage), (status = 404, description = "there is no such topic")))]
pub(crate) async fn read(
    State(shared): State<Shared>,
    topic: TopicPath,
    query: Result<Query<ReadQuery>, QueryRejection>,
) -> Result<Json<wire::MessagePage>, ApiError> {
    let (Path(topic), Query(ReadQuery { mut from, limit, wait })) = (topic?, query?);
    let limit = limit_of(limit)?;
    if let Some(wait) = wait {
        return tail(&shared, &topic, from, limit, &wait).await.map(Json);
    }
    let (mut messages, mut bytes, mut more) = (Vec::<wire::StoredMessage>::new(), 0, false);
    while messages.len() < limit {
        let step = STEP.min(limit - messages.len());
        let read = shared.messages.read(&topic, from, step).await?;
        let is_end = read.len() < step;
        for message in read {
            more = bytes >= PAGE_BYTES_MAX;
            if more {
                break;
            }
            from = message.position.saturating_add(1);
            bytes += weight(&message);
            messages.push((&*message).into());
        }
        if is_end || more {
            break;
        }
    }
    Ok(Json(wire::MessagePage { messages, more, ends: None }))
}

/// What comes from a position on.
async fn tail(
    shared: &Shared,
    topic: &str,
    from: u64,
    limit: usize,
    wait: &str,
) -> Result<wire::MessagePage, ApiError> {
    let wait = units::parse_duration(wait)
        .map_err(|rule| ApiError::new(Code::InvalidArgument, format!("wait `{wait}`: {rule}")))?;
    let Tail { first, next, before, messages } = shared.messages.tail(topic, from, limit, wait).await?;
    let ends = Some(wire::TopicEnds { first, next, before });
    let mut bytes = 0;
    let is_within = |message: &&std::sync::Arc<Message>| {
        let before = bytes;
        bytes += weight(message);
        before < PAGE_BYTES_MAX
    };
    let told: Vec<wire::StoredMessage> =
        messages.iter().take_while(is_within).map(|message| (&**message).into()).collect();
    let more = told.len() < messages.len();
    Ok(wire::MessagePage { messages: told, more, ends })
}

/// Makes a group get everything from a position on, again or not at all; what its consumers work on is lost to them.
#[utoipa::path(post, path = "/v1/topics/{topic}/groups/{group}/seek", tag = "messages", request_body = wire::Seek,
    params(("topic" = String, Path, description = "which topic"), ("group" = String, Path, description = "which group")),
    responses((status = 204, description = "done"), (status = 404, description = "there is no such topic, or group")))]
pub(crate) async fn seek(
    State(shared): State<Shared>,
    group: GroupPath,
    body: Result<Json<wire::Seek>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let (Path((topic, group)), Json(wire::Seek { to })) = (group?, body?);
    record_group(&shared, ChangeKind::Put, &topic, &group).await?;
    shared.messages.seek(&topic, &group, to.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a group; no body. Nothing is kept for it any more.
#[utoipa::path(delete, path = "/v1/topics/{topic}/groups/{group}", tag = "messages",
    params(("topic" = String, Path, description = "which topic"), ("group" = String, Path, description = "which group")),
    responses((status = 204, description = "it is gone"), (status = 404, description = "there is no such topic, or group")))]
pub(crate) async fn remove_group(State(shared): State<Shared>, group: GroupPath) -> Result<StatusCode, ApiError> {
    let Path((topic, group)) = group?;
    record_group(&shared, ChangeKind::Delete, &topic, &group).await?;
    shared.messages.remove_group(&topic, &group).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Records a change of a group that is there.
async fn record_group(shared: &Shared, change: ChangeKind, topic: &str, group: &str) -> Result<(), ApiError> {
    let topics = shared.messages.topics().await?;
    let info = topics.iter().find(|info| info.name == topic);
    let info = info.ok_or_else(|| Error::NoTopic { topic: topic.to_owned() })?;
    if !info.groups.iter().any(|info| info.name == group) {
        return Err(Error::NoGroup { topic: topic.to_owned(), group: group.to_owned() }.into());
    }
    record(shared, change, topic, &format!("/groups/{group}")).await
}

/// Records what is about to be changed of a topic.
async fn record(shared: &Shared, change: ChangeKind, topic: &str, what: &str) -> Result<(), ApiError> {
    bowline_messaging::check_name("topic", topic)?;
    let recorded = shared.audit.record_elsewhere(AuditClass::Messages, change, format!("topics/{topic}{what}")).await;
    recorded.map_err(|error| ApiError::of(error.code(), &error))
}

/// At most as many bytes as a message has in JSON, where a character of a text may take six.
fn weight(message: &Message) -> usize {
    let Message { id, key, headers, payload, .. } = message;
    let headers = headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
    payload.len() / 3 * 4 + (id.len() + key.as_ref().map_or(0, String::len) + headers) * 6 + 256
}

fn limit_of(limit: Option<usize>) -> Result<usize, ApiError> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::new(Code::InvalidArgument, format!("limit {limit}: it is 1 to {PAGE_MAX}")));
    }
    Ok(limit)
}

/// An error of one of many, in the words that it would have as an answer.
fn fault(error: &Error) -> wire::MessageFault {
    let (code, detail) = ApiError::of(error.code(), error).into_parts();
    wire::MessageFault::new(code, detail, error)
}
