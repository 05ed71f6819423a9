//! `GET /v1/health`: how services are, why, and how their instances became so.

use std::collections::HashSet;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use bowline_model::{Code, InstanceId, ServiceName};
use bowline_observe::{
    graph::Mode,
    health::{Counts, Edge, Own, Rolled, Verdict},
};
use bowline_provider_remote::wire::{
    HealthList, HealthState, InstanceHealth, OwnHealth, RolledHealth, ServiceHealth, ServiceHealthDetail,
};

use bowline_runtime::{task, time::Duration};

use super::recorder::Standing;
use crate::{api::Shared, error::ApiError};

/// How far back calls are looked for that nobody declared.
const OBSERVED: Duration = Duration::from_mins(15);

/// How every service is: by its own instances, and by those whom it calls.
///
/// A service is unhealthy when none of its instances takes requests. Who calls it and waits for the answer is
/// degraded at best, directly or through others.
#[utoipa::path(get, path = "/v1/health", tag = "health", responses((status = 200, body = HealthList)))]
pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<HealthList>, ApiError> {
    let standing = &shared.standing;
    loaded(standing).await?;
    let verdicts = standing.verdicts(None, &observed(&shared).await);
    let services = verdicts.into_iter().map(|(name, (counts, verdict))| wire_of(name, counts, verdict)).collect();
    Ok(Json(HealthList { services }))
}

/// How a service is, with its instances and the last changes of their health.
#[utoipa::path(get, path = "/v1/health/{service}", tag = "health",
    params(("service" = String, Path, description = "the service")),
    responses((status = 200, body = ServiceHealthDetail), (status = 404, description = "nothing is known of it")))]
pub(crate) async fn one(
    State(shared): State<Shared>,
    service: Result<Path<String>, PathRejection>,
) -> Result<Json<ServiceHealthDetail>, ApiError> {
    let Path(service) = service?;
    let service = ServiceName::new(&service)?;
    let standing = &shared.standing;
    loaded(standing).await?;
    let instances = instances(standing, &service);
    let transitions = standing.lock().transitions(&service);
    if instances.is_empty() && transitions.is_empty() && !standing.is_declared(&service) {
        let detail = format!(
            "nothing is known of a service `{service}`: it never had an instance, and none of it is declared to run"
        );
        return Err(ApiError::new(Code::NotFound, detail));
    }
    let (counts, verdict) =
        standing.verdicts(Some(&service), &observed(&shared).await).remove(&service).expect("it was asked for");
    Ok(Json(ServiceHealthDetail { service: wire_of(service, counts, verdict), instances, transitions }))
}

async fn loaded(standing: &Standing) -> Result<(), ApiError> {
    if standing.loaded().await {
        return Ok(());
    }
    Err(ApiError::new(Code::Unavailable, "the registry was not read yet: ask again"))
}

/// Who was seen to call whom, and to wait for the answer.
async fn observed(shared: &Shared) -> Vec<Edge> {
    let graph = shared.graph.clone();
    let seen = task::spawn_blocking(move || graph.snapshot(OBSERVED)).await;
    let calls = seen.unwrap_or_default().edges.into_iter().filter(|edge| edge.mode == Mode::Sync);
    let names = calls.filter_map(|edge| ServiceName::new(&edge.caller).ok().zip(ServiceName::new(&edge.callee).ok()));
    names.collect()
}

/// The instances that are registered, and those that are probed before they are.
fn instances(standing: &Standing, service: &ServiceName) -> Vec<InstanceHealth> {
    let of = |id: InstanceId, health, since_unix_ms| {
        let last_probe = standing.probes.last(&id);
        InstanceHealth { id, health, since_unix_ms, last_probe }
    };
    let registered: Vec<_> = {
        let log = standing.lock();
        log.instances(service).map(|(id, now)| (id.clone(), now.health, Some(now.since_unix_ms))).collect()
    };
    let known: HashSet<&InstanceId> = registered.iter().map(|(id, ..)| id).collect();
    let is_new = |id: &InstanceId| !known.contains(id);
    let probed: Vec<_> = standing.probes.of(service).into_iter().filter(is_new).collect();
    let registered = registered.iter().cloned().map(|(id, health, since)| of(id, health, since));
    let probed = probed.into_iter().map(|id| of(id, HealthState::Unknown, None));
    let mut all: Vec<_> = registered.chain(probed).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

fn wire_of(name: ServiceName, counts: Counts, verdict: Verdict) -> ServiceHealth {
    let Counts { healthy, unhealthy, draining } = counts;
    let Verdict { own, rolled_up, because } = verdict;
    let own = match own {
        Own::AllHealthy => OwnHealth::AllHealthy,
        Own::SomeUnhealthy => OwnHealth::SomeUnhealthy,
        Own::NoneHealthy => OwnHealth::NoneHealthy,
        Own::NoInstance => OwnHealth::NoInstance,
    };
    let rolled_up = match rolled_up {
        Rolled::Healthy => RolledHealth::Healthy,
        Rolled::Degraded => RolledHealth::Degraded,
        Rolled::Unhealthy => RolledHealth::Unhealthy,
    };
    ServiceHealth { name, own, rolled_up, because, healthy, unhealthy, draining }
}
