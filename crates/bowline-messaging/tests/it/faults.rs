//! A disk that fails when a segment is begun or deleted, and one that is full for long.

use std::sync::{Arc, Mutex};

use bowline_disk::{Disk, Operation};
use bowline_messaging::{Embedded, Error, GroupSettings, MessageBus as _, NewMessage, TopicSettings};
use bowline_runtime::time::{self, Duration};

use crate::{message, open, open_on, text};

/// What fails, as long as it is said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Replace,
    /// The segment is in place, and it is not known whether it stays there.
    SyncDir,
    Remove,
    Write,
}

/// A disk whose faults are turned on and off.
fn disk() -> (Disk, Arc<Mutex<Vec<Fault>>>) {
    let faults = Arc::new(Mutex::new(Vec::new()));
    let shared = faults.clone();
    let disk = Disk::faulty(move |operation| {
        let fault = match operation {
            Operation::Replace { .. } => Fault::Replace,
            Operation::SyncDir => Fault::SyncDir,
            Operation::Remove { .. } => Fault::Remove,
            Operation::Write { .. } => Fault::Write,
            Operation::Read { .. } | Operation::Cut | Operation::Sync { .. } => return Ok(()),
        };
        if shared.lock().unwrap().contains(&fault) { Err(std::io::Error::other("bad disk")) } else { Ok(()) }
    });
    (disk, faults)
}

/// The smallest topic, whose segments have 256 KiB.
fn small() -> TopicSettings {
    TopicSettings { bytes_max: 4 << 20, ..TopicSettings::default() }
}

/// Publishes until a segment would be begun, which fails.
async fn until_it_fails(bus: &Embedded) {
    for _ in 0..20 {
        if let Err(error) = bus.publish("t", message(50_000)).await {
            assert!(matches!(error, Error::Io(_)), "{error}");
            return;
        }
    }
    panic!("no segment was begun");
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_cannot_be_begun_leaves_nothing_of_it() {
    for bad in [vec![Fault::Replace], vec![Fault::SyncDir], vec![Fault::SyncDir, Fault::Remove]] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, faults) = disk();
        let bus = open_on(disk, dir.path()).await;
        bus.declare("t", small()).await.unwrap();
        let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
        faults.lock().unwrap().clone_from(&bad);
        until_it_fails(&bus).await;
        faults.lock().unwrap().clear();
        // The segment before it goes on, as it may have more bytes now.
        bus.declare("t", TopicSettings::default()).await.unwrap();
        let mut count = 0;
        while bus.topics().await.unwrap()[0].groups[0].lag > 0 {
            group.next().await.unwrap().ack().await.unwrap();
            count += 1;
        }
        bus.close().await;
        drop((group, bus));
        let bus = open(dir.path()).await;
        let info = &bus.topics().await.unwrap()[0];
        assert_eq!((info.next, info.groups[0].lag), (count + 1, 0), "what was acknowledged is done, after {bad:?}");
        assert_eq!(bus.publish("t", text("next")).await.unwrap().position, count + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_cannot_be_deleted_goes_later() {
    for bad in [Fault::Remove, Fault::SyncDir] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, faults) = disk();
        let bus = open_on(disk, dir.path()).await;
        let brief = TopicSettings { keep: Duration::ZERO, dedup: Duration::ZERO, ..small() };
        bus.declare("t", TopicSettings { keep: Duration::from_hours(1), ..brief.clone() }).await.unwrap();
        for _ in 0..10 {
            bus.publish("t", message(50_000)).await.unwrap();
        }
        bus.declare("t", brief).await.unwrap();
        faults.lock().unwrap().push(bad);
        time::sleep(Duration::from_mins(1)).await; // tidy: sleep: the clock is paused
        assert_eq!(bus.publish("t", text("x")).await.unwrap().position, 11);
        faults.lock().unwrap().clear();
        time::sleep(Duration::from_mins(1)).await; // tidy: sleep: the clock is paused
        let first = bus.topics().await.unwrap()[0].first;
        assert!(first > 1, "the old ones are gone");
        bus.close().await;
        drop(bus);
        let bus = open(dir.path()).await;
        let info = &bus.topics().await.unwrap()[0];
        assert_eq!((info.first, info.next), (first, 12), "after {bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_nothing_can_be_written_nothing_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, faults) = disk();
    let bus = open_on(disk, dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let quick = Duration::from_millis(100);
    let settings = GroupSettings {
        lease: quick,
        backoff: quick,
        backoff_max: quick,
        attempts_max: 1000,
        ..GroupSettings::default()
    };
    let mut group = bus.subscribe("t", "g", settings, 10).await.unwrap();
    for _ in 0..10 {
        bus.publish("t", NewMessage::default()).await.unwrap();
    }
    faults.lock().unwrap().push(Fault::Write);
    let (mut tries, begin) = (0, time::now());
    while let Ok(delivery) = time::timeout_at(begin + Duration::from_mins(10), group.next()).await {
        assert!(delivery.unwrap().ack().await.is_err());
        tries += 1;
    }
    assert!(tries <= 20, "{tries} tries were for nothing");
    faults.lock().unwrap().clear();
    while bus.topics().await.unwrap()[0].groups[0].lag > 0 {
        let delivery = time::timeout(Duration::from_mins(1), group.next()).await.unwrap().unwrap();
        delivery.ack().await.unwrap();
    }
}
