//! The registry over HTTP: services, instances, heartbeats.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
};
use bowline_model::{
    Code, Health, Instance, InstanceId, ServiceName,
    instance::{METADATA_MESH, METADATA_METRICS, METADATA_METRICS_OFF, METADATA_RESERVED_PREFIX},
};
use bowline_provider_remote::wire::{self, Role};
use bowline_registry::{Error, HEARTBEATS_MAX, Registry};
use serde::Deserialize;

use crate::{
    actor,
    api::Shared,
    error::ApiError,
    health::now,
    watch::{self, WATCH_CONTENT_TYPE},
};

/// The value of [`METADATA_MESH`].
const MTLS: &str = "mtls";
/// The most instances of one list.
const PAGE_MAX: usize = 10_000;
/// How many instances a list has where nothing else is asked for.
const PAGE_DEFAULT: usize = 1000;
/// The most bytes of one list, the first instance aside: well within what a client reads as a whole.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Every service that has an instance.
#[utoipa::path(get, path = "/v1/services", tag = "registry", responses((status = 200, body = wire::ServiceList)))]
pub(crate) async fn services(State(shared): State<Shared>) -> Result<Json<wire::ServiceList>, ApiError> {
    let summaries = shared.registry.services().await?;
    let services = summaries
        .into_iter()
        .map(|summary| wire::Service { name: summary.name, instances: summary.instances, healthy: summary.healthy })
        .collect();
    Ok(Json(wire::ServiceList { services }))
}

/// What `GET /v1/instances` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstancesQuery {
    /// Only instances of this service.
    service: Option<String>,
    /// Only instances of this health.
    #[param(value_type = Option<String>)]
    health: Option<Health>,
    /// Only instances with a greater id.
    after: Option<String>,
    /// At most so many, 1 to 10,000; 1000 where absent. `more` in the answer says whether some were
    /// left off: ask for them with `after`.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// Instead of a list, the changes after `from`, one JSON object a line.
    #[serde(default)]
    watch: bool,
    /// With `watch`: the revision of the list or of the last event seen; absent: now.
    from: Option<u64>,
    /// With `from`: the `history` of the list or of the watch before. Revisions of different
    /// histories cannot be compared, so whoever resumes has to give it: a server whose store is
    /// another one answers 410, and without it goes on in the middle of the other history.
    history: Option<String>,
}

/// Lists instances, or watches them.
///
/// With `watch=true` the answer is newline-delimited JSON that does not end. List first, then watch
/// from the list's revision with its `history`: nothing is missed. The first line is a bookmark with
/// the revision and the history that the watch begins at, so that one begun without either can be
/// resumed too. 410 says that the revision is too old, from the future or of another history: list
/// anew.
#[utoipa::path(get, path = "/v1/instances", tag = "registry", params(InstancesQuery),
    responses(
        (status = 200, description = "a list; with `watch=true` WatchEvent objects, one a line", body = wire::InstanceList),
        (status = 410, description = "the revision is gone or not yet there; list anew")))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    query: Result<Query<InstancesQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(InstancesQuery { service, health, after, limit, watch, from, history }) = query?;
    let service = service.map(|name| ServiceName::new(&name)).transpose()?;
    let after = after.map(|id| InstanceId::new(&id)).transpose()?;
    let mut query = bowline_registry::Query { service, health, after, limit, history: None };
    if !watch {
        if from.is_some() || history.is_some() {
            return Err(ApiError::new(Code::InvalidArgument, "`from` and `history` go with `watch=true`"));
        }
        let limit = limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(ApiError::new(Code::InvalidArgument, format!("limit {limit}: it is 1 to {PAGE_MAX}")));
        }
        query.limit = Some(limit);
        return Ok(Json(list_of(shared.registry.discover(&query).await?)).into_response());
    }
    query.history = history.map(|text| decode_history(&text)).transpose()?;
    let now = now(&*shared.registry).await?;
    let from = from.unwrap_or(now.revision);
    let watch = shared.registry.watch(&query, from).await?;
    let history = now.history.map(wire::encode_history);
    let body = axum::body::Body::new(watch::body(watch, from, history, shared.drain.clone()));
    Ok(([("content-type", WATCH_CONTENT_TYPE), ("cache-control", "no-store")], body).into_response())
}

fn list_of(discovered: bowline_registry::Discovered) -> wire::InstanceList {
    let history = discovered.history.map(wire::encode_history);
    let bowline_registry::Discovered { revision, history: _, mut instances, more } = discovered;
    let fitting = fitting(&instances, PAGE_BYTES_MAX);
    let is_cut = fitting < instances.len();
    instances.truncate(fitting);
    wire::InstanceList { revision, history, instances, more: more || is_cut }
}

/// How many of them, at least one, are within so many bytes of JSON.
fn fitting(instances: &[Instance], bytes_max: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = |instance: &&Instance| {
        // One that cannot be written fails the answer, not its measure.
        bytes += serde_json::to_vec(instance).map_or(0, |json| json.len() + 1);
        bytes <= bytes_max
    };
    instances.iter().take_while(fits).count().max(1)
}

fn decode_history(text: &str) -> Result<bowline_registry::HistoryId, ApiError> {
    wire::decode_history(text).ok_or_else(|| {
        ApiError::new(Code::InvalidArgument, format!("history `{text}`: 16 hexadecimal digits, as in the list"))
    })
}

