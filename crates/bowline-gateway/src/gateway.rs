//! A running gateway: its listeners, its routes and the instances behind them.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bowline_model::{
    ServiceName,
    gateway::RouteTable,
    mesh::{self, Steering},
};
use bowline_proxy::Engine;
use bowline_registry::Discovery;
use bowline_runtime::{metric::Registry, task, time};
use bowline_telemetry::Tracer;
use bowline_transport::{PoolSettings, server};
use bowline_upstream::{Security, Standpoint};
use tokio::sync::watch;

use crate::{
    Ask, Error, Explanation, Follow, FollowMesh, Handle, KeySetSettings, backends::REPORTER, mesh::steering_of,
    policies::Means, serving::Serving,
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
    /// Who it is, and in which zone: which instances it prefers, and uses of many, where a route says so.
    pub standpoint: Standpoint,
    /// The bounds of each worker's listener; its `metrics` and `grace` are the gateway's to set.
    pub server: server::Settings,
    /// The bounds of each worker's connections to instances; its `metrics` are the gateway's to set. Its `tls`
    /// is the gateway's identity in the mesh, by which services are asked for keys, too.
    pub pool: PoolSettings,
    /// What it acts by in the mesh until [`Gateway::follow_mesh`] is told; none: as without a mesh.
    pub mesh: Option<mesh::Snapshot>,
    /// How the keys are kept current that tokens are checked with.
    pub key_sets: KeySetSettings,
}

impl Settings {
    /// The defaults for that address: one worker a core, clients are strangers.
    pub fn new(listen: SocketAddr) -> Self {
        let workers = task::cores();
        let (server, pool) = (server::Settings::default(), PoolSettings::of_proxy());
        let (standpoint, key_sets) = (Standpoint::default(), KeySetSettings::default());
        Self { listen, workers, trusts_forwarded: false, standpoint, server, pool, mesh: None, key_sets }
    }
}

/// The longest a gateway waits for discovery before it starts with what is known.
pub const SETTLE_MAX: Duration = Duration::from_secs(2);

/// A gateway that takes requests. Dropping it cuts what is in flight; see [`Gateway::drain`].
#[derive(Debug)]
pub struct Gateway {
    engine: Engine,
    handle: Handle,
    following: Option<task::Guarded<()>>,
    following_mesh: Option<task::Guarded<()>>,
    rotation: Option<task::Guarded<()>>,
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
        let Settings { listen, workers, trusts_forwarded, standpoint, server, pool, mesh, key_sets } = settings;
        let engine = bowline_proxy::Settings::new(listen, REPORTER);
        let engine = bowline_proxy::Settings { workers, trusts_forwarded, server, pool, ..engine };
        let security = watch::Sender::new(Security::of(mesh.as_ref().and_then(|snapshot| snapshot.mode)));
        let tls = engine.pool.tls.clone();
        let means = Means { discovery, metrics: metrics.clone(), standpoint, key_sets, tls, security };
        let serving = Serving::new(&table, &means)?;
        if time::timeout(SETTLE_MAX, serving.settle(&means.discovery)).await.is_err() {
            tracing::warn!("gateway starts before the registry said where its services are");
        }
        let engine = Engine::start(&engine, serving.snapshot(), &tracer, metrics)?;
        tracing::info!(addr = %engine.addr(), routes = table.routes.len(), workers, "gateway listens");
        let handle = Handle::new(serving, means, engine.switch());
        handle.set_steering(&mesh.as_ref().map(steering_of).unwrap_or_default());
        handle.set_demands(mesh.as_ref().and_then(mesh::Snapshot::demands));
        Ok(Self { engine, handle, following: None, following_mesh: None, rotation: None })
    }

    /// The address it listens on, with the port it got.
    pub fn addr(&self) -> SocketAddr {
        self.engine.addr()
    }

    /// What changes the routes and tells of them, for whoever does not have the gateway.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// As [`Handle::set_table`].
    ///
    /// # Errors
    /// As [`Handle::set_table`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set_table(&self, table: &RouteTable) -> Result<(), Error> {
        self.handle.set_table(table)
    }

    /// As [`Handle::set_steering`].
    pub fn set_steering(&self, steering: &BTreeMap<ServiceName, Steering>) {
        self.handle.set_steering(steering);
    }

    /// As [`Handle::explain`].
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn explain(&self, ask: Ask) -> Explanation {
        self.handle.explain(ask).await
    }

    /// Serves by the route table that is published as `bowline/routes` from now on, until the gateway ends;
    /// the one that is followed so far is no longer.
    ///
    /// Each version is live as soon as it is told, or refused as a whole, which is acknowledged either way.
    /// While there is none, and when it is deleted, what is served stays.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn follow(&mut self, follow: Follow) {
        self.following = Some(task::Guarded::new(task::spawn(follow.run(self.handle()))));
    }

    /// Acts by what is published of the mesh for gateways from now on, `bowline.mesh/gateway`, until the gateway
    /// ends; what is followed of it so far is no longer. As [`Gateway::follow`] else.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn follow_mesh(&mut self, follow: FollowMesh) {
        self.following_mesh = Some(task::Guarded::new(task::spawn(follow.run(self.handle()))));
    }

    /// Has the gateway keep what renews its certificate, until it has drained.
    pub fn keep_rotation(&mut self, rotation: task::Guarded<()>) {
        self.rotation = Some(rotation);
    }

    /// Stops accepting, lets what is in flight finish, and cuts what is left after `grace`.
    ///
    /// Answers whether everything finished in time. Idle connections are closed at once.
    ///
    /// # Cancel safety
    /// Dropping the future cuts what is in flight.
    pub async fn drain(self, grace: Duration) -> bool {
        let Self { engine, handle: _, following, following_mesh, rotation: _rotation } = self;
        drop((following, following_mesh));
        let is_finished = engine.drain(grace).await;
        if !is_finished {
            tracing::warn!(?grace, "requests were cut when the gateway's grace was over");
        }
        is_finished
    }
}
