//! What the system was seen to do, out.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use bowline_config::ConfigManager;
use bowline_model::{
    Code, ConfigKey, data,
    monitor::Sampling,
    units::{self, Share},
};
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
    let mut observed = communication::observe(&shared.traces, back, &shared.data_dir.join(data::SQLITE_DIR)).await?;
    observed.sample = sampled(&*shared.config).await?;
    Ok(Json(wire::Observed(observed)))
}

/// The least share of traces that is kept by what is published now, where not all are.
async fn sampled(config: &dyn ConfigManager) -> Result<Option<Share>, ApiError> {
    let Some(version) = config.get_config(&ConfigKey::tracing()).await? else { return Ok(None) };
    // It fits its schema, else it had not been published.
    let Sampling { sample, services } = version.document.read()?;
    let shares = services.into_values().chain([sample]).filter(|share| *share != Share::ALL);
    Ok(shares.min_by_key(|share| share.millionths()))
}
