//! A stand-in for a Bowline server: registry and spans in memory, without leases.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use bowline_model::{ConfigKey, Instance, InstanceId, ServiceName};
use bowline_provider_remote::wire::{
    CertificateRequest, ConfigEvent, Heartbeat, HeartbeatAnswers, HeartbeatBatch, InstanceList, IssuedCertificate,
    Registered, Registration, SpanBatch, WatchEvent,
};
use bowline_runtime::{net, task};
use bowline_telemetry::SpanData;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use crate::{mesh::Authority, support::BOUND};

/// The stand-in. Dropping it closes its port and its connections.
pub(crate) struct Api {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    _accepting: task::Guarded<()>,
}

struct Shared {
    state: Mutex<Inner>,
    revision: watch::Sender<u64>,
    /// Goodbyes are answered when there is a permit.
    goodbyes: Semaphore,
    /// What is said of snapshots; none: nothing is said. There are no other documents.
    snapshot: watch::Sender<Option<ConfigEvent>>,
}

#[derive(Default)]
struct Inner {
    instances: Vec<Instance>,
    /// All changes; that of revision `n` stands at `n - 1`.
    events: Vec<WatchEvent>,
    spans: Vec<SpanData>,
    heartbeats: usize,
    /// Who gives certificates; nobody does without.
    authority: Option<Arc<Authority>>,
    /// Watches opened, by service.
    watched: Vec<String>,
}

#[derive(Deserialize)]
struct ListQuery {
    service: Option<String>,
    #[serde(default)]
    watch: bool,
    from: Option<u64>,
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// The port is free, or is about to be.
    pub(crate) async fn start_at(addr: SocketAddr) -> Self {
        let bind = || net::listen(addr).ok();
        let listener = bowline_testkit::eventually_some(BOUND, bind).await;
        let addr = listener.local_addr().unwrap();
        let (revision, goodbyes) = (watch::Sender::new(0), Semaphore::new(Semaphore::MAX_PERMITS));
        let snapshot = watch::Sender::new(Some(ConfigEvent::Absent));
        let shared = Arc::new(Shared { state: Mutex::default(), revision, goodbyes, snapshot });
        let router = Router::new()
            .route("/v1/instances", get(list))
            .route("/v1/instances/{id}", put(register).delete(deregister))
            .route("/v1/heartbeats", post(heartbeats))
            .route("/v1/spans", post(take_spans))
            .route("/v1/mesh/certificates", post(certify))
            .route("/v1/config/{namespace}/{name}", get(watch_document))
            .with_state(shared.clone());
        let accepting = task::spawn(async move {
            // Of its own, so that connections end with it.
            let mut connections = task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let stream = hyper_util::rt::TokioIo::new(stream);
                connections.spawn(async move {
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                        .serve_connection(stream, service)
                        .await
                        .ok();
                });
            }
        });
        Self { addr, shared, _accepting: task::Guarded::new(accepting) }
    }

    fn state(&self) -> MutexGuard<'_, Inner> {
        self.shared.state.lock().unwrap()
    }

    pub(crate) fn register(&self, instance: Instance) {
        self.shared.put(instance);
    }

    /// Forgets an instance, as a lease that ends.
    pub(crate) fn forget(&self, id: &str) {
        assert!(self.shared.delete(&InstanceId::new(id).unwrap()), "{id} is registered");
    }

    pub(crate) fn instances(&self) -> Vec<Instance> {
        self.state().instances.clone()
    }

    /// Gives certificates from now on.
    pub(crate) fn certify_by(&self, authority: &Arc<Authority>) {
        self.state().authority = Some(authority.clone());
    }

    /// Whether anybody was registered, ever.
    pub(crate) fn was_registered_at(&self) -> bool {
        !self.state().events.is_empty()
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.state().instances.iter().any(|instance| instance.id.as_str() == id)
    }

    pub(crate) fn heartbeat_count(&self) -> usize {
        self.state().heartbeats
    }

    pub(crate) fn is_watched(&self, service: &str) -> bool {
        self.state().watched.iter().any(|watched| watched == service)
    }

    /// Lets deregistrations wait until [`Api::answer_goodbyes`].
    pub(crate) fn hold_goodbyes(&self) {
        self.shared.goodbyes.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn answer_goodbyes(&self) {
        self.shared.goodbyes.add_permits(1);
    }

    /// What is said from now on of snapshots; none: nothing is said.
    pub(crate) fn tell_snapshot(&self, event: Option<ConfigEvent>) {
        self.shared.snapshot.send_replace(event);
    }

    pub(crate) fn has_span(&self, name: &str) -> bool {
        self.state().spans.iter().any(|span| span.name == name)
    }

    /// Waits for a span of that name.
    pub(crate) async fn span(&self, name: &str) -> SpanData {
        let find = || self.state().spans.iter().find(|span| span.name == name).cloned();
        bowline_testkit::eventually_some(BOUND, find).await
    }

    /// The spans that have come, in that order.
    pub(crate) fn spans(&self) -> Vec<SpanData> {
        self.state().spans.clone()
    }
}

impl Shared {
    fn change(&self, event: impl FnOnce(&mut Inner, u64) -> WatchEvent) -> u64 {
        let mut state = self.state.lock().unwrap();
        let revision = state.events.len() as u64 + 1;
        let event = event(&mut state, revision);
        state.events.push(event);
        drop(state);
        self.revision.send_replace(revision);
        revision
    }

