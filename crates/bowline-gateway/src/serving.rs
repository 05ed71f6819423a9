//! What a gateway serves now, and how it is replaced as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_model::{
    ServiceName,
    gateway::RouteTable,
    mesh::{MeshDemands, OwnBreakers, Steering},
    route::Route,
};
use bowline_proxy::{Filter, Snapshot, Switch, matcher::Matcher};
use bowline_registry::Discovery;
use bowline_upstream::{Security, Upstream};

use crate::{
    Ask, Error, Explanation,
    backends::{Backends, REPORTER},
    chain::Chain,
    explain,
    policies::{Chains, Means, Policies},
};

/// What changes a gateway's routes and tells of them. Cheap to clone; it does not keep the gateway alive.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// Held while the routes are replaced.
    serving: Mutex<Serving>,
    means: Means,
    switch: Switch,
    /// What the mesh demands, for whoever asks what would become of a request.
    mesh: Mutex<Option<MeshDemands>>,
}

/// What is served, and what of it outlives its routes.
#[derive(Debug)]
pub(crate) struct Serving {
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

impl Handle {
    pub(crate) fn new(serving: Serving, means: Means, switch: Switch) -> Self {
        Self(Arc::new(Held { serving: Mutex::new(serving), means, switch, mesh: Mutex::default() }))
    }

    /// Replaces what is served for the requests that come from now on; those in flight keep theirs.
    ///
    /// A backend whose route's name and service were there before keeps its breakers, budget and load; a
    /// breaker begins anew only where the route's breaker policy changed. A limit keeps its counts where the
    /// name of its route and its policy are as they were; a provider its keys, and what it knows of tokens,
    /// where it is as it was; a shared secret is read anew.
    ///
    /// # Errors
    /// Any that names a place in the table; what was served before stays, whole.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set_table(&self, table: &RouteTable) -> Result<(), Error> {
        let mut serving = self.lock();
        serving.renew(table, &self.0.means)?;
        self.0.switch.set(serving.snapshot());
        tracing::info!(routes = table.routes.len(), "gateway has new routes");
        Ok(())
    }

    /// Steers the calls to services between their versions, whichever routes name them, now and later; those
    /// that are not in the map are not steered. What it means is said at [`Upstream::set_steering`].
    pub fn set_steering(&self, steering: &BTreeMap<ServiceName, Steering>) {
        self.lock().backends.set_steering(steering);
    }

    /// The breakers that guard the calls of each route now, and what was ordered of them.
    pub fn breakers(&self) -> OwnBreakers {
        OwnBreakers { calls: self.lock().backends.breakers() }
    }

    /// Replaces which instances are called under TLS, for calls that begin from now on, and for whoever is
    /// asked for keys. TLS needs [`PoolSettings::tls`](bowline_transport::PoolSettings::tls) of the gateway's
    /// settings: without, those that demand it cannot be reached.
    pub fn set_security(&self, security: Security) {
        let serving = self.lock();
        self.0.means.security.send_if_modified(|current| std::mem::replace(current, security) != security);
        serving.backends.set_security(security);
    }

    /// Replaces what the mesh demands of whoever calls; the gateway itself demands nothing by it.
    pub(crate) fn set_demands(&self, demands: Option<MeshDemands>) {
        *self.0.mesh.lock().unwrap_or_else(PoisonError::into_inner) = demands;
    }

    /// Whether there is anything to call under TLS with.
    pub(crate) fn has_identity(&self) -> bool {
        self.0.means.tls.is_some()
    }

    /// Says what would become of a request now, by the same matcher, authenticators and limits that
    /// requests meet. Nothing is sent, and nothing is taken from a limit.
    ///
    /// It may wait for keys as a request does.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn explain(&self, ask: Ask) -> Explanation {
        let current = Arc::clone(&self.lock().current);
        let mesh = *self.0.mesh.lock().unwrap_or_else(PoisonError::into_inner);
        explain::explain(&current, mesh, ask).await
    }

    /// What is served now.
    pub fn table(&self) -> RouteTable {
        self.lock().current.table.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Serving> {
        self.0.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serving {
    pub(crate) fn new(table: &RouteTable, means: &Means) -> Result<Self, Error> {
        let (mut backends, policies) = (Backends::default(), Policies::default());
        let (policies, current) = serve(table, means, &mut backends, &policies)?;
        Ok(Self { backends, policies, current })
    }

    /// Waits until discovery knows each service.
    pub(crate) async fn settle(&self, discovery: &Discovery) {
        self.backends.settle(discovery).await;
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.snapshot)
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
    backends.renew(&table.routes, means);
    let upstream_of = |route: &Route, backend| backends.get(route, backend);
    let snapshot = Snapshot::new(matcher, &table.routes, REPORTER, &means.metrics, upstream_of);
    let filter = |chain: &Arc<Chain>| (!chain.is_empty()).then(|| Arc::clone(chain) as Arc<dyn Filter>);
    let listener = filter(&chains.listener);
    let snapshot = Arc::new(snapshot.with_filters(listener, |route| filter(&chains.routes[route])));
    let all_of = |route: &Route| (0..route.backends.len()).map(|backend| backends.get(route, backend)).collect();
    let upstreams = table.routes.iter().map(all_of).collect();
    Ok((policies, Arc::new(Current { snapshot, table: table.clone(), chains, upstreams })))
}

/// Compiles routes, which finds out whether they can be served.
fn match_routes(routes: &[Route]) -> Result<Matcher, Error> {
    let mut names = BTreeSet::new();
    if let Some(route) = routes.iter().find(|route| !names.insert(&route.name)) {
        return Err(Error::DuplicateRoute { name: route.name.clone() });
    }
    Ok(Matcher::new(routes)?)
}
