//! The declared system: what its file says that everybody may know.

use axum::{Json, extract::State};
use bowline_model::{
    System,
    route::{Route, RouteMatch},
    system::{Boundary, Call, Listener, Service},
};
use bowline_provider_remote::wire;

use crate::api::Shared;

/// What the system's file declares: services with what they own and whom they call, and routes.
///
/// Commands and environments are not told. Where this Bowline was told of no system, all lists are empty.
#[utoipa::path(get, path = "/v1/system", tag = "server", responses((status = 200, body = wire::DeclaredSystem)))]
pub(crate) async fn system(State(shared): State<Shared>) -> Json<wire::DeclaredSystem> {
    Json(wire::DeclaredSystem::clone(&shared.system))
}

/// A system as it is told.
pub(crate) fn of_system(system: &System) -> wire::DeclaredSystem {
    wire::DeclaredSystem {
        name: Some(system.name.clone()),
        is_meshed: system.mesh.is_some(),
        services: system.services.iter().map(|service| of_service(system, service)).collect(),
        routes: system.table.routes.iter().map(of_route).collect(),
    }
}

fn of_service(system: &System, service: &Service) -> wire::DeclaredService {
    let Service { name, replicas, run, boundary, calls, listen, version, versions, .. } = service;
    let listener = |Listener { name, addr }: &Listener| format!("{name} {addr}");
    wire::DeclaredService {
        name: name.clone(),
        replicas: *replicas,
        is_run: run.is_some(),
        version: version.clone(),
        versions: versions.iter().map(|version| version.name.clone()).collect(),
        boundary: of_boundary(boundary),
        calls: calls.iter().map(of_call).collect(),
        is_meshed: system.mesh.is_some() && run.is_some(),
        listen: listen.iter().map(listener).collect(),
        rollout: (run.is_some() && !version.is_empty()).then(|| system.plan(name)),
    }
}

fn of_boundary(Boundary { api, data, state }: &Boundary) -> wire::DeclaredBoundary {
    wire::DeclaredBoundary { api: texts(api), data: texts(data), state: texts(state) }
}

fn of_call(call: &Call) -> wire::DeclaredCall {
    let Call { target, position: _, mode, policy, timeout_position: _, operations, topics } = call;
    let topics = topics.iter().map(|topic| topic.name.clone()).collect();
    let (service, operations) = (target.clone(), texts(operations));
    wire::DeclaredCall { service, mode: *mode, policy: policy.clone(), operations, topics }
}

fn of_route(route: &Route) -> wire::DeclaredRoute {
    let Route { name, hosts, matches, backends, auth, .. } = route;
    wire::DeclaredRoute {
        name: name.clone(),
        hosts: hosts.iter().cloned().map(String::from).collect(),
        matches: matches.iter().map(of_match).collect(),
        services: backends.iter().map(|backend| backend.service.clone()).collect(),
        auth: auth.clone(),
    }
}

/// Without the headers it demands, whose values may be nobody's business.
fn of_match(RouteMatch { path, methods, headers: _ }: &RouteMatch) -> String {
    if methods.is_empty() { path.to_string() } else { format!("{} {path}", methods.join("|")) }
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}
