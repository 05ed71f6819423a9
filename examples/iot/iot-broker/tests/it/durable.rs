//! What is there again after a broker was stopped and started.

use iot_broker::Bounds;
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{LastWill, Packet, Publish},
};

use crate::raw::{Connecting, Fixture, at_least_once};

fn retained(pkid: u16, topic: &str, payload: &str) -> Packet {
    Packet::Publish(Publish { retain: true, pkid, ..Publish::new(topic, QoS::AtLeastOnce, payload.to_owned(), None) })
}

#[tokio::test(start_paused = true)]
async fn sessions_and_what_they_are_to_have_are_there_again() {
    let fixture = Fixture::start(Bounds::default()).await;
    let lasting = Connecting::lasting("data", 600);
    let mut data = fixture.client(lasting.clone()).await;
    data.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    for pkid in 1..=5 {
        device.publish(pkid, "devices/d-1/readings", &pkid.to_string()).await;
        device.acknowledged().await;
    }
    for _ in 1..=5 {
        let message = data.message().await;
        if message.payload == "2" {
            data.acknowledge(message.pkid).await;
        }
    }
    data.ping().await;
    let fixture = fixture.restart(Bounds::default()).await;
    let mut data = fixture.pipe();
    assert!(data.connect(lasting.clone()).await.session_present);
    for number in ["1", "3", "4", "5"] {
        let message = data.message().await;
        assert_eq!((message.payload, message.dup), (number.into(), true), "it may have been sent");
        data.acknowledge(message.pkid).await;
    }
    data.ping().await;
    // It subscribes still.
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    device.publish(1, "devices/d-1/readings", "6").await;
    device.acknowledged().await;
    let message = data.message().await;
    assert_eq!((message.payload, message.dup), ("6".into(), false));
    data.acknowledge(message.pkid).await;
    data.ping().await;
    // A second time, from the file that the first start began with.
    let fixture = fixture.restart(Bounds::default()).await;
    let mut data = fixture.pipe();
    assert!(data.connect(lasting).await.session_present);
    data.ping().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_retained_and_who_was_lost_is_there_again() {
    let fixture = Fixture::start(Bounds::default()).await;
    let will = Some(LastWill::new("devices/d-1/status", "offline", QoS::AtLeastOnce, true, None));
    let mut device = fixture.client(Connecting { will, ..Connecting::clean("d-1") }).await;
    for (pkid, topic, payload) in [
        (1, "devices/d-1/status", "online"),
        (2, "devices/d-1/reported", "{}"),
        (3, "devices/d-1/gone", "x"),
        (4, "devices/d-1/gone", ""),
    ] {
        device.send(retained(pkid, topic, payload)).await;
        device.acknowledged().await;
    }
    let fixture = fixture.restart(Bounds::default()).await;
    assert_eq!(fixture.broker.handle().retained("devices/d-1/status").as_deref(), Some(&b"offline"[..]));
    let mut data = fixture.client(Connecting::clean("data")).await;
    data.subscribe(at_least_once("devices/+/#")).await;
    let mut found = Vec::new();
    for _ in 0..2 {
        let message = data.message().await;
        assert!(message.retain);
        found.push((String::from_utf8(message.topic.to_vec()).unwrap(), message.payload));
    }
    found.sort();
    let expected = [("devices/d-1/reported", "{}"), ("devices/d-1/status", "offline")];
    assert_eq!(found, expected.map(|(topic, payload)| (topic.to_owned(), payload.into())));
    data.ping().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_that_were_to_end_have_ended() {
    let fixture = Fixture::start(Bounds::default()).await;
    for connecting in [Connecting::clean("data"), Connecting::lasting("data2", 10)] {
        let mut data = fixture.client(connecting).await;
        data.subscribe(at_least_once("devices/#")).await;
    }
    let fixture = fixture.restart(Bounds::default()).await;
    bowline_runtime::time::sleep(std::time::Duration::from_secs(12)).await;
    for id in ["data", "data2"] {
        let mut data = fixture.pipe();
        assert!(!data.connect(Connecting::lasting(id, 10)).await.session_present);
    }
}
