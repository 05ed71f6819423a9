//! A disk that is full, does not sync, does not delete, cannot be read, or has other bytes than were written: nobody
//! gets an error or a wrong value for it.

use std::{
    fs, io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, mpsc},
};

use bowline_disk::{Disk, Operation};
use bowline_runtime::metric::Registry;

use super::{
    disk::{end, lasting, segments, started},
    feed::Tape,
    *,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// There is room for half of what is written.
    Full,
    Sync,
    SyncDir,
    Remove,
    Read,
}

/// A disk whose faults are turned on and off.
#[derive(Clone, Default)]
struct Bad(Arc<Mutex<Vec<Fault>>>);

impl Bad {
    fn set(&self, faults: &[Fault]) {
        *self.0.lock().unwrap() = faults.to_vec();
    }

    fn disk(&self) -> Disk {
        let faults = Arc::clone(&self.0);
        Disk::faulty(move |operation| {
            let has = |fault| faults.lock().unwrap().contains(&fault);
            match operation {
                Operation::Write { file, bytes, at } if has(Fault::Full) => {
                    file.write_all_at(&bytes[..bytes.len() / 2], at)?;
                    Err(io::ErrorKind::StorageFull.into())
                }
                Operation::Sync { .. } if has(Fault::Sync) => Err(io::Error::other("bad disk")),
                Operation::SyncDir if has(Fault::SyncDir) => Err(io::Error::other("bad folder")),
                Operation::Remove { .. } if has(Fault::Remove) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
                Operation::Read { .. } if has(Fault::Read) => Err(io::Error::other("bad sector")),
                _ => Ok(()),
            }
        })
    }

    async fn started(&self, dir: &Path, tape: &Tape, registry: &Registry) -> Cache<String, String> {
        let cache = lasting(dir, tape).through(self.disk()).metrics(registry).build().unwrap();
        pass(Duration::from_secs(1)).await;
        cache
    }
}

const OPEN: &str = "bowline_cache_level_open{cache=\"users\",level=\"l2\"}";

