//! Files: the standard library's own, or the simulator's, and the ways of writing that survive a power loss.
//!
//! Under simulation every host has a disk of its own, which forgets what was not synced when the host
//! crashes, and fails or is full when the test says so.

use std::{io, io::Write as _, path::Path};

#[cfg(not(bowline_sim))]
use std::fs as files;
#[cfg(bowline_sim)]
use turmoil::fs::shim::std::fs as files;

pub use files::{
    File, OpenOptions, create_dir_all, metadata, read, read_dir, read_to_string, remove_dir_all, remove_file, rename,
};

/// Replaces a file as a whole: readers see the old or the new content, also after a power loss.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = parent.join(name);
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&new, path)?;
    sync_dir(parent)
}

/// Makes a folder's entries durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(bowline_sim)]
    return files::sync_dir(dir);
    #[cfg(not(bowline_sim))]
    return File::open(dir)?.sync_all();
}
