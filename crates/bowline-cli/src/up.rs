//! `bowline up`: a whole system in one process tree, from its file to its drain.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use bowline_gateway::Gateway;
use bowline_model::System;
use bowline_observe::TraceStore;
use bowline_registry::Discovery;
use bowline_runtime::{
    metric, net,
    task::{self, JoinHandle},
    time::{self, Instant},
};
use bowline_server::Node;
use bowline_supervisor::{Supervisor, workspace};
use bowline_telemetry::{ParentBased, SpanQueue, Tracer};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    UNUSABLE,
    args::{self, Listen},
    events,
    problems::{self, Loaded},
    style, summary,
};

/// Spans of the gateway that wait to be stored, at most.
const SPANS_WAITING_MAX: usize = 20_000;
/// Spans stored in one go.
const SPANS_BATCH_MAX: usize = 1000;
/// How long a span waits for company.
const SPANS_WAIT: Duration = Duration::from_millis(200);
/// How long the last spans may take to be stored.
const SPANS_END_MAX: Duration = Duration::from_secs(1);

/// Builds, starts and follows a system until it is told to stop.
pub(crate) async fn run(args: args::Up) -> anyhow::Result<ExitCode> {
    let Loaded { system, dir } = match problems::load(&args.dir)? {
        Ok(loaded) => loaded,
        Err(problems::Unusable(report)) => {
            use std::io::Write as _;
            let _closed = std::io::stderr().write_all(report.as_bytes());
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    init_logs();
    let mut stop = Stop::listen()?;
    let begun = time::now();
    let data_dir = args.data_dir.clone().unwrap_or_else(|| dir.join(".bowline"));
    let data_dir = std::path::absolute(&data_dir).context("cannot resolve the data folder")?;
    let platform = Platform::start(&args, data_dir).await?;
    let result = platform.run_system(&args, system, &dir, begun, &mut stop).await;
    platform.stop().await;
    result.map(|()| ExitCode::SUCCESS)
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
    async fn start(args: &args::Up, data_dir: PathBuf) -> anyhow::Result<Self> {
        // A taken port is said before anything is built or started.
        if let Listen::At(addr) = args.gateway {
            net::listen(addr).map_err(|error| taken("the gateway", "--gateway", addr, &error))?;
        }
        let metrics = metric::Registry::default();
        let settings = bowline_server::Settings {
            data_dir: data_dir.clone(),
            listen: match args.api {
                Listen::At(addr) => Some(addr),
                Listen::Off => None,
            },
            traces_bytes_max: args.traces_max,
            grace: args.grace,
        };
        let node = Node::start(settings, metrics.clone()).await?;
        let (queue, spans) = bowline_telemetry::queue(SPANS_WAITING_MAX, &metrics);
        let tracer = Tracer::new("gateway", "gateway-1", ParentBased::new(1.0), queue);
        let spans = task::spawn(store_spans(spans, node.traces()));
        Ok(Self { data_dir, metrics, node, tracer, spans })
    }

    async fn run_system(
        &self,
        args: &args::Up,
        system: System,
        dir: &std::path::Path,
        begun: Instant,
        stop: &mut Stop,
    ) -> anyhow::Result<()> {
        let layout = workspace::locate(dir);
        // Not by its path: a build may replace the file while it runs.
        let keeper = PathBuf::from("/proc/self/exe");
        let mut settings = bowline_supervisor::Settings::new(layout, self.data_dir.clone(), keeper);
        settings.api = self.node.addr();
        settings.grace = args.grace;
        settings.metrics = self.metrics.clone();
        let (events, printer) = events::printer(&system, args.quiet);
        let Some(supervisor) = stop.or(Supervisor::start(system.clone(), settings, self.node.registry(), events)).await
        else {
            return Ok(());
        };
        let supervisor = supervisor.map_err(supervisor_error)?;
        let ready = stop.or(supervisor.ready()).await;
        let outcome = match ready {
            None => Ok(()),
            Some(Err(error)) => Err(supervisor_error(error)),
            Some(Ok(())) => self.serve(args, &system, begun, stop).await,
        };
        let drained = stop.unless_again(supervisor.drain()).await;
        printer.end().await;
        summary::drained(drained.as_ref());
        outcome
    }

    /// Opens the gateway, says that all is ready, and waits for the signal.
    async fn serve(&self, args: &args::Up, system: &System, begun: Instant, stop: &mut Stop) -> anyhow::Result<()> {
        let gateway = self.open_gateway(args, system).await?;
        summary::ready(&summary::Ready {
            system,
            took: time::now() - begun,
            gateway: gateway.as_ref().map(Gateway::addr),
            api: self.node.addr(),
            data_dir: &self.data_dir,
        });
        stop.wait().await;
        style::line("stopping: in-flight requests finish first, Ctrl-C again stops at once");
        if let Some(gateway) = gateway {
            let _in_time = stop.unless_again(gateway.drain(args.grace)).await;
        }
        Ok(())
    }

    /// Writes out the last spans, then stops the node.
    async fn stop(self) {
        let Self { data_dir: _, metrics: _, node, tracer, spans } = self;
        // The queue ends with its last tracer.
        drop(tracer);
        let _in_time = time::timeout(SPANS_END_MAX, spans).await;
        node.stop().await;
    }

    async fn open_gateway(&self, args: &args::Up, system: &System) -> anyhow::Result<Option<Gateway>> {
        let Listen::At(listen) = args.gateway else { return Ok(None) };
        let snapshots = self.data_dir.join("discovery").join("gateway");
        let discovery = Arc::new(Discovery::new(self.node.registry(), Some(snapshots)));
        let mut settings = bowline_gateway::Settings::new(listen);
        if let Some(workers) = args.workers {
            settings.workers = usize::from(workers);
        }
        let routes = system.routes.clone();
        let gateway = Gateway::start(settings, routes, discovery, self.tracer.clone(), &self.metrics).await?;
        Ok(Some(gateway))
    }
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
fn init_logs() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("BOWLINE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let _first = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// The signals that end a run: SIGINT and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }

    /// Runs a future until it ends, or until a signal comes: `None`.
    async fn or<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            output = future => Some(output),
            () = self.wait() => None,
        }
    }

    /// The same while draining, where a signal is an impatient one.
    async fn unless_again<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        self.or(future).await
    }
}
