//! What a gateway does in the mesh: calls under TLS, and steers traffic, as its snapshot says.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_config::{ConfigManager, Format, Version};
use bowline_model::{
    ConfigKey, InstanceId, ServiceName,
    mesh::{Snapshot, Steering, Workload},
};
use bowline_proxy::follow::{Follow, Kept, LastGood, read_snapshot};
use bowline_upstream::Security;

use crate::Handle;

/// How a gateway follows what is published of the mesh: for [`Gateway::follow_mesh`](crate::Gateway::follow_mesh).
pub struct FollowMesh {
    /// Who is asked for it.
    pub config: Arc<dyn ConfigManager>,
    /// Who says what came of each version, and of which service that is an instance.
    pub instance: InstanceId,
    /// As `instance`.
    pub service: ServiceName,
    /// Where the last good snapshot is kept, if anywhere.
    pub last_good: Option<PathBuf>,
    /// The version that is acted by when following begins; none where it is none that was published.
    pub runs: Option<u64>,
}

/// A snapshot and its version: the last that was acted by, as it is kept on disk, or what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGoodMesh {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its version.
    pub version: u64,
}

impl LastGoodMesh {
    /// What is published, for a gateway that starts by it.
    ///
    /// # Errors
    /// When it is no snapshot of a gateway, or of another format; in words.
    pub fn published(version: &Version) -> Result<Self, String> {
        Ok(Self { snapshot: read_version(version)?, version: version.number })
    }

    /// Reads the snapshot that [`FollowMesh::last_good`] keeps; `None` where there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read; `InvalidData` when it has another format, or is of another workload.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let Some(Kept { text, version }) = last_good(path.to_path_buf()).read()? else { return Ok(None) };
        let snapshot = read(&text).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        Ok(Some(Self { snapshot, version }))
    }
}

impl FollowMesh {
    /// Follows, for ever.
    pub(crate) async fn run(self, handle: Handle) {
        let Self { config, instance, service, last_good: path, runs } = self;
        let (key, last_good) = (ConfigKey::snapshot(&Workload::Gateway), path.map(last_good));
        let follow = Follow { config, key, instance, service, last_good, runs };
        follow.run(|version| apply(version, &handle)).await;
    }
}

/// How the traffic to services is steered by that snapshot, where it is.
pub(crate) fn steering_of(snapshot: &Snapshot) -> BTreeMap<ServiceName, Steering> {
    let steered = snapshot.outbound.iter().filter(|outbound| !outbound.steering.is_empty());
    steered.map(|outbound| (outbound.target.clone(), outbound.steering.clone())).collect()
}

fn last_good(path: PathBuf) -> LastGood {
    LastGood { path, what: "mesh" }
}

fn apply(version: &Version, handle: &Handle) -> Result<(), String> {
    let snapshot = read_version(version)?;
    let security = Security::of(snapshot.mode);
    if security != Security::Plain && !handle.has_identity() {
        return Err("this gateway has no identity to show in the mesh".to_owned());
    }
    handle.set_security(security);
    handle.set_steering(&steering_of(&snapshot));
    handle.set_demands(snapshot.demands());
    Ok(())
}

fn read_version(version: &Version) -> Result<Snapshot, String> {
    if version.document.format != Format::Json {
        return Err("snapshots are written in JSON".to_owned());
    }
    read(&version.document.text)
}

/// Reads a gateway's snapshot.
fn read(text: &str) -> Result<Snapshot, String> {
    let snapshot = read_snapshot(text)?;
    if snapshot.workload != Workload::Gateway {
        return Err(format!("it is that of {}, not of a gateway", snapshot.workload));
    }
    Ok(snapshot)
}

impl fmt::Debug for FollowMesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config: _, instance, service, last_good, runs } = self;
        f.debug_struct("FollowMesh")
            .field("instance", instance)
            .field("service", service)
            .field("last_good", last_good)
            .field("runs", runs)
            .finish_non_exhaustive()
    }
}
