//! What the system was seen to do, out.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use bowline_model::{Code, units};
use bowline_observe::communication;
use bowline_provider_remote::wire;
use bowline_runtime::time::Duration;
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

/// How far back where nobody says.
const SINCE_DEFAULT: Duration = Duration::from_hours(1);

/// What `GET /v1/observed` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObservedQuery {
    /// How long ago the traces that are read began at most: `15m`; `1h` where absent.
    since: Option<String>,
}

/// Who called whom, who touched what, and in which order: what `bowline check --observed` holds the file against.
#[utoipa::path(get, path = "/v1/observed", tag = "traces", params(ObservedQuery),
    responses((status = 200, body = wire::Observed)))]
pub(crate) async fn observed(
    State(shared): State<Shared>,
    query: Result<Query<ObservedQuery>, QueryRejection>,
) -> Result<Json<wire::Observed>, ApiError> {
    let Query(ObservedQuery { since }) = query?;
    let invalid = |text: &str, rule: &str| ApiError::new(Code::InvalidArgument, format!("since `{text}`: {rule}"));
    let back = match since {
        None => SINCE_DEFAULT,
        Some(text) => units::parse_duration(&text).map_err(|rule| invalid(&text, rule))?,
    };
    Ok(Json(wire::Observed(communication::observe(&shared.traces, back).await?)))
}
