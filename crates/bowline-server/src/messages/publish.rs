//! What is published: one message, or many at once.

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};
use bowline_messaging::Error;
use bowline_model::Code;
use bowline_provider_remote::wire;
use futures_util::future::join_all;

use super::{TopicPath, fault};
use crate::{api::Shared, error::ApiError};

/// The most messages of one request.
const BATCH_MAX: usize = 256;

/// Publishes a message: answered when it would survive a power loss.
#[utoipa::path(post, path = "/v1/topics/{topic}/messages", tag = "messages", request_body = wire::PublishedMessage,
    params(("topic" = String, Path, description = "which topic")),
    responses(
        (status = 200, description = "it is kept", body = wire::KeptMessage),
        (status = 400, description = "it breaks a limit"), (status = 404, description = "there is no such topic"),
        (status = 507, description = "the topic is full")))]
pub(crate) async fn one(
    State(shared): State<Shared>,
    topic: TopicPath,
    body: Result<Json<wire::PublishedMessage>, JsonRejection>,
) -> Result<Json<wire::KeptMessage>, ApiError> {
    let (Path(topic), Json(message)) = (topic?, body?);
    let message = message.into_message().map_err(|rule| ApiError::new(Code::Unprocessable, rule))?;
    Ok(Json(shared.messages.publish(&topic, message).await?.into()))
}

/// Publishes many messages, of any topics, side by side; each is answered by itself, in the order of the request.
#[utoipa::path(post, path = "/v1/messages", tag = "messages", request_body = wire::PublishBatch,
    responses(
        (status = 200, description = "what became of each", body = wire::PublishAnswers),
        (status = 422, description = "there are more than 256")))]
pub(crate) async fn many(
    State(shared): State<Shared>,
    body: Result<Json<wire::PublishBatch>, JsonRejection>,
) -> Result<Json<wire::PublishAnswers>, ApiError> {
    let Json(wire::PublishBatch { messages }) = body?;
    if messages.len() > BATCH_MAX {
        let detail = format!("{} messages: there are at most {BATCH_MAX} in one request", messages.len());
        return Err(ApiError::new(Code::Unprocessable, detail));
    }
    let answers = join_all(messages.into_iter().map(|message| publish(&shared, message))).await;
    Ok(Json(wire::PublishAnswers { answers }))
}

async fn publish(shared: &Shared, message: wire::AddressedMessage) -> wire::PublishAnswer {
    let wire::AddressedMessage { topic, message } = message;
    let published = match message.into_message() {
        Ok(message) => shared.messages.publish(&topic, message).await,
        Err(rule) => Err(Error::Invalid { what: "message", rule }),
    };
    match published {
        Ok(published) => wire::PublishAnswer::Kept(published.into()),
        Err(error) => wire::PublishAnswer::Failed(fault(&error)),
    }
}
