//! The operations over HTTP, as `openapi/device.yaml` describes them. Whoever the gateway let in may do all of them.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    routing::{MethodRouter, delete, get, post, put},
};
use bowline::{
    Code, HandlerError, current,
    extract::{Json, Path, Query, Subject},
    runtime::task,
};
use serde::{Deserialize, Serialize};

use crate::{
    device::{Command, Device, Object, Shadow},
    repository::DeviceRepository,
    service::{Accepted, Asked, DeviceService, Provisioned, Provisioning, now_ms},
};

/// The largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 16 << 10;

/// How many devices are listed, where nothing is said.
const LISTED: i64 = 100;

type Service<R> = State<Arc<DeviceService<R>>>;

/// An operation: its method, its path, and what carries it out.
pub(crate) type Operation<R> = (&'static str, &'static str, MethodRouter<Arc<DeviceService<R>>>);

/// All operations.
pub(crate) fn operations<R: DeviceRepository>() -> [Operation<R>; 9] {
    [
        ("POST", "/devices", post(provision::<R>)),
        ("GET", "/devices", get(list::<R>)),
        ("GET", "/devices/{id}", get(show::<R>)),
        ("DELETE", "/devices/{id}", delete(remove::<R>)),
        ("POST", "/devices/{id}/token", post(renew::<R>)),
        ("GET", "/devices/{id}/shadow", get(shadow::<R>)),
        ("PUT", "/devices/{id}/desired", put(desire::<R>)),
        ("POST", "/devices/{id}/commands", post(command::<R>)),
        ("GET", "/devices/{id}/commands/{command}", get(show_command::<R>)),
    ]
}

/// The application.
pub(crate) fn app<R: DeviceRepository>(devices: Arc<DeviceService<R>>) -> Router {
    let routed = operations().into_iter().fold(Router::new(), |app, (_, path, handler)| app.route(path, handler));
    routed.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(devices)
}

/// Carries a change out to its end, also where whoever asked does not wait for it: what is in the database has to be known
/// here, too.
async fn finish<T: Send + 'static>(
    change: impl Future<Output = Result<T, HandlerError>> + Send + 'static,
) -> Result<T, HandlerError> {
    task::spawn(current::inherit(change)).await.map_err(HandlerError::internal)?
}

/// Which devices are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    /// Behind which id; from the first on, where nothing is said.
    #[serde(default)]
    after: String,
    limit: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Devices {
    devices: Vec<Device>,
}

async fn provision<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Json(asked): Json<Provisioning>,
) -> Result<(StatusCode, Json<Provisioned>), HandlerError> {
    let made = finish(async move { devices.provision(asked, now_ms()).await }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

async fn list<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Query(Listed { after, limit }): Query<Listed>,
) -> Result<Json<Devices>, HandlerError> {
    Ok(Json(Devices { devices: devices.list(&after, limit.unwrap_or(LISTED)).await? }))
}

async fn show<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Path(id): Path<String>,
) -> Result<Json<Device>, HandlerError> {
    devices.show(&id).await.map(Json)
}

async fn remove<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Path(id): Path<String>,
) -> Result<StatusCode, HandlerError> {
    finish(async move { devices.remove(&id, now_ms()).await }).await.map(|()| StatusCode::NO_CONTENT)
}

async fn renew<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Path(id): Path<String>,
) -> Result<Json<Provisioned>, HandlerError> {
    finish(async move { devices.renew(&id).await }).await.map(Json)
}

async fn shadow<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Path(id): Path<String>,
) -> Result<Json<Shadow>, HandlerError> {
    devices.shadow(&id).await.map(Json)
}

async fn desire<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(desired): Json<Object>,
) -> Result<Json<Shadow>, HandlerError> {
    let version = version(&headers)?;
    finish(async move { devices.desire(&id, desired, version).await }).await.map(Json)
}

async fn command<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Path(id): Path<String>,
    Json(asked): Json<Asked>,
) -> Result<(StatusCode, Json<Accepted>), HandlerError> {
    let accepted = finish(async move { devices.command(&id, asked, now_ms()).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

async fn show_command<R: DeviceRepository>(
    State(devices): Service<R>,
    _: Subject,
    Path((id, command)): Path<(String, String)>,
) -> Result<Json<Command>, HandlerError> {
    devices.show_command(&id, &command, now_ms()).await.map(Json)
}

/// The version that is to be changed, if one is said.
fn version(headers: &HeaderMap) -> Result<Option<i64>, HandlerError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let version = value.to_str().ok().and_then(|text| text.trim_matches('"').parse().ok());
    let rule = "if-match: the number of a version, as `desired_version` has it";
    version.map(Some).ok_or_else(|| HandlerError::new(Code::InvalidArgument, rule))
}
