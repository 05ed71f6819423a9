//! The workers: threads with a runtime, a listener and a pool each, started and drained together.

use std::{convert::Infallible, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bowline_runtime::{
    drain::{self, Drain, Drainer},
    metric::Registry,
    net::{self, TcpListener},
    task, time,
};
use bowline_telemetry::Tracer;
use bowline_transport::{
    PoolMetrics, PoolSettings,
    server::{self, Peer},
};
use tokio::sync::watch;

use crate::{handler::Worker, headers::Client, snapshot::Snapshot};

/// How an engine listens and connects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address it listens on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads, each with its own listener, connections and pool: at least 1.
    pub workers: usize,
    /// Who says so in metrics: `gateway`.
    pub reporter: &'static str,
    /// Whether what clients say in `Forwarded` and `X-Forwarded-*` is passed on. False where
    /// clients are strangers: what they say is replaced by what we know.
    pub trusts_forwarded: bool,
    /// The bounds of each worker's listener. Its `metrics` are the engine's to set, its `grace` is
    /// told when draining.
    pub server: server::Settings,
    /// The bounds of each worker's pool. Its `metrics` are the engine's to set.
    pub pool: PoolSettings,
}

impl Settings {
    /// The defaults: one worker a core, clients are strangers.
    pub fn new(listen: SocketAddr, reporter: &'static str) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (server, pool) = (server::Settings::default(), PoolSettings::default());
        Self { listen, workers, reporter, trusts_forwarded: false, server, pool }
    }

    /// Those of one worker, which counts its own connections.
    fn of_worker(&self, index: usize, metrics: &Registry) -> Self {
        let listener = server::Metrics::new(metrics, &format!("{}-{index}", self.reporter));
        let server = server::Settings { metrics: listener, grace: NO_GRACE_OF_ITS_OWN, ..self.server.clone() };
        let pool = PoolSettings { metrics: PoolMetrics::new(metrics), ..self.pool.clone() };
        Self { server, pool, ..self.clone() }
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on; the source is `AddrInUse` when somebody has it.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A worker's thread or runtime cannot be made, or it cannot take over its listener.
    #[error("cannot start worker {worker}")]
    Worker {
        /// Which, from 0.
        worker: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Workers that serve. Dropping it cuts what is in flight.
#[derive(Debug)]
pub struct Engine {
    addr: SocketAddr,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Says: accept no more, finish what is there.
    drainer: Drainer,
    /// Says: end now. Workers hear it, too, when this is dropped.
    cutter: Drainer,
}

/// Replaces the snapshot of an engine, as long as that serves.
#[derive(Debug, Clone)]
pub struct Switch(watch::Sender<Arc<Snapshot>>);

impl Switch {
    /// Serves requests that come from now on by another snapshot; those in flight keep theirs.
    ///
    /// The one before is dropped when the last of these has ended, even where no request comes.
    pub fn set(&self, snapshot: Arc<Snapshot>) {
        self.0.send_replace(snapshot);
    }
}

/// Longer than anybody waits: the engine's own grace is told when draining.
const NO_GRACE_OF_ITS_OWN: Duration = Duration::from_hours(24 * 365);

impl Engine {
    /// Opens the listeners and starts the workers, threads named `bowline-proxy-N`; it serves when
    /// this returns.
    ///
    /// # Errors
    /// [`StartError::Listen`] before anything is started; [`StartError::Worker`], after which those
    /// started have ended or are about to.
    pub fn start(
        settings: &Settings,
        snapshot: Arc<Snapshot>,
        tracer: &Tracer,
        metrics: &Registry,
    ) -> Result<Self, StartError> {
        let listen_error = |source| StartError::Listen { listen: settings.listen, source };
        let listeners = net::listen_shared(settings.listen, settings.workers).map_err(listen_error)?;
        let addr = listeners[0].local_addr().map_err(listen_error)?;
        let snapshots = watch::Sender::new(snapshot);
        let (drainer, drain) = drain::channel();
        let (cutter, cut) = drain::channel();
        for (index, listener) in listeners.into_iter().enumerate() {
            let settings = settings.of_worker(index, metrics);
            let (snapshots, tracer, metrics) = (snapshots.subscribe(), tracer.clone(), metrics.clone());
            let (drain, mut cut) = (drain.clone(), cut.clone());
            let work = move || {
                let listener = net::adopt(listener)?;
                let worker = Rc::new(Worker::new(index, &settings, snapshots, tracer, &metrics));
                Ok(async move {
                    cut.or_drain(serve(listener, settings, worker, drain)).await;
                })
            };
            let started = task::try_core_thread(&format!("bowline-proxy-{index}"), work);
            started.map_err(|source| StartError::Worker { worker: index, source })?;
        }
        Ok(Self { addr, snapshots, drainer, cutter })
    }

    /// The address it listens on, with the port it got.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// As [`Switch::set`].
    pub fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.switch().set(snapshot);
    }

    /// What replaces its snapshot, for whoever does not have the engine.
    pub fn switch(&self) -> Switch {
        Switch(self.snapshots.clone())
    }

    /// Stops accepting, lets what is in flight finish, and cuts what is left after `grace`.
    ///
    /// Answers whether everything finished in time. Idle connections are closed at once.
    ///
    /// # Cancel safety
    /// Dropping the future cuts what is in flight.
    pub async fn drain(mut self, grace: Duration) -> bool {
        let is_finished = time::timeout(grace, self.drainer.drain()).await.is_ok();
        self.cutter.drain().await;
        is_finished
    }
}

/// One worker's accept loop, until it is drained.
async fn serve(listener: TcpListener, settings: Settings, worker: Rc<Worker>, drain: Drain) {
    let _following = task::Guarded::new(task::spawn_local(Rc::clone(&worker).follow()));
    let trusts_forwarded = settings.trusts_forwarded;
    server::serve_local(listener, settings.server, drain, move |peer: &Peer| {
        let (worker, client) = (Rc::clone(&worker), Rc::new(Client::new(peer.clone(), trusts_forwarded)));
        server::service_fn(move |request| {
            let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
            async move { Ok::<_, Infallible>(worker.handle(client, request).await) }
        })
    })
    .await;
}
