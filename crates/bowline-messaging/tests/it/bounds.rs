//! Bounds: a topic that is full, a group that is far behind.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use bowline_disk::{Disk, Operation};
use bowline_messaging::{
    Embedded, Error, GroupSettings, MessageBus as _, NewMessage, PAGE_BYTES_MAX, Settings, Subscription, TopicSettings,
};
use bowline_runtime::{metric, task, time};

use crate::{message, open, open_on, publish_all};

const MIB: usize = 1 << 20;

/// The smallest topic.
fn small() -> TopicSettings {
    TopicSettings { bytes_max: 4 << 20, ..TopicSettings::default() }
}

/// Acknowledges so many messages; they come in order, if the group has one consumer.
async fn consume(group: &mut Subscription, count: u64) {
    let mut last = 0;
    for _ in 0..count {
        let delivery = group.next().await.unwrap();
        assert!(delivery.message.position > last, "in order");
        last = delivery.message.position;
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_topic_names_who_is_behind_and_has_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", small()).await.unwrap();
    let group = |credit| bus.subscribe("t", "slow", GroupSettings::default(), credit);
    let mut slow = group(100).await.unwrap();
    let mut published = 0;
    let full = loop {
        match bus.publish("t", message(50_000)).await {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
    };
    assert!((75..=84).contains(&published), "{published} fit");
    assert!(matches!(&full, Error::Full { by: Some(by), .. } if by == "slow") && full.retryable(), "{full}");
    assert_eq!(full.to_string(), "the topic `t` is full: the group `slow` has not processed its oldest messages");
    // What makes room is written all the same, and what was done with is deleted before its time.
    consume(&mut slow, published).await;
    for _ in 0..published {
        bus.publish("t", message(50_000)).await.unwrap();
        consume(&mut slow, 1).await;
    }
    bus.close().await;
    drop((slow, bus));
    let bytes: u64 = std::fs::read_dir(dir.path().join("topics/t"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= (4 << 20) + 400_000, "{bytes} bytes are on disk");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_far_behind_goes_on_after_a_restart() {
    const COUNT: u64 = 5000;
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut tasks = task::JoinSet::new();
    for _ in 0..10 {
        let bus = bus.clone();
        tasks.spawn(async move {
            for _ in 0..COUNT / 10 {
                bus.publish("t", message(10)).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    consume(&mut group, 10).await;
    bus.close().await;
    drop((group, bus));

    let bus = open(dir.path()).await;
    let begin = time::now();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    consume(&mut group, COUNT - 10).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
    let info = &bus.topics().await.unwrap()[0];
    assert_eq!((info.groups[0].lag, info.groups[0].leased), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_topic_of_one_segment_has_room_again_once_it_is_processed() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", small()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 10).await.unwrap();
    for _ in 0..3 {
        // As many as go into one batch.
        for published in publish_all(&bus, [message(MIB), message(MIB), message(MIB)]).await {
            published.unwrap();
        }
        consume(&mut group, 3).await;
    }
    bus.close().await;
    drop((group, bus));
    let bus = open(dir.path()).await;
    assert_eq!(bus.publish("t", message(MIB)).await.unwrap().position, 10);
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_what_fits_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", small()).await.unwrap();
    let _slow = bus.subscribe("t", "slow", GroupSettings::default(), 1).await.unwrap();
    for _ in 0..20 {
        bus.publish("t", message(100_000)).await.unwrap();
    }
    let answers = publish_all(&bus, (0..40).map(|_| message(100_000))).await;
    let published = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((19..=22).contains(&published), "{published} fit");
    assert!(matches!(answers.last(), Some(Err(Error::Full { .. }))));
}

#[tokio::test(start_paused = true)]
async fn what_was_published_is_answered_so_in_a_full_topic() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", small()).await.unwrap();
    let _slow = bus.subscribe("t", "slow", GroupSettings::default(), 1).await.unwrap();
    let first = NewMessage { id: Some("first".to_owned()), ..message(100_000) };
    assert_eq!(bus.publish("t", first.clone()).await.unwrap().position, 1);
    while bus.publish("t", message(100_000)).await.is_ok() {}
    let again = bus.publish("t", first).await.unwrap();
    assert_eq!((again.position, again.is_duplicate), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_full_topic_deletes_its_oldest_messages_first() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", small()).await.unwrap();
    for number in 0..200 {
        bus.publish("t", message(50_000)).await.unwrap();
        let info = &bus.topics().await.unwrap()[0];
        let held = info.next - info.first;
        assert!(held >= 60.min(number + 1), "of {number} messages {held} are left");
    }
}

#[tokio::test]
async fn while_the_disk_hangs_no_more_waits_than_fits() {
    let hangs = Arc::new((Mutex::new(false), Condvar::new()));
    let shared = hangs.clone();
    let disk = Disk::faulty(move |operation| {
        if matches!(operation, Operation::Sync { .. }) {
            drop(shared.1.wait_while(shared.0.lock().unwrap(), |hangs| *hangs).unwrap());
        }
        Ok(())
    });
    let dir = tempfile::tempdir().unwrap();
    let bus = open_on(disk, dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    *hangs.0.lock().unwrap() = true;
    let mut tasks = task::JoinSet::new();
    for _ in 0..100 {
        let bus = bus.clone();
        tasks.spawn(async move { bus.publish("t", message(MIB)).await });
    }
    // What is refused is refused at once.
    let refused = time::timeout(Duration::from_mins(1), tasks.join_next()).await.unwrap();
    assert!(matches!(refused, Some(Ok(Err(Error::TooMany { .. })))), "{refused:?}");
    *hangs.0.lock().unwrap() = false;
    hangs.1.notify_all();
    let mut published = 0;
    while let Some(answer) = tasks.join_next().await {
        published += usize::from(answer.unwrap().is_ok());
    }
    assert!((50..=64).contains(&published), "{published} waited");
}

#[tokio::test(start_paused = true)]
async fn a_page_is_bounded_by_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    for _ in 0..12 {
        bus.publish("t", message(MIB)).await.unwrap();
    }
    let mut from = 1;
    let mut pages = Vec::new();
    while from < 13 {
        let page = bus.read("t", from, 100).await.unwrap();
        assert!(page.iter().map(|message| message.payload.len()).sum::<usize>() <= PAGE_BYTES_MAX);
        assert_eq!(page[0].position, from);
        from = page.last().unwrap().position + 1;
        pages.push(page.len());
    }
    assert_eq!(pages, [7, 5]);
}

#[tokio::test(start_paused = true)]
async fn old_segments_are_no_open_files() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", small()).await.unwrap();
    for _ in 0..60 {
        bus.publish("t", message(50_000)).await.unwrap();
    }
    let segments = std::fs::read_dir(dir.path().join("topics/t")).unwrap().count();
    assert!(segments > 8, "{segments}");
    assert_eq!(open_files(&dir.path().join("topics")), 1);
    assert_eq!(bus.read("t", 1, 1).await.unwrap()[0].position, 1);
    assert_eq!(open_files(&dir.path().join("topics")), 1);
}

fn open_files(dir: &Path) -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.unwrap().path().read_link().ok());
    files.filter(|file| file.starts_with(dir)).count()
}

#[tokio::test(start_paused = true)]
async fn delayed_messages_are_bounded_whether_or_not_a_group_has_seen_them() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || {
        let settings = Settings { delayed_max: 3, ..Settings::new(dir.path(), metric::Registry::default()) };
        Embedded::open(settings).await.unwrap()
    };
    let bus = open().await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    // Its consumer has no room for the second one: it looks no further.
    publish_all(&bus, [message(1), message(1)]).await;
    let late = NewMessage { delay: Duration::from_hours(1), ..message(1) };
    let published = publish_all(&bus, std::iter::repeat_n(late.clone(), 5)).await;
    assert_eq!(published.iter().filter(|published| published.is_ok()).count(), 3);
    let refused = bus.publish("t", late.clone()).await.unwrap_err();
    assert!(matches!(refused, Error::TooMany { max: 3, .. }), "{refused}");
    bus.publish("t", message(1)).await.unwrap();
    bus.close().await;
    drop((group, bus));
    let bus = open().await;
    assert!(bus.publish("t", late.clone()).await.is_err(), "they are known after a restart");
    time::sleep(Duration::from_hours(1)).await; // tidy: sleep: the clock is paused
    bus.publish("t", late).await.expect("none is delayed any more");
}
