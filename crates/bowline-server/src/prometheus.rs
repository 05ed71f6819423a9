//! Prometheus' query API, as Grafana and `promtool` speak it.
//!
//! Answers and errors have Prometheus' shape, not that of the rest of the API; parameters come in the query,
//! or as a form in the body of a POST.

mod answer;
mod params;

use axum::{Json, extract::State, response::IntoResponse};
use bowline_observe::{
    alerts::rfc3339,
    labels::{Matcher, Test, is_label_name},
    promql::{self, Expr, REGEXES_MAX},
    scrape::{Description, MetricsCollector as _, TargetStatus},
};
use bowline_runtime::{task, time};
use serde_json::{Value, json};

use crate::{api::Shared, monitor::Queries};
use answer::{Failure, Metric, Result, limited};
use params::Params;

pub(crate) use answer::Success;

/// The version of Prometheus whose API this is, for clients that ask before they choose what to send.
const SPEAKS: &str = "3.0.0";

/// The value of an expression at one time: `query`, `time`, `timeout`, `limit`.
#[utoipa::path(method(get, post), path = "/api/v1/query", tag = "prometheus",
    params(("query" = String, Query, description = "PromQL"), ("time" = Option<String>, Query, description = "seconds since 1970, or RFC 3339; now"), ("timeout" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, description = "as Prometheus answers"), (status = 400, description = "`bad_data`"), (status = 422, description = "`execution`"), (status = 503, description = "`timeout`")))]
pub(crate) async fn query(State(shared): State<Shared>, params: Params) -> Result<impl IntoResponse> {
    let expr = expr(&params).await?;
    let at_ms = params.time("time")?.unwrap_or_else(now_ms);
    let limit = params.count("limit")?;
    let value = shared.queries.instant(expr, at_ms, params.duration("timeout")?).await?;
    answer::value(value, limit).await
}

/// The values of an expression over a time: `query`, `start`, `end`, `step`, `timeout`, `limit`.
#[utoipa::path(method(get, post), path = "/api/v1/query_range", tag = "prometheus",
    params(("query" = String, Query, description = "PromQL"), ("start" = String, Query), ("end" = String, Query), ("step" = String, Query, description = "seconds, or a duration: `15s`"), ("timeout" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, description = "as Prometheus answers"), (status = 400, description = "`bad_data`"), (status = 422, description = "`execution`"), (status = 503, description = "`timeout`")))]
pub(crate) async fn query_range(State(shared): State<Shared>, params: Params) -> Result<impl IntoResponse> {
    let expr = expr(&params).await?;
    let range = (params.need_time("start")?, params.need_time("end")?);
    let step = params.need_duration("step")?;
    let limit = params.count("limit")?;
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    let series = shared.queries.range(expr, range, step_ms, params.duration("timeout")?).await?;
    answer::value(promql::Value::Matrix(series), limit).await
}

/// The labels of the series that pass one of `match[]`: `start`, `end`, `limit`.
#[utoipa::path(method(get, post), path = "/api/v1/series", tag = "prometheus",
    params(("match[]" = Vec<String>, Query), ("start" = Option<String>, Query), ("end" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, description = "as Prometheus answers"), (status = 400, description = "`bad_data`")))]
pub(crate) async fn series(State(shared): State<Shared>, params: Params) -> Result<impl IntoResponse> {
    let matchers = matchers(&params).await?;
    if matchers.is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let labels = shared.queries.labels(matchers, span(&params)?).await?;
    let metrics: Vec<Metric> = labels.into_iter().map(Metric).collect();
    Ok(limited(metrics, params.count("limit")?))
}

/// The names of all labels, or of those of the series that pass one of `match[]`.
#[utoipa::path(method(get, post), path = "/api/v1/labels", tag = "prometheus",
    params(("match[]" = Option<Vec<String>>, Query), ("start" = Option<String>, Query), ("end" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, description = "as Prometheus answers"), (status = 400, description = "`bad_data`")))]
pub(crate) async fn labels(State(shared): State<Shared>, params: Params) -> Result<impl IntoResponse> {
    let names = shared.queries.label_names(matchers(&params).await?, span(&params)?).await?;
    Ok(limited(names, params.count("limit")?))
}

/// The values of a label, of all series or of those that pass one of `match[]`.
#[utoipa::path(get, path = "/api/v1/label/{name}/values", tag = "prometheus",
    params(("name" = String, Path), ("match[]" = Option<Vec<String>>, Query), ("start" = Option<String>, Query), ("end" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, description = "as Prometheus answers"), (status = 400, description = "`bad_data`")))]
pub(crate) async fn label_values(
    State(shared): State<Shared>,
    axum::extract::Path(label): axum::extract::Path<String>,
    params: Params,
) -> Result<impl IntoResponse> {
    if !is_label_name(&label) {
        return Err(Failure::bad_data(format!("invalid label name: {label:?}")));
    }
    let values = shared.queries.label_values(label, matchers(&params).await?, span(&params)?).await?;
    Ok(limited(values, params.count("limit")?))
}

