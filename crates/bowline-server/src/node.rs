//! One node: opens the data folder, serves the API, stops in order.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use bowline_config::{ConfigManager, StoreConfig};
use bowline_model::Code;
use bowline_observe::TraceStore;
use bowline_registry::{Registry, StoreRegistry};
use bowline_runtime::{
    drain::{self, Drain, Drainer},
    fs, metric, net,
    task::{self, JoinHandle},
    time::Duration,
};
use bowline_store::Embedded;
use bowline_transport::server;
use hyper_util::service::TowerToHyperService;

use crate::{
    api::{self, Shared},
    schema::{Judge, RoutesCheck},
};

/// What a node is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its state lives.
    pub data_dir: PathBuf,
    /// Where the API listens; absent: nowhere.
    pub listen: Option<SocketAddr>,
    /// How much disk traces may take, in bytes.
    pub traces_bytes_max: u64,
    /// How long requests in flight may take at the end.
    pub grace: Duration,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data folder cannot be made.
    #[error("cannot create the data folder {}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("cannot open the store in {}", path.display())]
    Store {
        /// The data folder.
        path: PathBuf,
        /// What the store says.
        #[source]
        source: bowline_store::Error,
    },
    /// The trace store cannot be opened.
    #[error("cannot open the traces in {}", path.display())]
    Traces {
        /// The data folder.
        path: PathBuf,
        /// What the trace store says.
        #[source]
        source: bowline_observe::Error,
    },
    /// The API's address is taken or not ours.
    #[error("the API cannot listen on {addr}: choose another address with --api, or --api off")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::DataDir { .. } | Self::Listen { .. } => Code::FailedPrecondition,
            Self::Store { source, .. } => source.code(),
            Self::Traces { source, .. } => source.code(),
        }
    }

    /// Whether the same start may succeed later, without a change by hand.
    pub fn retryable(&self) -> bool {
        match self {
            Self::DataDir { .. } | Self::Listen { .. } => false,
            Self::Store { source, .. } => source.retryable(),
            Self::Traces { source, .. } => source.retryable(),
        }
    }
}

/// A running node. [`Node::stop`] ends it in order.
pub struct Node {
    store: Embedded,
    registry: Arc<dyn Registry>,
    config: Arc<dyn ConfigManager>,
    traces: Arc<TraceStore>,
    metrics: metric::Registry,
    addr: Option<SocketAddr>,
    drainer: Drainer,
    server: Option<JoinHandle<()>>,
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
        Self::open(settings, metrics, Judge { routes: None }).await
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
        Self::open(settings, metrics, Judge { routes: Some(routes) }).await
    }

    async fn open(settings: Settings, metrics: metric::Registry, judge: Judge) -> Result<Self, Error> {
        let Settings { data_dir, listen, traces_bytes_max, grace } = settings;
        // The port comes first: a taken one is the likeliest failure, and nothing was opened yet.
        let listener =
            listen.map(|addr| net::listen(addr).map_err(|source| Error::Listen { addr, source })).transpose()?;
        let data_error = |source| Error::DataDir { path: data_dir.clone(), source };
        fs::create_private_dir_all(&data_dir).map_err(data_error)?;
        let data_dir = std::path::absolute(&data_dir).map_err(data_error)?;
        let store = open_store(&data_dir, &metrics).await?;
        let registry: Arc<dyn Registry> = Arc::new(StoreRegistry::new(Arc::new(store.clone())));
        let config: Arc<dyn ConfigManager> = Arc::new(StoreConfig::new(Arc::new(store.clone()), Arc::new(judge)));
        let traces = match open_traces(&data_dir, traces_bytes_max, &metrics).await {
            Ok(traces) => traces,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let (drainer, drain) = drain::channel();
        let shared = Shared {
            store: Arc::new(store.clone()),
            registry: registry.clone(),
            config: config.clone(),
            traces: traces.clone(),
            metrics: metrics.clone(),
            drain: drain.clone(),
            data_dir,
        };
        let addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let server = listener.map(|listener| task::spawn(serve(listener, shared, drain, grace)));
        Ok(Self { store, registry, config, traces, metrics, addr, drainer, server })
    }

    /// The registry, for whoever lives in this process.
    pub fn registry(&self) -> Arc<dyn Registry> {
        self.registry.clone()
    }

    /// The configuration, for whoever lives in this process.
    pub fn config(&self) -> Arc<dyn ConfigManager> {
        self.config.clone()
    }

    /// The trace store, for whoever lives in this process.
    pub fn traces(&self) -> Arc<TraceStore> {
        self.traces.clone()
    }

    /// Where this process counts.
    pub fn metrics(&self) -> &metric::Registry {
        &self.metrics
    }

    /// Where the API listens.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Stops accepting, finishes what is in flight, writes out traces and lets the data folder go.
    ///
    /// The registry, the configuration and the trace store that were handed out are closed after this.
    ///
    /// # Cancel safety
    /// What was begun goes on; the data folder is let go when the last handle is dropped.
    pub async fn stop(mut self) {
        self.drainer.drain().await;
        if let Some(server) = self.server.take() {
            let _ended = server.await;
        }
        if let Err(error) = self.traces.flush().await {
            tracing::warn!(error = %error, "last traces were not written");
        }
        TraceStore::clone(&self.traces).close().await;
        self.store.close().await;
    }
}

async fn open_store(data_dir: &std::path::Path, metrics: &metric::Registry) -> Result<Embedded, Error> {
    let path = data_dir.to_path_buf();
    let settings = bowline_store::Settings::new(path.join("store.redb"));
    match Embedded::open(settings, metrics).await {
        Ok(store) => Ok(store),
        Err(source) => Err(Error::Store { path, source }),
    }
}

async fn open_traces(
    data_dir: &std::path::Path,
    bytes_max: u64,
    metrics: &metric::Registry,
) -> Result<Arc<TraceStore>, Error> {
    let mut settings = bowline_observe::Settings::new(data_dir.join("traces"));
    settings.bytes_max = bytes_max;
    settings.metrics = metrics.clone();
    // It reads all that is kept: seconds for gigabytes.
    let opened = task::spawn_blocking(move || TraceStore::open(settings)).await;
    match opened.unwrap_or(Err(bowline_observe::Error::Closed)) {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(Error::Traces { path: data_dir.to_path_buf(), source }),
    }
}

async fn serve(listener: net::TcpListener, shared: Shared, drain: Drain, grace: Duration) {
    let metrics = server::Metrics::new(&shared.metrics, "api");
    let service = TowerToHyperService::new(api::router(shared));
    let settings = server::Settings { grace, metrics, ..server::Settings::default() };
    server::serve(listener, settings, drain, move |_peer| service.clone()).await;
}
