//! The journal: one file, which begins with all that counted when it was begun, and goes on with what happened then.
//!
//! Frames are appended and synced one at a time, so that only the last one can be unfinished after a crash; it was
//! acknowledged to nobody, and is cut off. Once the file has grown enough, the next one is written as a whole beside it,
//! made durable, put into place, and this one goes: a crash in between leaves the old file, or the new one.

use std::{
    io,
    path::{Path, PathBuf},
};

use bowline_disk::{Disk, End, FRAME_LEN, HEAD_LEN, LockFailure, ScanFailure, lock, number, numbered, put_frame, scan};
use bowline_runtime::fs::{self, File, OpenOptions};

use crate::record::{FORMAT, Record};

/// The ending of its files.
const EXTENSION: &str = "mqtt";

/// How much is added to a file, beside what it began with, before the next is begun.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// How much of records goes into one frame when a file is begun.
const FRAME_BYTES: usize = 1 << 20;

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    #[error("another broker has the folder {}", path.display())]
    Locked { path: PathBuf },
    #[error("cannot use {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is of the format {found}, this release reads {}", path.display(), FORMAT.version)]
    Format { path: PathBuf, found: u32 },
    #[error("{} is damaged behind its first {offset} bytes", path.display())]
    Corrupt { path: PathBuf, offset: u64 },
}

/// What is written to.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    disk: Disk,
    /// The newest file's number; 0 before there is one.
    id: u32,
    file: Option<File>,
    bytes: u64,
    begun_bytes: u64,
    /// Nobody else writes here while this one does.
    _lock: File,
}

impl Journal {
    /// Opens or makes the folder, and shows every record in it, in order. Blocks.
    pub(crate) fn open(dir: &Path, disk: Disk, mut found: impl FnMut(Record)) -> Result<Self, Failure> {
        let failed = |source| Failure::Io { path: dir.to_owned(), source };
        fs::create_private_dir_all(dir).map_err(failed)?;
        let lock = lock(dir).map_err(|failure| match failure {
            LockFailure::Locked => Failure::Locked { path: dir.to_owned() },
            LockFailure::Io { path, source } => Failure::Io { path, source },
        })?;
        // The file that counts: a newer one was in place before an older one went.
        let newest = list(dir).map_err(failed)?.into_iter().map(|(id, _)| id).max();
        let id = newest.unwrap_or(0);
        let mut journal = Self { dir: dir.to_owned(), disk, id, file: None, bytes: 0, begun_bytes: 0, _lock: lock };
        if newest.is_some() {
            journal.read(&mut found)?;
        }
        Ok(journal)
    }

    /// Whether the next file is to be begun: there is none, or it has grown enough.
    pub(crate) fn is_full(&self) -> bool {
        self.file.is_none() || self.bytes >= self.begun_bytes * 2 + GROWTH_BYTES_MAX
    }

