//! One node: opens the data folder, serves the API, stops in order.

mod error;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use bowline_cache::shared::memory::Memory;
use bowline_config::{ConfigManager, StoreConfig};
use bowline_deploy::Deployer;
use bowline_mesh::ca::{self, Authority};
use bowline_messaging::MessageBus;
use bowline_model::caches::SHARED_BYTES_DEFAULT;
use bowline_model::{Secret, System, instance::METADATA_SUPERVISED};
use bowline_observe::{
    graph::{self, ServiceGraph},
    traces::TraceStore,
};
use bowline_otlp::{ExportSettings, Exporter};
use bowline_provider_remote::wire::Role;
use bowline_registry::{Registry, StoreRegistry, health::ProbeWatcher};
use bowline_runtime::{
    drain::{self, Drain, Drainer},
    fs, metric, net,
    task::{self, JoinHandle},
    time::Duration,
};
use bowline_store::{Embedded, Store};
use bowline_transport::{PoolSettings, SharedPool, server};
use http::Request;
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;

use crate::{
    access::{self, Access},
    api::{self, Shared},
    ask::{self, Asking},
    audit::Audited,
    breakers::{self, GatewayBreakers},
    collect::{Collecting, Dial},
    deployments::{self, Deployments},
    events::News,
    explain::{self, Explainer},
    health::{Declared, Recorder, Standing},
    logs::{self, LogSource},
    mesh::{Mesh, MeshSettings},
    messages::{self, Messages, Opened},
    monitor::{self, Monitor, MonitorSettings, OpenError},
    otlp::{self, OtlpAddrs, Taps},
    schema::{Judge, RoutesCheck},
    secret::NoRandomness,
    system,
};

pub use error::Error;

/// How long the last spans may take to be passed on.
const EXPORT_END_MAX: Duration = Duration::from_secs(2);

/// What a node is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its state lives.
    pub data_dir: PathBuf,
    /// Where the API listens; absent: nowhere.
    pub listen: Option<SocketAddr>,
    /// Where spans of foreign SDKs are taken.
    pub otlp: OtlpAddrs,
    /// Where spans are passed on to; absent: nowhere.
    pub export: Option<ExportSettings>,
    /// How much disk traces may take, in bytes.
    pub traces_bytes_max: u64,
    /// How long requests in flight may take at the end.
    pub grace: Duration,
    /// The mesh; absent: the system has none.
    pub mesh: Option<MeshSettings>,
    /// Where messages are kept.
    pub messages: Messages,
    /// How much memory that may take which processes of services share of their caches, in bytes: 32 MiB at least.
    pub shared_caches_bytes_max: u64,
    /// What is measured and watched for.
    pub monitor: MonitorSettings,
    /// What the system declares: what should be there, and who calls whom.
    pub declared: Declared,
    /// Whether traffic is split between versions also without a mesh: there are services with versions. Breakers are
    /// steered in every system that declares services.
    pub is_steered: bool,
    /// The system whose node it is, which is told to whoever asks for it; absent: none.
    pub system: Option<Arc<System>>,
}

impl Settings {
    /// The defaults, in that folder: no API, 256 MiB of traces, a second at the end, no mesh, messages in the folder,
    /// metrics as by [`MonitorSettings::default`].
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: None,
            otlp: OtlpAddrs::default(),
            export: None,
            traces_bytes_max: 256 << 20,
            grace: Duration::from_secs(1),
            mesh: None,
            messages: Messages::default(),
            shared_caches_bytes_max: SHARED_BYTES_DEFAULT,
            monitor: MonitorSettings::default(),
            declared: Declared::default(),
            is_steered: false,
            system: None,
        }
    }
}

