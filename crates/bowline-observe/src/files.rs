//! What the stores' files share: the disk and its faults, heads of files, numbers, the folder's lock.

mod bytes;
mod disk;
mod head;

use std::{
    fs::TryLockError,
    io,
    path::{Path, PathBuf},
};

use bowline_runtime::fs::{self, File};

pub(crate) use bytes::{Corrupt, Reader, put_count, put_number, put_signed};
pub(crate) use disk::Disk;
#[cfg(test)]
pub(crate) use disk::Operation;
pub(crate) use head::{FileHead, HEAD_LEN, decode_head, encode_head};

/// The file that keeps a second process out.
const LOCK_FILE: &str = "lock";

/// Why a folder cannot be locked.
#[derive(Debug)]
pub(crate) enum LockFailure {
    /// Somebody else has it.
    Locked,
    /// The operating system refused.
    Io { path: PathBuf, source: io::Error },
}

/// Takes the folder's lock; it is given back when the file is closed, also by a crash.
pub(crate) fn lock(dir: &Path) -> Result<File, LockFailure> {
    let path = dir.join(LOCK_FILE);
    let open = fs::private_options().write(true).create(true).truncate(false).open(&path);
    let file = match open {
        Ok(file) => file,
        Err(source) => return Err(LockFailure::Io { path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LockFailure::Locked),
        Err(TryLockError::Error(source)) => Err(LockFailure::Io { path, source }),
    }
}