    /// How long the file is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a frame of records, durably. Blocks.
    ///
    /// # Errors
    /// When it may not be there; then the next file has to be begun before anything is added.
    pub(crate) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let offset = u32::try_from(self.bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut frame = Vec::new();
        put_frame(&mut frame, self.id, offset, records);
        self.disk.write_at(file, &frame, self.bytes)?;
        self.disk.sync(file)?;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Begins the next file with all that counts, and deletes the one before. Blocks.
    ///
    /// # Errors
    /// When it is not in place, or may not be; then it is begun again, with a further number.
    pub(crate) fn begin(&mut self, records: &[Record]) -> io::Result<()> {
        let before = self.id;
        self.file = None;
        self.id = before.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        let path = numbered(&self.dir, self.id, EXTENSION);
        let content = content(self.id, records)?;
        self.disk.replace_private(&path, &content)?;
        self.file = Some(OpenOptions::new().read(true).write(true).open(&path)?);
        self.bytes = content.len() as u64;
        self.begun_bytes = self.bytes;
        self.delete_before(self.id);
        Ok(())
    }

    /// What is left of older files is deleted at the next time, if it cannot be now.
    fn delete_before(&self, id: u32) {
        let deleted = list(&self.dir).and_then(|found| {
            found.into_iter().filter(|(old, _)| *old < id).try_for_each(|(_, path)| self.disk.remove(&path))
        });
        if let Err(error) = deleted {
            tracing::warn!(error = &error as &dyn std::error::Error, "an old file of the journal stays");
        }
    }

    fn read(&mut self, found: &mut impl FnMut(Record)) -> Result<(), Failure> {
        let path = numbered(&self.dir, self.id, EXTENSION);
        let failed = |source| Failure::Io { path: path.clone(), source };
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let scan = scan(FORMAT, self.id, &file, bytes, |_, frame| {
            let Ok(records) = Record::take_all(frame) else { return false };
            records.into_iter().for_each(&mut *found);
            true
        });
        let scan = scan.map_err(|failure| match failure {
            ScanFailure::Io(source) => failed(source),
            ScanFailure::Version(found) => Failure::Format { path: path.clone(), found },
        })?;
        // It was put into place as a whole, so that its head is there.
        if scan.end == End::Corrupt || scan.valid_bytes < HEAD_LEN as u64 {
            return Err(Failure::Corrupt { path, offset: scan.valid_bytes });
        }
        if scan.end == End::Torn {
            tracing::warn!(path = %path.display(), bytes_cut = bytes - scan.valid_bytes,
                "cut an unfinished frame off the journal");
            self.disk.cut(&file, scan.valid_bytes).map_err(failed)?;
        }
        // Whether the last process came to sync it is not known, and what is shown has to stay.
        self.disk.sync(&file).map_err(failed)?;
        (self.bytes, self.file) = (scan.valid_bytes, Some(file));
        Ok(())
    }
}

/// A whole file.
fn content(id: u32, records: &[Record]) -> io::Result<Vec<u8>> {
    let mut content = FORMAT.head().to_vec();
    let mut frame = Vec::new();
    for (at, record) in records.iter().enumerate() {
        record.put(&mut frame);
        if frame.len() >= FRAME_BYTES || at + 1 == records.len() {
            let offset = u32::try_from(content.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
            put_frame(&mut content, id, offset, &frame);
            frame.clear();
        }
    }
    // What is added has a place, too.
    u32::try_from(content.len() + FRAME_LEN).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok(content)
}

/// Its files; what a crash left unfinished is deleted.
fn list(dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if let Some((id, EXTENSION)) = number(&path) {
            found.push((id, path));
        } else if path.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(&path)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    };

    use bowline_disk::Operation;
    use bowline_testkit::temp_dir;

    use super::*;

    fn ended(id: u64) -> Record {
        Record::Ended { id }
    }

    fn bytes(id: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        ended(id).put(&mut bytes);
        bytes
    }

    fn open(dir: &Path, disk: Disk) -> (Journal, Vec<Record>) {
        let mut found = Vec::new();
        let journal = Journal::open(dir, disk, |record| found.push(record)).unwrap();
        (journal, found)
    }

    #[test]
    fn what_was_written_is_found_again_and_the_newest_file_counts() {
        let dir = temp_dir();
        let (mut journal, found) = open(dir.path(), Disk::default());
        assert!(found.is_empty() && journal.is_full());
        journal.begin(&[]).unwrap();
        journal.append(&bytes(1)).unwrap();
        assert!(matches!(Journal::open(dir.path(), Disk::default(), |_| ()), Err(Failure::Locked { .. })));
        drop(journal);
        let (mut journal, found) = open(dir.path(), Disk::default());
        assert_eq!(found, [ended(1)]);
        journal.append(&bytes(2)).unwrap();
        journal.begin(&[ended(2), ended(3)]).unwrap();
        journal.append(&bytes(4)).unwrap();
        drop(journal);
        assert_eq!(open(dir.path(), Disk::default()).1, [2, 3, 4].map(ended));
        assert_eq!(list(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn an_unfinished_frame_is_cut_off_and_damage_is_told() {
        let dir = temp_dir();
        let (mut journal, _) = open(dir.path(), Disk::default());
        journal.begin(&[]).unwrap();
        (1..=3).for_each(|id| journal.append(&bytes(id)).unwrap());
        let (path, length) = (numbered(dir.path(), 1, EXTENSION), journal.bytes());
        drop(journal);
        let whole = fs::read(&path).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let (mut journal, found) = open(dir.path(), Disk::default());
        assert_eq!(found, [1, 2].map(ended));
        journal.append(&bytes(3)).unwrap();
        drop(journal);
        assert_eq!(open(dir.path(), Disk::default()).1, [1, 2, 3].map(ended));
        let mut damaged = whole;
        damaged[HEAD_LEN + FRAME_LEN] ^= 1;
        fs::replace(&path, &damaged).unwrap();
        let failure = Journal::open(dir.path(), Disk::default(), |_| ()).unwrap_err();
        assert!(matches!(failure, Failure::Corrupt { offset: 16, .. }), "{failure}");
    }

    #[test]
    fn after_a_failure_the_next_file_has_all_that_counts() {
        let dir = temp_dir();
        let fails = Arc::new(AtomicBool::new(false));
        let disk = Disk::faulty({
            let fails = Arc::clone(&fails);
            move |operation| match operation {
                Operation::Sync { .. } | Operation::Replace { .. } if fails.load(Relaxed) => {
                    Err(io::ErrorKind::StorageFull.into())
                }
                _ => Ok(()),
            }
        });
        let (mut journal, _) = open(dir.path(), disk);
        journal.begin(&[]).unwrap();
        fails.store(true, Relaxed);
        journal.append(&bytes(1)).unwrap_err();
        journal.begin(&[ended(1)]).unwrap_err();
        fails.store(false, Relaxed);
        journal.begin(&[ended(1)]).unwrap();
        journal.append(&bytes(2)).unwrap();
        drop(journal);
        assert_eq!(open(dir.path(), Disk::default()).1, [1, 2].map(ended));
    }
}
