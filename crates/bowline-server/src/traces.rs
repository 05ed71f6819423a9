//! Traces out: search, and one trace whole.

use std::{fmt::Display, str::FromStr};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use bowline_model::{Code, units};
use bowline_observe::traces::{LIMIT_DEFAULT, Order};
use bowline_provider_remote::wire;
use bowline_runtime::time;
use bowline_telemetry::TraceId;

use crate::{api::Shared, error::ApiError};

/// The most traces one search returns.
pub(crate) const TRACES_MAX: usize = 1000;
/// The most attributes that one search looks for.
const ATTRIBUTES_MAX: usize = 16;

/// What `GET /v1/traces` understands.
#[derive(Debug, Default, utoipa::IntoParams)]
pub(crate) struct TracesQuery {
    /// A service that took part.
    service: Option<String>,
    /// The name of a span.
    operation: Option<String>,
    /// How a span ended: `ok`, `error` or `unset`.
    status: Option<String>,
    /// `key=value` of a span; may be given up to 16 times, for as many attributes of one span.
    #[param(max_items = 16)]
    attr: Vec<String>,
    /// The least duration: `100ms`.
    min_duration: Option<String>,
    /// The greatest duration: `2s`.
    max_duration: Option<String>,
    /// How long ago it began at most: `15m`.
    since: Option<String>,
    /// `true`: only traces with an error; `false`: only those without.
    #[param(value_type = Option<bool>)]
    error: Option<String>,
    /// `newest` first, as where it is absent, or the `slowest` of all that match: these have no further pages.
    order: Option<String>,
    /// At most so many, 1 to 1000; 20 where absent.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of an earlier answer, to go on behind it with the same filters.
    cursor: Option<String>,
}

impl TracesQuery {
    /// Of the names and values of a query; all but `attr` at most once.
    fn new(pairs: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut query = Self::default();
        for (name, value) in pairs {
            let field = match &*name {
                "attr" if query.attr.len() < ATTRIBUTES_MAX => {
                    query.attr.push(value);
                    continue;
                }
                "attr" => return Err(invalid(format!("attr: at most {ATTRIBUTES_MAX} are looked for"))),
                "service" => &mut query.service,
                "operation" => &mut query.operation,
                "status" => &mut query.status,
                "min_duration" => &mut query.min_duration,
                "max_duration" => &mut query.max_duration,
                "since" => &mut query.since,
                "error" => &mut query.error,
                "order" => &mut query.order,
                "limit" => &mut query.limit,
                "cursor" => &mut query.cursor,
                _ => return Err(invalid(format!("`{name}` is no parameter of this"))),
            };
            if field.replace(value).is_some() {
                return Err(invalid(format!("{name}: it is given twice")));
            }
        }
        Ok(query)
    }
}

/// Searches traces, newest or slowest first.
#[utoipa::path(get, path = "/v1/traces", tag = "traces", params(TracesQuery), responses((status = 200, body = wire::TraceList)))]
pub(crate) async fn search(
    State(shared): State<Shared>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<wire::TraceList>, ApiError> {
    let Query(query) = query?;
    let found = shared.traces.search(&query_of(TracesQuery::new(query)?)?).await?;
    let (is_cut, next_cursor) = (found.is_cut, found.next.map(|cursor| cursor.to_string()));
    let traces = found
        .into_iter()
        .map(|summary| wire::TraceSummary {
            trace_id: summary.trace_id.to_string(),
            service: summary.root_service,
            name: summary.root_name,
            status: summary.root_status.to_string(),
            has_root: summary.has_root,
            start_unix_nanos: summary.start_unix_nanos,
            duration_nanos: summary.duration_nanos,
            span_count: summary.span_count,
            services: summary.services,
            has_error: summary.has_error,
        })
        .collect();
    let kept_since_unix_nanos = shared.traces.kept_since();
    Ok(Json(wire::TraceList { traces, is_cut, next_cursor, kept_since_unix_nanos }))
}

fn query_of(query: TracesQuery) -> Result<bowline_observe::traces::Query, ApiError> {
    let TracesQuery {
        service,
        operation,
        status,
        attr,
        min_duration,
        max_duration,
        since,
        error,
        order,
        limit,
        cursor,
    } = query;
    let duration = |name: &str, text: Option<String>| {
        let parse =
            |text: String| units::parse_duration(&text).map_err(|rule| invalid(format!("{name} `{text}`: {rule}")));
        text.map(parse).transpose()
    };
    let attribute = |text: String| match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(invalid(format!("attr `{text}`: write key=value"))),
    };
    let order = parsed("order", order)?.unwrap_or_default();
    if order == Order::Slowest && cursor.is_some() {
        return Err(invalid("cursor: the slowest have no pages, ask for more of them with `limit`".to_owned()));
    }
    let back = duration("since", since)?;
    let now = time::unix_nanos(time::wall());
    let since = back.map(|back| now.saturating_sub(u64::try_from(back.as_nanos()).unwrap_or(u64::MAX)));
    Ok(bowline_observe::traces::Query {
        service,
        operation,
        status: parsed("status", status)?,
        attributes: attr.into_iter().map(attribute).collect::<Result<_, _>>()?,
        min_duration: duration("min_duration", min_duration)?,
        max_duration: duration("max_duration", max_duration)?,
        since_unix_nanos: since,
        until_unix_nanos: None,
        has_error: parsed("error", error)?,
        order,
        limit: limit_of(parsed("limit", limit)?)?,
        cursor: parsed("cursor", cursor)?,
    })
}

fn parsed<T: FromStr<Err: Display>>(name: &str, text: Option<String>) -> Result<Option<T>, ApiError> {
    let parse = |text: String| text.parse().map_err(|rule| invalid(format!("{name}: {rule}")));
    text.map(parse).transpose()
}

fn limit_of(limit: Option<usize>) -> Result<usize, ApiError> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if (1..=TRACES_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(invalid(format!("limit {limit}: it is 1 to {TRACES_MAX}")))
    }
}

fn invalid(detail: String) -> ApiError {
    ApiError::new(Code::InvalidArgument, detail)
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
