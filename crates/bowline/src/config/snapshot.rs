//! The last good version of a document on disk, format 1: one JSON file, replaced as a whole.

use std::{io, path::Path};

use bowline_config::Version;
use bowline_model::ConfigKey;
use bowline_runtime::fs;
use serde::{Deserialize, Serialize};

/// The format that is written, and the only one that is read.
const FORMAT: u64 = 1;

/// The largest file that is read: the largest document, each of its characters escaped.
const BYTES_MAX: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Wire {
    format: u64,
    key: ConfigKey,
    version: Version,
}

/// The format alone: readable whatever the rest has become.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

/// Reads a file; none if there is none.
pub(super) fn read(path: &Path, key: &ConfigKey) -> io::Result<Option<Version>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > BYTES_MAX => return Err(invalid("it is too large")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let bytes = fs::read(path)?;
    let Head { format } = serde_json::from_slice(&bytes)?;
    if format != FORMAT {
        return Err(invalid("its format is unknown to this release"));
    }
    let Wire { format: _, key: found, version } = serde_json::from_slice(&bytes)?;
    if found != *key {
        return Err(invalid("it is of another document"));
    }
    Ok(Some(version))
}

/// Replaces a file, for its owner alone; readers see the old or the new one, also after a power loss.
pub(super) fn write(path: &Path, key: &ConfigKey, version: &Version) -> io::Result<()> {
    let wire = Wire { format: FORMAT, key: key.clone(), version: version.clone() };
    if let Some(dir) = path.parent() {
        fs::create_private_dir_all(dir)?;
    }
    fs::replace_private(path, &serde_json::to_vec_pretty(&wire)?)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
