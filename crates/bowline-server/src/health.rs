//! Who answers, and whether it can: `/livez`, `/readyz`, `/metrics`, `/v1/server`. How services are is in
//! [`services`], and what is behind it in [`recorder`].

mod log;
mod probes;
mod recorder;
pub(crate) mod services;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::IntoResponse,
};
use bowline_model::Code;
use bowline_provider_remote::wire;
use bowline_registry::{Discovered, Registry};
use bowline_store::Store;
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

pub use recorder::Declared;
pub(crate) use recorder::{DEREGISTERED, Recorder, Standing};

/// How many digits a nonce has.
const NONCE_DIGITS: std::ops::RangeInclusive<usize> = 32..=128;

/// Answers while the process lives.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "alive", body = String)))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Answers 200 when the store can be read and written.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "ready", body = String), (status = 503, description = "not ready")))]
pub(crate) async fn readyz(State(shared): State<Shared>) -> Result<&'static str, ApiError> {
    ready(&*shared.store, &*shared.registry).await
}

async fn ready(store: &dyn Store, registry: &dyn Registry) -> Result<&'static str, ApiError> {
    if !store.is_writable() {
        return Err(ApiError::new(Code::Unavailable, "the store cannot be written: see the log, then restart"));
    }
    registry.services().await?;
    Ok("ok\n")
}

/// This process's own metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "Prometheus text", body = String)))]
pub(crate) async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render())
}

/// What `GET /v1/server` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerQuery {
    /// 32 to 128 hexadecimal digits that nobody has seen: the answer then holds a proof over them.
    #[param(min_length = 32, max_length = 128)]
    nonce: Option<String>,
}

/// Says who answers: release, system, data folder, process, revision.
///
/// With a `nonce`, it proves that it knows the root token: whoever reads that token in the data folder
/// can tell this server from another that took its address, before the token is sent.
#[utoipa::path(get, path = "/v1/server", tag = "server", params(ServerQuery),
    responses((status = 200, body = wire::ServerInfo)))]
pub(crate) async fn server(
    State(shared): State<Shared>,
    query: Result<Query<ServerQuery>, QueryRejection>,
) -> Result<Json<wire::ServerInfo>, ApiError> {
    let Query(ServerQuery { nonce }) = query?;
    let is_nonce = |text: &str| NONCE_DIGITS.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let proof = match nonce {
        Some(nonce) if is_nonce(&nonce) => shared.access.prove(&nonce).await?,
        Some(_) => return Err(ApiError::new(Code::InvalidArgument, "nonce: it has 32 to 128 hexadecimal digits")),
        None => None,
    };
    let revision = now(&*shared.registry).await?.revision;
    Ok(Json(wire::ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        system: shared.standing.system().map(ToString::to_string),
        data_dir: shared.access.is_loopback().then(|| shared.data_dir.display().to_string()),
        pid: std::process::id(),
        revision,
        proof,
    }))
}

/// The registry's revision now and the history it is of, without instances.
pub(crate) async fn now(registry: &dyn Registry) -> Result<Discovered, ApiError> {
    let nobody = bowline_registry::Query { limit: Some(0), ..Default::default() };
    Ok(registry.discover(&nobody).await?)
}

#[cfg(test)]
mod tests;
