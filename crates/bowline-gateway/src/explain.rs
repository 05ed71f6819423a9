//! What would become of a request: which route, what it demands, whom it would reach.

use std::{net::IpAddr, sync::Arc};

use bowline_model::{
    Health,
    gateway::Quota,
    mesh::MeshDemands,
    policy::CallPolicy,
    route::{Backend, Route},
};
use bowline_proxy::{LookedUp, Refusal};
use bowline_resilience::breaker::State;
use bowline_upstream::{InstanceStatus, Upstream};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header::HOST};
use serde::Serialize;

use crate::{
    chain::{Chain, Examined},
    serving::Current,
};

/// A request that is asked about, and not sent.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its method.
    pub method: Method,
    /// Its URL, `http://shop.localhost/orders/1`; of an URL without a host, `Host` says which.
    pub url: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// The address it would come from; limits by address count it.
    pub client: Option<IpAddr>,
}

/// What would become of a request.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The route it takes; none where no route has it.
    pub route: Option<String>,
    /// The service it goes to: of several, the one with the greatest weight.
    pub service: Option<String>,
    /// What the gateway answers itself; none: the service answers.
    pub status: Option<u16>,
    /// Why, as in `x-bowline-reason`; none where the service answers, or a preflight is answered.
    pub reason: Option<String>,
    /// The same for people.
    pub detail: Option<String>,
    /// Whether it is a preflight of the CORS protocol that the route answers.
    pub is_preflight: bool,
    /// What the listener demands of every request.
    pub listener: Demands,
    /// How the route tells who calls; none: it does not ask.
    pub auth: Option<AuthState>,
    /// How often the route may be asked; none: without limit.
    pub limit: Option<LimitState>,
    /// What is done to the request and its answer, in the order that the request passes.
    pub middleware: Vec<String>,
    /// The largest body, in bytes.
    pub body_max: Option<u64>,
    /// Timeout, retry, breaker and balance.
    pub policy: Option<CallPolicy>,
    /// What the sidecars of the mesh demand of whoever calls; none: there is no mesh.
    pub mesh: Option<MeshDemands>,
    /// Where it may go.
    pub backends: Vec<BackendState>,
}

/// What the listener demands.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Demands {
    /// How it tells who calls.
    pub auth: Option<AuthState>,
    /// How often it may be asked.
    pub limit: Option<LimitState>,
}

/// How somebody is told, and who this one is.
#[derive(Debug, Clone, Serialize)]
pub struct AuthState {
    /// The provider.
    pub provider: String,
    /// `jwt`, `api_key`.
    pub kind: String,
    /// Who it is; none where that is not known.
    pub subject: Option<String>,
    /// Why this one is refused.
    pub refused: Option<String>,
}

/// A limit, and what this caller has left of it.
#[derive(Debug, Clone, Serialize)]
pub struct LimitState {
    /// `100/s, burst 200, by subject`; `100 in 1m, by subject`.
    pub policy: String,
    /// `address`, `subject`, `header:NAME`.
    pub by: String,
    /// `100/s`; none of a window.
    pub rate: Option<String>,
    /// How many at once; none of a window.
    pub burst: Option<u32>,
    /// `100 in 1m`; none of a pace.
    pub window: Option<String>,
    /// How many this caller may ask now, the request that is asked about included; none where the request
    /// does not come so far, or is not counted.
    pub remaining: Option<u32>,
    /// Until this one would be let through, in milliseconds; none where it is.
    pub retry_after_ms: Option<u64>,
}

/// A backend, and who serves it.
#[derive(Debug, Clone, Serialize)]
pub struct BackendState {
    /// The service.
    pub service: String,
    /// Its share beside the other backends.
    pub weight: u32,
    /// Its instances, as this gateway knows them.
    pub instances: Vec<InstanceState>,
}

/// An instance, and what this gateway knows of it.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceState {
    /// Its id.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// `healthy`, `unhealthy`, `draining`.
    pub health: String,
    /// `closed`, `open`, `half_open`; none where the route has no breaker.
    pub breaker: Option<String>,
    /// Why it is left out for a while: `consecutive`, `failure_rate`, `success_rate`; none where it is not.
    pub ejected: Option<String>,
    /// Requests in flight from here.
    pub in_flight: u64,
    /// Whether the request may go there.
    pub is_candidate: bool,
}

/// Why a backend takes no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    NoInstance,
    BreakerOpen,
}

pub(crate) async fn explain(current: &Current, mesh: Option<MeshDemands>, ask: Ask) -> Explanation {
    let client = ask.client;
    let mut head = head(ask);
    let LookedUp { found, refusal } = current.snapshot.look_up(&mut head);
    let is_preflight = found.as_ref().is_some_and(|found| found.is_preflight);
    let listener = &current.chains.listener;
    let at_door = listener.examine(&head.headers, client, is_preflight, None).await;
    let demands = Demands { auth: auth_state(listener, &at_door), limit: limit_state(listener, &at_door) };
    let Some(found) = found else {
        return Explanation { listener: demands, mesh, ..refused(at_door.refusal.or(refusal)) };
    };
    let (route, chain) = (&current.table.routes[found.route], &current.chains.routes[found.route]);
    let upstreams = &current.upstreams[found.route];
    let refusal = at_door.refusal.or(refusal);
    let inside = if refusal.is_none() {
        chain.examine(&head.headers, client, is_preflight, at_door.identity).await
    } else {
        // It does not come so far.
        Examined { identity: at_door.identity, ..Examined::default() }
    };
    let (auth, limit) = (auth_state(chain, &inside), limit_state(chain, &inside));
    let refusal = refusal.or(inside.refusal);
    let refusal = if refusal.is_none() && !is_preflight { away(route, upstreams) } else { refusal };
    let answered = if is_preflight && refusal.is_none() { Some(204) } else { None };
    let Explanation { status, reason, detail, .. } = refused(refusal);
    let heaviest = route.backends.iter().rev().max_by_key(|backend| backend.weight);
    Explanation {
        route: Some(route.name.clone()),
        service: heaviest.map(|backend| backend.service.to_string()),
        status: status.or(answered),
        reason,
        detail,
        is_preflight,
        listener: demands,
        auth,
        limit,
        middleware: chain.middleware.iter().map(|each| each.name().to_owned()).collect(),
        body_max: Some(route.body_max),
        policy: Some(route.policy.clone()),
        mesh,
        backends: route
            .backends
            .iter()
            .zip(upstreams)
            .map(|(backend, upstream)| backend_state(backend, upstream))
            .collect(),
    }
}

