//! What a store does to the files it has open, so that a test can make it fail.

use std::{fmt, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use bowline_runtime::fs::{self, File};

/// The disk, or one that fails.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    fault: Option<Arc<Fault>>,
}

/// Is asked before each operation; its error takes the operation's place.
type Fault = dyn Fn(Operation<'_>) -> io::Result<()> + Send + Sync;

/// What is about to be done.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "only the faults of a test read the fields"))]
pub(crate) enum Operation<'a> {
    Write { file: &'a File, bytes: &'a [u8], at: u64 },
    Cut,
    Sync { file: &'a File },
    SyncDir,
}

impl Disk {
    #[cfg(test)]
    pub(crate) fn faulty(fault: impl Fn(Operation<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { fault: Some(Arc::new(fault)) }
    }

    pub(crate) fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.begin(Operation::Write { file, bytes, at })?;
        file.write_all_at(bytes, at)
    }

    pub(crate) fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.begin(Operation::Cut)?;
        file.set_len(length)
    }

    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        self.begin(Operation::Sync { file })?;
        file.sync_data()
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.begin(Operation::SyncDir)?;
        fs::sync_dir(dir)
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
