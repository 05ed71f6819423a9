//! `bowline sidecar`: runs a command with a sidecar beside it, as an instance of a service of the mesh.
//!
//! It starts without the server from what is on disk, and goes on without it: certificate, snapshot and
//! instances were kept there. The command ends with it, and it with the command.

mod child;
mod member;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use bowline_mesh::sidecar::{self, Sidecar, first_snapshot};
use bowline_model::{
    Address, Instance, InstanceId, Protocol, ServiceName,
    instance::{METADATA_MESH, METADATA_MESH_MTLS},
    mesh::Workload,
    system::Outbound,
};
use bowline_registry::Discovery;
use bowline_runtime::{fs, metric, net, task, time};

use self::{child::Child, member::Member};
use crate::{
    admin::Admin,
    args::{self, Bind},
    elsewhere::{Elsewhere, SpansElsewhere},
    joining::{self, Joining},
    outlet::Outlet,
    place,
    process::{self, Process},
    sampling::Follower,
};

/// The most bytes of a Unix socket's path: what the kernel takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Runs the command until it ends, or until it is told to stop; exits as the command did.
pub(crate) async fn run(args: args::Sidecar) -> anyhow::Result<ExitCode> {
    let mut process = Process::begin()?;
    match follow(&args, &mut process).await {
        Ok(code) => {
            process.end(Ok(())).await;
            Ok(code)
        }
        Err(error) => Ok(process.end(Err(error)).await),
    }
}

async fn follow(args: &args::Sidecar, process: &mut Process) -> anyhow::Result<ExitCode> {
    let starting = Running::start(args, process.metrics.clone(), process.out.clone());
    let Some(started) = process.stop.or(starting).await else { return Ok(ExitCode::SUCCESS) };
    let mut running = started?;
    let ended = process.stop.or(running.child.ended()).await;
    let grace = if ended.is_some() { Duration::ZERO } else { args.grace };
    let code = process.stop.unless_again(running.drain(grace)).await;
    process::last_words(process.out.flush()).await;
    // Dropped, it took the command with it.
    Ok(code.unwrap_or(ExitCode::from(crate::FAILED)))
}

/// What runs. Dropping it ends it all at once, the command too.
struct Running {
    child: Child,
    member: Member,
    sidecar: Sidecar,
    admin: Option<Admin>,
    spans: SpansElsewhere,
}

/// Where things are, and who it is.
struct Place {
    data_dir: PathBuf,
    instance: InstanceId,
    app: Address,
}

impl Running {
    async fn start(args: &args::Sidecar, metrics: metric::Registry, out: Outlet) -> anyhow::Result<Self> {
        let settings = (args.data_dir.clone(), args.service.clone(), args.instance.clone(), args.bind);
        let place = task::spawn_blocking(move || Place::make(settings)).await??;
        let Place { data_dir, instance, app } = place;
        let api = args.api.0;
        let (of, last_good) = (args.service.clone(), Some(data_dir.clone()));
        let follower = Follower { instance: instance.clone(), service: of, last_good };
        let server = Elsewhere::new(api, args.token.as_ref(), follower, &metrics).await?;
        let Elsewhere { config, registry, tracer, spans } = server;

        let workload = Workload::Service(args.service.clone());
        let token = joining::token(args.join.as_ref(), args.join_file.as_deref())?;
        let token = token.context("no join token is given: make one with `bowline mesh join`")?;
        let joining = Joining { api, workload, token: &token, data_dir: &data_dir };
        let (identity, rotation) = joining.join(&instance, &metrics, &out).await?;

        let first = first_snapshot(&*config, &args.service, Some(&data_dir)).await?;
        let discovery = Arc::new(Discovery::new(registry.clone(), Some(data_dir.join("discovery"))));
        let admin = args.admin.map(|addr| Admin::open(addr, &metrics)).transpose()?;
        let settings = sidecar::Settings {
            service: args.service.clone(),
            instance: instance.clone(),
            zone: args.zone.clone(),
            listen: place::listen(&data_dir, args.listen),
            app: app.clone(),
            outbound: Outbound::Sidecar,
            snapshot_dir: Some(data_dir.clone()),
            identity,
            discovery,
            config,
            tracer,
            metrics,
            first,
        };
        let sidecar = Sidecar::start(settings).await?.with_rotation(rotation);
        let addr = sidecar.addr();
        let kept = task::spawn_blocking(move || place::keep_port(&data_dir, addr)).await?;
        kept.context("cannot use the data folder")?;
        let address = args.advertise.unwrap_or_else(|| process::reached_at(sidecar.addr()));
        let child = Child::start(&args.command, environment(args, &instance, &app, &sidecar))?;
        let mut described = Instance::new(instance.clone(), args.service.clone(), address.into());
        described.version.clone_from(&args.version);
        described.zone.clone_from(&args.zone);
        // Whatever the command speaks: the sidecar takes both.
        described.protocol = Protocol::Both;
        described.metadata.insert(METADATA_MESH.to_owned(), METADATA_MESH_MTLS.to_owned());
        let member = Member::start(registry, described, app, args.check.clone());
        out.line(format!("{instance} runs behind {address}, as {}", args.service)).await;
        if let Some(admin) = &admin {
            out.line(format!("operators find /metrics at http://{}", admin.addr())).await;
        }
        Ok(Self { child, member, sidecar, admin, spans })
    }

