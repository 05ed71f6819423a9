//! A gateway beside no server: what it knows of the world it asks for, and keeps on disk.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bowline_config::{ConfigManager, Error};
use bowline_gateway::{Gateway, LastGood, LastGoodMesh};
use bowline_identity::Identity;
use bowline_model::{Code, ConfigKey, InstanceId, RouteTable, ServiceName, error::chain, mesh::Workload, parse};
use bowline_registry::Discovery;
use bowline_runtime::{task, time};

use super::{Followed, Joined, Known, Parts, open, served};
use crate::{
    admin::Admin,
    args,
    elsewhere::{Elsewhere, SpansElsewhere},
    joining::{self, Joining},
    outlet::Outlet,
    place,
    process::{self, Process, STOPPING},
    sampling::Follower,
    summary::{self, Ended},
};

/// How long the server may take to say what it knows, before what is on disk is served.
const ASK_MAX: Duration = Duration::from_secs(3);
/// The wait before it is asked again, where there is nothing to serve by.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Serves until it is told to stop.
pub(crate) async fn run(args: args::Gateway) -> anyhow::Result<ExitCode> {
    let mut process = Process::begin()?;
    let outcome = follow(&args, &mut process).await;
    Ok(process.end(outcome).await)
}

/// A run from its start to its end. An error says why it did not start; a signal is none.
async fn follow(args: &args::Gateway, process: &mut Process) -> anyhow::Result<()> {
    let starting = Running::start(args, process.metrics.clone(), process.out.clone());
    let Some(started) = process.stop.or(starting).await else {
        process.out.line_soon(summary::ended(&Ended::default())).await;
        return Ok(());
    };
    let running = started?;
    process.stop.told().await;
    process.out.line_soon(STOPPING.to_owned()).await;
    let ended = process.stop.unless_again(running.drain(args.grace)).await;
    let ended = if ended.is_some() { Ended::default() } else { Ended::AtOnce };
    process::last_words(async {
        process.out.line(summary::ended(&ended)).await;
        process.out.flush().await;
    })
    .await;
    Ok(())
}

/// What runs. Dropping it ends it all at once.
struct Running {
    gateway: Gateway,
    admin: Option<Admin>,
    spans: SpansElsewhere,
}

impl Running {
    async fn start(
        args: &args::Gateway,
        metrics: bowline_runtime::metric::Registry,
        out: Outlet,
    ) -> anyhow::Result<Self> {
        let begun = time::now();
        let data_dir = std::path::absolute(&args.data_dir).context("cannot resolve the data folder")?;
        let place = data_dir.clone();
        let instance = task::spawn_blocking(move || place::own_instance(&place, "gateway")).await??;
        let api = args.api.0;
        let server = Elsewhere::new(api, args.token.as_ref(), follower(&instance, &data_dir), &metrics).await?;
        let Elsewhere { config, registry, tracer, spans } = server;
        let discovery = Arc::new(Discovery::new(registry, Some(data_dir.join("discovery"))));
        let admin = args.admin.map(|addr| Admin::open(addr, &metrics)).transpose()?;

        let mut settings = bowline_gateway::Settings::new(args.listen);
        settings.standpoint = bowline_gateway::Standpoint { zone: args.zone.clone(), caller: instance.to_string() };
        if let Some(workers) = args.workers {
            settings.workers = usize::from(workers);
        }
        let joined = match joining::token(args.join.as_ref(), args.join_file.as_deref())? {
            Some(token) => {
                let joining = Joining { api, workload: Workload::Gateway, token: &token, data_dir: &data_dir };
                let joined = joining.join(&instance, &metrics, &out).await?;
                Some(take_part(&*config, joined, &data_dir, &mut settings).await?)
            }
            None => None,
        };
        let last_good = data_dir.join("routes.toml");
        let (known, is_told) = learn(&*config, &last_good, args, &out).await?;
        let joined = match joined {
            Some(joined) => joined,
            None => steered(Some(&*config).filter(|_| is_told), &data_dir, &mut settings).await?,
        };
        let parts = Parts { settings, discovery, tracer, metrics };
        let followed = Followed { config, services: None, instance, last_good, joined: Some(joined) };
        let gateway = open(parts, known, followed).await?;
        let table = gateway.handle().table();
        let ready = summary::GatewayReady {
            took: time::now() - begun,
            gateway: gateway.addr(),
            server: args.api.0,
            is_server_away: !is_told,
            admin: admin.as_ref().map(Admin::addr),
            table: &table,
            data_dir: &data_dir,
        };
        out.line(summary::gateway_ready(&ready)).await;
        Ok(Self { gateway, admin, spans })
    }

