//! Dead letters: read, given back to their groups, deleted.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
};
use bowline_provider_remote::wire::{self, ChangeKind};
use serde::Deserialize;

use super::{PAGE_BYTES_MAX, STEP, TopicPath, limit_of, record, weight};
use crate::{api::Shared, error::ApiError};

/// What `GET /v1/topics/{topic}/dead` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadQuery {
    /// Only those after that position among the dead letters.
    #[serde(default)]
    after: u64,
    /// At most so many, 1 to 1000; 100 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Messages that could not be processed, the oldest first, with the reason of the last failure.
#[utoipa::path(get, path = "/v1/topics/{topic}/dead", tag = "messages",
    params(("topic" = String, Path, description = "which topic"), DeadQuery),
    responses((status = 200, body = wire::DeadPage), (status = 404, description = "there is no such topic")))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    topic: TopicPath,
    query: Result<Query<DeadQuery>, QueryRejection>,
) -> Result<Json<wire::DeadPage>, ApiError> {
    let (Path(topic), Query(DeadQuery { mut after, limit })) = (topic?, query?);
    let limit = limit_of(limit)?;
    let (mut letters, mut bytes, mut more) = (Vec::<wire::DeadMessage>::new(), 0, false);
    while letters.len() < limit {
        let step = STEP.min(limit - letters.len());
        let read = shared.messages.dead(&topic, after, step).await?;
        let is_end = read.len() < step;
        for letter in read {
            more = bytes >= PAGE_BYTES_MAX;
            if more {
                break;
            }
            after = letter.position;
            bytes += weight(&letter.message) + letter.failure.len() * 6;
            letters.push(letter.into());
        }
        if is_end || more {
            break;
        }
    }
    Ok(Json(wire::DeadPage { letters, more }))
}

/// Gives dead letters back to their groups, as new messages at the end of the topic.
#[utoipa::path(post, path = "/v1/topics/{topic}/dead/redrive", tag = "messages", request_body = wire::DeadSelection,
    params(("topic" = String, Path, description = "which topic")),
    responses(
        (status = 200, description = "so many were given back", body = wire::DeadCount),
        (status = 404, description = "there is no such topic")))]
pub(crate) async fn redrive(
    State(shared): State<Shared>,
    topic: TopicPath,
    body: Result<Json<wire::DeadSelection>, JsonRejection>,
) -> Result<Json<wire::DeadCount>, ApiError> {
    let (Path(topic), Json(wire::DeadSelection { which })) = (topic?, body?);
    record_dead(&shared, ChangeKind::Put, &topic, which).await?;
    let count = shared.messages.redrive(&topic, which.into()).await?;
    Ok(Json(wire::DeadCount { count }))
}

/// Deletes dead letters.
#[utoipa::path(post, path = "/v1/topics/{topic}/dead/purge", tag = "messages", request_body = wire::DeadSelection,
    params(("topic" = String, Path, description = "which topic")),
    responses(
        (status = 200, description = "so many were deleted", body = wire::DeadCount),
        (status = 404, description = "there is no such topic")))]
pub(crate) async fn purge(
    State(shared): State<Shared>,
    topic: TopicPath,
    body: Result<Json<wire::DeadSelection>, JsonRejection>,
) -> Result<Json<wire::DeadCount>, ApiError> {
    let (Path(topic), Json(wire::DeadSelection { which })) = (topic?, body?);
    record_dead(&shared, ChangeKind::Delete, &topic, which).await?;
    let count = shared.messages.purge(&topic, which.into()).await?;
    Ok(Json(wire::DeadCount { count }))
}

/// Records what becomes of dead letters, if there are any.
async fn record_dead(shared: &Shared, change: ChangeKind, topic: &str, which: wire::WhichDead) -> Result<(), ApiError> {
    let (after, what) = match which {
        wire::WhichDead::All => (0, "/dead".to_owned()),
        wire::WhichDead::At(position) => (position.saturating_sub(1), format!("/dead/{position}")),
    };
    if shared.messages.dead(topic, after, 1).await?.is_empty() {
        return Ok(());
    }
    record(shared, change, topic, &what).await
}