    /// Leaves the registry, lets requests in flight finish, then the command, and the calls that it made last.
    async fn drain(self, grace: Duration) -> ExitCode {
        let Self { child, member, sidecar, admin, spans } = self;
        let until = time::now() + grace;
        let left = || until.saturating_duration_since(time::now());
        member.end().await;
        // The command may make calls until it ends.
        time::timeout_at(until, sidecar.refuse_new()).await.ok();
        let code = child.stop(left()).await;
        sidecar.drain(left()).await;
        spans.end().await;
        drop(admin);
        code
    }
}

impl Place {
    /// Makes the data folder, and finds out where the command is to listen.
    fn make(
        (data_dir, service, instance, bind): (Option<PathBuf>, ServiceName, Option<InstanceId>, Bind),
    ) -> anyhow::Result<Self> {
        let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(format!(".bowline-sidecar-{service}")));
        let data_dir = std::path::absolute(data_dir).context("cannot resolve the data folder")?;
        let own = place::own_instance(&data_dir, service.as_str())?;
        let app = match bind {
            Bind::Unix => Address::Unix(socket(&data_dir)?),
            Bind::Port => free_port()?.into(),
        };
        Ok(Self { data_dir, instance: instance.unwrap_or(own), app })
    }
}

/// The command's socket, without what an earlier one left there.
fn socket(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let path = data_dir.join("app.sock");
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        bail!("{} is too long for a socket's path: choose a shorter --data-dir, or --bind port", path.display());
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(path),
    }
}

/// A port that is free now.
fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = net::listen((Ipv4Addr::LOCALHOST, 0).into()).context("no port is free for the command")?;
    listener.local_addr().context("no port is free for the command")
}

/// What the command is told.
fn environment(args: &args::Sidecar, instance: &InstanceId, app: &Address, sidecar: &Sidecar) -> Vec<(String, String)> {
    let own = [
        ("BOWLINE_SERVICE", args.service.to_string()),
        ("BOWLINE_INSTANCE", instance.to_string()),
        ("BOWLINE_VERSION", args.version.clone()),
        ("BOWLINE_LISTEN", app.to_string()),
    ];
    let zone = args.zone.clone().map(|zone| ("BOWLINE_ZONE", zone));
    let port = match app {
        Address::Tcp(addr) => Some(("PORT", addr.port().to_string())),
        Address::Unix(_) => None,
    };
    let own = own.into_iter().chain(zone).chain(port).map(|(name, value)| (name.to_owned(), value));
    sidecar.environment().into_iter().chain(own).collect()
}