/// A running node. [`Node::stop`] ends it in order.
pub struct Node {
    store: Embedded,
    messages: Opened,
    audit: Arc<Audited>,
    registry: Arc<dyn Registry>,
    config: Arc<dyn ConfigManager>,
    traces: Arc<TraceStore>,
    standing: Arc<Standing>,
    recorder: Recorder,
    metrics: metric::Registry,
    addr: Option<SocketAddr>,
    access: Arc<Access>,
    explainer: explain::Slot,
    gateway_breakers: breakers::Slot,
    logs: logs::Slot,
    deployments: deployments::Slot,
    mesh: Option<Arc<Mesh>>,
    monitor: Monitor,
    collector: Arc<OnceLock<Collecting>>,
    asking: ask::Slot,
    otlp: OtlpAddrs,
    exporter: Option<Exporter>,
    drainer: Drainer,
    servers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the data folder and serves the API. It takes no routes; see [`Node::start_with_routes`].
    ///
    /// # Errors
    /// Any [`Error`]; nothing is left running.
    ///
    /// # Cancel safety
    /// What was opened is closed again.
    pub async fn start(settings: Settings, metrics: metric::Registry) -> Result<Self, Error> {
        Self::open(settings, metrics, None).await
    }

    /// As [`Node::start`], of a node that takes the document `bowline/routes` when it passes that check.
    ///
    /// # Errors
    /// As [`Node::start`].
    ///
    /// # Cancel safety
    /// As [`Node::start`].
    pub async fn start_with_routes(
        settings: Settings,
        metrics: metric::Registry,
        routes: RoutesCheck,
    ) -> Result<Self, Error> {
        Self::open(settings, metrics, Some(routes)).await
    }

    async fn open(settings: Settings, metrics: metric::Registry, routes: Option<RoutesCheck>) -> Result<Self, Error> {
        let Settings { data_dir, listen, otlp, export, traces_bytes_max, grace, mesh, messages, .. } = settings;
        let Settings { monitor, declared, is_steered, shared_caches_bytes_max, system, .. } = settings;
        let judge = judge_of(routes, mesh.as_ref(), &declared, is_steered);
        // The port comes first: a taken one is the likeliest failure, and nothing was opened yet.
        let listener =
            listen.map(|addr| net::listen(addr).map_err(|source| Error::Listen { addr, source })).transpose()?;
        let listeners = otlp::Listeners::open(otlp)?;
        let data_dir = make_data_dir(data_dir)?;
        let store = open_store(&data_dir, &metrics).await?;
        let (drainer, drain) = drain::channel();
        let addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let exporter = export.map(Exporter::start);
        let told = Told {
            data_dir,
            exporter: exporter.clone(),
            traces_bytes_max,
            addr,
            metrics,
            drain,
            judge,
            mesh,
            messages,
            shared_caches_bytes_max,
            monitor,
            declared,
            system,
        };
        let (shared, messages, monitor) = match open_over(&store, told).await {
            Ok(opened) => opened,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let Shared { registry, config, traces, standing, metrics, drain, access, explainer, mesh, collector, .. } =
            shared.clone();
        let Shared { audit, deployments, asking, logs, gateway_breakers, .. } = shared.clone();
        // Not by the audit: nobody decides how instances are.
        let recorder = Recorder::start(standing.clone(), registry.clone(), Arc::new(store.clone()), &metrics);
        let otlp = listeners.addrs();
        let mut servers = listeners.serve(&traces, &access, &metrics, &drain, grace);
        servers.extend(listener.map(|listener| task::spawn(serve(listener, shared, drain, grace))));
        Ok(Self {
            store,
            messages,
            audit,
            registry,
            config,
            traces,
            standing,
            recorder,
            metrics,
            addr,
            access,
            explainer,
            gateway_breakers,
            logs,
            deployments,
            mesh,
            monitor,
            collector,
            asking,
            otlp,
            exporter,
            drainer,
            servers,
        })
    }

    /// Begins to evaluate what is published of alerts, and to scrape the registry's instances, what the settings
    /// name beside, and this process: over that pool, which in a mesh has the platform's identity. The first call
    /// counts. Until then, the rules are evaluated that were published before the node started.
    ///
    /// # Cancel safety
    /// Nothing is scraped.
    pub async fn collect(&self, pool: PoolSettings, dial: Dial) {
        self.monitor.follow();
        self.asking.get_or_init(|| Asking { pool: SharedPool::new(pool.clone()), dial: dial.clone() });
        let collecting = self.monitor.collect(self.registry(), pool, dial).await;
        self.collector.get_or_init(|| collecting);
    }

    /// Has rules evaluated, two intervals from now: what is to run does.
    pub fn begin_watching(&self) {
        self.monitor.gate.open();
    }

    /// Has no rule evaluated any more, so that a stop raises no alert; what is known of alerts stays as it is.
    pub fn end_watching(&self) {
        self.monitor.gate.shut();
    }

    /// A token of that role for whoever lives in this process, or was started by it; it ends with the
    /// process and is kept nowhere.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn lend_token(&self, name: &str, role: Role) -> Result<Secret, NoRandomness> {
        self.access.lend(name, role)
    }

