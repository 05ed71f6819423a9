//! A service in a few lines: an axum application with health, metrics, tracing, drain and registration.

use std::sync::{Arc, PoisonError};

use axum::Router;
use bowline_config::ConfigManager;
use bowline_messaging::MessageBus;
use bowline_model::{Address, Code, ConfigKey, Instance, Protocol, ServiceName};
use bowline_provider_remote::{Link, RemoteConfig, RemoteIssuer, RemoteMessages, RemoteRegistry, RemoteReporter};
use bowline_registry::{Discovery, Registry};
use bowline_runtime::{
    BoxFuture, drain, metric,
    task::{self, Guarded},
    time::{self, Duration},
    watchdog::{self, Watchdog},
};
use bowline_telemetry::{Live, Tracer};
use bowline_transport::{PoolMetrics, PoolSettings, SharedPool};
use serde::de::DeserializeOwned;

#[cfg(feature = "sql")]
use bowline_sql as sql;

use crate::{
    Database, ServiceClient,
    cache::Caches,
    client::{Clients, Wiring, warm_up},
    config::{self, Config},
    mesh::{Member, Place, Steered, Told},
    messages::{self, Consuming, HandOver, Post, Topic, carry_out},
    registration::Registration,
    sampling, serve,
    settings::{self, Settings},
};

/// Spans that wait to be reported, at most.
const SPANS_WAITING_MAX: usize = 10_000;

/// How long requests, messages and sagas at work may take after the signal to stop, all together. `bowline up` kills a
/// process 10 s after that signal, unless it is told otherwise; the rest is for what is told at the end.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(8);

/// How long the last spans may take to be reported.
const REPORTING_MAX: Duration = Duration::from_secs(1);

/// The largest body of a request, in bytes, unless the application says otherwise: as much as the
/// gateway lets pass where the file does not say. A layer `axum::extract::DefaultBodyLimit` of the
/// application's own, on all its routes or on one, takes its place.
pub const BODY_MAX_DEFAULT: usize = 10 << 20;

/// Why a service could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The environment holds a value that cannot be used.
    #[error("settings cannot be used")]
    Settings(#[source] settings::Error),
    /// The address to listen on is taken or not ours.
    #[error("cannot listen on {addr} (BOWLINE_LISTEN)")]
    Listen {
        /// The address.
        addr: Address,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be heard.
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] std::io::Error),
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Settings(error) => error.code(),
            Self::Listen { .. } => Code::FailedPrecondition,
            Self::Signal(_) => Code::Internal,
        }
    }

    /// Never: the process is to end, and its supervisor to decide.
    #[expect(clippy::unused_self, reason = "every error answers this")]
    pub fn retryable(&self) -> bool {
        false
    }
}

pub(crate) type ReadyCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A service: its settings, its clients, and the server of its operations.
///
/// ```no_run
/// # async fn run() -> Result<(), bowline::Error> {
/// use axum::{Router, routing::get};
/// let service = bowline::Microservice::from_env("hello")?;
/// service.serve(Router::new().route("/hello", get(|| async { "hello" }))).await
/// # }
/// ```
pub struct Microservice {
    settings: Settings,
    pub(crate) metrics: metric::Registry,
    tracer: Tracer,
    pub(crate) caches: Caches,
    /// The way to the server, with the token.
    pub(crate) link: Option<Link>,
    discovery: Arc<Discovery>,
    registry: Option<Arc<RemoteRegistry>>,
    configuration: Option<Arc<dyn ConfigManager>>,
    /// Its place in the mesh, if it is in one.
    place: Place,
    pool: SharedPool,
    pub(crate) post: Post,
    /// What takes messages, from when it serves.
    pub(crate) consuming: Vec<Consuming>,
    /// Whether it stops; streams end then.
    pub(crate) draining: tokio::sync::watch::Sender<bool>,
    #[cfg(feature = "sql")]
    relays: Vec<sql::Relay>,
    #[cfg(feature = "sql")]
    pub(crate) sagas: Option<Arc<dyn crate::sagas::Shown>>,
    pub(crate) clients: Clients,
    ready: Vec<ReadyCheck>,
    /// Whether connections are made before the first calls.
    warms_up: bool,
    reporter: Option<RemoteReporter>,
    /// Follows which traces are kept.
    _sampling: Option<Guarded<()>>,
    /// Tells who holds a thread.
    _watchdog: Watchdog,
}

