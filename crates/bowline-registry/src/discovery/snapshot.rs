//! The last good set of a service on disk, format 1: one JSON file, replaced as a whole.

use std::{io, path::Path, sync::Arc};

use bowline_model::{Instance, ServiceName};
use bowline_runtime::fs;
use bowline_store::Revision;
use serde::{Deserialize, Serialize};

use super::set::Position;

/// The format that is written, and the only one that is read.
const FORMAT: u64 = 1;

/// The largest file that is read.
const BYTES_MAX: u64 = 256 << 20;

/// A set as it was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) seen: Position,
    pub(super) instances: Arc<[Instance]>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    format: u64,
    service: ServiceName,
    history: Option<String>,
    revision: Revision,
    instances: Vec<Instance>,
}

/// The format alone: readable whatever the rest has become.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

impl Snapshot {
    /// Reads a file; none if there is none.
    pub(super) fn read(path: &Path, service: &ServiceName) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() > BYTES_MAX => return Err(invalid("it is too large")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let bytes = fs::read(path)?;
        let head: Head = serde_json::from_slice(&bytes)?;
        if head.format != FORMAT {
            return Err(invalid("its format is unknown to this release"));
        }
        let wire: Wire = serde_json::from_slice(&bytes)?;
        let Wire { format: _, service: found, history, revision, instances } = wire;
        if found != *service {
            return Err(invalid("it is of another service"));
        }
        let history =
            history.map(|history| history.parse()).transpose().map_err(|_| invalid("its history has no name"))?;
        Ok(Some(Self { seen: Position { history, revision }, instances: instances.into() }))
    }

    /// Replaces a file; readers see the old or the new one, also after a power loss.
    pub(super) fn write(&self, path: &Path, service: &ServiceName) -> io::Result<()> {
        let wire = Wire {
            format: FORMAT,
            service: service.clone(),
            history: self.seen.history.map(|history| history.to_string()),
            revision: self.seen.revision,
            instances: self.instances.to_vec(),
        };
        if let Some(dir) = path.parent() {
            fs::create_private_dir_all(dir)?;
        }
        fs::replace_private(path, &serde_json::to_vec_pretty(&wire)?)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