    /// Has this answer what would become of a request; the first one stays.
    pub fn set_explainer(&self, explainer: Explainer) {
        self.explainer.get_or_init(|| explainer);
    }

    /// Has this tell of the breakers of the gateway here; the first one stays.
    pub fn set_gateway_breakers(&self, breakers: GatewayBreakers) {
        self.gateway_breakers.get_or_init(|| breakers);
    }

    /// Has lines that services wrote be read from this; the first one stays.
    pub fn set_logs(&self, logs: LogSource) {
        self.logs.get_or_init(|| logs);
    }

    /// Has releases of the system's services be rolled out by this; the first one stays.
    pub fn set_deployer(&self, deployer: Deployer, system: &System) {
        self.deployments.get_or_init(|| Deployments::new(deployer, system));
    }

    /// The store, for whoever lives in this process: what is changed there is recorded with who acts.
    pub fn recorded_store(&self) -> Arc<dyn Store> {
        self.audit.clone()
    }

    /// What judges releases, by what is measured of their instances.
    pub fn judge(&self) -> Arc<dyn bowline_deploy::Judge> {
        Arc::new(self.monitor.measures(self.registry()))
    }

    /// The registry, for whoever lives in this process.
    pub fn registry(&self) -> Arc<dyn Registry> {
        self.registry.clone()
    }

    /// The configuration, for whoever lives in this process.
    pub fn config(&self) -> Arc<dyn ConfigManager> {
        self.config.clone()
    }

    /// The messages, for whoever lives in this process.
    pub fn messages(&self) -> Arc<dyn MessageBus> {
        self.messages.bus()
    }

    /// The certificate authority, for whoever lives in this process; none where the system has no mesh.
    pub fn authority(&self) -> Option<Arc<Authority>> {
        self.mesh.as_ref().map(|mesh| mesh.authority.clone())
    }

    /// The trace store, for whoever lives in this process.
    pub fn traces(&self) -> Arc<TraceStore> {
        self.traces.clone()
    }

    /// Who is to be told of every probe of an instance, and why instances leave: it is told on.
    pub fn probe_watcher(&self) -> Arc<dyn ProbeWatcher> {
        self.standing.watcher()
    }

    /// Where this process counts.
    pub fn metrics(&self) -> &metric::Registry {
        &self.metrics
    }

    /// Where the API listens.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Where spans of foreign SDKs are taken.
    pub fn otlp_addrs(&self) -> OtlpAddrs {
        self.otlp
    }

