//! What the files of stores share: the disk and its faults, heads of files, frames of records, the scan after a
//! crash, numbers, and the folder's lock.

mod bytes;
mod disk;
mod frame;
mod head;
mod name;
mod scan;

use std::{
    fs::TryLockError,
    io,
    path::{Path, PathBuf},
};

use bowline_runtime::fs::{self, File};

pub use bytes::{Corrupt, Reader, put_count, put_number, put_signed};
pub use disk::{Disk, Operation};
pub use frame::{FRAME_LEN, RECORD_BYTES_MAX, ReadFailure, put_frame, read_record, take_record};
pub use head::{FileHead, Format, HEAD_LEN};
pub use name::{number, numbered};
pub use scan::{End, Scan, ScanFailure, scan};

/// The file that keeps a second process out.
const LOCK_FILE: &str = "lock";

/// Why a folder cannot be locked.
#[derive(Debug)]
pub enum LockFailure {
    /// Somebody else has it.
    Locked,
    /// The operating system refused.
    Io {
        /// Of the file that keeps others out.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Takes the folder's lock; it is given back when the file is closed, also by a crash.
///
/// # Errors
/// Whoever else has it, in this process or another one; what the operating system refuses.
pub fn lock(dir: &Path) -> Result<File, LockFailure> {
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
