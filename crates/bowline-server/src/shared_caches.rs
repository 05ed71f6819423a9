//! What the processes of a service share of a cache, in this process's memory.
//!
//! Not in the audit: it changes nothing of what runs.

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bowline_cache::{Feed, Found, Got, Mark, PortError, SharedCache as _, Ticket};
use bowline_model::{Code, units};
use bowline_provider_remote::{
    encode,
    wire::{self, LEFT_HEADER, MARKS_HEADER, TICKET_HEADER},
};
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

/// The cache and the key a request is about.
type EntryPath = Result<Path<(String, String)>, PathRejection>;

/// The cache a request is about.
type CachePath = Result<Path<String>, PathRejection>;

/// What a slot has: its octets, or a ticket with which they are put. Up to where invalidations were applied to the
/// cache is said in `x-bowline-marks`.
#[utoipa::path(get, path = "/v1/shared-caches/{cache}/entries/{key}", tag = "caches",
    params(("cache" = String, Path, description = "1 to 64 of `a-z 0-9 -`, the first a letter"),
        ("key" = String, Path, description = "1 to 512 bytes")),
    responses(
        (status = 200, description = "its octets; for how long they are kept is in `x-bowline-left-ms`",
            content_type = "application/octet-stream"),
        (status = 404, description = "nothing; what the slot is called is in `x-bowline-ticket`"),
        (status = 400, description = "the name or the key breaks a rule"),
        (status = 503, description = "there are as many caches as there may be")))]
pub(crate) async fn get(State(shared): State<Shared>, path: EntryPath) -> Result<Response, ApiError> {
    let Path((cache, key)) = path?;
    let Got { found, marks } = shared.caches.get(&cache, &key).await?;
    let marks = (MARKS_HEADER, written(&marks));
    Ok(match found {
        Found::Hit { value, left } => ([(LEFT_HEADER, left.as_millis().to_string()), marks], value).into_response(),
        Found::Empty(Ticket(ticket)) => {
            (StatusCode::NOT_FOUND, [(TICKET_HEADER, format!("{ticket:016x}")), marks]).into_response()
        }
    })
}

/// What `PUT /v1/shared-caches/{cache}/entries/{key}` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct FillQuery {
    /// For how long: `1ms` to `7d`.
    keep: String,
}

/// Puts octets, up to 1 MiB, where the slot is still called as `x-bowline-ticket` says.
#[utoipa::path(put, path = "/v1/shared-caches/{cache}/entries/{key}", tag = "caches",
    params(("cache" = String, Path, description = "which cache"), ("key" = String, Path, description = "which key"),
        FillQuery),
    request_body(content_type = "application/octet-stream"),
    responses((status = 204, description = "they are there"),
        (status = 409, description = "the ticket is not good any more: something was invalidated, or somebody was sooner"),
        (status = 400, description = "something breaks a rule")))]
pub(crate) async fn fill(
    State(shared): State<Shared>,
    path: EntryPath,
    query: Result<Query<FillQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, ApiError> {
    let (Path((cache, key)), Query(FillQuery { keep }), value) = (path?, query?, body?);
    let keep = units::parse_duration(&keep)
        .map_err(|rule| ApiError::new(Code::InvalidArgument, format!("keep `{keep}`: {rule}")))?;
    let ticket = headers.get(TICKET_HEADER).and_then(|ticket| ticket.to_str().ok());
    let ticket = ticket.and_then(|ticket| u64::from_str_radix(ticket, 16).ok());
    let no_ticket = || ApiError::new(Code::InvalidArgument, format!("{TICKET_HEADER}: it is 16 hexadecimal digits"));
    let ticket = Ticket(ticket.ok_or_else(no_ticket)?);
    let is_filled = shared.caches.fill(&cache, &key, ticket, value, keep).await?;
    Ok(if is_filled { StatusCode::NO_CONTENT } else { StatusCode::CONFLICT })
}

/// Removes values and tickets; those of a feed once, whoever asks.
#[utoipa::path(post, path = "/v1/shared-caches/{cache}/invalidate", tag = "caches",
    params(("cache" = String, Path, description = "which cache")), request_body = wire::SharedInvalidation,
    responses((status = 200, body = wire::SharedOutcome), (status = 400, description = "something breaks a rule")))]
pub(crate) async fn invalidate(
    State(shared): State<Shared>,
    path: CachePath,
    body: Result<Json<wire::SharedInvalidation>, JsonRejection>,
) -> Result<Json<wire::SharedOutcome>, ApiError> {
    let (Path(cache), Json(wire::SharedInvalidation { keys, applied })) = (path?, body?);
    let outcome = shared.caches.invalidate(&cache, &keys, applied).await?;
    Ok(Json(wire::SharedOutcome { outcome }))
}

/// Removes everything of a cache, its marks too, which are these from then on.
#[utoipa::path(post, path = "/v1/shared-caches/{cache}/clear", tag = "caches",
    params(("cache" = String, Path, description = "which cache")), request_body = wire::SharedMarks,
    responses((status = 204, description = "it is empty"), (status = 400, description = "something breaks a rule")))]
pub(crate) async fn clear(
    State(shared): State<Shared>,
    path: CachePath,
    body: Result<Json<wire::SharedMarks>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let (Path(cache), Json(wire::SharedMarks { marks })) = (path?, body?);
    shared.caches.clear(&cache, &marks).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Marks as a header holds them.
fn written(marks: &[(Feed, Mark)]) -> String {
    encode(&serde_json::to_string(marks).expect("marks are JSON"))
}

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        Self::of(error.code(), &error)
    }
}