    /// Lets requests in flight finish, and sends the last spans.
    async fn drain(self, grace: Duration) {
        let Self { gateway, admin, spans } = self;
        // The gateway logs what it cut.
        let _in_time = gateway.drain(grace).await;
        spans.end().await;
        drop(admin);
    }
}

/// As whom it says what it makes of documents, and where it keeps them.
fn follower(instance: &InstanceId, data_dir: &Path) -> Follower {
    let service = ServiceName::new("gateway").expect("it is a name");
    Follower { instance: instance.clone(), service, last_good: Some(data_dir.to_owned()) }
}

/// Gives the gateway its identity, and the snapshot of the mesh that the server has for it, or that it acted by
/// last.
///
/// # Errors
/// When there is neither, or what is on disk cannot be read.
async fn take_part(
    config: &dyn ConfigManager,
    (identity, rotation): (Identity, task::Guarded<()>),
    data_dir: &Path,
    settings: &mut bowline_gateway::Settings,
) -> anyhow::Result<Joined> {
    let path = data_dir.join("mesh.json");
    let asked = time::timeout(ASK_MAX, config.get_config(&ConfigKey::snapshot(&Workload::Gateway))).await;
    let known = match asked.unwrap_or(Err(Error::Unavailable(None))) {
        Ok(Some(published)) => LastGoodMesh::published(&published).map_err(anyhow::Error::msg)?,
        Ok(None) => bail!("the server has nothing published for gateways of its mesh: is it that of another system?"),
        Err(error) => {
            let read = path.clone();
            let kept = task::spawn_blocking(move || LastGoodMesh::read(&read)).await??;
            kept.with_context(|| chain(&error))?
        }
    };
    let LastGoodMesh { snapshot, version } = known;
    settings.pool.tls = Some(identity.client_tls());
    settings.mesh = Some(snapshot);
    Ok(Joined { rotation: Some(rotation), version: Some(version), last_good: Some(path) })
}

/// Has a gateway that is in no mesh follow how traffic is split between versions; it starts by what the server says,
/// or by what it acted by last where that is away or says nothing.
///
/// # Errors
/// When what is on disk cannot be read.
async fn steered(
    server: Option<&dyn ConfigManager>,
    data_dir: &Path,
    settings: &mut bowline_gateway::Settings,
) -> anyhow::Result<Joined> {
    let path = data_dir.join("mesh.json");
    let mut known = published(server).await.unwrap_or_else(|reason| {
        tracing::warn!(reason, "traffic is split between versions as it was before the start");
        None
    });
    if known.is_none() {
        // As for whoever follows it: what is not published changes nothing.
        let read = path.clone();
        known = task::spawn_blocking(move || LastGoodMesh::read(&read)).await??;
    }
    // What it did in a mesh, it does not do without an identity.
    let known = known.filter(|known| known.snapshot.mode.is_none());
    let version = known.as_ref().map(|known| known.version);
    settings.mesh = known.map(|known| known.snapshot);
    Ok(Joined { rotation: None, version, last_good: Some(path) })
}

/// What the server has published for gateways; the error says why that is not known.
async fn published(server: Option<&dyn ConfigManager>) -> Result<Option<LastGoodMesh>, String> {
    let server = server.ok_or("the server is away")?;
    let asked = time::timeout(ASK_MAX, server.get_config(&ConfigKey::snapshot(&Workload::Gateway))).await;
    let published = asked.unwrap_or(Err(Error::Unavailable(None))).map_err(|error| chain(&error))?;
    published.as_ref().map(LastGoodMesh::published).transpose()
}