    /// Stops accepting, finishes what is in flight, writes out traces and lets the data folder go.
    ///
    /// The registry, the configuration, the messages and the trace store that were handed out are closed after this.
    ///
    /// # Cancel safety
    /// What was begun goes on; the data folder is let go when the last handle is dropped.
    pub async fn stop(mut self) {
        self.drainer.drain().await;
        for server in std::mem::take(&mut self.servers) {
            let _ended = server.await;
        }
        // Nobody asks any more.
        if let Some(collecting) = Arc::into_inner(self.collector).and_then(OnceLock::into_inner) {
            collecting.stop().await;
        }
        self.monitor.stop().await;
        self.recorder.end().await;
        if let Err(error) = self.traces.flush().await {
            tracing::warn!(error = %error, "last traces were not written");
        }
        TraceStore::clone(&self.traces).close().await;
        if let Some(exporter) = self.exporter {
            exporter.drain(EXPORT_END_MAX).await;
        }
        self.messages.close().await;
        self.store.close().await;
    }
}

/// What a node's parts are told.
struct Told {
    data_dir: PathBuf,
    exporter: Option<Exporter>,
    traces_bytes_max: u64,
    addr: Option<SocketAddr>,
    metrics: metric::Registry,
    drain: Drain,
    judge: Judge,
    mesh: Option<MeshSettings>,
    messages: Messages,
    shared_caches_bytes_max: u64,
    monitor: MonitorSettings,
    declared: Declared,
    system: Option<Arc<System>>,
}

/// What judges documents in such a system.
fn judge_of(routes: Option<RoutesCheck>, mesh: Option<&MeshSettings>, declared: &Declared, is_steered: bool) -> Judge {
    let declared = Some(&declared.services).filter(|services| !services.is_empty());
    let services = mesh.map(|mesh| mesh.services.iter().cloned().collect()).or_else(|| declared.cloned());
    Judge { routes, services, has_mesh: mesh.is_some(), has_versions: mesh.is_some() || is_steered }
}

/// The data folder, which is there and absolute.
fn make_data_dir(path: PathBuf) -> Result<PathBuf, Error> {
    let made = fs::create_private_dir_all(&path).and_then(|()| std::path::absolute(&path));
    made.map_err(|source| Error::DataDir { path, source })
}

/// Everything that is over the store.
async fn open_over(store: &Embedded, told: Told) -> Result<(Shared, Opened, Monitor), Error> {
    let Told { data_dir, exporter, traces_bytes_max, addr, metrics, drain, judge, mesh, messages, .. } = told;
    let Told { shared_caches_bytes_max, monitor, declared, system, .. } = told;
    let store_error = |source| Error::Store { path: data_dir.clone(), source };
    let audit = Arc::new(Audited::open(Arc::new(store.clone())).await.map_err(store_error)?);
    let access = Arc::new(Access::new(Arc::clone(&audit), addr, &metrics));
    let root_error = |source| Error::RootToken { path: data_dir.clone(), source };
    access.make_root(&data_dir).await.map_err(root_error)?;
    let registry = StoreRegistry::new(audit.clone());
    let config = Arc::new(StoreConfig::new(audit.clone(), Arc::new(judge)));
    let services = declared.services.clone();
    let has_services = !services.is_empty();
    let standing = Arc::new(Standing::open(store, declared).await.map_err(store_error)?);
    let graph = ServiceGraph::new(graph::Settings { metrics: metrics.clone(), ..graph::Settings::default() });
    let news = News::default();
    let taps = Taps::new(&graph, news.clone(), exporter);
    let traces = open_traces(&data_dir, traces_bytes_max, taps, &metrics).await?;
    let mesh = match mesh {
        Some(mesh) => Some(open_mesh(&data_dir, mesh, audit.clone()).await?),
        None => None,
    };
    let messages_error = |source| Error::Messages { path: data_dir.clone(), source };
    let messages = messages.open(&data_dir, &metrics).await.map_err(messages_error)?;
    task::spawn(messages::meter::run(messages.bus(), metrics.clone(), drain.clone()));
    let parts = monitor::Parts { store: audit.clone(), config: config.clone(), metrics: metrics.clone(), services };
    let monitor = Monitor::open(&data_dir, monitor, parts).await.map_err(|error| monitor_error(error, &data_dir))?;
    let foreign = Arc::new(registry.protecting(METADATA_SUPERVISED));
    let (store, registry) = (audit.clone(), Arc::new(registry));
    let caches = Memory::new(shared_caches_bytes_max, &metrics);
    let shared = Shared {
        store,
        registry,
        config,
        traces,
        standing,
        graph,
        metrics,
        drain,
        data_dir,
        access,
        audit,
        explainer: explain::Slot::default(),
        gateway_breakers: breakers::Slot::default(),
        logs: logs::Slot::default(),
        deployments: deployments::Slot::default(),
        has_services,
        system: Arc::new(system.as_deref().map(system::of_system).unwrap_or_default()),
        news,
        foreign,
        mesh,
        messages: messages.bus(),
        caches,
        sessions: Arc::default(),
        queries: monitor.queries.clone(),
        alerts: monitor.alerts.clone(),
        collector: Arc::default(),
        asking: ask::Slot::default(),
    };
    Ok((shared, messages, monitor))
}

