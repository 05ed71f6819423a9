//! Sagas of all services: they live in the services' own databases, so an instance of each is asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use bowline_model::{Code, Health, Instance, ServiceName};
use bowline_provider_remote::{
    encode,
    wire::{self, AuditClass, ChangeKind},
};
use bowline_registry::Registry;
use bowline_runtime::time::{self, Duration};
use bowline_transport::{Body, SharedPool, problem::Problem, send};
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;

use crate::{api::Shared, collect::Dial, error::ApiError};

/// How long one instance may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// The most bytes of its answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How many instances of a service are asked, one after the other, until one answers.
const ASKED_MAX: usize = 3;
/// How many services are asked at once.
const AT_ONCE: usize = 16;

/// How far a saga may be.
const PHASES: [&str; 5] = ["acting", "undoing", "stuck", "done", "compensated"];

/// How instances are asked: as they are scraped.
pub(crate) struct Asking {
    pub(crate) pool: SharedPool,
    pub(crate) dial: Dial,
}

/// There once the node collects.
pub(crate) type Slot = Arc<OnceLock<Asking>>;

/// What came of a question to a service.
enum Asked<T> {
    Answer(T),
    /// It has no sagas.
    None,
    /// It does not do that: another instance would say the same.
    Refused(Box<Problem>),
    /// No instance answered as it should; why the last one did not.
    Failed(String),
}

/// Sagas of all services, or of one, the youngest first.
///
/// An instance of each service is asked. Services that do not answer are named. What happened to each is not listed.
#[utoipa::path(get, path = "/v1/sagas", tag = "sagas", params(wire::SagasQuery),
    responses((status = 200, body = wire::SagaList), (status = 400, description = "a parameter cannot be read")))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    query: Result<Query<wire::SagasQuery>, QueryRejection>,
) -> Result<Json<wire::SagaList>, ApiError> {
    let Query(query) = query?;
    if query.phase.as_deref().is_some_and(|phase| !PHASES.contains(&phase)) {
        let detail = format!("phase: it is one of {}", PHASES.join(", "));
        return Err(ApiError::new(Code::InvalidArgument, detail));
    }
    let wanted = query.service.as_deref().map(ServiceName::new).transpose()?;
    let services = instances(&*shared.registry, wanted).await?;
    let inner = wire::SagasQuery { service: None, ..query };
    let target = inner.on("/-/bowline/sagas");
    let asked = services.into_iter().map(|(service, instances)| {
        let (shared, target) = (shared.clone(), target.clone());
        async move { (ask::<wire::SagaList>(&shared, instances, &Method::GET, &target).await, service) }
    });
    let mut asked = stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut all = wire::SagaList { sagas: Vec::new(), missing: Vec::new() };
    while let Some((asked, service)) = asked.next().await {
        match asked {
            Asked::Answer(list) => {
                let of_it = |saga| wire::Saga { service: Some(service.clone()), ..saga };
                all.sagas.extend(list.sagas.into_iter().map(of_it));
            }
            Asked::None => {}
            Asked::Refused(_) | Asked::Failed(_) => all.missing.push(service),
        }
    }
    all.sagas.sort_by(|one, other| (other.begun_ms, &other.id).cmp(&(one.begun_ms, &one.id)));
    all.missing.sort();
    Ok(Json(all))
}

/// One saga, with what happened to it.
#[utoipa::path(get, path = "/v1/sagas/{service}/{id}", tag = "sagas",
    params(("service" = String, Path, description = "whose it is"), ("id" = String, Path, description = "its id")),
    responses((status = 200, body = wire::Saga), (status = 404, description = "there is no such saga, or the service has none"),
        (status = 503, description = "no instance of the service answers")))]
pub(crate) async fn one(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<wire::Saga>, ApiError> {
    let Path((service, id)) = path?;
    let service = ServiceName::new(&service)?;
    let target = format!("/-/bowline/sagas/{}", encode(&id));
    let saga: wire::Saga = ask_service(&shared, &service, &id, &Method::GET, &target).await?;
    Ok(Json(wire::Saga { service: Some(service), ..saga }))
}

/// Has a saga that waits, as one that is stuck does, be tried at once.
#[utoipa::path(post, path = "/v1/sagas/{service}/{id}/retry", tag = "sagas",
    params(("service" = String, Path, description = "whose it is"), ("id" = String, Path, description = "its id")),
    responses((status = 200, body = wire::SagaRetried), (status = 404, description = "there is no such saga, or the service has none"),
        (status = 503, description = "no instance of the service answers")))]
