//! Bounds: a topic that is full, a group that is far behind.

use std::{path::Path, time::Duration};

use bowline_messaging::{
    Embedded, Error, GroupSettings, MessageBus as _, NewMessage, Settings, Subscription, TopicSettings,
};
use bowline_runtime::{metric, task, time};

async fn open(dir: &Path) -> Embedded {
    Embedded::open(Settings::new(dir, metric::Registry::default())).await.unwrap()
}

fn message(bytes: usize) -> NewMessage {
    NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() }
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
    let settings = TopicSettings { bytes_max: 1 << 20, ..TopicSettings::default() };
    bus.declare("t", settings).await.unwrap();
    let group = |credit| bus.subscribe("t", "slow", GroupSettings::default(), credit);
    let mut slow = group(100).await.unwrap();
    let mut published = 0;
    let full = loop {
        match bus.publish("t", message(50_000)).await {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
    };
    assert!((15..=20).contains(&published), "{published} fit");
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
    assert!(bytes <= (1 << 20) + 100_000, "{bytes} bytes are on disk");
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
