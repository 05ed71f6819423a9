//! `bowline up`: a whole system in one process tree, from its file to its drain.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use bowline_deploy::Deployer;
use bowline_gateway::Gateway;
use bowline_model::System;
use bowline_provider_remote::wire::Role;
use bowline_runtime::{
    net,
    time::{self, Instant},
};
use bowline_server::OtlpAddrs;
use bowline_supervisor::{Companions, Event, Probes, Supervisor, workspace};
use tokio::sync::mpsc;

use crate::{
    UNUSABLE, args,
    brought::Brought,
    check,
    companions::{self, Sidecars},
    events, export, gateway, logs,
    outlet::Outlet,
    platform::{self, Platform, Spans},
    problems::{self, Loaded},
    process::{self, Process, STOPPING, reached_at},
    releases,
    summary::{self, Ended},
};

/// How long after the grace period services may still be ending: the kernel takes its time to
/// kill, and where the gateway needed all of the grace period they have this long after SIGTERM.
const SERVICES_LATE_MAX: Duration = Duration::from_secs(2);
/// Builds, starts and follows a system until it is told to stop.
pub(crate) async fn run(args: args::Up) -> anyhow::Result<ExitCode> {
    let Some(loaded) = problems::load_or_say(&args.dir, args.profile.as_deref())? else {
        return Ok(ExitCode::from(UNUSABLE));
    };
    if !check::lets_start(&loaded) {
        return Ok(ExitCode::from(UNUSABLE));
    }
    let mut process = Process::begin()?;
    let outcome = Box::pin(follow(&args, loaded, &mut process)).await;
    Ok(process.end(outcome).await)
}

