//! Traces out: search, and one trace whole.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use bowline_model::{Code, units};
use bowline_provider_remote::wire;
use bowline_telemetry::TraceId;
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

/// The most traces one search returns.
pub(crate) const TRACES_MAX: usize = 1000;

/// What `GET /v1/traces` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct TracesQuery {
    /// A service that took part.
    service: Option<String>,
    /// The name of a span.
    operation: Option<String>,
    /// The least duration: `100ms`.
    min_duration: Option<String>,
    /// `key=value` of a span.
    attr: Option<String>,
    /// `true`: only traces with an error; `false`: only those without.
    error: Option<bool>,
    /// At most so many, 1 to 1000; 20 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Searches traces, newest first.
#[utoipa::path(get, path = "/v1/traces", tag = "traces", params(TracesQuery), responses((status = 200, body = wire::TraceList)))]
pub(crate) async fn search(
    State(shared): State<Shared>,
    query: Result<Query<TracesQuery>, QueryRejection>,
) -> Result<Json<wire::TraceList>, ApiError> {
    let Query(query) = query?;
    let found = shared.traces.search(&query_of(query)?).await?;
    let is_cut = found.is_cut;
    let traces = found
        .into_iter()
        .map(|summary| wire::TraceSummary {
            trace_id: summary.trace_id.to_string(),
            service: summary.root_service,
            name: summary.root_name,
            start_unix_nanos: summary.start_unix_nanos,
            duration_nanos: summary.duration_nanos,
            span_count: summary.span_count,
            services: summary.services,
            has_error: summary.has_error,
        })
        .collect();
    Ok(Json(wire::TraceList { traces, is_cut }))
}

fn query_of(query: TracesQuery) -> Result<bowline_observe::traces::Query, ApiError> {
    let TracesQuery { service, operation, min_duration, attr, error, limit } = query;
    let invalid = |detail: String| ApiError::new(Code::InvalidArgument, detail);
    let min_duration = min_duration
        .map(|text| units::parse_duration(&text).map_err(|rule| invalid(format!("min_duration `{text}`: {rule}"))))
        .transpose()?;
    let attributes = attr
        .map(|text| match text.split_once('=') {
            Some((key, value)) => Ok(vec![(key.to_owned(), value.to_owned())]),
            None => Err(invalid(format!("attr `{text}`: write key=value"))),
        })
        .transpose()?
        .unwrap_or_default();
    let limit = limit.unwrap_or(20);
    if !(1..=TRACES_MAX).contains(&limit) {
        return Err(invalid(format!("limit {limit}: it is 1 to {TRACES_MAX}")));
    }
    Ok(bowline_observe::traces::Query { service, operation, min_duration, attributes, has_error: error, limit })
}

/// One trace with its spans.
#[utoipa::path(get, path = "/v1/traces/{id}", tag = "traces",
    params(("id" = String, Path, description = "32 hexadecimal digits")),
    responses((status = 200, body = wire::Trace), (status = 404, description = "no span of it is kept")))]
pub(crate) async fn trace(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<wire::Trace>, ApiError> {
    let Path(id) = id?;
    let trace_id: TraceId =
        id.parse().map_err(|_| ApiError::new(Code::InvalidArgument, format!("`{id}` is not 32 hexadecimal digits")))?;
    match shared.traces.trace(trace_id).await? {
        Some(mut spans) => {
            spans.sort_by_key(|span| (span.start_unix_nanos, span.span_id));
            Ok(Json(wire::Trace { trace_id: trace_id.to_string(), spans }))
        }
        None => Err(ApiError::new(
            Code::NotFound,
            format!(
                "no trace {trace_id}: it was not sampled, its spans have not come yet, or it was dropped for the disk cap"
            ),
        )),
    }
}
