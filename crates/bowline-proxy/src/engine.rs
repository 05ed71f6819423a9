//! The workers: threads with a runtime, a listener and a pool each, started and drained together.

use std::{convert::Infallible, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bowline_model::mesh::SpiffeId;
use bowline_runtime::{
    drain::{self, Drain, Drainer},
    metric::Registry,
    net::{self, SharedListener, TcpListener},
    task, time,
};
use bowline_telemetry::Tracer;
use bowline_transport::{
    PoolMetrics, PoolSettings,
    server::{self, Peer},
};
use tokio::sync::watch;

use crate::{
    client::{Client, Peers, Trust},
    handler::Worker,
    listener::Listener,
    snapshot::Snapshot,
};

/// How an engine listens and connects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens, at least one; all workers serve all of them.
    pub listeners: Vec<Listener>,
    /// Threads, each with its own listeners, connections and pool: at least 1.
    pub workers: usize,
    /// Who says so in metrics: `gateway`.
    pub reporter: &'static str,
    /// Whether requests are counted. Not where who is called counts them under the same name.
    pub counts_requests: bool,
    /// Which spans are reported.
    pub spans: Spans,
    /// Who the clients are.
    pub peers: Peers,
    /// Whether what strangers say in `Forwarded` and `X-Forwarded-*` is passed on. False where
    /// anybody may come: what they say is replaced by what we know.
    pub trusts_forwarded: bool,
    /// Reads who a client is out of its certificate, once for a connection; none: nobody is anybody.
    pub peer_id: Option<ReadId>,
    /// The bounds of each worker's listeners, each on its own. Its `metrics` and `tls` are the engine's to
    /// set, its `grace` is told when draining.
    pub server: server::Settings,
    /// The bounds of each worker's pool. Its `metrics` are the engine's to set.
    pub pool: PoolSettings,
}

/// Reads whose a verified certificate is, in DER.
pub type ReadId = fn(&[u8]) -> Option<SpiffeId>;

/// Which spans of an engine are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spans {
    /// One for every request, which the call goes on from.
    #[default]
    Every,
    /// Those of requests that are refused, that fail here, or whose span a filter
    /// [keeps](bowline_telemetry::Span::keep). The call goes on from where the request does; a request
    /// without a trace is passed on without one, and its answer says which one the service began.
    Eventful,
}

impl Settings {
    /// The defaults for one listener: a worker a core, clients are strangers, every request is counted and
    /// traced.
    pub fn new(listen: SocketAddr, reporter: &'static str) -> Self {
        Self::with_listeners(vec![Listener::new(listen)], reporter)
    }

    /// The same for these listeners.
    pub fn with_listeners(listeners: Vec<Listener>, reporter: &'static str) -> Self {
        Self {
            listeners,
            workers: task::cores(),
            reporter,
            counts_requests: true,
            spans: Spans::default(),
            peers: Peers::default(),
            trusts_forwarded: false,
            peer_id: None,
            server: server::Settings::default(),
            pool: PoolSettings::of_proxy(),
        }
    }

    /// Those of one worker, which counts its own connections.
    fn of_worker(&self, index: usize, metrics: &Registry) -> Self {
        let listener = server::Metrics::new(metrics, &format!("{}-{index}", self.reporter));
        let server = server::Settings { metrics: listener, grace: NO_GRACE_OF_ITS_OWN, ..self.server.clone() };
        let pool = PoolSettings { metrics: PoolMetrics::new(metrics, self.reporter), ..self.pool.clone() };
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
    addrs: Vec<SocketAddr>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Says: accept no more, finish what is there.
    drainer: Drainer,
    /// Says: end now. Workers hear it, too, when this is dropped.
    cutter: Drainer,
    /// Closed when the last worker has ended.
    working: watch::Sender<()>,
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
    ///
    /// # Panics
    /// Without a listener.
    pub fn start(
        settings: &Settings,
        snapshot: Arc<Snapshot>,
        tracer: &Tracer,
        metrics: &Registry,
    ) -> Result<Self, StartError> {
        assert!(!settings.listeners.is_empty(), "an engine has a listener");
        let (addrs, of_workers) = listen(settings)?;
        let snapshots = watch::Sender::new(snapshot);
        let (drainer, drain) = drain::channel();
        let (cutter, cut) = drain::channel();
        let working = watch::Sender::new(());
        for (index, listeners) in of_workers.into_iter().enumerate() {
            let settings = settings.of_worker(index, metrics);
            let (snapshots, tracer, metrics) = (snapshots.subscribe(), tracer.clone(), metrics.clone());
            let (drain, mut cut, works) = (drain.clone(), cut.clone(), working.subscribe());
            let work = move || {
                let listeners = listeners.into_iter().map(net::adopt).collect::<io::Result<Vec<_>>>()?;
                let worker = Rc::new(Worker::new(index, &settings, snapshots, tracer, &metrics));
                Ok(async move {
                    cut.or_drain(serve(listeners, settings, worker, drain)).await;
                    drop(works);
                })
            };
            let started = task::try_core_thread(&format!("bowline-proxy-{index}"), work);
            started.map_err(|source| StartError::Worker { worker: index, source })?;
        }
        Ok(Self { addrs, snapshots, drainer, cutter, working })
    }

    /// The address of its first listener, with the port it got.
    pub fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// The addresses of its listeners in their order, with the ports they got.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// As [`Switch::set`].
    pub fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.switch().set(snapshot);
    }

