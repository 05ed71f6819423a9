//! Spans in: what services report of themselves.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use bowline_model::Code;
use bowline_provider_remote::wire;

use crate::{api::Shared, error::ApiError};

/// The most spans in one batch.
pub(crate) const SPANS_MAX: usize = 10_000;

/// Takes ended spans.
///
/// Answered when they can be searched; they are on disk within a second. A full queue answers 503.
#[utoipa::path(post, path = "/v1/spans", tag = "traces", request_body = wire::SpanBatch,
    responses(
        (status = 204, description = "taken"),
        (status = 422, description = "a span breaks a bound"),
        (status = 503, description = "the trace store cannot keep up: send the batch again later")))]
pub(crate) async fn take(
    State(shared): State<Shared>,
    body: Result<Json<wire::SpanBatch>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(batch) = body?;
    if batch.spans.len() > SPANS_MAX {
        return Err(ApiError::new(Code::Unprocessable, format!("spans: at most {SPANS_MAX} in one batch")));
    }
    for (at, span) in batch.spans.iter().enumerate() {
        span.validate().map_err(|error| ApiError::new(Code::Unprocessable, format!("spans[{at}]: {error}")))?;
    }
    let count = batch.spans.len();
    if shared.traces.append(batch.spans) < count {
        return Err(ApiError::new(Code::Unavailable, "the trace store cannot keep up: send the batch again later"));
    }
    Ok(StatusCode::NO_CONTENT)
}
