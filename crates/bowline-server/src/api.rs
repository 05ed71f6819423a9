//! The API's routes and its OpenAPI document, which come from one list.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock, OnceLock},
};

use axum::{Router, extract::DefaultBodyLimit, http::header, middleware, response::IntoResponse};
use bowline_cache::shared::memory::Memory;
use bowline_config::ConfigManager;
use bowline_messaging::MessageBus;
use bowline_model::Code;
use bowline_observe::{alerts::Alerts, graph::ServiceGraph, traces::TraceStore};
use bowline_provider_remote::wire;
use bowline_registry::Registry;
use bowline_runtime::{drain::Drain, metric};
use bowline_store::Store;
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::{self, Access, session, tokens},
    alerts, ask,
    audit::{self, Audited},
    breakers, caches, changes,
    collect::Collecting,
    config, console, deployments,
    error::ApiError,
    events::{self, News},
    explain, graph, guard,
    health::{self, Standing},
    instances, logs,
    mesh::{self, Mesh},
    messages::{self, Sessions},
    monitor::Queries,
    observed, prometheus, sagas, shared_caches, spans, system, traces,
};

/// The largest body of a request.
const BODY_MAX: usize = 8 << 20;

/// What every handler may use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) config: Arc<dyn ConfigManager>,
    pub(crate) traces: Arc<TraceStore>,
    /// How instances and services are, and were.
    pub(crate) standing: Arc<Standing>,
    pub(crate) graph: ServiceGraph,
    pub(crate) metrics: metric::Registry,
    pub(crate) drain: Drain,
    pub(crate) data_dir: PathBuf,
    pub(crate) access: Arc<Access>,
    pub(crate) audit: Arc<Audited>,
    /// Who says what would become of a request.
    pub(crate) explainer: explain::Slot,
    /// Who tells of the breakers of the gateway here.
    pub(crate) gateway_breakers: breakers::Slot,
    /// Who has the lines that services wrote, once they run here.
    pub(crate) logs: logs::Slot,
    /// The registry for who may not touch what the supervisor runs.
    pub(crate) foreign: Arc<dyn Registry>,
    /// Absent where the system has no mesh.
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) messages: Arc<dyn MessageBus>,
    /// What processes of services share of their caches.
    pub(crate) caches: Memory,
    /// The subscriptions of messages that are answered now.
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) queries: Queries,
    pub(crate) alerts: Alerts,
    /// What rolls releases out, once services run here.
    pub(crate) deployments: deployments::Slot,
    /// Whether services are declared, so that they run here or are about to.
    pub(crate) has_services: bool,
    /// What the system declares, as it is told.
    pub(crate) system: Arc<wire::DeclaredSystem>,
    /// What changed, for who listens.
    pub(crate) news: News,
    /// How instances are asked for what only they know.
    pub(crate) asking: ask::Slot,
    /// Who scrapes, once it has begun.
    pub(crate) collector: Arc<OnceLock<Collecting>>,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Bowline",
    description = "One API for registry, configuration and traces: lists, and watches that resume from a revision. Errors are application/problem+json with `code`, `detail` and `trace_id`.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(document))
        .routes(routes!(health::server))
        .routes(routes!(health::services::list))
        .routes(routes!(health::services::one))
        .routes(routes!(instances::services))
        .routes(routes!(instances::list))
        .routes(routes!(instances::register, instances::deregister))
        .routes(routes!(instances::heartbeat))
        .routes(routes!(instances::heartbeats))
        .routes(routes!(config::list))
        .routes(routes!(config::get, config::set, config::delete))
        .routes(routes!(config::check))
        .routes(routes!(config::history))
        .routes(routes!(config::rollback))
        .routes(routes!(config::schema, config::set_schema, config::delete_schema))
        .routes(routes!(config::status))
        .routes(routes!(config::acknowledge))
        .routes(routes!(explain::explain))
        .routes(routes!(spans::take))
        .routes(routes!(traces::search))
        .routes(routes!(traces::trace))
        .routes(routes!(graph::graph))
        .routes(routes!(observed::observed))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list::list))
        .routes(routes!(mesh::join))
        .routes(routes!(mesh::roots))
        .routes(routes!(mesh::status))
        .routes(routes!(breakers::list))
        .routes(routes!(caches::list))
        .routes(routes!(shared_caches::get, shared_caches::fill))
        .routes(routes!(shared_caches::invalidate))
        .routes(routes!(shared_caches::clear))
        .routes(routes!(sagas::list))
        .routes(routes!(sagas::one))
        .routes(routes!(sagas::retry))
        .routes(routes!(system::system))
        .routes(routes!(events::events))
        .routes(routes!(logs::logs))
        .routes(routes!(changes::changes))
        .merge(deployment_routes())
        .merge(message_routes())
        .merge(open_routes())
        .merge(monitor_routes())
}

