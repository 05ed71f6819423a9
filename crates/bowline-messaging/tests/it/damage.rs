//! Files that a crash cut short, and damaged ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bowline_messaging::{Error, MessageBus as _, NewMessage, TopicSettings};

use crate::{open, text};

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
