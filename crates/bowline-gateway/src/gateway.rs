//! A running gateway: its listeners, its routes and the instances behind them.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::route::Route;
use bowline_proxy::{Engine, Snapshot, matcher::Matcher};
use bowline_registry::Discovery;
use bowline_runtime::{metric::Registry, time};
use bowline_telemetry::Tracer;
use bowline_transport::{PoolSettings, server};

use crate::{
    Error,
    backends::{Backends, REPORTER},
};

/// How a gateway listens.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address it listens on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads, each with its own connections: at least 1.
    pub workers: usize,
    /// Whether what clients say in `Forwarded` and `X-Forwarded-*` is passed on. True only behind
    /// another proxy of one's own: else what they say is replaced by what we know.
    pub trusts_forwarded: bool,
    /// The bounds of each worker's listener; its `metrics` and `grace` are the gateway's to set.
    pub server: server::Settings,
    /// The bounds of each worker's connections to instances; its `metrics` are the gateway's to set.
    pub pool: PoolSettings,
}

impl Settings {
    /// The defaults for that address: one worker a core, clients are strangers.
    pub fn new(listen: SocketAddr) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (server, pool) = (server::Settings::default(), PoolSettings::default());
        Self { listen, workers, trusts_forwarded: false, server, pool }
    }
}

/// The longest a gateway waits for discovery before it starts with what is known.
pub const SETTLE_MAX: Duration = Duration::from_secs(2);

/// A gateway that takes requests. Dropping it cuts what is in flight; see [`Gateway::drain`].
#[derive(Debug)]
pub struct Gateway {
    engine: Engine,
    backends: Mutex<Backends>,
    discovery: Arc<Discovery>,
    metrics: Registry,
}

impl Gateway {
    /// Opens the listeners and starts the workers; it takes requests when this returns.
    ///
    /// It waits up to [`SETTLE_MAX`] until discovery knows the routes' services, and then starts
    /// with what is known: the data plane does not wait for the control plane.
    ///
    /// # Errors
    /// [`Error::AddressTaken`] and [`Error::Listen`]; [`Error::DuplicateRoute`] and
    /// [`Error::Route`] for routes that cannot be served. Nothing is left behind.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    ///
    /// # Panics
    /// Outside a tokio runtime, as it follows discovery in tasks.
    pub async fn start(
        settings: Settings,
        routes: Vec<Route>,
        discovery: Arc<Discovery>,
        tracer: Tracer,
        metrics: &Registry,
    ) -> Result<Self, Error> {
        let Settings { listen, workers, trusts_forwarded, server, pool } = settings;
        let reporter = REPORTER;
        let settings = bowline_proxy::Settings { listen, workers, reporter, trusts_forwarded, server, pool };
        let mut backends = Backends::default();
        let snapshot = supply(match_routes(&routes)?, &routes, &mut backends, &discovery, metrics);
        if time::timeout(SETTLE_MAX, backends.settle(&discovery)).await.is_err() {
            tracing::warn!("gateway starts before the registry said where its services are");
        }
        let engine = Engine::start(&settings, snapshot, &tracer, metrics)?;
        tracing::info!(addr = %engine.addr(), routes = routes.len(), workers, "gateway listens");
        Ok(Self { engine, backends: Mutex::new(backends), discovery, metrics: metrics.clone() })
    }

    /// The address it listens on, with the port it got.
    pub fn addr(&self) -> SocketAddr {
        self.engine.addr()
    }

    /// Replaces the routes for the requests that come from now on; those in flight keep theirs.
    ///
    /// A backend whose route's name and service were there before keeps its breakers, budget and
    /// load; a breaker begins anew only where the route's breaker policy changed.
    ///
    /// # Errors
    /// [`Error::DuplicateRoute`] and [`Error::Route`]; the old routes stay.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set_routes(&self, routes: &[Route]) -> Result<(), Error> {
        // Before anything is touched, so that the old routes stay whole if this fails.
        let matcher = match_routes(routes)?;
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = supply(matcher, routes, &mut backends, &self.discovery, &self.metrics);
        self.engine.set_snapshot(snapshot);
        tracing::info!(routes = routes.len(), "gateway has new routes");
        Ok(())
    }

    /// Stops accepting, lets what is in flight finish, and cuts what is left after `grace`.
    ///
    /// Answers whether everything finished in time. Idle connections are closed at once.
    ///
    /// # Cancel safety
    /// Dropping the future cuts what is in flight.
    pub async fn drain(self, grace: Duration) -> bool {
        let is_finished = self.engine.drain(grace).await;
        if !is_finished {
            tracing::warn!(?grace, "requests were cut when the gateway's grace was over");
        }
        is_finished
    }
}

/// Compiles routes, which finds out whether they can be served.
fn match_routes(routes: &[Route]) -> Result<Matcher, Error> {
    let mut names = BTreeSet::new();
    if let Some(route) = routes.iter().find(|route| !names.insert(&route.name)) {
        return Err(Error::DuplicateRoute { name: route.name.clone() });
    }
    Ok(Matcher::new(routes)?)
}

/// Joins compiled routes with the upstreams they need.
fn supply(
    matcher: Matcher,
    routes: &[Route],
    backends: &mut Backends,
    discovery: &Discovery,
    metrics: &Registry,
) -> Arc<Snapshot> {
    backends.renew(routes, discovery, metrics);
    Arc::new(Snapshot::new(matcher, routes, REPORTER, metrics, |route, backend| backends.get(route, backend)))
}