impl std::fmt::Debug for Microservice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Microservice").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Microservice {
    /// A service configured by its environment; see [`Settings`].
    ///
    /// Nothing is awaited: the process starts and serves while Bowline is away. From here on what the application and its
    /// libraries tell `tracing` is written to standard error, warnings or what `BOWLINE_LOG` asks for, unless there is a
    /// subscriber already.
    ///
    /// # Errors
    /// When a variable holds what cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_env(service: &str) -> Result<Self, Error> {
        crate::logs::begin();
        Settings::from_env(service).map(Self::new).map_err(Error::Settings)
    }

    /// A service with the given settings.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(settings: Settings) -> Self {
        let metrics = metric::Registry::default();
        let watchdog = watchdog::start(&metrics);
        let link = settings.api.clone().map(Link::new);
        let asking = link.clone().map(|link| settings.bearer.iter().cloned().fold(link, Link::with_bearer));
        let registry = asking.as_ref().map(|link| Arc::new(RemoteRegistry::over(link)));
        // A folder of this instance alone; one named by the process id would never be read again.
        let snapshots =
            settings.has_lasting_id.then(|| settings.data_dir.join("discovery").join(settings.instance.as_str()));
        let discovery = match &registry {
            Some(registry) => Discovery::new(registry.clone() as Arc<dyn Registry>, snapshots),
            None => Discovery::new(Arc::new(crate::registration::NoRegistry), snapshots),
        };
        let live = Live::new(1.0);
        let (tracer, reporter) = match &asking {
            Some(link) => {
                let (queue, spans) = bowline_telemetry::queue(SPANS_WAITING_MAX, &metrics);
                let tracer = Tracer::new(settings.service.as_str(), settings.instance.as_str(), live.clone(), queue);
                (tracer, Some(RemoteReporter::start_over(link, spans, &metrics)))
            }
            None => (Tracer::disabled(), None),
        };
        let configuration = asking.as_ref().map(|link| Arc::new(RemoteConfig::over(link)) as Arc<dyn ConfigManager>);
        let sampling = configuration.clone().map(|config| sampling::follow(&settings, config, live));
        let place = take_place(&settings, link, configuration.as_ref(), &metrics);
        let tls = place.member().map(Member::client_tls);
        let pool = PoolMetrics::new(&metrics, "service");
        let pool = SharedPool::new(PoolSettings { tls, metrics: pool, ..PoolSettings::default() });
        let (clients, ready) = (Clients::default(), Vec::new());
        let discovery = Arc::new(discovery);
        let bus = asking.as_ref().map(|link| Arc::new(RemoteMessages::over(link)) as Arc<dyn MessageBus>);
        let post = Post { service: settings.service.clone(), bus, tracer: tracer.clone(), metrics: metrics.clone() };
        Self {
            settings,
            metrics,
            tracer,
            caches: Caches::default(),
            link: asking,
            discovery,
            registry,
            configuration,
            place,
            pool,
            post,
            consuming: Vec::new(),
            draining: tokio::sync::watch::Sender::new(false),
            #[cfg(feature = "sql")]
            relays: Vec::new(),
            #[cfg(feature = "sql")]
            sagas: None,
            clients,
            ready,
            warms_up: true,
            reporter,
            _sampling: sampling,
            _watchdog: watchdog,
        }
    }

    /// What this process was told about itself.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where to count: what is registered here is served at `/metrics`.
    pub fn metrics(&self) -> &metric::Registry {
        &self.metrics
    }

    /// For spans of one's own.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// A database that this service owns, by its name in `bowline.toml`: `sqlite:order.db`.
    ///
    /// # Errors
    /// Those of [`Settings::data`].
    pub fn database(&self, resource: &str) -> Result<Database, settings::Error> {
        Ok(Database::new(resource, self.settings.data(resource)?, self.tracer.clone()))
    }

    /// The one database that this service owns, as the environment tells it: SQLite or PostgreSQL, whichever
    /// `bowline.toml` says, also by a profile.
    ///
    /// # Errors
    /// When there is none, or more than one: all of them are named.
    pub fn own_database(&self) -> Result<Database, settings::Error> {
        let (resource, url) = self.settings.own_database()?;
        Ok(Database::new(&resource, url, self.tracer.clone()))
    }

    /// The client of a declared call.
    ///
    /// # Panics
    /// When the name is no service name: it stands in the code, not in data.
    pub fn client(&self, service: &str) -> ServiceClient {
        let service = ServiceName::new(service).expect("the name in the code is a service name");
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let is_async = self.settings.async_calls.contains(&service);
            let wiring = Wiring {
                pool: self.pool.clone(),
                tracer: self.tracer.clone(),
                metrics: self.metrics.clone(),
                place: self.place.clone(),
                from: bowline_upstream::Standpoint {
                    zone: self.settings.zone.clone(),
                    caller: self.settings.instance.to_string(),
                },
                hand_over: is_async.then(|| HandOver::new(self.post.clone(), service.clone())),
            };
            ServiceClient::new(service.clone(), self.settings.policy(&service), &self.discovery, wiring)
        };
        clients.entry(service.clone()).or_insert_with(make).clone()
    }

    /// Has messages go over that bus, in the place of the server's. Before clients, topics and consumers are made.
    #[must_use]
    pub fn with_bus(mut self, bus: Arc<dyn MessageBus>) -> Self {
        self.post.bus = Some(bus);
        self
    }

    /// The bus itself; none where no server is known.
    pub fn bus(&self) -> Option<Arc<dyn MessageBus>> {
        self.post.bus.clone()
    }

    /// A topic to publish to.
    ///
    /// # Panics
    /// When the name is no topic's: it stands in the code, not in data.
    pub fn topic(&self, name: &str) -> Topic {
        Topic::new(self.post.clone(), name)
    }

    /// How messages of a topic are taken: for the group that is named as the service is, of which each message goes
    /// to one instance.
    ///
    /// ```no_run
    /// # use bowline::messages::{Failure, Incoming};
    /// # #[derive(serde::Deserialize)] struct OrderPlaced { id: String }
    /// # fn run(service: &mut bowline::Microservice) {
    /// service.consumer("order.placed").each(async |placed: Incoming<OrderPlaced>| -> Result<(), Failure> {
    ///     println!("order {} was placed", placed.value.id);
    ///     Ok(())
    /// });
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the name is no topic's: it stands in the code, not in data.
    pub fn consumer(&mut self, topic: &str) -> messages::Consumer<'_> {
        messages::Consumer::new(self, topic)
    }

    /// Hands what waits in an outbox to the message bus, as long as the service runs.
    #[cfg(feature = "sql")]
    pub fn relay<DB: sql::Db>(&mut self, outbox: &sql::Outbox<DB>, settings: sql::RelaySettings) {
        if let Some(bus) = self.bus() {
            self.relays.push(outbox.relay(bus, settings, &self.metrics));
        } else {
            tracing::warn!("what waits in the outbox stays there: no server is known (BOWLINE_API)");
        }
    }

    /// Has `bowline sagas` show these sagas of the service, and try those again that are stuck. When the service drains
    /// they do, too: what is worked on is done within the grace, what is not is left to other replicas at once.
    ///
    /// # Panics
    /// The second time: all definitions are given to one [`SagasBuilder`](sql::SagasBuilder).
    #[cfg(feature = "sql")]
    pub fn show_sagas<DB: sql::Db>(&mut self, sagas: &sql::Sagas<DB>) {
        assert!(
            self.sagas.is_none(),
            "the service shows its sagas already: give all definitions to one `Sagas::builder`"
        );
        self.sagas = Some(Arc::new(sagas.clone()));
    }

    /// A document of configuration as a value that follows it: each later version that can be read
    /// as the type replaces it within a second, any other is refused and changes nothing. What
    /// became of each is told by `bowline config status KEY`.
    ///
    /// # Errors
    /// When there is nothing to begin with; see [`config::Loader::load`].
    ///
    /// # Panics
    /// When the key is no `NAMESPACE/NAME`: it stands in the code, not in data.
    ///
    /// # Cancel safety
    /// Nothing is followed.
    pub async fn config<T>(&self, key: &str) -> Result<Config<T>, config::Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.config_loader(key).load().await
    }

    /// As [`Microservice::config`], beginning with the type's default where nothing was published.
    ///
    /// # Errors
    /// None today: there is always something to begin with.
    ///
    /// # Panics
    /// As [`Microservice::config`].
    ///
    /// # Cancel safety
    /// Nothing is followed.
    pub async fn config_or_default<T>(&self, key: &str) -> Result<Config<T>, config::Error>
    where
        T: DeserializeOwned + Default + Send + Sync + 'static,
    {
        self.config_loader(key).or(T::default()).load().await
    }

    /// As [`Microservice::config`], with a check or a default of one's own.
    ///
    /// # Panics
    /// As [`Microservice::config`].
    pub fn config_loader<T>(&self, key: &str) -> config::Loader<T>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let key = ConfigKey::new(key).expect("the key in the code is NAMESPACE/NAME");
        config::Loader::new(self.configuration.clone(), &self.settings, key)
    }

    /// Adds a condition of readiness: `/readyz` answers 503 with the text while it fails.
    #[must_use]
    pub fn ready_when<F, Fut>(mut self, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.ready.push(Arc::new(move || Box::pin(check())));
        self
    }

    /// Leaves it to the first calls to make connections. Without this, one is made to each instance of the clients
    /// there are when it begins to serve, as [`ServiceClient::warm_up`] says, and `/readyz` waits for that.
    #[must_use]
    pub fn without_warm_up(mut self) -> Self {
        self.warms_up = false;
        self
    }

    /// Serves the operations until SIGTERM or Ctrl-C, then finishes what is in flight, within [`GRACE_DEFAULT`].
    ///
    /// `/livez`, `/readyz` and `/metrics` are added, `/-/bowline/breakers`, `/-/bowline/caches`, and `/-/bowline/sagas`
    /// where sagas are shown.
    /// Each request runs in a server span and under its caller's deadline: no call made for it lasts longer. An error
    /// answered without a body gets a problem document. Extractors take bodies of up to [`BODY_MAX_DEFAULT`] bytes.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    ///
    /// # Panics
    /// When the application has a route of its own that is added.
    pub async fn serve(self, app: Router) -> Result<(), Error> {
        self.serve_until(app, shutdown_signal().map_err(Error::Signal)?, GRACE_DEFAULT, |_| ()).await
    }

    /// As [`Microservice::serve`], until the given future ends; `on_listen` is told the address, with
    /// the port it has now if it is one. The grace is one for all: requests, messages and sagas at work.
    ///
    /// # Errors
    /// As [`Microservice::serve`].
    ///
    /// # Panics
    /// As [`Microservice::serve`].
    ///
    /// # Cancel safety
    /// Dropping the future begins the drain, which then goes on by itself.
    pub async fn serve_until(
        mut self,
        app: Router,
        stop: impl Future<Output = ()>,
        grace: Duration,
        on_listen: impl FnOnce(Address),
    ) -> Result<(), Error> {
        let listened = serve::listen(&self.settings.listen);
        let (listener, addr) =
            listened.map_err(|source| Error::Listen { addr: self.settings.listen.clone(), source })?;
        on_listen(addr.clone());
        let (mut drainer, drain) = drain::channel();
        let (tracer, metrics) = (self.tracer.clone(), self.metrics.clone());
        let context = serve::Context::new(&self.settings, tracer, metrics, self.readiness(), self.draining.clone());
        let router = serve::router(app.merge(self.own_routes()), context.clone());
        let server = task::spawn(serve::accept(listener, router, drain, grace, self.metrics.clone()));
        let registration = self.register(&addr);
        let (consumers, consuming) = self.start_consuming();
        tracing::info!(service = %self.settings.service, instance = %self.settings.instance, %addr, "service listens");
        stop.await;
        tracing::info!("service drains");
        let until = time::now() + grace;
        context.begin_drain();
        consumers.start();
        #[cfg(feature = "sql")]
        self.sagas.iter().for_each(|sagas| sagas.begin_drain());
        if let Some(registration) = registration {
            registration.end().await;
        }
        drainer.drain().await;
        // The registry may have taken a part of the grace to answer.
        let _in_time = time::timeout_at(until, server).await;
        let consumed = futures_util::future::join_all(consuming);
        // What is not done by then is delivered to another.
        let _in_time = time::timeout_at(until, consumed).await;
        // Last: requests and messages wait for them.
        #[cfg(feature = "sql")]
        if let Some(sagas) = &self.sagas {
            sagas.drain(until.saturating_duration_since(time::now())).await;
        }
        if let Some(reporter) = self.reporter {
            reporter.flush(REPORTING_MAX).await;
        }
        Ok(())
    }

    /// Begins to take messages, and to carry out what was handed over, until the drain.
    fn start_consuming(&mut self) -> (drain::Drainer, Vec<task::JoinHandle<()>>) {
        let (drainer, drain) = drain::channel();
        let own = std::mem::take(&mut self.consuming);
        let callees: Vec<ServiceName> = self.settings.async_calls.iter().cloned().collect();
        let handed_over = callees.iter().map(|callee| carry_out(self.client(callee.as_str()), &self.settings.service));
        let all = own.into_iter().chain(handed_over);
        (drainer, all.map(|it| it.start(self.post.clone(), drain.clone())).collect())
    }

    /// The conditions of readiness: the application's own, that it can show who it is to those it calls, that it was
    /// told how its calls are split between versions, and that connections were made ahead, or could not be.
    fn readiness(&self) -> Vec<ReadyCheck> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let makes_calls = !clients.is_empty() || !self.settings.calls.is_empty();
        let member = self.place.member().cloned().filter(|_| makes_calls);
        let can_call = member.map(|member| -> ReadyCheck {
            Arc::new(move || {
                let standing = member.standing();
                Box::pin(async { standing })
            })
        });
        let told = match &self.place {
            Place::Steered(_) if makes_calls => self.place.told(),
            _ => None,
        };
        let is_steered = told.map(|told| -> ReadyCheck {
            Arc::new(move || {
                let is_told = !matches!(*told.borrow(), Told::NotYet);
                let why = || "it was not told yet how its calls are split between versions".to_owned();
                Box::pin(async move { is_told.then_some(()).ok_or_else(why) })
            })
        });
        let is_warm = (self.warms_up && !clients.is_empty()).then(|| warm_up(clients.values().cloned().collect()));
        can_call.into_iter().chain(is_steered).chain(is_warm).chain(self.ready.iter().cloned()).collect()
    }

    /// Registers this process, unless its supervisor does, or others cannot reach it.
    fn register(&self, addr: &Address) -> Option<Registration> {
        let registry = self.registry.clone().filter(|_| !self.settings.is_supervised)?;
        let address = match (self.settings.advertise, addr) {
            (Some(advertised), _) => Address::Tcp(advertised),
            (None, Address::Tcp(_)) => addr.clone(),
            // Whoever listens in its place registers it.
            (None, Address::Unix(_)) => return None,
        };
        let mut instance = Instance::new(self.settings.instance.clone(), self.settings.service.clone(), address);
        instance.version.clone_from(&self.settings.version);
        instance.zone.clone_from(&self.settings.zone);
        instance.protocol = Protocol::Both;
        Some(Registration::start(registry, instance))
    }
}

/// Its place among others: in the mesh that it is to join, else as what is published of how calls are split.
fn take_place(
    settings: &Settings,
    link: Option<Link>,
    configuration: Option<&Arc<dyn ConfigManager>>,
    metrics: &metric::Registry,
) -> Place {
    let (Some(link), Some(config)) = (link, configuration.cloned()) else { return Place::Alone };
    match &settings.mesh {
        Some(mesh) => {
            // Without the token: a certificate is given for a proof of who asks.
            let issuer = Arc::new(RemoteIssuer::over(link));
            Place::Meshed(Member::join(settings, mesh, config, issuer, metrics))
        }
        None => Place::Steered(Steered::follow(settings, config)),
    }
}

/// Ends at SIGTERM or SIGINT.
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}
