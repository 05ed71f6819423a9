//! Tests with a disk that fails.

use std::{
    os::unix::fs::MetadataExt as _,
    sync::{Mutex, MutexGuard},
};

use bowline_disk::Operation;
use bowline_model::Code;

use super::*;

/// A disk that does what a test says, and notes what it was asked to do.
#[derive(Debug, Clone, Default)]
struct Plan(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_full: bool,
    is_cut_refused: bool,
    is_dir_refused: bool,
    /// The inode whose syncs fail.
    bad_file: Option<u64>,
    /// Inodes written to and synced, in order.
    done: Vec<(&'static str, u64)>,
}

impl Plan {
    fn now(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn disk(&self) -> Disk {
        let plan = self.clone();
        Disk::faulty(move |operation| plan.now().begin(operation))
    }
}

impl State {
    fn begin(&mut self, operation: Operation<'_>) -> io::Result<()> {
        match operation {
            Operation::Write { file, bytes, at } if self.is_full => {
                // A disk gets full in the middle of a write.
                file.write_all_at(&bytes[..bytes.len() / 2], at)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            Operation::Cut if self.is_cut_refused => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Operation::SyncDir if self.is_dir_refused => Err(io::Error::other("bad folder")),
            Operation::Sync { file } if self.bad_file == Some(inode(file)) => Err(io::Error::other("bad disk")),
            Operation::Write { file, .. } => self.note("write", file),
            Operation::Sync { file } => self.note("sync", file),
            Operation::Read { .. }
            | Operation::Cut
            | Operation::SyncDir
            | Operation::Replace { .. }
            | Operation::Remove { .. } => Ok(()),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "is the answer to an operation")]
    fn note(&mut self, what: &'static str, file: &File) -> io::Result<()> {
        self.done.push((what, inode(file)));
        Ok(())
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

fn folder_bytes(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_full_segment_whose_sync_failed_is_synced_before_anything_counts_as_synced() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let (mut log, mut heard) = open_on(plan.disk(), dir.path()).unwrap();
    let record = vec![7; log.record_bytes_max() / 2 - 100];
    log.append(&record, &mut heard).unwrap();
    let first = inode(&log.segments[0].file);
    plan.now().bad_file = Some(first);
    while log.segments.len() < 2 {
        log.append(&record, &mut heard).unwrap();
    }
    let second = inode(&log.segments[1].file);
    for _ in 0..2 {
        plan.now().done.clear();
        let error = log.sync().unwrap_err();
        assert!(matches!(error, Error::Io { operation: "sync", .. }) && error.retryable(), "{error:?}");
        assert!(log.is_dirty());
    }
    // The other one was not kept from the disk; the first was written anew each time.
    assert!(plan.now().done.iter().all(|done| *done == ("write", first)), "{:?}", plan.now().done);
    assert!(!log.segments[1].is_dirty());
    plan.now().bad_file = None;
    plan.now().done.clear();
    log.append(b"more", &mut heard).unwrap();
    log.sync().unwrap();
    assert!(!log.is_dirty());
    let done = plan.now().done.clone();
    assert_eq!(done.first(), Some(&("write", second)));
    assert!(done.ends_with(&[("write", first), ("sync", first), ("sync", second)]), "{done:?}");
    drop(log);
    let (_, heard) = open(dir.path()).unwrap();
    assert!(heard.found.len() > 2 && heard.found.iter().all(|(_, found)| *found == record || found == b"more"));
}

#[test]
fn a_failed_sync_of_the_folder_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let (mut log, mut heard) = open_on(plan.disk(), dir.path()).unwrap();
    log.append(b"one", &mut heard).unwrap();
    plan.now().is_dir_refused = true;
    assert!(log.sync().is_err() && log.sync().is_err() && log.is_dirty());
    plan.now().is_dir_refused = false;
    log.sync().unwrap();
    assert!(!log.is_dirty());
}

#[test]
fn what_the_last_process_wrote_is_synced_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path());
    let plan = Plan::default();
    let (mut log, _) = open_on(plan.disk(), dir.path()).unwrap();
    log.sync().unwrap();
    assert_eq!(plan.now().done, [("sync", inode(&log.segments[0].file))]);
}

#[test]
fn a_full_disk_leaves_nothing_of_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let (mut log, mut heard) = open_on(plan.disk(), dir.path()).unwrap();
    log.append(b"one", &mut heard).unwrap();
    plan.now().is_full = true;
    for _ in 0..3 {
        let error = log.append(b"a record that does not fit", &mut heard).unwrap_err();
        assert_eq!(error.code(), Code::InsufficientStorage);
        assert_eq!(folder_bytes(dir.path()), log.bytes());
    }
    plan.now().is_full = false;
    assert_eq!(log.append(b"two", &mut heard).unwrap().segment, 1);
    drop(log);
    let (log, heard) = open(dir.path()).unwrap();
    assert_eq!(records(&heard), [b"one".as_slice(), b"two"]);
    assert_eq!((log.metrics.segments_corrupt.get(), log.metrics.tails_cut.get()), (0, 0));
}

#[test]
fn a_full_disk_begins_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let (mut log, mut heard) = open_on(plan.disk(), dir.path()).unwrap();
    plan.now().is_full = true;
    for _ in 0..3 {
        assert_eq!(log.append(b"one", &mut heard).unwrap_err().code(), Code::InsufficientStorage);
        assert_eq!((folder_bytes(dir.path()), log.bytes()), (0, 0));
    }
    plan.now().is_full = false;
    log.append(b"two", &mut heard).unwrap();
    drop(log);
    assert_eq!(records(&open(dir.path()).unwrap().1), [b"two"]);
}

#[test]
fn what_cannot_be_cut_counts_and_is_not_written_after() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let (mut log, mut heard) = open_on(plan.disk(), dir.path()).unwrap();
    log.append(b"one", &mut heard).unwrap();
    plan.now().is_full = true;
    plan.now().is_cut_refused = true;
    log.append(b"a record that does not fit", &mut heard).unwrap_err();
    assert_eq!(folder_bytes(dir.path()), log.bytes(), "the cap counts what is left there");
    plan.now().is_full = false;
    assert_eq!(log.append(b"two", &mut heard).unwrap().segment, 2);
    log.sync().unwrap();
    assert_eq!(folder_bytes(dir.path()), log.bytes());
    drop(log);
    assert_eq!(records(&open(dir.path()).unwrap().1), [b"one".as_slice(), b"two"]);
}
