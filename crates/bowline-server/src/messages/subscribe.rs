//! A consumer's place in a group as one long answer, and the answers to what it tells.

use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    response::{IntoResponse, Response},
};
use bowline_messaging::{Error, Subscription, check_name};
use bowline_model::Code;
use bowline_provider_remote::wire;
use bowline_runtime::{
    drain::Drain,
    time::{self, timeout},
};
use futures_util::future::join_all;

use super::{GroupPath, fault, sessions::Open};
use crate::{
    api::Shared,
    error::ApiError,
    watch::{BOOKMARK_EVERY, Source, WATCH_CONTENT_TYPE, lines},
};

/// The most answers of one request.
const ANSWERS_MAX: usize = 256;

/// Joins a group, which is made if it is not there; the settings of whoever joined last hold.
///
/// The answer is newline-delimited JSON that does not end: first `joined` with the session, then each message as it
/// comes, and a bookmark every 10 s where there is nothing to tell. At most `credit` messages are with this consumer at
/// a time, and it is told of no more than so many before it answers one of them: also where their leases have ended, so
/// that no tries are spent on who does not read. What is done with them is told to
/// `POST /v1/subscriptions/{session}/answers`; whoever closes the answer leaves the group, and what is not acknowledged
/// then is delivered to others, as a try that failed.
#[utoipa::path(post, path = "/v1/topics/{topic}/groups/{group}/subscribe", tag = "messages",
    request_body = wire::NewSubscription,
    params(("topic" = String, Path, description = "which topic"), ("group" = String, Path, description = "which group")),
    responses(
        (status = 200, description = "one JSON object a line", body = wire::SubscriptionEvent, content_type = "application/x-ndjson"),
        (status = 400, description = "a setting breaks a rule"), (status = 404, description = "there is no such topic"),
        (status = 503, description = "there are as many subscriptions as there may be")))]
pub(crate) async fn subscribe(
    State(shared): State<Shared>,
    group: GroupPath,
    body: Result<Json<wire::NewSubscription>, JsonRejection>,
) -> Result<Response, ApiError> {
    let (Path((topic, group)), Json(joining)) = (group?, body?);
    check_name("topic", &topic)?;
    let (settings, credit) = joining.into_settings();
    let open = shared.sessions.begin(&topic, credit)?;
    let subscription = shared.messages.subscribe(&topic, &group, settings, credit).await?;
    let deliveries = Deliveries { open, subscription, drain: shared.drain.clone(), has_begun: false, has_ended: false };
    let body = axum::body::Body::new(lines(deliveries));
    Ok(([("content-type", WATCH_CONTENT_TYPE), ("cache-control", "no-store")], body).into_response())
}

/// Says what became of deliveries of a subscription; each is answered by itself, in the order of the request.
#[utoipa::path(post, path = "/v1/subscriptions/{session}/answers", tag = "messages",
    request_body = wire::DeliveryAnswers, params(("session" = String, Path, description = "as its first line says")),
    responses(
        (status = 200, description = "what became of each", body = wire::DeliveryOutcomes),
        (status = 404, description = "there is no such subscription: its leases have ended"),
        (status = 422, description = "there are more than 256")))]
pub(crate) async fn answer(
    State(shared): State<Shared>,
    session: Result<Path<String>, PathRejection>,
    body: Result<Json<wire::DeliveryAnswers>, JsonRejection>,
) -> Result<Json<wire::DeliveryOutcomes>, ApiError> {
    let (Path(session), Json(wire::DeliveryAnswers { answers })) = (session?, body?);
    if answers.len() > ANSWERS_MAX {
        let detail = format!("{} answers: there are at most {ANSWERS_MAX} in one request", answers.len());
        return Err(ApiError::new(Code::Unprocessable, detail));
    }
    let Some(session) = shared.sessions.find(&session) else {
        let detail = "there is no such subscription, or no longer: what it delivered is delivered again";
        return Err(ApiError::new(Code::NotFound, detail));
    };
    let outcomes = join_all(answers.into_iter().map(|answer| session.answer(answer))).await;
    let outcomes = outcomes.into_iter().map(|outcome| outcome.err().as_ref().map(refused)).collect();
    Ok(Json(wire::DeliveryOutcomes { outcomes }))
}

/// Why an answer was not taken.
fn refused(error: &Error) -> wire::MessageFault {
    let told = fault(error);
    match error {
        Error::LeaseLost { .. } => {
            let detail = "its lease ended, or it was answered: the message may be with somebody else".to_owned();
            wire::MessageFault { detail, ..told }
        }
        _ => told,
    }
}

/// What a subscription tells.
struct Deliveries {
    open: Open,
    subscription: Subscription,
    drain: Drain,
    has_begun: bool,
    has_ended: bool,
}

impl Source for Deliveries {
    type Event = wire::SubscriptionEvent;

    async fn next(&mut self) -> Option<wire::SubscriptionEvent> {
        if self.has_ended {
            return None;
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            return Some(wire::SubscriptionEvent::Joined { session: self.open.id.clone() });
        }
        let next = async {
            self.open.session.has_room().await;
            self.subscription.next().await
        };
        Some(match self.drain.or_drain(timeout(BOOKMARK_EVERY, next)).await? {
            Err(_) => wire::SubscriptionEvent::Bookmark,
            Ok(Ok(delivery)) => {
                let (attempt, left) = (delivery.attempt, delivery.until.saturating_duration_since(time::now()));
                let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                let (lease, message) = self.open.session.hold(delivery);
                wire::SubscriptionEvent::Delivery { lease, attempt, left_ms, message: (&*message).into() }
            }
            Ok(Err(error)) => {
                self.has_ended = true;
                wire::SubscriptionEvent::Error(fault(&error))
            }
        })
    }
}
