//! Files: the standard library's own, or the simulator's, and the ways of writing that survive a power loss.
//!
//! Under simulation every host has a disk of its own, which forgets what was not synced when the host
//! crashes, and fails or is full when the test says so.

use std::{
    io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

#[cfg(not(bowline_sim))]
use std::fs as files;
#[cfg(bowline_sim)]
use turmoil::fs::shim::std::fs as files;

pub use files::{
    File, OpenOptions, canonicalize, create_dir_all, metadata, read, read_dir, read_to_string, remove_dir_all,
    remove_file, rename, symlink_metadata,
};

/// A folder for its owner alone.
const PRIVATE_DIR: u32 = 0o700;

/// A file for its owner alone.
const PRIVATE_FILE: u32 = 0o600;

/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// Set for folders that many users share, as `/tmp`.
const STICKY: u32 = 0o1000;

/// Replaces a file as a whole: readers see the old or the new content, also after a power loss.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(OpenOptions::new(), path, content)
}

/// [`replace`], for its owner alone: nobody else can read the new file.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(private_options(), path, content)
}

fn replace_with(mut options: OpenOptions, path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = parent(path);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = parent.join(name);
    // What a crash left would keep the permissions it was made with.
    match remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = options.write(true).create_new(true).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&new, path)?;
    sync_dir(parent)
}

/// Options that make files for their owner alone; what is there already stays as it is.
pub fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    OpenOptionsExt::mode(&mut options, PRIVATE_FILE);
    options
}

/// Makes a folder, and what is missing above it, for its owner alone, and durably: when this returns,
/// a power loss does not take it.
///
/// A folder that is there is kept as it is; should whoever made it have died before it was durable,
/// it is now.
pub fn create_dir_all_durable(path: &Path) -> io::Result<()> {
    let is_dir = |path: &Path| metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if path.as_os_str().is_empty() || path.parent().is_none() {
        return Ok(());
    }
    if is_dir(path) {
        // We may use a folder in one that we may not read.
        return match sync_dir(parent(path)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        };
    }
    // Each is durable before the next is made, so only the last that is found may not be.
    create_dir_all_durable(parent(path))?;
    let mut builder = files::DirBuilder::new();
    DirBuilderExt::mode(&mut builder, PRIVATE_DIR);
    match builder.create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_dir(path) => {}
        made => made?,
    }
    sync_dir(parent(path))
}

/// [`create_dir_all_durable`], and a folder that is there is taken from everybody else, if it is ours.
///
/// Left as they are: `/`, `.` and `..`, and folders that many users share (with the sticky bit).
pub fn create_private_dir_all(path: &Path) -> io::Result<()> {
    create_dir_all_durable(path)?;
    let mode = MetadataExt::mode(&metadata(path)?);
    if path.file_name().is_none() || mode & STICKY != 0 || mode & OTHERS == 0 {
        return Ok(());
    }
    match files::set_permissions(path, PermissionsExt::from_mode(mode & !OTHERS)) {
        // It is another user's, who let us in.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        set => set,
    }
}

/// Makes a folder's entries durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(bowline_sim)]
    return files::sync_dir(dir);
    #[cfg(not(bowline_sim))]
    return File::open(dir)?.sync_all();
}

/// The folder that holds this: where we are, for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(all(test, not(bowline_sim)))]
mod tests {
    use super::*;

    /// A folder of this test alone, deleted at its end.
    struct Dir(std::path::PathBuf);

    impl Dir {
        fn new() -> Self {
            let dir = std::env::temp_dir().join(format!("bowline-fs-{:032x}", crate::rand::u128()));
            create_dir_all(&dir).expect("the folder of temporary files can be written");
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            remove_dir_all(&self.0).expect("the test's folder is still there");
        }
    }

    fn mode(path: &Path) -> u32 {
        metadata(path).expect("it is there").permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        files::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is there, and ours");
    }

    #[test]
    fn what_is_made_private_is_the_owners_alone() {
        let dir = Dir::new();
        let (outer, inner) = (dir.0.join("outer"), dir.0.join("outer/inner"));
        create_private_dir_all(&inner).unwrap();
        assert_eq!((mode(&outer), mode(&inner)), (0o700, 0o700));
        create_private_dir_all(&inner).unwrap();
        let file = inner.join("file");
        private_options().write(true).create_new(true).open(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        // Neither what was there nor what a crash left decides.
        set_mode(&file, 0o644);
        files::write(inner.join("file.new"), "half").unwrap();
        set_mode(&inner.join("file.new"), 0o644);
        replace_private(&file, b"whole").unwrap();
        assert_eq!((mode(&file), read(&file).unwrap()), (0o600, b"whole".to_vec()));
    }

    #[test]
    fn a_folder_of_ours_is_tightened_and_a_shared_one_is_not() {
        let dir = Dir::new();
        let (ours, shared) = (dir.0.join("ours"), dir.0.join("shared"));
        for (path, loose) in [(&ours, 0o755), (&shared, 0o1777)] {
            create_dir_all(path).unwrap();
            set_mode(path, loose);
            create_dir_all_durable(path).unwrap();
            assert_eq!(mode(path), loose);
            create_private_dir_all(path).unwrap();
        }
        assert_eq!((mode(&ours), mode(&shared)), (0o700, 0o1777));
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let dir = Dir::new();
        files::write(dir.0.join("file"), "").unwrap();
        for path in ["file", "file/below"] {
            create_private_dir_all(&dir.0.join(path)).unwrap_err();
        }
    }
}
