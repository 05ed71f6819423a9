//! A group in several processes: one serves it, another takes it over.

use std::time::Duration;

use bowline_messaging::{Delivery, GroupSettings, MessageBus, NewMessage, Start, Subscription, TopicSettings};
use bowline_runtime::time;
use bowline_testkit::nats::Server;

use crate::connect;

/// Longer than a silent process keeps a group.
const PATIENCE: Duration = Duration::from_mins(1);

fn settings() -> GroupSettings {
    let backoff = Duration::from_millis(1);
    GroupSettings { backoff, backoff_max: backoff, ..GroupSettings::default() }
}

fn message(text: &'static str) -> NewMessage {
    NewMessage { key: Some("k".to_owned()), payload: text.into(), ..NewMessage::default() }
}

async fn next(group: &mut Subscription) -> Delivery {
    time::timeout(PATIENCE, group.next()).await.expect("a message comes").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_to_another_process_when_it_is_given_back() {
    let Some(server) = Server::start() else { return };
    let (one, other) = (connect(&server.url()).await, connect(&server.url()).await);
    one.declare("t", TopicSettings::default()).await.unwrap();
    let mut first = one.subscribe("t", "g", settings(), 5).await.unwrap();
    one.publish("t", message("1")).await.unwrap();
    one.publish("t", message("2")).await.unwrap();
    next(&mut first).await.ack().await.unwrap();
    let held = next(&mut first).await;
    let mut second = other.subscribe("t", "g", settings(), 5).await.unwrap();
    one.close().await;
    let again = next(&mut second).await;
    assert_eq!(again.message.payload.as_ref(), b"2");
    assert!(held.ack().await.is_err(), "it is somebody else's now");
    again.ack().await.unwrap();
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_to_another_process_when_its_own_dies() {
    let Some(server) = Server::start() else { return };
    let url = server.url();
    let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    dying.spawn(async move {
        let bus = connect(&url).await;
        bus.declare("t", TopicSettings::default()).await.unwrap();
        let mut group = bus.subscribe("t", "g", settings(), 1).await.unwrap();
        for text in ["1", "2", "3"] {
            bus.publish("t", message(text)).await.unwrap();
        }
        next(&mut group).await.ack().await.unwrap();
        ready.send((bus, next(&mut group).await, group)).ok();
        std::future::pending::<()>().await;
    });
    let (bus, held, group) = is_ready.await.unwrap();
    // Its tasks end where they are.
    dying.shutdown_background();
    let other = connect(&server.url()).await;
    let mut second = other.subscribe("t", "g", settings(), 5).await.unwrap();
    for text in ["2", "3"] {
        let delivery = next(&mut second).await;
        assert_eq!(delivery.message.payload.as_ref(), text.as_bytes());
        delivery.ack().await.unwrap();
    }
    assert!(held.ack().await.is_err(), "it is somebody else's now");
    drop((group, bus));
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_set_back_by_a_process_that_does_not_serve_it() {
    let Some(server) = Server::start() else { return };
    let (one, other) = (connect(&server.url()).await, connect(&server.url()).await);
    one.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = one.subscribe("t", "g", settings(), 5).await.unwrap();
    one.publish("t", message("1")).await.unwrap();
    one.publish("t", message("2")).await.unwrap();
    next(&mut group).await.ack().await.unwrap();
    let held = next(&mut group).await;
    other.seek("t", "g", Start::First).await.unwrap();
    assert!(held.ack().await.is_err(), "it was set back meanwhile");
    for text in ["1", "2"] {
        let delivery = next(&mut group).await;
        assert_eq!((delivery.message.payload.as_ref(), delivery.attempt), (text.as_bytes(), 1));
        delivery.ack().await.unwrap();
    }
    other.remove_group("t", "g").await.unwrap();
    let over = time::timeout(PATIENCE, group.next()).await.unwrap();
    assert!(over.is_err(), "the group is gone: {over:?}");
    one.close().await;
    other.close().await;
}