/// The head of the request, as it would come in over HTTP/1.1.
fn head(ask: Ask) -> http::request::Parts {
    let Ask { method, url, headers, client: _ } = ask;
    let (mut head, ()) = Request::new(()).into_parts();
    let host = url.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    (head.method, head.uri, head.headers, head.version) = (method, url, headers, Version::HTTP_11);
    if let Some(Ok(host)) = host {
        head.headers.insert(HOST, host);
    }
    head
}

/// An explanation of a refusal, if it is one, and nothing else.
fn refused(refusal: Option<Box<Refusal>>) -> Explanation {
    let (status, reason, detail) = match refusal {
        Some(refusal) => (Some(refusal.code.http_status()), Some(refusal.reason.to_owned()), Some(refusal.detail)),
        None => (None, None, None),
    };
    Explanation {
        route: None,
        service: None,
        status,
        reason,
        detail,
        is_preflight: false,
        listener: Demands::default(),
        auth: None,
        limit: None,
        middleware: Vec::new(),
        body_max: None,
        policy: None,
        mesh: None,
        backends: Vec::new(),
    }
}

fn auth_state(chain: &Chain, examined: &Examined) -> Option<AuthState> {
    let auth = chain.auth.as_ref()?;
    let identity = examined.identity.as_ref().filter(|identity| identity.provider() == auth.provider());
    // A limit refuses only those who are known.
    let refusal = examined.refusal.as_ref().filter(|_| identity.is_none() && examined.decision.is_none());
    Some(AuthState {
        provider: auth.provider().to_owned(),
        kind: auth.kind().to_owned(),
        subject: identity.map(|identity| identity.subject().to_owned()),
        refused: refusal.map(|refusal| refusal.detail.clone()),
    })
}

fn limit_state(chain: &Chain, examined: &Examined) -> Option<LimitState> {
    let policy = chain.limit.as_ref()?.policy();
    let decision = examined.decision;
    let wait = decision.filter(|decision| !decision.is_allowed).map(|decision| decision.retry_after);
    let (rate, burst, window) = match policy.quota {
        Quota::Pace { rate, burst } => (Some(rate.to_string()), Some(burst), None),
        Quota::Window(window) => (None, None, Some(window.to_string())),
    };
    Some(LimitState {
        policy: policy.to_string(),
        by: policy.by.to_string(),
        rate,
        burst,
        window,
        remaining: decision.map(|decision| decision.remaining),
        retry_after_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// Why no backend would take the request, where that is the same whichever is picked.
fn away(route: &Route, upstreams: &[Arc<Upstream>]) -> Option<Box<Refusal>> {
    let weighted = route.backends.iter().zip(upstreams).filter(|(backend, _)| backend.weight > 0);
    let mut found = None;
    for (backend, upstream) in weighted {
        let instances = upstream.instances();
        let away = match candidates(&instances) {
            health if instances.iter().all(|each| Some(each.instance.health) != health) => Away::NoInstance,
            health if instances.iter().all(|each| !is_candidate(each, health)) => Away::BreakerOpen,
            _ => return None,
        };
        if found.is_some_and(|(_, other)| other != away) {
            return None;
        }
        found = found.or(Some((backend, away)));
    }
    let (backend, away) = found?;
    let service = backend.service.clone();
    let error = match away {
        Away::NoInstance => bowline_upstream::Error::NoInstance { service },
        Away::BreakerOpen => bowline_upstream::Error::BreakerOpen { service, retry_after: None },
    };
    Some(Box::new(Refusal::new(error.code(), error.reason(), error.to_string())))
}

/// The health of those that are picked from: the healthy, or, where there is none, the unhealthy.
fn candidates(instances: &[InstanceStatus]) -> Option<Health> {
    let has = |health| instances.iter().any(|each| each.instance.health == health);
    [Health::Healthy, Health::Unhealthy].into_iter().find(|health| has(*health))
}

fn is_candidate(each: &InstanceStatus, health: Option<Health>) -> bool {
    let is_open = matches!(each.breaker, Some(State::Open | State::ForcedOpen));
    Some(each.instance.health) == health && !is_open && each.ejected.is_none()
}

fn backend_state(backend: &Backend, upstream: &Upstream) -> BackendState {
    let instances = upstream.instances();
    let health = candidates(&instances);
    let state = |each: &InstanceStatus| InstanceState {
        id: each.instance.id.to_string(),
        address: each.instance.address.to_string(),
        health: each.instance.health.as_str().to_owned(),
        breaker: each.breaker.map(|state| state.as_str().to_owned()),
        ejected: each.ejected.map(|why| why.as_str().to_owned()),
        in_flight: each.in_flight,
        is_candidate: backend.weight > 0 && is_candidate(each, health),
    };
    BackendState {
        service: backend.service.to_string(),
        weight: backend.weight,
        instances: instances.iter().map(state).collect(),
    }
}