/// A run from its start to its end. An error says why it did not start; a signal is none.
async fn follow(args: &args::Up, loaded: Loaded, process: &mut Process) -> anyhow::Result<()> {
    let begun = time::now();
    let Loaded { system, dir, brought, .. } = loaded;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| dir.join(".bowline"));
    let data_dir = std::path::absolute(&data_dir).context("cannot resolve the data folder")?;
    let Process { metrics, out, stop, .. } = process;
    let Some(platform) = stop.or(start_platform(args, &system, data_dir, metrics.clone())).await else {
        out.line_soon(summary::ended(&Ended::default())).await;
        return Ok(());
    };
    let mut running = Running::new(platform?);
    let (events, printer) = events::printer(&system, args.quiet, out.clone());
    let outcome = match stop.or(Box::pin(running.start(args, system, Place { dir, brought }, begun, events, out))).await
    {
        Some(Ok(())) => {
            stop.told().await;
            Ok(())
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    let said = outcome.is_ok().then_some(STOPPING);
    let ended = stop.unless_again(running.drain(args.grace, said, out)).await;
    process::last_words(async {
        printer.end().await;
        out.line(summary::ended(&ended.unwrap_or(Ended::AtOnce))).await;
        out.flush().await;
    })
    .await;
    outcome
}

async fn start_platform(
    args: &args::Up,
    system: &System,
    data_dir: PathBuf,
    metrics: bowline_runtime::metric::Registry,
) -> anyhow::Result<Platform> {
    // A taken port is said before anything is built or started.
    let gateway = args
        .gateway
        .addr()
        .map(|addr| net::listen(addr).map_err(|error| taken("the gateway", "--gateway", addr, &error)));
    let gateway = gateway.transpose()?;
    let settings = platform::Settings {
        data_dir,
        api: args.api.addr(),
        otlp: OtlpAddrs { grpc: args.otlp_grpc.addr(), http: args.otlp_http.addr() },
        traces_max: args.traces_max,
        metrics_max: args.metrics_max,
        grace: args.grace,
        ca_key: args.ca_key.clone(),
    };
    let platform = Platform::start(settings, system, metrics).await?;
    check_listeners(system)?;
    drop(gateway);
    Ok(platform)
}

/// Looks whether services can listen where their file says, while everything of Bowline's own does.
fn check_listeners(system: &System) -> anyhow::Result<()> {
    for service in system.services.iter().filter(|service| service.replicas > 0) {
        for listener in &service.listen {
            net::listen(listener.addr).with_context(|| {
                let what = format!("{} cannot listen on {}, as its `listen` says", service.name, listener.addr);
                format!("{what}: end what listens there, or write another port")
            })?;
        }
    }
    Ok(())
}

/// Everything that runs, started as far as it came. Dropping it ends it all at once.
struct Running {
    gateway: Option<Gateway>,
    /// What rolls releases out, once there is something to roll.
    deployer: Option<Deployer>,
    supervisor: Option<Supervisor>,
    spans: Spans,
    platform: Platform,
}

/// Where a system's file is, and what it brings along.
struct Place {
    dir: PathBuf,
    brought: Vec<Brought>,
}

impl Running {
    fn new(platform: Platform) -> Self {
        let spans = Spans::into_store(platform.node.traces(), platform.sampling.clone(), &platform.metrics);
        Self { gateway: None, deployer: None, supervisor: None, spans, platform }
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
        let Place { dir, brought } = place;
        for note in self.platform.publish(&system, &brought).await? {
            out.line(note).await;
        }
        let platform = &self.platform;
        let layout = workspace::locate(&dir);
        let mut settings = bowline_supervisor::Settings::new(layout, platform.data_dir.clone(), keeper);
        if let Some(addr) = platform.node.addr() {
            settings.api = Some(reached_at(addr));
            if !addr.ip().to_canonical().is_loopback() {
                settings.token = Some(platform.node.lend_token("instances", Role::Editor)?);
            }
        }
        let redis = system.caches.redis.as_ref().and_then(|redis| redis.credential.as_ref());
        settings.redis_token = export::credential("caches", redis)?;
        let postgres = system.databases.postgres.as_ref().and_then(|postgres| postgres.credential.as_ref());
        settings.postgres_credential = export::credential("databases", postgres)?;
        platform.warn_if_open();
        settings.grace = args.grace;
        settings.metrics = platform.metrics.clone();
        settings.probes = Some(Probes(platform.node.probe_watcher()));
        let mesh = companions::mesh(&system, platform, &self.spans)?;
        settings.companions =
            mesh.as_ref().map(|mesh| Arc::new(Sidecars::new(Arc::clone(mesh), system.clone())) as Arc<dyn Companions>);
        let deployer = releases::open(&system, &platform.node).await?;
        settings.on_trial = releases::on_trial(&deployer);
        releases::release_superseded(&deployer, &platform.node).await;
        let in_force = releases::in_force(&system, &deployer);
        let supervisor = Supervisor::start(in_force.clone(), settings, platform.node.registry(), events).await;
        let supervisor = self.supervisor.insert(supervisor.map_err(supervisor_error)?);
        platform.node.set_logs(logs::source(supervisor.logs()));
        supervisor.ready().await.map_err(supervisor_error)?;
        self.gateway = gateway::open_beside(args, &system, platform, &self.spans, mesh.as_deref()).await?;
        if let Some(gateway) = &self.gateway {
            // What is live is told, which may have come through the API.
            system.table = gateway.handle().table();
        }
        platform.node.begin_watching();
        releases::begin(&deployer, supervisor.releases(), &platform.node, &system);
        self.deployer = Some(deployer);
        let ready = summary::Ready {
            system: &system,
            running: &in_force,
            took: time::now() - begun,
            gateway: self.gateway.as_ref().map(Gateway::addr),
            api: platform.node.addr(),
            otlp: platform.node.otlp_addrs(),
            data_dir: &platform.data_dir,
        };
        out.line(summary::ready(&ready)).await;
        Ok(())
    }

    /// Stops in order: the gateway, the services, the platform. One deadline holds for all.
    async fn drain(self, grace: Duration, said: Option<&str>, out: &Outlet) -> Ended {
        let Self { gateway, deployer, supervisor, spans, platform } = self;
        let until = time::now() + grace;
        platform.node.end_watching();
        let say = async {
            if let Some(said) = said {
                out.line_soon(said.to_owned()).await;
            }
        };
        // What is under way goes on at the next start. It ends before any service does, which it would start again.
        let stop_deployer = async {
            if let Some(deployer) = deployer
                && time::timeout_at(until, deployer.stop()).await.is_err()
            {
                tracing::warn!("a rollout did not stop in time");
            }
        };
        let drain_gateway = async {
            if let Some(gateway) = gateway {
                // The gateway logs what it cut.
                let _in_time = gateway.drain(grace).await;
            }
        };
        tokio::join!(say, stop_deployer, drain_gateway);
        let ended = match supervisor {
            None => Ended::default(),
            // Its own grace period began just now: what the gateway took of it is cut off here.
            Some(supervisor) => match time::timeout_at(until + SERVICES_LATE_MAX, supervisor.drain()).await {
                Ok(drained) => Ended::Drained(drained),
                Err(_) => Ended::Late,
            },
        };
        spans.end().await;
        platform.stop().await;
        ended
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
