//! The way in: from the mesh to the application, which nobody else reaches.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_identity::peer_id;
use bowline_model::{
    Instance, ServiceName,
    mesh::{Mode, Snapshot},
    policy::{CallPolicy, DURATION_MAX},
    route::{Backend, Route},
    system::Outbound,
};
use bowline_proxy::{Engine, Filter, Listener, Peers, Spans, matcher::Matcher};
use bowline_runtime::metric::Registry;
use bowline_transport::server;
use bowline_upstream::Upstream;

use super::{Error, Settings, calls::Calls};
use crate::inbound::{Inbound, Teller};

/// The name of the one route there is.
const ROUTE: &str = "inbound";

/// How long callers that have not heard of a drain may still use their connections: the registry has told
/// them in far less.
const LINGER: Duration = Duration::from_millis(200);

/// What leads to the application.
pub(super) struct Entrance {
    service: ServiceName,
    upstream: Arc<Upstream>,
    reporter: &'static str,
    metrics: Registry,
    /// Tells of the breakers, where the sidecar has some.
    teller: Teller,
}

impl Entrance {
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings { service, instance, app, metrics, .. } = settings;
        // Where the application reports itself, what is counted here must not look like its own.
        let reporter = match settings.outbound {
            Outbound::Sidecar => "server",
            Outbound::Application => "sidecar",
        };
        // The caller picked the instance, bounds the time and retries; here is nothing to choose.
        let policy = CallPolicy { timeout: DURATION_MAX, retry: None, breaker: None, ..CallPolicy::default() };
        let upstream = Upstream::new(service.clone(), policy, reporter, metrics);
        upstream.set_instances(&[Instance::new(instance.clone(), service.clone(), app.clone())]);
        Self { service: service.clone(), upstream, reporter, metrics: metrics.clone(), teller: Teller::default() }
    }

    /// Tells Bowline, from now on, of the breakers of those calls: the application's own are none of those that count.
    pub(super) fn tell_breakers_of(&self, calls: &Arc<Mutex<Calls>>) {
        let calls = Arc::clone(calls);
        self.teller.set(move || calls.lock().unwrap_or_else(PoisonError::into_inner).breakers());
    }

    /// What is served by a snapshot.
    pub(super) fn compile(&self, snapshot: &Snapshot) -> Result<Arc<bowline_proxy::Snapshot>, Error> {
        let filter = Inbound::new(&self.service, snapshot, &self.metrics, self.teller.clone()).map_err(Error::Rule)?;
        let filter: Arc<dyn Filter> = Arc::new(filter);
        let backends = vec![Backend { service: self.service.clone(), weight: 1 }];
        // How much an application takes is its own to say.
        let routes = [Route { body_max: u64::MAX, ..Route::new(ROUTE, backends) }];
        let matcher = Matcher::new(&routes).map_err(Error::Rule)?;
        let upstream_of = |_: &Route, _| Arc::clone(&self.upstream);
        let serving = bowline_proxy::Snapshot::new(matcher, &routes, self.reporter, &self.metrics, upstream_of);
        Ok(Arc::new(serving.with_filters(None, |_| Some(Arc::clone(&filter)))))
    }

    /// Opens the listener.
    pub(super) fn start(&self, settings: &Settings, serving: Arc<bowline_proxy::Snapshot>) -> Result<Engine, Error> {
        let takes_plain = settings.first.snapshot.mode == Some(Mode::Permissive);
        let listener = Listener::new(settings.listen).with_tls(settings.identity.server_tls(takes_plain));
        let reports = settings.outbound == Outbound::Sidecar;
        let engine = bowline_proxy::Settings {
            workers: 1,
            counts_requests: reports,
            spans: if reports { Spans::Every } else { Spans::Eventful },
            peers: Peers::Mesh,
            server: server::Settings { linger: LINGER, ..server::Settings::of_system() },
            peer_id: Some(|certificate| peer_id(certificate).ok()),
            ..bowline_proxy::Settings::with_listeners(vec![listener], self.reporter)
        };
        Engine::start(&engine, serving, &settings.tracer, &settings.metrics).map_err(Error::Listen)
    }
}
