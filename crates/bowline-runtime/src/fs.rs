//! Files: the standard library's own, and the ways of writing that survive a power loss.

use std::{io, io::Write as _, path::Path};

pub use std::fs::{
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
    File::open(dir)?.sync_all()
}
