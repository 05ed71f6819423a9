//! What the suite of the port cannot reach: files that fail, and files that are not ours.

use std::{
    io,
    ops::Bound,
    path::Path,
    sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
};

use bowline_model::Code;
use bowline_runtime::{fs, time::sleep};
use redb::{BackendError, ReadableDatabase as _, StorageBackend, TableDefinition};

use super::*;
use crate::{Change, WatchEvent};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// When the file fails, and how.
#[derive(Debug)]
struct Faults {
    /// Operations that change the file and still succeed; negative: all.
    left: AtomicI64,
    full: AtomicBool,
    /// Whether what fails is done all the same.
    late: AtomicBool,
    sync_fails: AtomicBool,
    /// Syncs, and whether something was written since the last one.
    syncs: AtomicI64,
    is_dirty: AtomicBool,
}

impl Faults {
    fn new() -> Arc<Self> {
        let [full, late, sync_fails] = [true, false, false].map(AtomicBool::new);
        let (left, syncs, is_dirty) = (AtomicI64::new(-1), AtomicI64::new(0), AtomicBool::new(false));
        Arc::new(Self { left, full, late, sync_fails, syncs, is_dirty })
    }

    fn fail_after(&self, operations: i64) {
        self.left.store(operations, SeqCst);
    }

    fn heal(&self) {
        self.fail_after(-1);
        self.sync_fails.store(false, SeqCst);
    }

    /// Does the operation, or fails, or both.
    fn perform(&self, operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.is_dirty.store(true, SeqCst);
        let checked = self.check();
        if checked.is_ok() || self.late.load(SeqCst) {
            operation()?;
        }
        checked
    }

