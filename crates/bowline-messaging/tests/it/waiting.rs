//! What waits - delayed, behind others of its key, backing off, in a consumer's hands - holds nobody up.

use std::time::Duration;

use bowline_messaging::{
    Delivery, Error, GroupSettings, MessageBus as _, NewMessage, Subscription, Then, TopicSettings,
};
use bowline_runtime::time;

use crate::{message, open, publish_all, text};

async fn next(group: &mut Subscription) -> Delivery {
    time::timeout(Duration::from_secs(20), group.next()).await.expect("a message comes").unwrap()
}

async fn is_quiet(group: &mut Subscription, during: Duration) -> bool {
    time::timeout(during, group.next()).await.is_err()
}

fn keyed(key: &str, payload: &str) -> NewMessage {
    NewMessage { key: Some(key.to_owned()), ..text(payload) }
}

fn says(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.message.payload).unwrap()
}

#[tokio::test(start_paused = true)]
async fn many_behind_one_key_hold_no_other_up() {
    const COUNT: usize = 12_000;
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 2).await.unwrap();
    publish_all(&bus, (0..COUNT).map(|number| keyed("k", &number.to_string()))).await;
    bus.publish("t", keyed("other", "other")).await.unwrap();
    let first = next(&mut group).await;
    let other = next(&mut group).await;
    assert_eq!((says(&first), says(&other)), ("0", "other"));
    assert_eq!(bus.topics().await.unwrap()[0].groups[0].lag, COUNT as u64 + 1);
    other.ack().await.unwrap();
    first.ack().await.unwrap();
    for number in 1..300 {
        let delivery = next(&mut group).await;
        assert_eq!(says(&delivery), number.to_string());
        delivery.ack().await.unwrap();
    }
    bus.close().await;
    drop((group, bus));
    // All that waits is known after a restart, in its order.
    let bus = open(dir.path()).await;
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 2).await.unwrap();
    for number in 300..700 {
        let delivery = next(&mut group).await;
        assert_eq!(says(&delivery), number.to_string());
        delivery.ack().await.unwrap();
    }
    assert_eq!(bus.topics().await.unwrap()[0].groups[0].lag, COUNT as u64 - 700);
}

#[tokio::test(start_paused = true)]
async fn many_delayed_ones_hold_no_other_up() {
    const COUNT: usize = 101_000;
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 100).await.unwrap();
    let begin = time::now();
    let late = NewMessage { delay: Duration::from_hours(1), ..text("late") };
    for _ in 0..COUNT / 1000 {
        publish_all(&bus, std::iter::repeat_n(late.clone(), 1000)).await;
    }
    bus.publish("t", text("soon")).await.unwrap();
    let soon = next(&mut group).await;
    assert_eq!(says(&soon), "soon");
    soon.ack().await.unwrap();
    bus.close().await;
    drop((group, bus));

    let bus = open(dir.path()).await;
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 100).await.unwrap();
    assert_eq!(bus.topics().await.unwrap()[0].groups[0].lag, COUNT as u64);
    bus.publish("t", text("again")).await.unwrap();
    let again = next(&mut group).await;
    assert_eq!(says(&again), "again");
    again.ack().await.unwrap();
    assert!(is_quiet(&mut group, Duration::from_mins(58)).await);
    time::timeout(Duration::from_mins(4), group.next()).await.unwrap().unwrap().ack().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_hours(1));
    for _ in 0..999 {
        let late = next(&mut group).await;
        assert_eq!(says(&late), "late");
        late.ack().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_seek_again_and_again_burns_no_try() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    bus.publish("t", text("x")).await.unwrap();
    for _ in 0..10 {
        bus.seek("t", "g", bowline_messaging::Start::First).await.unwrap();
    }
    // What the seeks took from it is lost to it; what comes then is its own.
    let own = loop {
        let delivery = next(&mut group).await;
        if delivery.ack().await.is_ok() {
            break delivery;
        }
    };
    assert_eq!(own.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn back_off_goes_on_over_new_segments_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    let settings = TopicSettings { bytes_max: 4 << 20, ..TopicSettings::default() };
    bus.declare("t", settings).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    bus.publish("t", text("x")).await.unwrap();
    next(&mut group).await.nack("not now", Then::After(Duration::from_hours(1))).await.unwrap();
    for _ in 0..10 {
        bus.publish("t", message(100_000)).await.unwrap();
        next(&mut group).await.ack().await.unwrap();
    }
    bus.close().await;
    drop((group, bus));
    let bus = open(dir.path()).await;
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    assert!(is_quiet(&mut group, Duration::from_mins(50)).await);
    let again = time::timeout(Duration::from_mins(15), group.next()).await.unwrap().unwrap();
    assert_eq!((says(&again), again.attempt), ("x", 2));
}

#[tokio::test(start_paused = true)]
async fn what_backs_off_over_a_restart_holds_no_other_up() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    for key in ["a", "b", "c"] {
        bus.publish("t", keyed(key, key)).await.unwrap();
        next(&mut group).await.nack("not now", Then::After(Duration::from_hours(1))).await.unwrap();
    }
    bus.publish("t", keyed("d", "fresh")).await.unwrap();
    bus.close().await;
    drop((group, bus));
    let bus = open(dir.path()).await;
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    let fresh = time::timeout(Duration::from_millis(100), group.next()).await.expect("it comes at once").unwrap();
    assert_eq!(says(&fresh), "fresh");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_made_up_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    bus.publish("t", text("x")).await.unwrap();
    bus.publish("t", NewMessage { id: Some("own".to_owned()), ..text("y") }).await.unwrap();
    let id = bus.read("t", 1, 1).await.unwrap()[0].id.clone();
    bus.close().await;
    drop(bus);
    let bus = open(dir.path()).await;
    let named = |id: &str| NewMessage { id: Some(id.to_owned()), ..text("z") };
    assert!(bus.publish("t", named("own")).await.unwrap().is_duplicate);
    assert!(!bus.publish("t", named(&id)).await.unwrap().is_duplicate);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_bus_that_is_closed_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    bus.close().await;
    assert!(matches!(bus.declare("t", TopicSettings::default()).await, Err(Error::Closed)));
    for topic in ["t", "other"] {
        assert!(matches!(bus.publish(topic, text("x")).await, Err(Error::Closed)));
        assert!(matches!(bus.read(topic, 1, 1).await, Err(Error::Closed)));
    }
    assert!(matches!(bus.topics().await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn an_id_is_remembered_no_longer_than_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    let named = || NewMessage { id: Some("own".to_owned()), ..text("x") };
    for (dedup, wait) in [(Duration::from_secs(1), Duration::from_millis(1100)), (Duration::ZERO, Duration::ZERO)] {
        bus.declare("t", TopicSettings { dedup, ..TopicSettings::default() }).await.unwrap();
        assert!(!bus.publish("t", named()).await.unwrap().is_duplicate);
        assert_eq!(bus.publish("t", named()).await.unwrap().is_duplicate, !dedup.is_zero());
        time::sleep(wait).await; // tidy: sleep: the clock is paused
        assert!(!bus.publish("t", named()).await.unwrap().is_duplicate, "after {wait:?}");
    }
    for published in publish_all(&bus, [named(), named()]).await {
        assert!(!published.unwrap().is_duplicate, "in one batch");
    }
}
