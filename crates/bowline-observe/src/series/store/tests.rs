//! Tests of the store on a disk that fails.

use std::{io, os::unix::fs::FileExt as _, path::Path};

use bowline_disk::Operation;
use bowline_runtime::metric::Registry;

use super::*;
use crate::source::{Sample, Source as _};

/// What the disk refuses now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// Half of what is written is, then the disk is full.
    Full,
    Sync,
    Dir,
    /// Writes of more than 64 KiB fail: a block's, that is.
    Large,
}

#[derive(Debug, Clone, Default)]
struct Plan(Arc<Mutex<Fault>>);

impl Plan {
    fn set(&self, fault: Fault) {
        *lock(&self.0) = fault;
    }

    fn disk(&self) -> Disk {
        let plan = self.clone();
        Disk::faulty(move |operation| match (*lock(&plan.0), operation) {
            (Fault::Full, Operation::Write { file, bytes, at }) => {
                file.write_all_at(&bytes[..bytes.len() / 2], at)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            (Fault::Large, Operation::Write { bytes, .. }) if bytes.len() > 64 * 1024 => {
                Err(io::ErrorKind::StorageFull.into())
            }
            (Fault::Sync, Operation::Sync { .. }) => Err(io::Error::other("bad disk")),
            (Fault::Dir, Operation::SyncDir) => Err(io::Error::other("bad folder")),
            _ => Ok(()),
        })
    }
}

fn settings(dir: &Path) -> Settings {
    Settings { bytes_max: BYTES_MAX_MIN, ..Settings::new(dir) }
}

fn labels(number: usize) -> Labels {
    Labels::new([("__name__", "up".to_owned()), ("instance", format!("{number:03}"))])
}

fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap()
}

fn samples(store: &SeriesStore) -> Vec<Vec<Sample>> {
    let series = store.select(&[], i64::MIN, i64::MAX, usize::MAX).unwrap();
    series.into_iter().map(|series| series.samples).collect()
}

fn folder_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Appends to some series; what was taken is noted.
struct Appending {
    series: Vec<SeriesRef>,
    at_ms: i64,
    taken: Vec<Vec<Sample>>,
}

impl Appending {
    fn new(store: &SeriesStore, count: usize, from_ms: i64) -> Self {
        let series = (0..count).map(|number| store.intern(&labels(number)).unwrap()).collect();
        Self { series, at_ms: from_ms, taken: vec![Vec::new(); count] }
    }