    fn put(&self, instance: Instance) -> u64 {
        self.change(|state, revision| {
            state.instances.retain(|known| known.id != instance.id);
            state.instances.push(instance.clone());
            state.instances.sort_by(|a, b| a.id.cmp(&b.id));
            WatchEvent::Put { revision, instance }
        })
    }

    fn delete(&self, id: &InstanceId) -> bool {
        let found = self.state.lock().unwrap().instances.iter().find(|instance| instance.id == *id).cloned();
        let Some(Instance { id, service, .. }) = found else { return false };
        self.change(|state, revision| {
            state.instances.retain(|known| known.id != id);
            WatchEvent::Delete { revision, id, service }
        });
        true
    }

    /// The first event after a revision that concerns the service.
    fn after(&self, from: u64, service: Option<&ServiceName>) -> Option<(u64, WatchEvent)> {
        let state = self.state.lock().unwrap();
        let later = state.events.iter().enumerate().skip(usize::try_from(from).unwrap());
        let mut matching = later.filter(|(_, event)| {
            let of = match event {
                WatchEvent::Put { instance, .. } => &instance.service,
                WatchEvent::Delete { service, .. } => service,
                WatchEvent::Bookmark { .. } | WatchEvent::Error { .. } => return true,
            };
            service.is_none_or(|service| service == of)
        });
        matching.next().map(|(at, event)| (at as u64 + 1, event.clone()))
    }
}

type Shares = State<Arc<Shared>>;

async fn list(State(shared): Shares, Query(query): Query<ListQuery>) -> Response {
    let service = query.service.map(|name| ServiceName::new(&name).unwrap());
    if query.watch {
        let watched = service.as_ref().map_or_else(String::new, ToString::to_string);
        shared.state.lock().unwrap().watched.push(watched);
        return watch_from(shared, service, query.from.unwrap()).into_response();
    }
    let state = shared.state.lock().unwrap();
    let mut instances = state.instances.clone();
    instances.retain(|instance| service.as_ref().is_none_or(|service| *service == instance.service));
    let (revision, history) = (state.events.len() as u64, Some("00000000000000aa".to_owned()));
    Json(InstanceList { revision, history, instances, more: false }).into_response()
}

fn watch_from(shared: Arc<Shared>, service: Option<ServiceName>, from: u64) -> Body {
    let changed = shared.revision.subscribe();
    Body::from_stream(stream::unfold(
        (shared, service, from, changed),
        |(shared, service, from, mut changed)| async move {
            loop {
                if let Some((at, event)) = shared.after(from, service.as_ref()) {
                    let mut line = serde_json::to_vec(&event).unwrap();
                    line.push(b'\n');
                    return Some((Ok::<_, Infallible>(Bytes::from(line)), (shared, service, at, changed)));
                }
                changed.changed().await.ok()?;
            }
        },
    ))
}

async fn watch_document(State(shared): Shares, Path((namespace, _)): Path<(String, String)>) -> Body {
    let of_others = watch::Sender::new(Some(ConfigEvent::Absent)).subscribe();
    let mut document =
        if namespace == ConfigKey::SNAPSHOT_NAMESPACES[0] { shared.snapshot.subscribe() } else { of_others };
    document.mark_changed();
    Body::from_stream(stream::unfold(document, |mut document| async move {
        let event = loop {
            if document.changed().await.is_err() {
                // It says nothing more, and is not ended for that.
                std::future::pending::<()>().await;
            }
            if let Some(event) = document.borrow_and_update().clone() {
                break event;
            }
        };
        let mut line = serde_json::to_vec(&event).unwrap();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), document))
    }))
}

async fn register(State(shared): Shares, Path(id): Path<String>, Json(body): Json<Registration>) -> Json<Registered> {
    let (instance, ttl) = body.into_instance(InstanceId::new(&id).unwrap());
    assert!(ttl.is_some(), "a process that may die has a lease");
    Json(Registered { revision: shared.put(instance) })
}

async fn deregister(State(shared): Shares, Path(id): Path<String>) -> StatusCode {
    shared.goodbyes.acquire().await.unwrap().forget();
    shared.goodbyes.add_permits(1);
    if shared.delete(&InstanceId::new(&id).unwrap()) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn heartbeats(State(shared): Shares, Json(batch): Json<HeartbeatBatch>) -> Json<HeartbeatAnswers> {
    let mut state = shared.state.lock().unwrap();
    state.heartbeats += 1;
    let answer = |id: InstanceId| {
        let known = state.instances.iter().any(|instance| instance.id == id);
        Heartbeat { id, known, ttl: None }
    };
    Json(HeartbeatAnswers { answers: batch.ids.into_iter().map(answer).collect() })
}

async fn take_spans(State(shared): Shares, Json(batch): Json<SpanBatch>) -> StatusCode {
    shared.state.lock().unwrap().spans.extend(batch.spans);
    StatusCode::NO_CONTENT
}

async fn certify(State(shared): Shares, Json(request): Json<CertificateRequest>) -> Result<Response, StatusCode> {
    let authority = shared.state.lock().unwrap().authority.clone().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let issued = authority.certify(&request.workload, &request.csr.0);
    Ok(Json(IssuedCertificate::from(issued)).into_response())
}
