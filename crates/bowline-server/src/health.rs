//! Who answers, and whether it can: `/livez`, `/readyz`, `/metrics`, `/v1/server`.

use axum::{Json, extract::State, http::header, response::IntoResponse};
use bowline_model::Code;
use bowline_provider_remote::wire;
use bowline_registry::{Discovered, Query, Registry};

use crate::{api::Shared, error::ApiError};

/// Answers while the process lives.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "alive", body = String)))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Answers 200 when the store can be read and written.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "ready", body = String), (status = 503, description = "not ready")))]
pub(crate) async fn readyz(State(shared): State<Shared>) -> Result<&'static str, ApiError> {
    if !shared.store.is_writable() {
        return Err(ApiError::new(Code::Unavailable, "the store cannot be written: see the log, then restart"));
    }
    shared.registry.services().await?;
    Ok("ok\n")
}

/// This process's own metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "Prometheus text", body = String)))]
pub(crate) async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render())
}

/// Says who answers: release, data folder, process, revision.
#[utoipa::path(get, path = "/v1/server", tag = "server", responses((status = 200, body = wire::ServerInfo)))]
pub(crate) async fn server(State(shared): State<Shared>) -> Result<Json<wire::ServerInfo>, ApiError> {
    let revision = now(&*shared.registry).await?.revision;
    Ok(Json(wire::ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        data_dir: shared.data_dir.display().to_string(),
        pid: std::process::id(),
        revision,
    }))
}

/// The registry's revision now and the history it is of, without instances.
pub(crate) async fn now(registry: &dyn Registry) -> Result<Discovered, ApiError> {
    let nobody = Query { limit: Some(0), ..Query::default() };
    Ok(registry.discover(&nobody).await?)
}

#[cfg(test)]
mod tests;