    fn check(&self) -> io::Result<()> {
        match self.left.load(SeqCst) {
            0 if self.full.load(SeqCst) => Err(io::ErrorKind::StorageFull.into()),
            0 => Err(io::Error::other("the disk is on fire")),
            left if left > 0 => {
                self.left.store(left - 1, SeqCst);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn StorageBackend>,
    faults: Arc<Faults>,
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.perform(|| self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.faults.sync_fails.load(SeqCst) {
            return Err(io::Error::other("the disk is on fire"));
        }
        self.inner.sync_data()?;
        self.faults.is_dirty.store(false, SeqCst);
        self.faults.syncs.fetch_add(1, SeqCst);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.perform(|| self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

fn faulty(faults: &Arc<Faults>) -> Opener {
    let (faults, open) = (Arc::clone(faults), file::opener());
    Arc::new(move |path| Ok(Box::new(FaultyFile { inner: open(path)?, faults: Arc::clone(&faults) })))
}

async fn open_faulty(path: &Path, faults: &Arc<Faults>) -> Embedded {
    Embedded::open_with(Settings::new(path), &metric::Registry::default(), faulty(faults)).await.unwrap()
}

async fn open(path: &Path) -> Result<Embedded, Error> {
    Embedded::open(Settings::new(path), &metric::Registry::default()).await
}

fn put(key: &str, value: &str) -> Txn {
    Txn::default().put(key, value.to_owned())
}

/// Everything that readers see.
async fn content(store: &Embedded) -> (Revision, Vec<Entry>, Vec<WatchEvent>) {
    let page = store.range("", None, RANGE_MAX).await.unwrap();
    let mut events = Vec::new();
    let mut watch = store.watch("", 0).await.unwrap();
    while events.last().map_or(0, |event: &WatchEvent| event.revision) < page.revision {
        events.push(watch.next().await.unwrap());
    }
    (page.revision, page.entries, events)
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_after_the_sync() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::new();
    let store = open_faulty(&dir.path().join("store"), &faults).await;
    for i in 0..20 {
        let before = faults.syncs.load(SeqCst);
        match i % 4 {
            0 => drop(store.commit(put("a", "1")).await.unwrap()),
            1 => drop(store.commit(Txn::default().delete("a")).await.unwrap()),
            2 => drop(store.grant(Duration::from_hours(1)).await.unwrap()),
            _ => assert!(store.revoke(LeaseId(i / 4 + 1)).await.unwrap()),
        }
        assert!(faults.syncs.load(SeqCst) > before, "step {i} is answered without a sync");
        assert!(!faults.is_dirty.load(SeqCst), "step {i} is answered before all of it is synced");
    }
    // What changes nothing needs none, and many who come at once share one.
    let before = faults.syncs.load(SeqCst);
    store.commit(Txn::default().delete("missing")).await.unwrap();
    assert_eq!(faults.syncs.load(SeqCst), before);
    let keys = (0..100).map(|i| format!("k{i}")).collect::<Vec<_>>();
    let mut tasks = task::JoinSet::new();
    for key in keys {
        let store = store.clone();
        tasks.spawn(async move { store.commit(put(&key, "1")).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), 100);
    let syncs = faults.syncs.load(SeqCst) - before;
    assert!(syncs < 20, "{syncs} syncs for 100 commits at once");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_writes_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let faults = Faults::new();
    let store = open_faulty(&path, &faults).await;
    let first = store.commit(put("a", "1")).await.unwrap();
    let (second, lease) = store.commit_leased(put("leased", "1"), Duration::from_secs(5)).await.unwrap();
    let mut watch = store.watch("", first).await.unwrap();

    faults.fail_after(0);
    for _ in 0..3 {
        let error = store.commit(put("b", "1")).await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::InsufficientStorage, true), "{error}");
        assert!(matches!(store.grant(Duration::from_secs(5)).await, Err(Error::Full)));
        assert!(store.is_writable(), "it is once there is room again");
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(store.get("a").await.unwrap().unwrap().value.as_ref(), b"1");
    assert_eq!(store.range("", None, 10).await.unwrap().entries.len(), 2);
    assert_eq!(watch.next().await.unwrap().revision, second);
    assert!(store.keep_alive(&[lease]).await.unwrap()[0].is_ok(), "renewals need no disk");
    sleep(Duration::from_secs(20)).await;
    assert!(store.keep_alive(&[lease]).await.unwrap()[0].is_err(), "it expired");
    assert!(store.get("leased").await.unwrap().is_some(), "what is not durable is not shown");

    faults.heal();
    let gone = watch.next().await.unwrap();
    assert!(matches!(gone.change, Change::Delete { .. }) && gone.revision == second + 1, "{gone:?}");
    assert_eq!(store.commit(put("b", "2")).await.unwrap(), second + 2);
    let seen = content(&store).await;
    store.close().await;
    assert_eq!(content(&open(&path).await.unwrap()).await, seen);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let faults = Faults::new();
    let metrics = metric::Registry::default();
    let store = Embedded::open_with(Settings::new(&path), &metrics, faulty(&faults)).await.unwrap();
    let is_writable = || (store.is_writable(), metrics.gauge("bowline_store_is_writable", "", &[]).get());
    store.commit(put("a", "1")).await.unwrap();
    assert_eq!(is_writable(), (true, 1));
    faults.sync_fails.store(true, SeqCst);
    let error = store.commit(put("a", "2")).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::Internal, false), "{error}");
    assert_eq!(is_writable(), (false, 0));
    faults.heal();
    sleep(Duration::from_mins(1)).await;
    store.commit(put("a", "3")).await.unwrap_err();
    assert_eq!(is_writable(), (false, 0));
    assert_eq!(store.get("a").await.unwrap().unwrap().value.as_ref(), b"1");
    store.close().await;
    // The write whose sync failed may or may not be there: both were allowed.
    let store = open(&path).await.unwrap();
    let value = store.get("a").await.unwrap().unwrap().value;
    assert!(value == "1" || value == "2", "{value:?}");
}

/// Fails at each operation in turn, so that every step of a commit is interrupted once.
#[tokio::test(start_paused = true)]
async fn a_failure_at_any_point_loses_nothing_acknowledged() {
    let mut succeeded = 0;
    for at in 0..90 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let faults = Faults::new();
        faults.full.store(at % 2 == 0, SeqCst);
        faults.late.store(at % 3 == 0, SeqCst);
        let store = open_faulty(&path, &faults).await;
        faults.fail_after(at / 3);
        let mut acknowledged = Vec::new();
        for i in 0..6 {
            let key = format!("k{i}");
            if let Ok(revision) = store.commit(put(&key, &"v".repeat(5000))).await {
                acknowledged.push((key, revision));
            }
        }
        succeeded += acknowledged.len();
        faults.heal();
        sleep(Duration::from_secs(2)).await;
        let last = store.commit(put("last", "1")).await.unwrap();
        for (key, revision) in &acknowledged {
            let entry = store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is lost, failed at {at}"));
            assert_eq!(entry.modified, *revision, "failed at {at}");
        }
        let seen = content(&store).await;
        assert_eq!(seen.0, last, "failed at {at}");
        store.close().await;
        assert_eq!(content(&open(&path).await.unwrap()).await, seen, "failed at {at}");
    }
    assert!(succeeded > 20, "only {succeeded} commits came before their failure");
}

#[tokio::test(start_paused = true)]
async fn one_process_opens_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let first = open(&path).await.unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert_eq!(error.to_string(), format!("`{}` is in use by another process", path.display()));
    let mut watch = first.watch("", 0).await.unwrap();
    first.close().await;
    assert!(matches!(watch.next().await, Err(Error::Closed)));
    assert!(matches!(first.commit(put("a", "1")).await, Err(Error::Closed)));
    open(&path).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    open(&path).await.unwrap().close().await;
    let database = redb::Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert("format", 2).unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, Error::Format { found: 2, known: 1, .. }), "{error}");
    assert_eq!(error.code(), Code::FailedPrecondition);
    let database = redb::Database::open(&path).unwrap();
    let txn = database.begin_read().unwrap();
    assert_eq!(txn.open_table(META).unwrap().get("format").unwrap().unwrap().value(), 2, "it is left alone");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    fs::replace(&text, &b"not a store. ".repeat(1000)).unwrap();
    let foreign = dir.path().join("foreign");
    let database = redb::Database::create(&foreign).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(TableDefinition::<'_, u64, u64>::new("theirs")).unwrap().insert(1, 1).unwrap();
    txn.commit().unwrap();
    drop(database);
    for path in [&text, &foreign] {
        let error = open(path).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    }
    assert!(fs::read(&text).unwrap().starts_with(b"not a store"));
    let folder = open(dir.path()).await.unwrap_err();
    assert!(matches!(folder, Error::Io(_)), "{folder:?}");
}
