//! A running gateway: its listeners, its routes and the instances behind them.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::{gateway::RouteTable, route::Route};
use bowline_proxy::{Engine, Filter, Snapshot, matcher::Matcher};
use bowline_registry::Discovery;
use bowline_runtime::{metric::Registry, time};
use bowline_telemetry::Tracer;
use bowline_transport::{PoolSettings, server};
use bowline_upstream::Upstream;

use crate::{
    Ask, Error, Explanation, KeySetSettings,
    backends::{Backends, REPORTER},
    chain::Chain,
    explain,
    policies::{Chains, Means, Policies},
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
    /// How the keys are kept current that tokens are checked with.
    pub key_sets: KeySetSettings,
}

impl Settings {
    /// The defaults for that address: one worker a core, clients are strangers.
    pub fn new(listen: SocketAddr) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (server, pool) = (server::Settings::default(), PoolSettings::default());
        Self { listen, workers, trusts_forwarded: false, server, pool, key_sets: KeySetSettings::default() }
    }
}

/// The longest a gateway waits for discovery before it starts with what is known.
pub const SETTLE_MAX: Duration = Duration::from_secs(2);

/// A gateway that takes requests. Dropping it cuts what is in flight; see [`Gateway::drain`].
#[derive(Debug)]
pub struct Gateway {
    engine: Engine,
    /// Held while the routes are replaced.
    serving: Mutex<Serving>,
    means: Means,
}

/// What is served, and what of it outlives its routes.
#[derive(Debug)]
struct Serving {
    backends: Backends,
    policies: Policies,
    current: Arc<Current>,
}

/// What is served now, for whoever asks about it.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) table: RouteTable,
    pub(crate) chains: Chains,
    /// Of each route its backends' upstreams, by their places.
    pub(crate) upstreams: Vec<Vec<Arc<Upstream>>>,
}

impl Gateway {
    /// Opens the listeners and starts the workers; it takes requests when this returns.
    ///
    /// It waits up to [`SETTLE_MAX`] until discovery knows the routes' services, and then starts
    /// with what is known: the data plane does not wait for the control plane.
    ///
    /// # Errors
    /// [`Error::AddressTaken`] and [`Error::Listen`]; any other for a table that cannot be served. Nothing
    /// is left behind.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    ///
    /// # Panics
    /// Outside a tokio runtime, as it follows discovery in tasks.
    pub async fn start(
        settings: Settings,
        table: RouteTable,
        discovery: Arc<Discovery>,
        tracer: Tracer,
        metrics: &Registry,
    ) -> Result<Self, Error> {
        let Settings { listen, workers, trusts_forwarded, server, pool, key_sets } = settings;
        let reporter = REPORTER;
        let settings = bowline_proxy::Settings { listen, workers, reporter, trusts_forwarded, server, pool };
        let means = Means { discovery, metrics: metrics.clone(), key_sets };
        let serving = Serving::new(&table, &means)?;
        if time::timeout(SETTLE_MAX, serving.backends.settle(&means.discovery)).await.is_err() {
            tracing::warn!("gateway starts before the registry said where its services are");
        }
        let engine = Engine::start(&settings, Arc::clone(&serving.current.snapshot), &tracer, metrics)?;
        tracing::info!(addr = %engine.addr(), routes = table.routes.len(), workers, "gateway listens");
        Ok(Self { engine, serving: Mutex::new(serving), means })
    }

    /// The address it listens on, with the port it got.
    pub fn addr(&self) -> SocketAddr {
        self.engine.addr()
    }

    /// Replaces what is served for the requests that come from now on; those in flight keep theirs.
    ///
    /// A backend whose route's name and service were there before keeps its breakers, budget and load; a
    /// breaker begins anew only where the route's breaker policy changed. A limit keeps its counts where the
    /// name of its route and its policy are as they were; a provider its keys, and what it knows of tokens,
    /// where it is as it was.
    ///
    /// # Errors
    /// Any that names a place in the table; what was served before stays, whole.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set_table(&self, table: &RouteTable) -> Result<(), Error> {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.renew(table, &self.means)?;
        self.engine.set_snapshot(Arc::clone(&serving.current.snapshot));
        tracing::info!(routes = table.routes.len(), "gateway has new routes");
        Ok(())
    }

    /// Says what would become of a request now, by the same matcher, authenticators and limits that
    /// requests meet. Nothing is sent, and nothing is taken from a limit.
    ///
    /// It may wait for keys as a request does.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn explain(&self, ask: Ask) -> Explanation {
        let current = Arc::clone(&self.serving.lock().unwrap_or_else(PoisonError::into_inner).current);
        explain::explain(&current, ask).await
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

impl Serving {
    fn new(table: &RouteTable, means: &Means) -> Result<Self, Error> {
        let (mut backends, policies) = (Backends::default(), Policies::default());
        let (policies, current) = serve(table, means, &mut backends, &policies)?;
        Ok(Self { backends, policies, current })
    }

    /// Serves another table, with what is there of it. On an error all stays as it was.
    fn renew(&mut self, table: &RouteTable, means: &Means) -> Result<(), Error> {
        (self.policies, self.current) = serve(table, means, &mut self.backends, &self.policies)?;
        Ok(())
    }
}

/// Makes what serves a table, of what is there and of new parts; `backends` changes only where it succeeds.
fn serve(
    table: &RouteTable,
    means: &Means,
    backends: &mut Backends,
    policies: &Policies,
) -> Result<(Policies, Arc<Current>), Error> {
    let matcher = match_routes(&table.routes)?;
    let (policies, chains) = policies.renew(table, means)?;
    backends.renew(&table.routes, &means.discovery, &means.metrics);
    let upstream_of = |route: &Route, backend| backends.get(route, backend);
    let snapshot = Snapshot::new(matcher, &table.routes, REPORTER, &means.metrics, upstream_of);
    let filter = |chain: &Arc<Chain>| (!chain.is_empty()).then(|| Arc::clone(chain) as Arc<dyn Filter>);
    let listener = filter(&chains.listener);
    let snapshot = Arc::new(snapshot.with_filters(listener, |route| filter(&chains.routes[route])));
    let all_of = |route: &Route| (0..route.backends.len()).map(|backend| backends.get(route, backend)).collect();
    let upstreams = table.routes.iter().map(all_of).collect();
    Ok((policies, Arc::new(Current { snapshot, table: table.clone(), chains, upstreams })))
}