/// Registers an instance, or changes it.
///
/// Answered when it would survive a power loss. With a `ttl` it stays only as long as heartbeats come.
#[utoipa::path(put, path = "/v1/instances/{id}", tag = "registry",
    params(("id" = String, Path, description = "unique in the system")),
    request_body = wire::Registration,
    responses((status = 200, body = wire::Registered), (status = 422, description = "a field breaks its rule")))]
pub(crate) async fn register(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Json<wire::Registration>, JsonRejection>,
) -> Result<Json<wire::Registered>, ApiError> {
    let Path(id) = id?;
    let Json(registration) = body?;
    let (instance, ttl) = registration.into_instance(InstanceId::new(&id)?);
    // A sidecar on its own says so itself; who is behind it, its certificate says.
    let is_foreign = |(key, value): (&String, &String)| {
        let is_own = match key.as_str() {
            METADATA_MESH => value == MTLS,
            METADATA_METRICS => value == METADATA_METRICS_OFF || value.starts_with('/'),
            _ => false,
        };
        key.starts_with(METADATA_RESERVED_PREFIX) && !is_own
    };
    if let Some((key, _)) = instance.metadata.iter().find(|(key, value)| is_foreign((key, value))) {
        let detail = format!(
            "metadata `{key}`: what begins with `{METADATA_RESERVED_PREFIX}` is Bowline's own, name it otherwise"
        );
        return Err(ApiError::new(Code::Unprocessable, detail));
    }
    let id = instance.id.clone();
    let revision = registry(&shared).register(instance, ttl).await.map_err(|error| match error {
        Error::Refused { code: Code::PermissionDenied, .. } => supervised(&id),
        // All it judges stands in the body, which could be read.
        Error::Invalid { .. } => ApiError::of(Code::Unprocessable, &error),
        error => error.into(),
    })?;
    Ok(Json(wire::Registered { revision }))
}

/// Deregisters an instance; no body.
#[utoipa::path(delete, path = "/v1/instances/{id}", tag = "registry",
    params(("id" = String, Path, description = "the instance")),
    responses((status = 204, description = "it is gone"), (status = 404, description = "nobody has that id")))]
pub(crate) async fn deregister(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<axum::http::StatusCode, ApiError> {
    let Path(id) = id?;
    let id = InstanceId::new(&id)?;
    let is_gone = registry(&shared).deregister(&id).await.map_err(|error| match error {
        Error::Refused { code: Code::PermissionDenied, .. } => supervised(&id),
        error => error.into(),
    })?;
    if is_gone { Ok(axum::http::StatusCode::NO_CONTENT) } else { Err(unknown(&id)) }
}

/// The registry as whoever acts may change it.
fn registry(shared: &Shared) -> &dyn Registry {
    if actor::has_role(Role::Admin) { &*shared.registry } else { &*shared.foreign }
}

fn supervised(id: &InstanceId) -> ApiError {
    let detail = format!(
        "the instance `{id}` is run by this Bowline: its supervisor alone changes it, or whoever has a token of the role admin"
    );
    ApiError::new(Code::PermissionDenied, detail).with_reason("supervised")
}

/// Renews one instance's lease.
#[utoipa::path(post, path = "/v1/instances/{id}/heartbeat", tag = "registry",
    params(("id" = String, Path, description = "the instance")),
    responses((status = 200, body = wire::Heartbeat), (status = 404, description = "not registered, or expired: register again")))]
pub(crate) async fn heartbeat(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<wire::Heartbeat>, ApiError> {
    let Path(id) = id?;
    let id = InstanceId::new(&id)?;
    let answers = shared.registry.heartbeat(std::slice::from_ref(&id)).await?;
    match answers.into_iter().next() {
        Some(answer) if answer.known => Ok(Json(wire::Heartbeat { id, known: true, ttl: answer.ttl })),
        _ => Err(unknown(&id)),
    }
}

/// Renews many leases at once; who is unknown is said in the answer.
#[utoipa::path(post, path = "/v1/heartbeats", tag = "registry", request_body = wire::HeartbeatBatch,
    responses((status = 200, body = wire::HeartbeatAnswers)))]
pub(crate) async fn heartbeats(
    State(shared): State<Shared>,
    body: Result<Json<wire::HeartbeatBatch>, JsonRejection>,
) -> Result<Json<wire::HeartbeatAnswers>, ApiError> {
    let Json(batch) = body?;
    if batch.ids.len() > HEARTBEATS_MAX {
        return Err(ApiError::new(Code::Unprocessable, format!("ids: at most {HEARTBEATS_MAX} in one batch")));
    }
    let answers = shared.registry.heartbeat(&batch.ids).await?;
    let answers = answers.into_iter().map(|a| wire::Heartbeat { id: a.id, known: a.known, ttl: a.ttl }).collect();
    Ok(Json(wire::HeartbeatAnswers { answers }))
}

fn unknown(id: &InstanceId) -> ApiError {
    let detail = format!(
        "no instance `{id}`: it was never registered, was deregistered, or its lease ended; register it again with PUT /v1/instances/{id}"
    );
    ApiError::new(Code::NotFound, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_its_bytes_do() {
        let instance = |at: usize| {
            let id = InstanceId::new(&format!("a-{at}")).unwrap();
            Instance::new(id, ServiceName::new("a").unwrap(), "127.0.0.1:1".parse().unwrap())
        };
        let instances: Vec<_> = (0..9).map(instance).collect();
        let one = serde_json::to_vec(&instances[0]).unwrap().len() + 1;
        assert_eq!(fitting(&instances, 9 * one), 9);
        assert_eq!(fitting(&instances, 9 * one - 1), 8);
        assert_eq!(fitting(&instances, 1), 1, "or it never ends");
    }
}
