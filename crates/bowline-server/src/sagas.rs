//! Sagas of all services: they live in the services' own databases, so an instance of each is asked.

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
use futures_util::{StreamExt as _, stream};
use http::Method;
use serde::de::DeserializeOwned;

use crate::{
    api::Shared,
    ask::{self, Asked, instances},
    error::ApiError,
};

/// How many instances of a service are asked, one after the other, until one answers.
const ASKED_MAX: usize = 3;
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How many services are asked at once.
const AT_ONCE: usize = 16;
/// How far a saga may be.
const PHASES: [&str; 5] = ["acting", "undoing", "stuck", "done", "compensated"];

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
        async move { (ask_any::<wire::SagaList>(&shared, instances, &Method::GET, &target).await, service) }
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
            Asked::Refused(_) | Asked::Foreign(_) | Asked::Failed(_) => all.missing.push(service),
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
    match ask_any(shared, instances, method, target).await {
        Asked::Answer(answer) => Ok(answer),
        Asked::None => Err(ApiError::new(Code::NotFound, format!("{service} has no saga `{id}`"))),
        Asked::Refused(problem) => Err(ApiError::new(problem.code, problem.detail)),
        Asked::Foreign(why) | Asked::Failed(why) => {
            Err(ApiError::new(Code::Unavailable, format!("{service} was not asked: {why}")))
        }
    }
}

/// Asks instances of a service, the healthy ones first, until one answers.
async fn ask_any<T: DeserializeOwned>(
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
        match ask::ask(asking, instance, method, target, ANSWER_BYTES_MAX).await {
            Asked::Foreign(reason) | Asked::Failed(reason) => why = reason,
            asked => return asked,
        }
    }
    Asked::Failed(why)
}
