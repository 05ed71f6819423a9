//! The folder of the Unix sockets that applications listen on.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use bowline_model::InstanceId;
use bowline_runtime::fs;
use rustix::fs::{FileType, Mode};

use crate::Error;

/// The folder's name in the data folder.
const DIR: &str = "sockets";

/// The most bytes of a socket's path: what the kernel takes.
const PATH_BYTES_MAX: usize = 107;

/// The longest id that names its socket; longer ones are cut.
const ID_BYTES_MAX: usize = 40;

/// The folder of the Unix sockets, which only this user enters.
///
/// It is `sockets` in the data folder. Where that lies too deep for a socket's path, it is
/// `bowline-HASH` in `$XDG_RUNTIME_DIR`, else `bowline-UID-HASH` in the folder of temporary files; the hash
/// is that of the data folder's path. Each is made when the first socket is to lie there.
#[derive(Debug)]
pub(crate) struct Sockets {
    own: PathBuf,
    elsewhere: PathBuf,
    /// The one elsewhere was made, and is removed at the end.
    is_elsewhere: AtomicBool,
}

impl Sockets {
    /// The sockets of the instances over this data folder; makes nothing yet.
    pub(crate) fn over(data_dir: &Path) -> Self {
        Self { own: data_dir.join(DIR), elsewhere: elsewhere(data_dir), is_elsewhere: AtomicBool::new(false) }
    }

    /// Makes the folder for the sockets of these instances.
    pub(crate) fn make(&self, ids: &[InstanceId]) -> Result<(), Error> {
        let (near, far): (Vec<_>, Vec<_>) = ids.iter().partition(|id| self.is_near(id));
        if !near.is_empty() {
            let failed = |source| Error::Folder { path: self.own.clone(), source };
            fs::create_private_dir_all(&self.own).map_err(failed)?;
        }
        if !far.is_empty() {
            let failed = |source| Error::Folder { path: self.elsewhere.clone(), source };
            if !far.iter().all(|id| is_fit(&self.path(id))) {
                let why = "a socket's path would have more than 107 bytes: move the data folder up";
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, why)));
            }
            make_private(&self.elsewhere).map_err(failed)?;
            if !self.is_elsewhere.swap(true, Relaxed) {
                let dir = self.elsewhere.display();
                tracing::info!(%dir, "the data folder lies too deep for sockets, they are elsewhere");
            }
        }
        Ok(())
    }

    /// Where the application of an instance listens.
    pub(crate) fn path(&self, id: &InstanceId) -> PathBuf {
        let dir = if self.is_near(id) { &self.own } else { &self.elsewhere };
        dir.join(file_name(id))
    }

    fn is_near(&self, id: &InstanceId) -> bool {
        is_fit(&self.own.join(file_name(id)))
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        if self.is_elsewhere.load(Relaxed) {
            // One that holds something still is left.
            rustix::fs::rmdir(&self.elsewhere).ok();
        }
    }
}

/// Removes what a dead process left.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether a socket can be there, and its address be told as a text.
fn is_fit(path: &Path) -> bool {
    path.as_os_str().len() <= PATH_BYTES_MAX && path.to_str().is_some()
}

fn file_name(id: &InstanceId) -> String {
    let text = id.as_str();
    if text.len() <= ID_BYTES_MAX {
        return format!("{text}.sock");
    }
    // An id is ASCII.
    format!("{}~{:016x}.sock", &text[..ID_BYTES_MAX / 2], hash(text.as_bytes()))
}

fn elsewhere(data_dir: &Path) -> PathBuf {
    let hash = hash(data_dir.as_os_str().as_encoded_bytes());
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute() && dir.is_dir());
    if let Some(own) = own {
        return own.join(format!("bowline-{hash:016x}"));
    }
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("bowline-{user}-{hash:016x}"))
}

/// Makes a folder of ours alone where others may write too: one that is another's is not taken.
fn make_private(dir: &Path) -> io::Result<()> {
    match rustix::fs::mkdir(dir, Mode::RWXU) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let found = rustix::fs::lstat(dir)?;
    let is_dir = FileType::from_raw_mode(found.st_mode).is_dir();
    let is_ours = found.st_uid == rustix::process::geteuid().as_raw();
    let is_private = !Mode::from_raw_mode(found.st_mode).intersects(Mode::RWXG | Mode::RWXO);
    if is_dir && is_ours && is_private {
        return Ok(());
    }
    let why = "what is there is no folder of ours alone: remove it";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// FNV-1a: the same in every run, for names that are not chosen by an adversary.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn id(text: &str) -> InstanceId {
        InstanceId::new(text).unwrap()
    }

    #[test]
    fn a_data_folder_has_its_sockets_unless_it_lies_too_deep() {
        let dir = bowline_testkit::temp_dir();
        let sockets = Sockets::over(dir.path());
        assert!(!dir.path().join("sockets").exists(), "none is made where nobody listens on one");
        sockets.make(&[id("order-1")]).unwrap();
        assert_eq!(sockets.path(&id("order-1")), dir.path().join("sockets/order-1.sock"));
        let mode = fs::metadata(dir.path().join("sockets")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);

        let deep = dir.path().join("d".repeat(100));
        let sockets = Sockets::over(&deep);
        sockets.make(&[id("order-1")]).unwrap();
        let path = sockets.path(&id("order-1"));
        assert!(!path.starts_with(&deep) && is_fit(&path), "{}", path.display());
        let elsewhere = path.parent().unwrap();
        assert_eq!(fs::metadata(elsewhere).unwrap().permissions().mode() & 0o777, 0o700);
        // It is found again, and gone when nobody has use for it.
        Sockets::over(&deep).make(&[id("order-1")]).unwrap();
        assert!(!elsewhere.exists());
    }

    #[test]
    fn a_longer_id_that_comes_later_may_lie_elsewhere() {
        let dir = bowline_testkit::temp_dir();
        let spare = PATH_BYTES_MAX - dir.path().as_os_str().len() - "//sockets/a-1.sock".len();
        let deep = dir.path().join("d".repeat(spare));
        let sockets = Sockets::over(&deep);
        let (short, long) = (id("a-1"), id("a-canary-1"));
        sockets.make(std::slice::from_ref(&short)).unwrap();
        sockets.make(std::slice::from_ref(&long)).unwrap();
        assert!(sockets.path(&short).starts_with(&deep));
        let path = sockets.path(&long);
        assert!(!path.starts_with(&deep) && path.parent().unwrap().is_dir(), "{}", path.display());
    }

    #[test]
    fn a_folder_of_others_is_not_taken() {
        let dir = bowline_testkit::temp_dir();
        let open = dir.path().join("open");
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        make_private(&open).unwrap();
        make_private(&open).unwrap();
        rustix::fs::chmod(&open, Mode::from_raw_mode(0o755)).unwrap();
        for bad in ["open", "link"] {
            assert_eq!(make_private(&dir.path().join(bad)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn long_ids_are_cut_and_stay_apart() {
        let (one, two) = (id(&format!("{}1", "n".repeat(120))), id(&format!("{}2", "n".repeat(120))));
        assert!(file_name(&one).len() <= ID_BYTES_MAX + 5);
        assert_ne!(file_name(&one), file_name(&two));
    }
}