    /// What replaces its snapshot, for whoever does not have the engine.
    pub fn switch(&self) -> Switch {
        Switch(self.snapshots.clone())
    }

    /// Stops accepting, and ends when what was taken is answered; connections that stand end with the request
    /// that they have.
    ///
    /// Connections that have none are closed at once, or after the [linger](server::Settings::linger).
    ///
    /// # Cancel safety
    /// Nothing new is taken all the same; waiting can begin again.
    pub async fn refuse_new(&self) {
        self.drainer.start();
        self.working.closed().await;
    }

    /// As [`Engine::refuse_new`], and cuts what is left after `grace`.
    ///
    /// Answers whether everything finished in time.
    ///
    /// # Cancel safety
    /// Dropping the future cuts what is in flight.
    pub async fn drain(mut self, grace: Duration) -> bool {
        let is_finished = time::timeout(grace, self.refuse_new()).await.is_ok();
        self.cutter.drain().await;
        is_finished
    }
}

/// Opens the listeners: their addresses, and for each worker its own of each.
fn listen(settings: &Settings) -> Result<(Vec<SocketAddr>, Vec<Vec<SharedListener>>), StartError> {
    let mut addrs = Vec::with_capacity(settings.listeners.len());
    let mut of_workers: Vec<_> = std::iter::repeat_with(Vec::new).take(settings.workers).collect();
    for &Listener { at, .. } in &settings.listeners {
        let listen_error = |source| StartError::Listen { listen: at, source };
        let shared = net::listen_shared(at, settings.workers).map_err(listen_error)?;
        addrs.push(shared[0].local_addr().map_err(listen_error)?);
        for (of_worker, listener) in of_workers.iter_mut().zip(shared) {
            of_worker.push(listener);
        }
    }
    Ok((addrs, of_workers))
}

/// One worker's accept loops, until they are drained.
async fn serve(listeners: Vec<TcpListener>, settings: Settings, worker: Rc<Worker>, drain: Drain) {
    let _following = task::Guarded::new(task::spawn_local(Rc::clone(&worker).follow()));
    let settings = Rc::new(settings);
    let mut serving = task::JoinSet::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        serving.spawn_local(serve_one(index, listener, Rc::clone(&settings), Rc::clone(&worker), drain.clone()));
    }
    while let Some(ended) = serving.join_next().await {
        ended.expect("an accept loop does not panic");
    }
}

/// One worker's accept loop of one listener.
async fn serve_one(index: usize, listener: TcpListener, settings: Rc<Settings>, worker: Rc<Worker>, drain: Drain) {
    let Listener { at: _, tls, addressed, admits } = settings.listeners[index].clone();
    let addressed = Rc::new(addressed);
    let server = server::Settings { tls, ..settings.server.clone() };
    server::serve_local(listener, server, drain, move |peer: &Peer| {
        let id = settings.peer_id.zip(peer.certificate.as_deref()).and_then(|(read, certificate)| read(certificate));
        let trust = Trust::of(settings.peers, id.as_ref(), settings.trusts_forwarded);
        let client = Client::new(peer.clone(), index, Rc::clone(&addressed), id, trust).admitted_by(admits);
        let client = Rc::new(client);
        let worker = Rc::clone(&worker);
        server::service_fn(move |request| {
            let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
            async move { Ok::<_, Infallible>(worker.handle(client, request).await) }
        })
    })
    .await;
}
