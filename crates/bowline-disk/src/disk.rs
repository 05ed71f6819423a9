//! What a store does to the files it has open, so that a test can make it fail.

use std::{fmt, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use bowline_runtime::fs::{self, File};

use crate::frame::{ReadFailure, read_record};

/// The disk, or one that fails.
#[derive(Clone, Default)]
pub struct Disk {
    fault: Option<Arc<Fault>>,
}

/// Is asked before each operation; its error takes the operation's place.
type Fault = dyn Fn(Operation<'_>) -> io::Result<()> + Send + Sync;

/// What is about to be done.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    /// A record is read back.
    Read {
        /// From this file.
        file: &'a File,
    },
    /// Bytes are written.
    Write {
        /// To this file.
        file: &'a File,
        /// These.
        bytes: &'a [u8],
        /// There.
        at: u64,
    },
    /// A file is cut.
    Cut,
    /// A file is made durable.
    Sync {
        /// This one.
        file: &'a File,
    },
    /// A folder's entries are made durable.
    SyncDir,
    /// A file is put into place as a whole.
    Replace {
        /// There.
        path: &'a Path,
    },
    /// A file is deleted.
    Remove {
        /// This one.
        path: &'a Path,
    },
}

impl Disk {
    /// A disk that a test lets fail: what `fault` answers before an operation takes its place.
    pub fn faulty(fault: impl Fn(Operation<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { fault: Some(Arc::new(fault)) }
    }

    /// Reads a record back and checks it. Blocks.
    ///
    /// # Errors
    /// What the operating system refuses, and damage.
    pub fn read_record(&self, file: &File, segment: u32, offset: u32) -> Result<Vec<u8>, ReadFailure> {
        self.begin(Operation::Read { file }).map_err(ReadFailure::Io)?;
        read_record(file, segment, offset)
    }

    /// Writes all of it there.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.begin(Operation::Write { file, bytes, at })?;
        file.write_all_at(bytes, at)
    }

    /// Makes a file that long.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.begin(Operation::Cut)?;
        file.set_len(length)
    }

    /// Makes what was written to a file survive a power loss.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub fn sync(&self, file: &File) -> io::Result<()> {
        self.begin(Operation::Sync { file })?;
        file.sync_data()
    }

    /// Makes files that were made or deleted in a folder stay so.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.begin(Operation::SyncDir)?;
        fs::sync_dir(dir)
    }

    /// Puts a file into place as a whole, for its owner alone, durably.
    ///
    /// # Errors
    /// What the operating system refuses; the file may be in place all the same.
    pub fn replace_private(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.begin(Operation::Replace { path })?;
        fs::replace_private(path, content)?;
        // Its last step: what fails there leaves the file in place.
        self.begin(Operation::SyncDir)
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Remove { path })?;
        fs::remove_file(path)
    }

    fn begin(&self, operation: Operation<'_>) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| fault(operation))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("is_faulty", &self.fault.is_some()).finish()
    }
}
