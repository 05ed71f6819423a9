//! What a sidecar acts by when it starts: what is published, or what it acted by last.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_config::{ConfigManager, Error};
use bowline_model::{
    ConfigKey, ServiceName,
    error::chain,
    mesh::{Snapshot, Workload},
};
use bowline_proxy::follow::{Kept, LastGood, read_snapshot};
use bowline_runtime::{task, time};

/// How long whoever publishes is waited for.
const ASK_MAX: Duration = Duration::from_secs(2);

/// A snapshot, and which version it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its version; none where it is none that was published.
    pub version: Option<u64>,
}

/// There is nothing to act by.
#[derive(Debug, thiserror::Error)]
#[error("there is no snapshot of the mesh for `{service}`: {published}; {kept}")]
pub struct NoSnapshot {
    /// For whom.
    pub service: ServiceName,
    /// What whoever publishes said.
    pub published: String,
    /// What is on disk.
    pub kept: String,
}

/// The snapshot to begin with: what is published, if that is told within 2 s and can be read, or what was acted by
/// last, from that folder.
///
/// # Errors
/// [`NoSnapshot`] says what is wrong with both.
///
/// # Cancel safety
/// Nothing is left behind.
pub async fn first_snapshot(
    config: &dyn ConfigManager,
    service: &ServiceName,
    dir: Option<&Path>,
) -> Result<First, NoSnapshot> {
    let published = match ask(config, service).await {
        Ok(first) => return Ok(first),
        Err(published) => published,
    };
    match kept(dir.map(Path::to_owned), service).await {
        Ok(first) => {
            let version = first.version;
            tracing::warn!(%service, published, version, "sidecar starts by the snapshot that it acted by last");
            Ok(first)
        }
        Err(kept) => Err(NoSnapshot { service: service.clone(), published, kept }),
    }
}

async fn ask(config: &dyn ConfigManager, service: &ServiceName) -> Result<First, String> {
    let key = ConfigKey::snapshot(&Workload::Service(service.clone()));
    let asked = time::timeout(ASK_MAX, config.get_config(&key)).await;
    let asked = asked.unwrap_or_else(|_| Err(Error::Unavailable(None))).map_err(|error| chain(&error))?;
    let version = asked.ok_or_else(|| format!("none is published as `{key}`"))?;
    Ok(First { snapshot: read_snapshot(&version.document.text)?, version: Some(version.number) })
}

async fn kept(dir: Option<PathBuf>, service: &ServiceName) -> Result<First, String> {
    let last_good = last_good(&dir.ok_or("none is kept")?, service);
    let path = last_good.path.clone();
    let reading = task::spawn_blocking(move || last_good.read());
    let kept = reading.await.map_err(io::Error::other).flatten();
    let kept = kept.map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    let Kept { text, version } = kept.ok_or_else(|| format!("none is kept in `{}`", path.display()))?;
    let snapshot = read_snapshot(&text).map_err(|error| format!("`{}` is not used: {error}", path.display()))?;
    Ok(First { snapshot, version: Some(version) })
}

/// Where the snapshot is kept that was acted by last.
pub(super) fn last_good(dir: &Path, service: &ServiceName) -> LastGood {
    LastGood { path: dir.join(format!("{service}.snapshot")), what: "mesh" }
}