pub(crate) async fn retry(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<wire::SagaRetried>, ApiError> {
    let Path((service, id)) = path?;
    let service = ServiceName::new(&service)?;
    // Before it happens: what is tried may move money.
    let key = format!("sagas/{service}/{id}");
    let recorded = shared.audit.record_elsewhere(AuditClass::Other, ChangeKind::Put, key).await;
    recorded.map_err(|error| ApiError::of(error.code(), &error))?;
    let target = format!("/-/bowline/sagas/{}/retry", encode(&id));
    ask_service(&shared, &service, &id, &Method::POST, &target).await.map(Json)
}

/// Asks a service about a saga.
async fn ask_service<T: DeserializeOwned>(
    shared: &Shared,
    service: &ServiceName,
    id: &str,
    method: &Method,
    target: &str,
) -> Result<T, ApiError> {
    let instances = instances(&*shared.registry, Some(service.clone())).await?.remove(service).unwrap_or_default();
    match ask(shared, instances, method, target).await {
        Asked::Answer(answer) => Ok(answer),
        Asked::None => Err(ApiError::new(Code::NotFound, format!("{service} has no saga `{id}`"))),
        Asked::Refused(problem) => Err(ApiError::new(problem.code, problem.detail)),
        Asked::Failed(why) => Err(ApiError::new(Code::Unavailable, format!("{service} was not asked: {why}"))),
    }
}

/// The instances of each service that has some, or of one service.
async fn instances(
    registry: &dyn Registry,
    service: Option<ServiceName>,
) -> Result<BTreeMap<ServiceName, Vec<Instance>>, ApiError> {
    let mut all: BTreeMap<_, Vec<_>> = service.iter().map(|service| (service.clone(), Vec::new())).collect();
    let query = bowline_registry::Query { service, ..bowline_registry::Query::default() };
    for instance in registry.discover(&query).await?.instances {
        all.entry(instance.service.clone()).or_default().push(instance);
    }
    Ok(all)
}

/// Asks instances of a service, the healthy ones first, until one answers.
async fn ask<T: DeserializeOwned>(
    shared: &Shared,
    mut instances: Vec<Instance>,
    method: &Method,
    target: &str,
) -> Asked<T> {
    let Some(asking) = shared.asking.get() else {
        return Asked::Failed("this Bowline asks no instances".to_owned());
    };
    instances.sort_by_key(|instance| instance.health != Health::Healthy);
    let mut why = "no instance of it is registered".to_owned();
    for instance in instances.iter().take(ASKED_MAX) {
        let asked = time::timeout(ANSWER_MAX, ask_one(asking, instance, method, target)).await;
        match asked.unwrap_or_else(|_| Asked::Failed(format!("{} does not answer", instance.id))) {
            Asked::Failed(reason) => why = reason,
            asked => return asked,
        }
    }
    Asked::Failed(why)
}

async fn ask_one<T: DeserializeOwned>(asking: &Asking, instance: &Instance, method: &Method, target: &str) -> Asked<T> {
    let failed = |why: &dyn std::fmt::Display| Asked::Failed(format!("{}: {why}", instance.id));
    let request = Request::builder().method(method.clone()).uri(target);
    let request = request.header(header::HOST, instance.service.as_str()).body(Body::empty());
    let Ok(request) = request else { return failed(&"the id is no part of a path") };
    let answered = match send(&asking.pool, &(asking.dial)(instance), request).await {
        Ok(answered) => answered,
        Err(error) => return failed(&error),
    };
    let (head, body) = answered.into_parts();
    let body = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failed(&error),
    };
    match head.status {
        // Either it has no such saga, or none at all.
        StatusCode::NOT_FOUND => Asked::None,
        status if status.is_success() => match serde_json::from_slice(&body) {
            Ok(answer) => Asked::Answer(answer),
            Err(_) => failed(&"its answer cannot be read"),
        },
        status => match Problem::parse(status, &head.headers, &body) {
            Some(problem) if status.is_client_error() => Asked::Refused(Box::new(problem)),
            Some(problem) => failed(&problem.detail),
            None => failed(&status),
        },
    }
}
