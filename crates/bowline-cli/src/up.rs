//! `bowline up`: a whole system in one process tree, from its file to its drain.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bowline_gateway::{Follow, Gateway, LastGood};
use bowline_model::{ConfigKey, InstanceId, RouteTable, ServiceName, System, error::chain, parse};
use bowline_observe::TraceStore;
use bowline_provider_remote::wire::Role;
use bowline_registry::Discovery;
use bowline_runtime::{
    BoxFuture, metric, net,
    task::{self, JoinHandle},
    time::{self, Instant},
};
use bowline_server::{Explainer, Node};
use bowline_supervisor::{Event, Supervisor, workspace};
use bowline_telemetry::{ParentBased, SpanQueue, Tracer};
use tokio::sync::mpsc;

use crate::{
    FAILED, UNUSABLE,
    args::{self, Listen},
    brought::{self, Brought},
    events, explain,
    outlet::Outlet,
    problems::{self, Loaded},
    stop::Stop,
    style,
    summary::{self, Ended},
};

/// Spans of the gateway that wait to be stored, at most.
const SPANS_WAITING_MAX: usize = 20_000;
/// Spans stored in one go.
const SPANS_BATCH_MAX: usize = 1000;
/// How long a span waits for company.
const SPANS_WAIT: Duration = Duration::from_millis(200);
/// How long the last spans may take to be stored.
const SPANS_END_MAX: Duration = Duration::from_secs(1);
/// How long requests to the API may take at the end: it is asked about the drain till then.
const API_GRACE_MAX: Duration = Duration::from_secs(1);
/// How long after the grace period services may still be ending: the kernel takes its time to
/// kill, and where the gateway needed all of the grace period they have this long after SIGTERM.
const SERVICES_LATE_MAX: Duration = Duration::from_secs(2);
/// How long a terminal or a pipe that takes nothing may hold up the end.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Builds, starts and follows a system until it is told to stop.
pub(crate) async fn run(args: args::Up) -> anyhow::Result<ExitCode> {
    let loaded = match problems::load(&args.dir)? {
        Ok(loaded) => loaded,
        Err(problems::Unusable(report)) => {
            use std::io::Write as _;
            let _closed = std::io::stderr().write_all(report.as_bytes());
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    let metrics = metric::Registry::default();
    let (out, err) = (Outlet::open(std::io::stdout()), Outlet::open(std::io::stderr()));
    init_logs(&err, &metrics);
    let mut stop = Stop::listen()?;
    let outcome = follow(&args, loaded, metrics, &out, &mut stop).await;
    let last_words = async {
        if let Err(error) = &outcome {
            err.line(style::error(&format!("{error:#}"))).await;
        }
        err.flush().await;
    };
    let _in_time = time::timeout(LAST_WORDS_MAX, last_words).await;
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// A run from its start to its end. An error says why it did not start; a signal is none.
async fn follow(
    args: &args::Up,
    loaded: Loaded,
    metrics: metric::Registry,
    out: &Outlet,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let begun = time::now();
    let Loaded { system, dir, brought } = loaded;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| dir.join(".bowline"));
    let data_dir = std::path::absolute(&data_dir).context("cannot resolve the data folder")?;
    let Some(platform) = stop.or(Platform::start(args, &system, data_dir, metrics)).await else {
        out.line_soon(summary::ended(&Ended::default())).await;
        return Ok(());
    };
    let mut running = Running::new(platform?);
    let (events, printer) = events::printer(&system, args.quiet, out.clone());
    let outcome = match stop.or(running.start(args, system, Place { dir, brought }, begun, events, out)).await {
        Some(Ok(())) => {
            stop.told().await;
            Ok(())
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    let said = outcome.is_ok().then_some("stopping: in-flight requests finish first, Ctrl-C again stops at once");
    let ended = stop.unless_again(running.drain(args.grace, said, out)).await;
    let last_words = async {
        printer.end().await;
        out.line(summary::ended(&ended.unwrap_or(Ended::AtOnce))).await;
        out.flush().await;
    };
    let _in_time = time::timeout(LAST_WORDS_MAX, last_words).await;
    outcome
}

/// Everything that runs, started as far as it came. Dropping it ends it all at once.
struct Running {
    gateway: Option<Gateway>,
    supervisor: Option<Supervisor>,
    platform: Platform,
}

/// Where a system's file is, and what it brings along.
struct Place {
    dir: PathBuf,
    brought: Vec<Brought>,
}

impl Running {
    fn new(platform: Platform) -> Self {
        Self { gateway: None, supervisor: None, platform }
    }

    /// Starts the services, opens the gateway when all are healthy, and says that all is ready.
    async fn start(
        &mut self,
        args: &args::Up,
        mut system: System,
        place: Place,
        begun: Instant,
        events: mpsc::Sender<Event>,
        out: &Outlet,
    ) -> anyhow::Result<()> {
        // Not by its path: a build may replace the file while it runs.
        let keeper = PathBuf::from("/proc/self/exe");
        let platform = &self.platform;
        let Place { dir, brought } = place;
        for note in platform.publish(&system, &brought).await? {
            out.line(note).await;
        }
        let layout = workspace::locate(&dir);
        let mut settings = bowline_supervisor::Settings::new(layout, platform.data_dir.clone(), keeper);
        if let Some(addr) = platform.node.addr() {
            settings.api = Some(reached_at(addr));
            if !addr.ip().to_canonical().is_loopback() {
                settings.token = Some(platform.node.lend_token("instances", Role::Editor)?);
                tracing::warn!(%addr, "the API is open to other machines: tokens travel unencrypted until TLS is built");
            }
        }
        settings.grace = args.grace;
        settings.metrics = platform.metrics.clone();
        let supervisor = Supervisor::start(system.clone(), settings, platform.node.registry(), events).await;
        let supervisor = self.supervisor.insert(supervisor.map_err(supervisor_error)?);
        supervisor.ready().await.map_err(supervisor_error)?;
        self.gateway = platform.open_gateway(args, &system).await?;
        if let Some(gateway) = &self.gateway {
            // What is live is told, which may have come through the API.
            system.table = gateway.handle().table();
        }
        let ready = summary::Ready {
            system: &system,
            took: time::now() - begun,
            gateway: self.gateway.as_ref().map(Gateway::addr),
            api: platform.node.addr(),
            data_dir: &platform.data_dir,
        };
        out.line(summary::ready(&ready)).await;
        Ok(())
    }

    /// Stops in order: the gateway, the services, the platform. One deadline holds for all.
    async fn drain(self, grace: Duration, said: Option<&str>, out: &Outlet) -> Ended {
        let Self { gateway, supervisor, platform } = self;
        let until = time::now() + grace;
        let say = async {
            if let Some(said) = said {
                out.line_soon(said.to_owned()).await;
            }
        };
        let drain_gateway = async {
            if let Some(gateway) = gateway {
                // The gateway logs what it cut.
                let _in_time = gateway.drain(grace).await;
            }
        };
        tokio::join!(say, drain_gateway);
        let ended = match supervisor {
            None => Ended::default(),
            // Its own grace period began just now: what the gateway took of it is cut off here.
            Some(supervisor) => match time::timeout_at(until + SERVICES_LATE_MAX, supervisor.drain()).await {
                Ok(drained) => Ended::Drained(drained),
                Err(_) => Ended::Late,
            },
        };
        platform.stop().await;
        ended
    }
}

/// What of Bowline itself runs here: the node, and the way of its spans into the trace store.
struct Platform {
    data_dir: PathBuf,
    metrics: metric::Registry,
    node: Node,
    tracer: Tracer,
    spans: JoinHandle<()>,
}

impl Platform {
    async fn start(
        args: &args::Up,
        system: &System,
        data_dir: PathBuf,
        metrics: metric::Registry,
    ) -> anyhow::Result<Self> {
        // A taken port is said before anything is built or started.
        if let Listen::At(addr) = args.gateway {
            net::listen(addr).map_err(|error| taken("the gateway", "--gateway", addr, &error))?;
        }
        let settings = bowline_server::Settings {
            data_dir: data_dir.clone(),
            listen: match args.api {
                Listen::At(addr) => Some(addr),
                Listen::Off => None,
            },
            traces_bytes_max: args.traces_max,
            grace: API_GRACE_MAX.min(args.grace),
            mesh: None,
        };
        let node = Node::start_with_routes(settings, metrics.clone(), brought::routes_check(system)).await?;
        let (queue, spans) = bowline_telemetry::queue(SPANS_WAITING_MAX, &metrics);
        let tracer = Tracer::new("gateway", "gateway-1", ParentBased::new(1.0), queue);
        let spans = task::spawn(store_spans(spans, node.traces()));
        Ok(Self { data_dir, metrics, node, tracer, spans })
    }

    /// Writes out the last spans, then stops the node.
    async fn stop(self) {
        let Self { data_dir: _, metrics: _, node, tracer, spans } = self;
        // The queue ends with its last tracer.
        drop(tracer);
        let _in_time = time::timeout(SPANS_END_MAX, spans).await;
        node.stop().await;
    }

    /// Publishes what the file brings along; says what is not as the file has it.
    async fn publish(&self, system: &System, brought: &[Brought]) -> anyhow::Result<Vec<String>> {
        brought::publish(&*self.node.config(), brought, &brought::services(system)).await
    }

    async fn open_gateway(&self, args: &args::Up, system: &System) -> anyhow::Result<Option<Gateway>> {
        let Listen::At(listen) = args.gateway else { return Ok(None) };
        let snapshots = self.data_dir.join("discovery").join("gateway");
        let discovery = Arc::new(Discovery::new(self.node.registry(), Some(snapshots)));
        let mut settings = bowline_gateway::Settings::new(listen);
        if let Some(workers) = args.workers {
            settings.workers = usize::from(workers);
        }
        let last_good = self.data_dir.join("routes.toml");
        let start = |table| {
            let (settings, discovery) = (settings.clone(), Arc::clone(&discovery));
            Gateway::start(settings, table, discovery, self.tracer.clone(), &self.metrics)
        };
        let (table, runs, refused_before) = self.known_routes(system, &last_good).await?;
        let (mut gateway, runs) = match (start(table).await, refused_before) {
            // No gateway has served it yet: what was served instead still is.
            (Err(error), Some(LastGood { table, version })) if error.is_of_table() => {
                let error = chain(&error);
                tracing::warn!(version = runs, error, "published routes cannot be served, those served before are");
                (start(table).await?, Some(version))
            }
            (started, _) => (started?, runs),
        };
        gateway.follow(Follow {
            config: self.node.config(),
            services: brought::services(system),
            instance: InstanceId::new("gateway-1").expect("it is an id"),
            service: ServiceName::new("gateway").expect("it is a name"),
            last_good: Some(last_good),
            runs,
        });
        let handle = gateway.handle();
        let explainer = move |request| -> BoxFuture<'static, _> { Box::pin(explain::answer(handle.clone(), request)) };
        self.node.set_explainer(Explainer::new(explainer));
        Ok(Some(gateway))
    }

    /// What was published through the API since the file last changed, or what the file says, with its
    /// version. Beside it, what a gateway served last if that is another one.
    async fn known_routes(
        &self,
        system: &System,
        last_good: &Path,
    ) -> anyhow::Result<(RouteTable, Option<u64>, Option<LastGood>)> {
        let services = brought::services(system);
        let published = self.node.config().get_config(&ConfigKey::routes()).await?;
        let published = published.and_then(|it| Some((parse::routes(&it.document.text, &services).ok()?, it.number)));
        let Some((table, version)) = published else { return Ok((system.table.clone(), None, None)) };
        let path = last_good.to_path_buf();
        let served = task::spawn_blocking(move || LastGood::read(&path, &services)).await?;
        // It may name a service that is gone.
        let served = served.inspect_err(|error| tracing::warn!(%error, "the last good routes are of no use"));
        let served = served.ok().flatten().filter(|served| served.version != version);
        Ok((table, Some(version), served))
    }
}

/// Where what listens there is reached from this machine.
fn reached_at(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

fn taken(what: &str, flag: &str, addr: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("{what} cannot listen on {addr}: {error}; choose another address with {flag}, or {flag} off")
}

/// The error with the last words of the process at fault.
fn supervisor_error(error: bowline_supervisor::Error) -> anyhow::Error {
    let last_words: Vec<String> = error.lines().to_vec();
    let text = format!("{:#}", anyhow::Error::new(error));
    let lines: Vec<String> = std::iter::once(text).chain(last_words).collect();
    anyhow::anyhow!(lines.join("\n   "))
}

/// Moves spans of this process into the trace store.
async fn store_spans(mut spans: SpanQueue, traces: Arc<TraceStore>) {
    while let Some(batch) = spans.next_batch(SPANS_BATCH_MAX, SPANS_WAIT).await {
        // What does not fit is dropped, and counted by the store.
        traces.append(batch);
    }
}

/// Bowline's own log goes to standard error: warnings, or what `BOWLINE_LOG` asks for.
fn init_logs(err: &Outlet, metrics: &metric::Registry) {
    use tracing_subscriber::EnvFilter;
    let dropped = metrics.counter(
        "bowline_log_lines_dropped_total",
        "Lines of Bowline's own log that nobody took from its standard error in time.",
        &[],
    );
    let log = err.log(dropped);
    let wanted = std::env::var("BOWLINE_LOG").unwrap_or_default();
    let filter = if wanted.is_empty() { Ok(EnvFilter::new("warn")) } else { EnvFilter::try_new(&wanted) };
    let (filter, unusable) = match filter {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("warn"), Some(error)),
    };
    let logs = tracing_subscriber::fmt().with_ansi(style::is_stderr_coloured()).with_writer(move || log.clone());
    let _first = logs.with_env_filter(filter).try_init();
    if let Some(error) = unusable {
        tracing::warn!(%error, "BOWLINE_LOG cannot be used: only warnings are shown");
    }
}