/// What this is, for clients that ask before they choose what to send.
#[utoipa::path(get, path = "/api/v1/status/buildinfo", tag = "prometheus",
    responses((status = 200, description = "as Prometheus answers")))]
pub(crate) async fn build_info() -> impl IntoResponse {
    let version = env!("CARGO_PKG_VERSION");
    Json(
        json!({ "status": "success", "data": { "version": SPEAKS, "revision": format!("bowline {version}"), "branch": "", "buildUser": "", "buildDate": "", "goVersion": "" } }),
    )
}

/// Exemplars are not kept: none match.
#[utoipa::path(method(get, post), path = "/api/v1/query_exemplars", tag = "prometheus",
    responses((status = 200, description = "as Prometheus answers, with none")))]
pub(crate) async fn exemplars() -> impl IntoResponse {
    Success::new(Vec::<()>::new())
}

/// What is scraped, and how that goes.
#[utoipa::path(get, path = "/api/v1/targets", tag = "prometheus",
    responses((status = 200, description = "as Prometheus answers")))]
pub(crate) async fn targets(State(shared): State<Shared>) -> impl IntoResponse {
    let targets = shared.collector.get().map(|collecting| collecting.collector().targets()).unwrap_or_default();
    let active: Vec<Value> = targets.iter().map(target).collect();
    Success::new(json!({ "activeTargets": active, "droppedTargets": [] }))
}

fn target(target: &TargetStatus) -> Value {
    let TargetStatus { job, labels, url, health, scraped_at, duration, samples, last_error, .. } = target;
    let scraped_ms = scraped_at.map_or(0, |at| i64::try_from(time::unix_nanos(at) / 1_000_000).unwrap_or(i64::MAX));
    json!({
        "discoveredLabels": {}, "labels": Metric(labels.clone()), "scrapePool": &**job, "scrapeUrl": url,
        "globalUrl": url, "lastError": last_error.clone().unwrap_or_default(), "lastScrape": rfc3339(scraped_ms),
        "lastScrapeDuration": duration.as_secs_f64(), "health": health.as_str(), "samples": samples,
    })
}

/// What targets say their metrics are: `metric`, `limit`.
#[utoipa::path(get, path = "/api/v1/metadata", tag = "prometheus",
    params(("metric" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, description = "as Prometheus answers")))]
pub(crate) async fn metadata(State(shared): State<Shared>, params: Params) -> Result<impl IntoResponse> {
    let described = shared.collector.get().map(|collecting| collecting.collector().descriptions()).unwrap_or_default();
    let limit = params.count("limit")?.unwrap_or(usize::MAX);
    let is_wanted = |name: &str| params.get("metric").is_none_or(|wanted| wanted == name);
    let wanted = described.into_iter().filter(|(name, _)| is_wanted(name)).take(limit);
    let one = |(name, it): (Box<str>, Description)| {
        (name.into_string(), json!([{ "type": it.kind.as_str(), "help": it.help, "unit": it.unit }]))
    };
    Ok(Success::new(wanted.map(one).collect::<serde_json::Map<_, _>>()))
}

async fn expr(params: &Params) -> Result<Expr> {
    let text = params.get("query").unwrap_or_default().to_owned();
    Queries::parse(text).await.map_err(|error| Failure::bad_data(format!("invalid parameter \"query\": {error}")))
}

/// The selectors of `match[]`, each of which selects something.
async fn matchers(params: &Params) -> Result<Vec<Vec<Matcher>>> {
    let texts: Vec<String> = params.all("match[]").map(str::to_owned).collect();
    // On a thread that may block: regular expressions take a while.
    let read = task::spawn_blocking(move || read_matchers(&texts)).await;
    read.unwrap_or_else(|_| Err(Failure::internal()))
}

fn read_matchers(texts: &[String]) -> Result<Vec<Vec<Matcher>>> {
    let mut regexes = 0;
    let mut all = Vec::with_capacity(texts.len());
    for text in texts {
        let invalid = |error: promql::ParseError| Failure::bad_data(format!("invalid parameter \"match[]\": {error}"));
        let matchers = promql::selector(text).map_err(invalid)?;
        if matchers.iter().all(|matcher| matcher.is_matching_value("")) {
            return Err(Failure::bad_data("match[] must contain at least one non-empty matcher"));
        }
        regexes +=
            matchers.iter().filter(|matcher| matches!(matcher.test(), Test::Regex(_) | Test::NotRegex(_))).count();
        if regexes > REGEXES_MAX {
            return Err(Failure::bad_data(format!("match[] has more than {REGEXES_MAX} regular expressions")));
        }
        all.push(matchers);
    }
    Ok(all)
}

/// From `start` to `end`; all there is where they are absent.
fn span(params: &Params) -> Result<(i64, i64)> {
    let (start, end) = (params.time("start")?.unwrap_or(i64::MIN), params.time("end")?.unwrap_or(i64::MAX));
    if end < start {
        return Err(Failure::bad_data("end timestamp must not be before start time"));
    }
    Ok((start, end))
}

fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)
}
