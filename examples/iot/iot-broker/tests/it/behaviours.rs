//! What every broker does, with a publisher and a subscriber of any version.

use std::net::SocketAddr;

use crate::client::{Client, Message, Options, Version};

/// A broker, and the versions that its clients speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) addr: SocketAddr,
    pub(crate) publishes: Version,
    pub(crate) subscribes: Version,
}

impl Scene {
    fn device(&self, id: &str) -> Options {
        Options::new(self.publishes, id)
    }

    fn service(&self, id: &str) -> Options {
        Options::new(self.subscribes, id)
    }

    async fn publisher(&self) -> Client {
        self.device("d-1").connect(self.addr).await
    }

    async fn subscriber(&self) -> Client {
        self.service("data").connect(self.addr).await
    }
}

fn message(topic: &str, payload: &str, qos: u8) -> Message {
    Message { topic: topic.to_owned(), payload: payload.to_owned(), qos, is_retained: false, is_dup: false }
}

/// Messages arrive as they were published, with the lower QoS of both.
pub(crate) async fn messages_arrive_in_order(scene: Scene) {
    let (device, mut data) = (scene.publisher().await, scene.subscriber().await);
    assert!(data.subscribe("devices/+/readings", 1).await);
    assert!(data.subscribe("devices/d-1/reported", 0).await);
    for number in 0..100 {
        device.publish("devices/d-1/readings", &number.to_string(), 1).await;
    }
    for number in 0..100 {
        assert_eq!(data.next().await, message("devices/d-1/readings", &number.to_string(), 1));
    }
    device.publish("devices/d-1/reported", "r", 1).await;
    device.publish("devices/d-1/readings", "q0", 0).await;
    assert_eq!(data.next().await, message("devices/d-1/reported", "r", 0));
    assert_eq!(data.next().await, message("devices/d-1/readings", "q0", 0));
}

/// Filters match what they say, and nothing else.
pub(crate) async fn filters_match_by_levels(scene: Scene) {
    let (device, mut data) = (scene.publisher().await, scene.subscriber().await);
    assert!(data.subscribe("devices/+/a/#", 1).await);
    for topic in ["devices/d-1/b", "devices/d-1/a", "devices/d-1/a/b/c", "devices/d-1/aa", "devices/d-1/c/a"] {
        device.publish(topic, "x", 1).await;
    }
    device.publish("devices/d-1/a/end", "", 1).await;
    for topic in ["devices/d-1/a", "devices/d-1/a/b/c"] {
        assert_eq!(data.next().await, message(topic, "x", 1));
    }
    assert_eq!(data.next().await, message("devices/d-1/a/end", "", 1));
}

/// What is retained is there for whoever comes later, once; an empty message takes it away.
pub(crate) async fn retained_messages_wait_for_subscribers(scene: Scene) {
    let device = scene.publisher().await;
    let mut early = scene.subscriber().await;
    assert!(early.subscribe("devices/d-1/status", 1).await);
    device.retain("devices/d-1/status", "offline").await;
    device.retain("devices/d-1/status", "online").await;
    device.retain("devices/d-1/reported", "gone").await;
    device.retain("devices/d-1/reported", "").await;
    // Whoever was there already is not told that it is retained.
    for payload in ["offline", "online"] {
        assert_eq!(early.next().await, message("devices/d-1/status", payload, 1));
    }
    let mut late = scene.service("data2").connect(scene.addr).await;
    assert!(late.subscribe("devices/+/#", 1).await);
    device.publish("devices/d-1/readings", "end", 1).await;
    let retained = Message { is_retained: true, ..message("devices/d-1/status", "online", 1) };
    assert_eq!(late.next().await, retained);
    assert_eq!(late.next().await, message("devices/d-1/readings", "end", 1));
}

/// A lasting session has what came while its client was away, and what it has not acknowledged once more.
pub(crate) async fn a_lasting_session_misses_nothing(scene: Scene) {
    let (device, lasting) = (scene.publisher().await, scene.service("data").lasting());
    let mut data = lasting.connect(scene.addr).await;
    assert!(!data.is_present);
    assert!(data.subscribe("devices/#", 1).await);
    device.publish("devices/d-1/readings", "1", 1).await;
    device.publish("devices/d-1/readings", "2", 1).await;
    assert_eq!(data.next().await.payload, "1");
    assert_eq!(data.peek().await.payload, "2");
    data.disconnect().await;
    device.publish("devices/d-1/readings", "3", 1).await;
    device.publish("devices/d-1/readings", "nobody keeps this", 0).await;
    device.publish("devices/d-1/readings", "4", 1).await;
    let mut data = lasting.connect(scene.addr).await;
    assert!(data.is_present);
    let again = data.next().await;
    assert_eq!((again.payload.as_str(), again.is_dup), ("2", true));
    let mut payloads = vec![data.next().await.payload, data.next().await.payload];
    if payloads[1] != "4" {
        // Mosquitto keeps those of QoS 0 for some.
        payloads.remove(1);
        payloads.push(data.next().await.payload);
    }
    assert_eq!(payloads, ["3", "4"]);
    data.disconnect().await;
    let mut data = lasting.connect(scene.addr).await;
    device.publish("devices/d-1/readings", "5", 1).await;
    let mut next = data.next().await;
    while next.is_dup {
        // At least once: Mosquitto may not have taken the last acknowledgement in.
        next = data.next().await;
    }
    assert_eq!(next, message("devices/d-1/readings", "5", 1));
}