fn monitor_error(error: OpenError, data_dir: &std::path::Path) -> Error {
    let path = data_dir.to_path_buf();
    match error {
        OpenError::Series(source) => Error::Metrics { path, source },
        OpenError::Config(source) => Error::Config { path, source },
        OpenError::Alerts(source) => Error::Alerts { path, source },
    }
}

async fn open_mesh(
    data_dir: &std::path::Path,
    settings: MeshSettings,
    store: Arc<Audited>,
) -> Result<Arc<Mesh>, Error> {
    let MeshSettings { system, services, certificate_ttl, ca_key } = settings;
    let key_file = ca_key.unwrap_or_else(|| data_dir.join(ca::KEY_FILE));
    let settings = ca::Settings { system, services, certificate_ttl, key_file };
    let authority = Authority::open(store, settings).await;
    let authority = authority.map_err(|source| Error::Authority { path: data_dir.to_owned(), source })?;
    Ok(Arc::new(Mesh::new(Arc::new(authority))))
}

async fn open_store(data_dir: &std::path::Path, metrics: &metric::Registry) -> Result<Embedded, Error> {
    let path = data_dir.to_path_buf();
    let mut settings = bowline_store::Settings::new(path.join("store.redb"));
    // With each change comes an entry of the audit, and later its removal; with one of health as much again.
    settings.history_max *= 6;
    match Embedded::open(settings, metrics).await {
        Ok(store) => Ok(store),
        Err(source) => Err(Error::Store { path, source }),
    }
}

async fn open_traces(
    data_dir: &std::path::Path,
    bytes_max: u64,
    taps: Taps,
    metrics: &metric::Registry,
) -> Result<Arc<TraceStore>, Error> {
    let mut settings = bowline_observe::traces::Settings::new(data_dir.join("traces"));
    settings.bytes_max = bytes_max;
    settings.metrics = metrics.clone();
    settings.tap = Some(Arc::new(taps));
    // It reads all that is kept: seconds for gigabytes.
    let opened = task::spawn_blocking(move || TraceStore::open(settings)).await;
    match opened.unwrap_or(Err(bowline_observe::traces::Error::Closed)) {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(Error::Traces { path: data_dir.to_path_buf(), source }),
    }
}

async fn serve(listener: net::TcpListener, shared: Shared, drain: Drain, grace: Duration) {
    let metrics = server::Metrics::new(&shared.metrics, "api");
    let service = TowerToHyperService::new(api::router(shared));
    let settings = server::Settings { grace, metrics, ..server::Settings::of_system() };
    server::serve(listener, settings, drain, move |peer| FromPeer { service: service.clone(), peer: peer.remote })
        .await;
}

/// Tells each request whence it comes.
struct FromPeer<S> {
    service: S,
    peer: Option<SocketAddr>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for FromPeer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(access::From(self.peer));
        self.service.call(request)
    }
}
