//! Files that a crash cut short, and damaged ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bowline_messaging::{
    Delivery, Error, GroupSettings, MessageBus as _, NewMessage, Subscription, Then, TopicSettings,
};
use bowline_runtime::time::{self, Duration};

use crate::{message, open, text};

fn segment(dir: &Path, topic: &str) -> PathBuf {
    dir.join("topics").join(topic).join("0000000001.msgs")
}

#[tokio::test(start_paused = true)]
async fn a_torn_batch_full_of_small_numbers_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    bus.publish("t", text("kept")).await.unwrap();
    // At every fourth byte, what could be a length.
    let payload: Vec<u8> = (0..1 << 20).map(|at| if at % 4 == 2 { 4 } else { 0 }).collect();
    bus.publish("t", NewMessage { payload: payload.into(), ..NewMessage::default() }).await.unwrap();
    bus.close().await;
    drop(bus);
    let file = fs::File::options().write(true).open(segment(dir.path(), "t")).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();

    let bus = open(dir.path()).await;
    assert_eq!(bus.publish("t", text("next")).await.unwrap().position, 2);
    assert_eq!(bus.read("t", 1, 10).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_topic_keeps_no_other_from_being_opened() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    for topic in ["bad", "good"] {
        bus.declare(topic, TopicSettings::default()).await.unwrap();
        for number in ["one", "two", "three"] {
            bus.publish(topic, text(number)).await.unwrap();
        }
    }
    bus.close().await;
    drop(bus);
    let path = segment(dir.path(), "bad");
    let mut bytes = fs::read(&path).unwrap();
    let two = bytes.windows(3).position(|window| window == b"two").unwrap();
    bytes[two] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let bus = open(dir.path()).await;
    assert_eq!(bus.read("good", 1, 10).await.unwrap().len(), 3);
    let refused = bus.publish("bad", text("four")).await.unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { path: at, .. } if *at == path), "{refused:?}");
    assert!(matches!(bus.declare("bad", TopicSettings::default()).await, Err(Error::Corrupt { .. })));
    let names: Vec<String> = bus.topics().await.unwrap().into_iter().map(|topic| topic.name).collect();
    assert_eq!(names, ["good"]);
    assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it is");
}

/// Damages the first message of a topic that runs, or mends it again.
fn turn_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let first = bytes
        .windows(5)
        .position(|window| window == b"first")
        .unwrap_or_else(|| bytes.windows(5).position(|window| window == b"girst").unwrap());
    bytes[first] ^= 1;
    fs::write(path, &bytes).unwrap();
}

async fn next(group: &mut Subscription) -> Delivery {
    time::timeout(Duration::from_secs(10), group.next()).await.expect("it is not held up").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_holds_no_other_up() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let path = segment(dir.path(), "t");
    bus.publish("t", text("first")).await.unwrap();
    // So many that the first one is not in memory any more.
    for _ in 0..12 {
        bus.publish("t", message(1 << 20)).await.unwrap();
    }
    turn_a_bit(&path);
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    let second = next(&mut group).await;
    assert_eq!(second.message.position, 2);
    second.ack().await.unwrap();
    turn_a_bit(&path);
    let begin = time::now();
    let first = loop {
        let delivery = time::timeout(Duration::from_secs(40), group.next()).await.unwrap().unwrap();
        if delivery.message.position == 1 {
            break delivery;
        }
        delivery.ack().await.unwrap();
    };
    assert!(begin.elapsed() <= Duration::from_secs(31), "it is read again after 30 s: {:?}", begin.elapsed());
    first.nack("not now", Then::After(Duration::from_secs(1))).await.unwrap();
    bus.close().await;
    drop((group, bus));

    // What was tried before a restart goes on where it was.
    let bus = open(dir.path()).await;
    turn_a_bit(&path);
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    bus.publish("t", text("last")).await.unwrap();
    let last = next(&mut group).await;
    assert_eq!(last.message.position, 14);
    last.ack().await.unwrap();
    turn_a_bit(&path);
    let again = time::timeout(Duration::from_secs(40), group.next()).await.unwrap().unwrap();
    assert_eq!((again.message.position, again.attempt), (1, 2));
    again.ack().await.unwrap();
    assert_eq!(bus.topics().await.unwrap()[0].groups[0].lag, 0);
}

/// Takes the files of a topic that runs away, so that reading fails, and gives them back.
fn hide(path: &Path, is_hidden: bool) {
    let aside = path.with_extension("aside");
    if is_hidden {
        fs::rename(path, &aside).unwrap();
        fs::create_dir(path).unwrap();
    } else {
        fs::remove_dir(path).unwrap();
        fs::rename(&aside, path).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_for_a_moment_breaks_no_order() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let keyed = |payload: &str| NewMessage { key: Some("k".to_owned()), ..text(payload) };
    bus.publish("t", keyed("first")).await.unwrap();
    for _ in 0..12 {
        bus.publish("t", message(1 << 20)).await.unwrap();
    }
    bus.publish("t", keyed("second")).await.unwrap();
    let path = segment(dir.path(), "t");
    hide(&path, true);
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 20).await.unwrap();
    assert!(time::timeout(Duration::from_secs(5), group.next()).await.is_err());
    hide(&path, false);
    let begin = time::now();
    assert_eq!(next(&mut group).await.message.position, 1);
    assert!(begin.elapsed() <= Duration::from_secs(1), "it is read again soon: {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_for_a_moment_spends_no_try() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    for payload in ["first", "second"] {
        bus.publish("t", text(payload)).await.unwrap();
    }
    let first = next(&mut group).await;
    for _ in 0..12 {
        bus.publish("t", message(1 << 20)).await.unwrap();
    }
    let path = segment(dir.path(), "t");
    hide(&path, true);
    first.ack().await.unwrap();
    assert!(time::timeout(Duration::from_secs(5), group.next()).await.is_err());
    hide(&path, false);
    let second = next(&mut group).await;
    assert_eq!((second.message.position, second.attempt), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_for_good_is_passed_over_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 2).await.unwrap();
    bus.publish("t", text("first")).await.unwrap();
    let first = next(&mut group).await;
    for _ in 0..12 {
        bus.publish("t", message(1 << 20)).await.unwrap();
        next(&mut group).await.ack().await.unwrap();
    }
    turn_a_bit(&segment(dir.path(), "t"));
    let mut other = bus.subscribe("t", "other", GroupSettings::default(), 1).await.unwrap();
    for _ in 0..12 {
        next(&mut other).await.ack().await.unwrap();
    }
    first.nack("not now", Then::After(Duration::from_secs(1))).await.unwrap();
    // It waits outside of one group's table, and inside of the other's.
    assert!(time::timeout(Duration::from_mins(20), group.next()).await.is_err());
    let lags: Vec<u64> = bus.topics().await.unwrap()[0].groups.iter().map(|group| group.lag).collect();
    assert_eq!(lags, [0, 0]);
    let deadline = Duration::from_secs(1);
    assert!(time::timeout(deadline, other.next()).await.is_err());
}