/// Releases that are rolled out.
fn deployment_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(deployments::list))
        .routes(routes!(deployments::one, deployments::begin))
        .routes(routes!(deployments::pause))
        .routes(routes!(deployments::resume))
        .routes(routes!(deployments::promote))
        .routes(routes!(deployments::abort))
}

/// Topics, groups and messages.
fn message_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(messages::topics))
        .routes(routes!(messages::declare))
        .routes(routes!(messages::publish::one, messages::read))
        .routes(routes!(messages::publish::many))
        .routes(routes!(messages::subscribe::subscribe))
        .routes(routes!(messages::subscribe::answer))
        .routes(routes!(messages::seek))
        .routes(routes!(messages::remove_group))
        .routes(routes!(messages::letters::list))
        .routes(routes!(messages::letters::redrive))
        .routes(routes!(messages::letters::purge))
}

/// What is measured and watched for, much of it as Prometheus shows it.
fn monitor_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(prometheus::query))
        .routes(routes!(prometheus::query_range))
        .routes(routes!(prometheus::series))
        .routes(routes!(prometheus::labels))
        .routes(routes!(prometheus::label_values))
        .routes(routes!(prometheus::exemplars))
        .routes(routes!(prometheus::build_info))
        .routes(routes!(prometheus::targets))
        .routes(routes!(prometheus::metadata))
        .routes(routes!(alerts::rules))
        .routes(routes!(alerts::alerts))
        .routes(routes!(alerts::history))
        .routes(routes!(alerts::notifications))
        .routes(routes!(alerts::silences, alerts::silence))
        .routes(routes!(alerts::expire))
        .routes(routes!(alerts::test))
}

/// What takes bodies from whoever sends them, so only small ones.
fn open_routes() -> OpenApiRouter<Shared> {
    let limit = DefaultBodyLimit::max(mesh::REQUEST_BYTES_MAX);
    OpenApiRouter::new()
        .routes(routes!(mesh::issue))
        .routes(routes!(session::open, session::show, session::close))
        .layer(limit)
}

/// The OpenAPI document of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "server",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
async fn document() -> impl IntoResponse {
    static DOCUMENT: LazyLock<Bytes> =
        LazyLock::new(|| Bytes::from(serde_json::to_vec(&openapi()).expect("the document is JSON")));
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

/// The whole API as one service, and the console, which is no part of it.
pub(crate) fn router(shared: Shared) -> Router {
    let (router, _document) = routes().split_for_parts();
    router
        .merge(console::routes())
        .fallback(|uri: axum::http::Uri| async move {
            ApiError::new(Code::NotFound, format!("nothing at {}: /openapi.json lists what there is", uri.path()))
        })
        .method_not_allowed_fallback(|method: axum::http::Method, uri: axum::http::Uri| async move {
            ApiError::new(Code::MethodNotAllowed, format!("{method} is not for {}", uri.path()))
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(shared.clone(), access::demand))
        .layer(middleware::from_fn_with_state(shared.access.is_loopback(), guard::guard))
        .with_state(shared)
}
