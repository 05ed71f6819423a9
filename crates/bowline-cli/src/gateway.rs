//! `bowline gateway`: a gateway as a process of its own. It serves by what it knows while the server is away.

mod local;
mod standalone;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_config::ConfigManager;
use bowline_gateway::{Follow, FollowMesh, Gateway, LastGood};
use bowline_model::{InstanceId, RouteTable, ServiceName, error::chain};
use bowline_registry::Discovery;
use bowline_runtime::{metric, task};
use bowline_telemetry::Tracer;

pub(crate) use local::open as open_beside;
pub(crate) use standalone::run;

/// What a gateway is made of.
struct Parts {
    settings: bowline_gateway::Settings,
    discovery: Arc<Discovery>,
    tracer: Tracer,
    metrics: metric::Registry,
}

/// What is known of the routes when a gateway starts.
struct Known {
    /// What it is to serve by.
    table: RouteTable,
    /// The version that is; none: it was not published.
    version: Option<u64>,
    /// What a gateway served by last.
    served: Option<LastGood>,
}

/// What it follows from then on.
struct Followed {
    config: Arc<dyn ConfigManager>,
    /// The services that routes may name; none: nobody here knows which there are.
    services: Option<Vec<ServiceName>>,
    instance: InstanceId,
    last_good: PathBuf,
    /// How it follows what is published for gateways, of the mesh or of the versions of services; none: it does not.
    joined: Option<Joined>,
}

/// How a gateway is in the mesh, or outside of one follows how traffic is split.
struct Joined {
    /// What renews its certificate, in a mesh.
    rotation: Option<task::Guarded<()>>,
    /// The version of the snapshot that it starts with, if it does with one.
    version: Option<u64>,
    /// Where the last good snapshot is kept, if anywhere.
    last_good: Option<PathBuf>,
}

/// Opens a gateway by what is known, or by what was served before where that cannot be served any more.
async fn open(parts: Parts, known: Known, followed: Followed) -> Result<Gateway, bowline_gateway::Error> {
    let Known { table, version, served } = known;
    let Parts { settings, discovery, tracer, metrics } = parts;
    let start = |table| {
        let (settings, discovery) = (settings.clone(), Arc::clone(&discovery));
        Gateway::start(settings, table, discovery, tracer.clone(), &metrics)
    };
    let served = served.filter(|served| Some(served.version) != version);
    let (mut gateway, runs) = match (start(table).await, served) {
        // No gateway has served it yet: what was served instead still is.
        (Err(error), Some(LastGood { table, version: runs })) if error.is_of_table() => {
            let error = chain(&error);
            tracing::warn!(version, error, "published routes cannot be served, those served before are");
            (start(table).await?, Some(runs))
        }
        (started, _) => (started?, version),
    };
    let Followed { config, services, instance, last_good, joined } = followed;
    let service = ServiceName::new("gateway").expect("it is a name");
    if let Some(Joined { rotation, version: runs, last_good }) = joined {
        let (config, instance, service) = (Arc::clone(&config), instance.clone(), service.clone());
        gateway.follow_mesh(FollowMesh { config, instance, service, last_good, runs });
        if let Some(rotation) = rotation {
            gateway.keep_rotation(rotation);
        }
    }
    gateway.follow(Follow { config, services, instance, service, last_good: Some(last_good), runs });
    Ok(gateway)
}

/// What a gateway served by last, if it is of use.
async fn served(path: &Path, services: Option<Vec<ServiceName>>) -> Option<LastGood> {
    let path = path.to_path_buf();
    let read = task::spawn_blocking(move || LastGood::read(&path, services.as_deref())).await;
    let read = read.map_err(std::io::Error::other).flatten();
    // It may name a service that is gone.
    read.inspect_err(|error| tracing::warn!(%error, "the last good routes are of no use")).ok().flatten()
}