fn failures(operation: &str) -> String {
    format!("bowline_cache_level_failures_total{{cache=\"users\",level=\"l2\",operation=\"{operation}\"}}")
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_more_is_left_alone_and_what_it_had_does_not_come_back() {
    for bad in [Fault::Full, Fault::Sync] {
        // Nobody but this process knows what it invalidates.
        let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::others("user.changed"), Source::new());
        let (disk, registry) = (Bad::default(), Registry::default());
        let cache = disk.started(dir.path(), &tape, &registry).await;
        for key in ["ada", "bob"] {
            assert_eq!(text(source.ask(&cache, key).await), "v1");
        }
        pass(Duration::from_secs(1)).await;
        assert!(cache.status().levels[1].bytes.unwrap() > 0);
        disk.set(&[bad]);
        assert_eq!(text(source.ask(&cache, "cyd").await), "v1");
        pass(Duration::from_secs(1)).await;
        let (status, metrics) = (cache.status().levels[1].clone(), registry.render());
        assert!(status.is_left_alone && status.bytes == Some(0), "{bad:?}: {status:?}");
        assert!(metrics.contains(&format!("{OPEN} 1")), "{metrics}");
        assert!(metrics.contains(&format!("{} 1", failures("write"))), "{metrics}");
        source.change();
        cache.invalidate("bob").await.unwrap();
        assert_eq!(text(source.ask(&cache, "bob").await), "v2");
        assert_eq!(text(source.ask(&cache, "ada").await), "v1", "memory goes on");
        end(cache).await;
        disk.set(&[]);
        let cache = disk.started(dir.path(), &tape, &registry).await;
        assert_eq!(text(source.ask(&cache, "bob").await), "v2", "after {bad:?}");
        assert!(!cache.status().levels[1].is_left_alone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_cleared_tells_nothing_old_after_a_restart() {
    for bad in [&[Fault::Remove][..], &[Fault::SyncDir], &[Fault::Full, Fault::Remove]] {
        let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
        let (disk, registry) = (Bad::default(), Registry::default());
        let cache = disk.started(dir.path(), &tape, &registry).await;
        assert_eq!(text(source.ask(&cache, "ada").await), "v1");
        pass(Duration::from_secs(1)).await;
        disk.set(bad);
        source.change();
        cache.invalidate_all().await.unwrap();
        assert_eq!(text(source.ask(&cache, "ada").await), "v2");
        pass(Duration::from_secs(1)).await;
        assert!(cache.status().levels[1].is_left_alone, "{bad:?}");
        end(cache).await;
        for is_mended in [false, true] {
            if is_mended {
                disk.set(&[]);
            }
            let cache = disk.started(dir.path(), &tape, &registry).await;
            assert_eq!(text(source.ask(&cache, "ada").await), "v2", "after {bad:?}");
            end(cache).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_delete_what_is_too_much_is_left_alone() {
    let (dir, tape, registry) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Registry::default());
    let disk = Bad::default();
    disk.set(&[Fault::Remove]);
    let cache = disk.started(dir.path(), &tape, &registry).await;
    for at in 0..64 {
        let value = "x".repeat(512 << 10);
        cache.get_or_load(&format!("k{at}"), || std::future::ready(Ok(Some(value)))).await.unwrap().unwrap();
        pass(Duration::from_secs(1)).await;
    }
    assert!(cache.status().levels[1].is_left_alone);
    let on_disk: u64 = segments(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(on_disk < 20 << 20, "{on_disk}: it does not go on");
}

/// A folder in which so many keys have a value.
async fn filled(dir: &Path, tape: &Tape, source: &Source, keys: usize) {
    let cache = started(dir, tape).await;
    for at in 0..keys {
        assert_eq!(text(source.ask(&cache, &format!("k{at}")).await), "v1");
    }
    pass(Duration::from_secs(1)).await;
    end(cache).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_loaded_and_a_disk_that_reads_nothing_is_left_alone() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
    filled(dir.path(), &tape, &source, 40).await;
    let (disk, registry) = (Bad::default(), Registry::default());
    let cache = disk.started(dir.path(), &tape, &registry).await;
    source.change();
    disk.set(&[Fault::Read]);
    assert_eq!(text(source.ask(&cache, "k0").await), "v2");
    disk.set(&[]);
    assert_eq!(text(source.ask(&cache, "k1").await), "v1", "the others are there");
    disk.set(&[Fault::Read]);
    for at in 2..40 {
        assert_eq!(text(source.ask(&cache, &format!("k{at}")).await), "v2");
    }
    assert!(cache.status().levels[1].is_left_alone);
    let metrics = registry.render();
    assert!(metrics.contains(&format!("{} 17", failures("read"))), "one, and sixteen: {metrics}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_others_than_were_written_are_no_value() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
    filled(dir.path(), &tape, &source, 8).await;
    let registry = Registry::default();
    let cache = Bad::default().started(dir.path(), &tape, &registry).await;
    source.change();
    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    for at in bytes.windows(2).enumerate().filter_map(|(at, two)| (two == b"v1").then_some(at)).collect::<Vec<_>>() {
        bytes[at + 1] = b'7';
    }
    fs::write(&path, bytes).unwrap();
    for at in 0..8 {
        assert_eq!(text(source.ask(&cache, &format!("k{at}")).await), "v2");
    }
    assert!(registry.render().contains(&format!("{} 8", failures("read"))));
    assert!(!cache.status().levels[1].is_left_alone, "what was loaded is there from now on");
}

/// Real time: a clock that is paused stands still while the disk is asked.
#[tokio::test]
async fn a_disk_that_does_not_answer_is_not_waited_for() {
    let (dir, tape, source) = (tempfile::tempdir().unwrap(), Tape::new("user.changed"), Source::new());
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let disk = Disk::faulty(move |operation| {
        if let Operation::Read { .. } = operation {
            _ = held.lock().unwrap().recv();
        }
        Ok(())
    });
    let cache = lasting(dir.path(), &tape).memory_bytes(1024).weigh(|_, _| 1 << 20).through(disk).build().unwrap();
    while cache.status().feeds[0].standing != "following" {
        task::yield_now().await;
    }
    // Memory keeps none of them.
    for at in 0..100 {
        assert_eq!(text(source.ask(&cache, &format!("k{at}")).await), "v1");
    }
    while cache.status().levels[1].bytes < Some(100 * 20) {
        task::yield_now().await;
    }
    let callers: Vec<_> = (0..100).map(|at| source.ask_beside(&cache, &format!("k{at}"))).collect();
    for caller in callers {
        let answer = time::timeout(Duration::from_secs(10), caller).await.expect("nobody waits for the disk");
        assert_eq!(text(answer.unwrap()), "v1");
    }
    assert_eq!(source.calls(), 200);
    drop(hold);
}