/// A session that ends with its connection is forgotten with it, and a clean start forgets any other.
pub(crate) async fn other_sessions_are_forgotten(scene: Scene) {
    let (device, lasting) = (scene.publisher().await, scene.service("data").lasting());
    let data = lasting.connect(scene.addr).await;
    assert!(data.subscribe("devices/#", 1).await);
    data.disconnect().await;
    device.publish("devices/d-1/readings", "missed", 1).await;
    let clean = scene.subscriber().await;
    assert!(!clean.is_present);
    clean.disconnect().await;
    let mut data = lasting.connect(scene.addr).await;
    assert!(!data.is_present);
    assert!(data.subscribe("devices/#", 1).await);
    device.publish("devices/d-1/readings", "had", 1).await;
    assert_eq!(data.next().await.payload, "had");
}

/// Whoever connects under the same id takes the session over, with what was not acknowledged.
pub(crate) async fn a_second_connection_takes_over(scene: Scene) {
    let (device, lasting) = (scene.publisher().await, scene.service("data").lasting());
    let mut first = lasting.connect(scene.addr).await;
    assert!(first.subscribe("devices/#", 1).await);
    device.publish("devices/d-1/readings", "1", 1).await;
    assert_eq!(first.peek().await.payload, "1");
    let mut second = lasting.connect(scene.addr).await;
    assert!(second.is_present);
    first.ended().await;
    assert_eq!(second.next().await.payload, "1");
    device.publish("devices/d-1/readings", "2", 1).await;
    assert_eq!(second.next().await.payload, "2");
}

/// A will is published for whoever is lost, not for whoever says goodbye.
pub(crate) async fn a_will_is_for_whoever_is_lost(scene: Scene) {
    let mut data = scene.subscriber().await;
    assert!(data.subscribe("devices/+/status", 1).await);
    let device = scene.device("d-1").will("devices/d-1/status", "offline");
    let polite = device.connect(scene.addr).await;
    polite.disconnect().await;
    let lost = device.connect(scene.addr).await;
    lost.retain("devices/d-1/status", "online").await;
    assert_eq!(data.next().await, message("devices/d-1/status", "online", 1));
    drop(lost);
    assert_eq!(data.next().await, message("devices/d-1/status", "offline", 1));
    let mut late = scene.service("data2").connect(scene.addr).await;
    assert!(late.subscribe("devices/+/status", 1).await);
    let retained = Message { is_retained: true, ..message("devices/d-1/status", "offline", 1) };
    assert_eq!(late.next().await, retained);
}

/// Nobody comes in with the wrong password, or with none.
pub(crate) async fn a_wrong_password_is_refused(scene: Scene) {
    for (user, password) in [("d-1", "wrong"), ("nobody", "token")] {
        let device = scene.device("d-1").credentials(user, password);
        let why = device.try_connect(scene.addr).await.err().unwrap();
        assert!(why.contains("NotAuthorized"), "{why}");
    }
    scene.publisher().await;
}

/// What may not be published reaches nobody; version 5 is told so.
pub(crate) async fn what_may_not_be_published_is_not(scene: Scene) {
    let (device, mut data) = (scene.publisher().await, scene.subscriber().await);
    assert!(data.subscribe("devices/#", 1).await);
    let published = device.try_publish("devices/d-2/readings", "forged", 1, false).await;
    if scene.publishes == Version::V5 {
        assert_eq!(published, Err("NotAuthorized".to_owned()));
    }
    // A client of 3.1.1 may have been closed: that is the only word it has.
    let other = scene.device("d-2").connect(scene.addr).await;
    other.publish("devices/d-2/readings", "true", 1).await;
    assert_eq!(data.next().await, message("devices/d-2/readings", "true", 1));
}

/// What may not be subscribed to does not come.
pub(crate) async fn what_may_not_be_subscribed_to_does_not_come(scene: Scene) {
    let mut device = scene.device("d-1").connect(scene.addr).await;
    let data = scene.subscriber().await;
    // It may be granted, and nothing come of it.
    device.subscribe("devices/d-2/#", 1).await;
    assert!(device.subscribe("devices/d-1/commands", 1).await);
    data.publish("devices/d-2/commands", "not for you", 1).await;
    data.publish("devices/d-1/commands", "for you", 1).await;
    assert_eq!(device.next().await, message("devices/d-1/commands", "for you", 1));
}

/// Who has unsubscribed gets nothing more.
pub(crate) async fn unsubscribing_ends_it(scene: Scene) {
    let (device, mut data) = (scene.publisher().await, scene.subscriber().await);
    assert!(data.subscribe("devices/+/readings", 1).await);
    assert!(data.subscribe("devices/+/reported", 1).await);
    device.publish("devices/d-1/readings", "1", 1).await;
    assert_eq!(data.next().await.payload, "1");
    data.unsubscribe("devices/+/readings").await;
    device.publish("devices/d-1/readings", "2", 1).await;
    device.publish("devices/d-1/reported", "3", 1).await;
    assert_eq!(data.next().await, message("devices/d-1/reported", "3", 1));
}

/// A large message comes as a whole.
pub(crate) async fn a_large_message_comes_as_a_whole(scene: Scene) {
    let (device, mut data) = (scene.publisher().await, scene.subscriber().await);
    assert!(data.subscribe("devices/#", 1).await);
    let payload = "0123456789".repeat(10_000);
    device.publish("devices/d-1/readings", &payload, 1).await;
    assert!(data.next().await.payload == payload);
}