/// What the server says of the routes, or what was served by last; and whether the server said it.
///
/// # Errors
/// A server that refuses to tell.
async fn learn(
    config: &dyn ConfigManager,
    last_good: &Path,
    args: &args::Gateway,
    out: &Outlet,
) -> anyhow::Result<(Known, bool)> {
    let served = served(last_good, None).await;
    let mut is_waiting = false;
    loop {
        let asked = time::timeout(ASK_MAX, config.get_config(&ConfigKey::routes())).await;
        match asked.unwrap_or(Err(Error::Unavailable(None))) {
            Ok(Some(published)) => match parse::routes_of_any(&published.document.text) {
                Ok(table) => return Ok((Known { table, version: Some(published.number), served }, true)),
                Err(problems) => {
                    let problem = problems.first().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(version = published.number, problem, "published routes cannot be read here");
                    return Ok((of_disk(served), true));
                }
            },
            Ok(None) => return Ok((of_disk(served), true)),
            Err(Error::Refused { code: Code::Unauthenticated | Code::PermissionDenied, detail }) => {
                bail!(
                    "{detail}; give a token of an editor with --token or BOWLINE_TOKEN: `bowline token create gateway --role editor`"
                )
            }
            Err(error) if served.is_some() => {
                tracing::warn!(error = chain(&error), "the server is away: the last good routes are served");
                return Ok((of_disk(served), false));
            }
            Err(_) if !is_waiting => {
                is_waiting = true;
                let told = format!("no Bowline answers at {}, and no routes are on disk: waiting for it", args.api.0);
                out.line(told).await;
            }
            Err(_) => {}
        }
        time::sleep(ASK_AGAIN).await;
    }
}

/// To serve by what was served by last, or by no routes at all.
fn of_disk(served: Option<LastGood>) -> Known {
    match served {
        Some(LastGood { table, version }) => Known { table, version: Some(version), served: None },
        None => Known { table: RouteTable::default(), version: None, served: None },
    }
}

#[cfg(test)]
mod tests {
    use bowline_config::{Author, Document, Draft, Format};
    use bowline_model::mesh::{Authorization, Mode, SNAPSHOT_FORMAT, Snapshot};
    use bowline_proxy::follow::LastGood as Kept;
    use bowline_runtime::metric;
    use bowline_server::{Node, Settings};
    use bowline_testkit::temp_dir;

    use super::*;

    fn snapshot(system: &str, mode: Option<Mode>) -> Snapshot {
        Snapshot {
            format: SNAPSHOT_FORMAT,
            system: ServiceName::new(system).unwrap(),
            workload: Workload::Gateway,
            mode,
            authorization: Authorization::default(),
            inbound: vec![],
            outbound: vec![],
            faults: vec![],
        }
    }

    /// Which system's snapshot a gateway begins by that is in no mesh.
    async fn begins_by(server: Option<&dyn ConfigManager>, dir: &Path) -> Option<String> {
        let mut settings = bowline_gateway::Settings::new(([127, 0, 0, 1], 0).into());
        let joined = steered(server, dir, &mut settings).await.unwrap();
        assert_eq!(joined.version.is_some(), settings.mesh.is_some());
        settings.mesh.map(|snapshot| snapshot.system.to_string())
    }

    #[tokio::test]
    async fn it_begins_by_what_the_server_says_and_without_it_by_what_it_acted_by_last() {
        let dir = temp_dir();
        let settings = Settings { traces_bytes_max: 16 << 20, ..Settings::new(dir.path().join("data")) };
        let node = Node::start(settings, metric::Registry::default()).await.unwrap();
        let config = node.config();
        let publish = async |snapshot: &Snapshot| {
            let document = Document::new(Format::Json, serde_json::to_string(snapshot).unwrap());
            let draft = Draft::new(document, Author::new("test").unwrap());
            config.set_config(&ConfigKey::snapshot(&Workload::Gateway), draft).await.unwrap();
        };
        let kept = Kept { path: dir.path().join("mesh.json"), what: "mesh" };
        kept.keep(1, &serde_json::to_string(&snapshot("kept", None)).unwrap()).await.unwrap();
        for server in [None, Some(&*config)] {
            assert_eq!(begins_by(server, dir.path()).await.as_deref(), Some("kept"));
        }
        publish(&snapshot("published", None)).await;
        assert_eq!(begins_by(Some(&*config), dir.path()).await.as_deref(), Some("published"));
        // It has no identity to be in a mesh with.
        publish(&snapshot("meshed", Some(Mode::Strict))).await;
        assert_eq!(begins_by(Some(&*config), dir.path()).await, None);
    }
}
