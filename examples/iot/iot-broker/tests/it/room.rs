//! Room for whoever takes what is theirs, however much waits for others.

use iot_broker::Bounds;
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{Packet, Subscribe, SubscribeReasonCode},
};

use crate::raw::{Connecting, Fixture, at_least_once, retained};

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_to_a_full_queue_may_take_it() {
    let fixture = Fixture::start(Bounds { queue_messages_max: 4, ..Bounds::default() }).await;
    let mut data = fixture.client(Connecting::lasting("data", 60)).await;
    data.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    device.send(retained(1, "devices/d-1/readings", "1")).await;
    for pkid in 2..=5 {
        device.publish(pkid, "devices/d-1/readings", &pkid.to_string()).await;
    }
    for pkid in 1..=4 {
        assert_eq!(device.acknowledged().await.pkid, pkid);
    }
    drop(data);
    let mut data = fixture.client(Connecting::lasting("data", 60)).await;
    let filters = vec![at_least_once("devices/#")];
    data.send(Packet::Subscribe(Subscribe { pkid: 1, filters, properties: None })).await;
    let (mut codes, mut payloads) = (Vec::new(), Vec::new());
    while codes.is_empty() || payloads.len() < 5 {
        match data.next().await {
            Some(Packet::SubAck(ack)) => codes.extend(ack.return_codes),
            Some(Packet::Publish(message)) => {
                payloads.push(message.payload);
                data.acknowledge(message.pkid).await;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    for number in 1..=4 {
        assert_eq!(payloads[number - 1], number.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_nothing_leaves_room_for_others() {
    let fixture = Fixture::start(Bounds { queued_bytes_max: 32 * 1024, ..Bounds::default() }).await;
    let mut control = fixture.client(Connecting { keep_alive: 0, ..Connecting::lasting("data-1", 600) }).await;
    control.subscribe(at_least_once("devices/+/status")).await;
    let mut data = fixture.client(Connecting::lasting("data-2", 600)).await;
    data.subscribe(at_least_once("devices/+/readings")).await;
    drop(data);
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    for pkid in 1..=40 {
        device.publish(pkid, "devices/d-1/readings", &"x".repeat(1000)).await;
    }
    device.send(Packet::PingReq).await;
    while !matches!(device.next().await, Some(Packet::PingResp)) {}
    assert!(fixture.count("iot_broker_held") > 0);
    let mut other = fixture.client(Connecting::clean("d-2")).await;
    // More than there is room for at once: they go on as they are taken, though the others are not.
    for pkid in 1..=20 {
        other.publish(pkid, "devices/d-2/status", &"x".repeat(1000)).await;
    }
    for _ in 1..=20 {
        let message = control.message().await;
        control.acknowledge(message.pkid).await;
    }
    for pkid in 1..=20 {
        assert_eq!(other.acknowledged().await.pkid, pkid);
    }
    assert!(fixture.count("iot_broker_held") > 0);
}