    fn append(&mut self, store: &SeriesStore) -> Appended {
        self.at_ms += 5000;
        let values: Vec<_> = self.series.iter().map(|series| (*series, rand::unit())).collect();
        let appended = store.append(self.at_ms, &values);
        if appended.kept > 0 {
            assert_eq!(appended.kept, values.len());
            for (taken, (_, value)) in self.taken.iter_mut().zip(values) {
                taken.push(Sample { at_ms: self.at_ms, value });
            }
        }
        appended
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_disk_refuses_is_written_when_it_no_longer_does() {
    for fault in [Fault::Full, Fault::Sync, Fault::Dir] {
        rand::seed(1);
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::default();
        plan.set(fault);
        let store = SeriesStore::open_on(plan.disk(), &settings(dir.path())).unwrap();
        let mut appending = Appending::new(&store, 5, now_ms() - 3_600_000);
        for _ in 0..20 {
            appending.append(&store);
            let error = store.flush().await.unwrap_err();
            assert!(error.retryable(), "{error:?}");
        }
        plan.set(Fault::None);
        store.flush().await.unwrap();
        assert_eq!(store.bytes_on_disk(), folder_bytes(dir.path()), "{fault:?}");
        plan.set(fault);
        appending.append(&store);
        let is_flushed = store.flush().await.is_ok();
        assert_eq!(is_flushed, fault == Fault::Dir, "a folder is synced once");
        plan.set(Fault::None);
        store.flush().await.unwrap();
        // As after a power loss: what the store has in memory is not needed.
        let copied = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copied.path().join(path.file_name().unwrap())).unwrap();
        }
        let other = SeriesStore::open(settings(copied.path())).unwrap();
        assert_eq!(samples(&other), appending.taken, "{fault:?}");
        other.close().await;
        store.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_that_cannot_be_written_is_when_the_disk_takes_it_and_can_be_read_meanwhile() {
    rand::seed(2);
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let metrics = Registry::default();
    let settings = Settings { metrics: metrics.clone(), bytes_max: 8 * BYTES_MAX_MIN, ..settings(dir.path()) };
    let store = SeriesStore::open_on(plan.disk(), &settings).unwrap();
    let mut appending = Appending::new(&store, 20, now_ms() - 5 * 3_600_000);
    plan.set(Fault::Large);
    let mut failed = 0;
    for round in 0..2000 {
        appending.append(&store);
        if round % 10 == 0 {
            failed += usize::from(store.flush().await.is_err());
        }
    }
    assert!(failed > 10, "the block is tried again and again");
    assert_eq!(samples(&store), appending.taken);
    assert_eq!(store.label_names(&[], 0, i64::MAX).unwrap(), ["__name__", "instance"]);
    // A crash now: both logs are there, and the block is made of the older one at open, if the disk takes it.
    for is_refusing in [true, false] {
        let copied = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copied.path().join(path.file_name().unwrap())).unwrap();
        }
        let disk = if is_refusing { plan.disk() } else { Disk::default() };
        let settings = Settings { bytes_max: 8 * BYTES_MAX_MIN, ..Settings::new(copied.path()) };
        let other = SeriesStore::open_on(disk, &settings).unwrap();
        let read = samples(&other);
        assert_eq!(read.len(), 20);
        for (read, taken) in read.iter().zip(&appending.taken) {
            // What came after the last flush was in memory only.
            assert!(read.len() + 10 >= taken.len() && *read == taken[..read.len()]);
        }
        other.close().await;
    }
    plan.set(Fault::None);
    store.flush().await.unwrap();
    assert_eq!(samples(&store), appending.taken);
    assert_eq!(store.bytes_on_disk(), folder_bytes(dir.path()));
    store.close().await;
    let store = SeriesStore::open(settings).unwrap();
    assert_eq!(samples(&store), appending.taken);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_costs_samples_and_no_memory_without_end() {
    rand::seed(3);
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let metrics = Registry::default();
    let store = SeriesStore::open_on(plan.disk(), &Settings { metrics: metrics.clone(), ..settings(dir.path()) });
    let store = store.unwrap();
    let mut appending = Appending::new(&store, 100, now_ms() - 3_600_000 * 24);
    plan.set(Fault::Full);
    let mut refused = 0;
    for round in 0..5000 {
        refused += appending.append(&store).refused;
        if round % 100 == 0 {
            store.flush().await.unwrap_err();
            assert!(folder_bytes(dir.path()) <= BYTES_MAX_MIN);
        }
    }
    assert!(refused > 0);
    let page = metrics.render();
    assert!(page.contains(&format!("bowline_series_samples_dropped_total{{reason=\"queue_full\"}} {refused}")));
    plan.set(Fault::None);
    store.flush().await.unwrap();
    while appending.append(&store).refused > 0 {
        store.flush().await.unwrap();
    }
    assert_eq!(samples(&store), appending.taken);
    store.close().await;
    let store = SeriesStore::open(settings(dir.path())).unwrap();
    assert_eq!(samples(&store), appending.taken);
    store.close().await;
}

#[test]
fn a_clock_that_was_set_back_keeps_no_series_out_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let mut head = Head::new(&settings(dir.path()), 1);
    let series = head.intern(&labels(1)).unwrap();
    let hour = 3_600_000;
    assert_eq!(head.append(10 * hour, 10 * hour, &[(series, 1.0)]).kept, 1);
    // The clock goes back by five minutes: later samples only.
    assert_eq!(head.append(10 * hour - 300_000, 10 * hour - 300_000, &[(series, 2.0)]).out_of_order, 1);
    // The clock was wrong by hours: its samples are no reason to refuse those of the right time.
    for at in 0..10 {
        assert_eq!(head.append(5 * hour + at, 5 * hour + at, &[(series, 3.0)]).kept, 1);
    }
    let chunks = head.chunks(series, i64::MIN, i64::MAX).unwrap();
    let mut read = Vec::new();
    assert!(chunks.read(i64::MIN, i64::MAX, &mut read));
    crate::series::block::in_order(&mut read);
    assert_eq!((read.len(), read[0].at_ms, read[10].at_ms), (11, 5 * hour, 10 * hour));
}

#[test]
fn a_series_whose_times_lag_behind_does_not_end_a_generation_with_every_sample() {
    let dir = tempfile::tempdir().unwrap();
    let mut head = Head::new(&settings(dir.path()), 1);
    let (fresh, lagging) = (head.intern(&labels(1)).unwrap(), head.intern(&labels(2)).unwrap());
    let hour = 3_600_000;
    for round in 0..100 {
        let now = 10 * hour + round * 5000;
        assert_eq!(head.append(now, now, &[(fresh, 1.0)]).kept, 1);
        assert_eq!(head.append(now - 3 * hour, now, &[(lagging, 1.0)]).too_old, 1);
        assert_eq!(head.append(now - hour, now, &[(lagging, 1.0)]).kept, 1, "so old it may be");
        assert!(!head.is_full());
        if round == 50 {
            head.roll();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_also_while_a_block_is_written() {
    rand::seed(4);
    let dir = tempfile::tempdir().unwrap();
    let most = Arc::new(AtomicU64::new(0));
    let (seen, path) = (Arc::clone(&most), dir.path().to_owned());
    let disk = Disk::faulty(move |operation| {
        if let Operation::Sync { .. } | Operation::SyncDir = operation {
            seen.fetch_max(folder_bytes(&path), Ordering::Relaxed);
        }
        Ok(())
    });
    let store = SeriesStore::open_on(disk, &settings(dir.path())).unwrap();
    let mut appending = Appending::new(&store, 100, now_ms() - 3_600_000 * 24);
    for _ in 0..8 * 1024 * 1024 / 800 {
        if appending.append(&store).refused > 0 {
            store.flush().await.unwrap();
        }
    }
    store.close().await;
    let most = most.load(Ordering::Relaxed);
    assert!(most <= BYTES_MAX_MIN && most > BYTES_MAX_MIN / 2, "{most}");
}
