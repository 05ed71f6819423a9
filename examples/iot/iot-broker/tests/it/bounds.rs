//! What the broker holds at most, and what it does with whoever wants more.

use std::time::Duration;

use bowline_runtime::time;
use bowline_testkit::eventually;
use iot_broker::Bounds;
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{
        ConnectReturnCode, Disconnect, DisconnectReasonCode, LastWill, Packet, PubAckReason, Publish, Subscribe,
        SubscribeProperties, SubscribeReasonCode,
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    client::{Options, PATIENCE, VERSIONS},
    raw::{Connecting, Fixture, Raw, at_least_once, publish, retained},
};

#[tokio::test(start_paused = true)]
async fn publishers_wait_for_a_full_queue_and_go_on_when_it_is_taken() {
    let bounds = Bounds { queue_messages_max: 4, ..Bounds::default() };
    let fixture = Fixture::start(bounds).await;
    let mut data = fixture.client(Connecting::lasting("data", 60)).await;
    data.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    for pkid in 1..=10 {
        device.publish(pkid, "devices/d-1/readings", &pkid.to_string()).await;
    }
    for pkid in 1..=4 {
        assert_eq!(device.acknowledged().await.pkid, pkid);
    }
    // Whoever waits is alive, and what is not promised to a full queue goes on.
    device.ping().await;
    assert_eq!(fixture.count("iot_broker_held"), 6);
    let mut other = fixture.client(Connecting::clean("d-2")).await;
    other.publish(1, "devices-of-nobody", "x").await;
    assert_eq!(other.acknowledged().await.reason, PubAckReason::NotAuthorized);
    for number in 1..=10 {
        let message = data.message().await;
        assert_eq!(message.payload, number.to_string());
        data.acknowledge(message.pkid).await;
    }
    for pkid in 5..=10 {
        assert_eq!(device.acknowledged().await.pkid, pkid);
    }
    assert_eq!(fixture.count("iot_broker_held"), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_too_many_answers_is_not_read() {
    let bounds = Bounds { queue_messages_max: 1, unacknowledged_max: 3, ..Bounds::default() };
    let fixture = Fixture::start(bounds).await;
    let mut data = fixture.client(Connecting { keep_alive: 0, ..Connecting::lasting("data", 60) }).await;
    data.subscribe(at_least_once("devices/#")).await;
    // Version 3.1.1 has no word for how many it may send.
    let mut device = fixture.pipe();
    device.connect_v4("d-1", 5).await;
    for pkid in 1..=8 {
        device.publish_v4(pkid, "devices/d-1/readings", &pkid.to_string()).await;
    }
    assert_eq!(device.acknowledged().await.pkid, 1);
    device.send(Packet::PingReq).await;
    // Long after its silence would have been noticed it is still there.
    time::sleep(Duration::from_mins(10)).await;
    for number in 1..=8 {
        let message = data.message().await;
        assert_eq!(message.payload, number.to_string());
        data.acknowledge(message.pkid).await;
    }
    let (mut pkids, mut pongs) = (Vec::new(), 0);
    while pkids.len() + pongs < 8 {
        match device.next().await {
            Some(Packet::PubAck(ack)) => pkids.push(ack.pkid),
            // As soon as it was read.
            Some(Packet::PingResp) => pongs += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((pkids, pongs), ((2..=8).collect(), 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_no_more_than_it_may_is_read_all_the_same() {
    let bounds = Bounds { queue_messages_max: 1, unacknowledged_max: 3, ..Bounds::default() };
    let fixture = Fixture::start(bounds).await;
    let mut data = fixture.client(Connecting::lasting("data", 60)).await;
    data.subscribe(at_least_once("own")).await;
    for pkid in 1..=4 {
        data.publish(pkid, "own", &pkid.to_string()).await;
        if pkid == 1 {
            // Both are there: the message, and that it was taken.
            data.next().await;
            data.next().await;
        }
    }
    // It waits for itself, and is heard.
    data.ping().await;
    data.acknowledge(1).await;
    let mut came = 0;
    while came < 6 {
        if let Some(Packet::Publish(message)) = data.next().await {
            data.acknowledge(message.pkid).await;
        }
        came += 1;
    }
    data.ping().await;
    // The queue is full again, and one is one too many.
    for pkid in 1..=5 {
        data.publish(pkid, "own", "x").await;
    }
    loop {
        match data.next().await {
            Some(Packet::Disconnect(goodbye)) => {
                assert_eq!(goodbye.reason_code, DisconnectReasonCode::ReceiveMaximumExceeded);
                break;
            }
            Some(Packet::Publish(_) | Packet::PubAck(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_does_not_last_has_no_right_to_hold_others_up() {
    let bounds = Bounds { queue_messages_max: 4, ..Bounds::default() };
    let fixture = Fixture::start(bounds).await;
    let mut slow = fixture.client(Connecting::clean("data")).await;
    slow.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    for pkid in 1..=6 {
        device.publish(pkid, "devices/d-1/readings", "x").await;
        assert_eq!(device.acknowledged().await.pkid, pkid);
    }
    for _ in 0..4 {
        slow.message().await;
    }
    assert_eq!(slow.refused().await, DisconnectReasonCode::QuotaExceeded);
    assert_eq!(fixture.count("iot_broker_refused_total{why=\"slow\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn all_that_do_not_last_together_have_no_such_right_either() {
    let fixture = Fixture::start(Bounds { queued_bytes_max: 8 * 1024, ..Bounds::default() }).await;
    let mut lasting = fixture.client(Connecting::lasting("data", 60)).await;
    let mut other = fixture.client(Connecting::clean("data-1")).await;
    let mut greedy = fixture.client(Connecting::clean("data-2")).await;
    for client in [&mut lasting, &mut other] {
        client.subscribe(at_least_once("devices/+/readings")).await;
    }
    greedy.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    // It is alive, reads, and acknowledges nothing.
    for pkid in 1..=7 {
        device.publish(pkid, "devices/d-1/reported", &"x".repeat(1000)).await;
        device.acknowledged().await;
        greedy.message().await;
    }
    for pkid in 1..=20 {
        device.publish(pkid, "devices/d-1/readings", &"x".repeat(1000)).await;
        assert_eq!(device.acknowledged().await.pkid, pkid);
        for client in [&mut lasting, &mut other] {
            let message = client.message().await;
            client.acknowledge(message.pkid).await;
            client.ping().await;
        }
    }
    assert_eq!(greedy.refused().await, DisconnectReasonCode::QuotaExceeded, "whoever has most");
    // A session that lasts has the right.
    drop(other);
    for pkid in 1..=10 {
        device.publish(pkid, "devices/d-1/readings", &"x".repeat(1000)).await;
    }
    // An eighth is for those that have less than that.
    for pkid in 1..=6 {
        assert_eq!(device.acknowledged().await.pkid, pkid);
    }
    device.ping().await;
    for _ in 1..=10 {
        let message = lasting.message().await;
        lasting.acknowledge(message.pkid).await;
    }
    for pkid in 7..=10 {
        assert_eq!(device.acknowledged().await.pkid, pkid);
    }
}

#[tokio::test(start_paused = true)]
async fn of_whoever_waits_only_so_many_bytes_are_held() {
    let bounds = Bounds { queue_messages_max: 1, packet_bytes_max: 1024, ..Bounds::default() };
    let fixture = Fixture::start(bounds).await;
    let mut data = fixture.client(Connecting { keep_alive: 0, ..Connecting::lasting("data", 60) }).await;
    data.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    for pkid in 1..=20 {
        device.publish(pkid, "devices/d-1/readings", &"x".repeat(900)).await;
    }
    assert_eq!(device.acknowledged().await.pkid, 1);
    time::sleep(Duration::from_mins(5)).await;
    assert_eq!(fixture.count("iot_broker_held"), 4);
    for _ in 1..=20 {
        let message = data.message().await;
        data.acknowledge(message.pkid).await;
    }
    for pkid in 2..=20 {
        assert_eq!(device.acknowledged().await.pkid, pkid);
    }
    device.ping().await;
    assert_eq!(fixture.count("iot_broker_held"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_promised_to_nobody_is_dropped_and_counted() {
    let bounds = Bounds { queue_messages_max: 4, inflight_max: 1, ..Bounds::default() };
    let fixture = Fixture::start(bounds).await;
    let mut data = fixture.client(Connecting::clean("data")).await;
    data.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    // One that is not acknowledged is in the way of the others.
    device.publish(1, "devices/d-1/readings", "first").await;
    device.acknowledged().await;
    let first = data.message().await;
    device.publish(2, "devices/d-1/readings", "second").await;
    device.acknowledged().await;
    for _ in 0..5 {
        device.send(publish(0, "devices/d-1/readings", "q0")).await;
    }
    device.ping().await;
    assert_eq!(fixture.count("iot_broker_dropped_total{why=\"full\"}"), 3);
    data.acknowledge(first.pkid).await;
    let second = data.message().await;
    assert_eq!(second.payload, "second");
    for _ in 0..2 {
        assert_eq!(data.message().await.payload, "q0");
    }
    data.ping().await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_and_its_will_is_published() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut data = fixture.client(Connecting { keep_alive: 0, ..Connecting::clean("data") }).await;
    data.subscribe(at_least_once("devices/#")).await;
    let will = Some(LastWill::new("devices/d-1/status", "offline", QoS::AtLeastOnce, true, None));
    let began = time::now();
    let mut device = fixture.client(Connecting { keep_alive: 10, will, ..Connecting::clean("d-1") }).await;
    time::sleep(Duration::from_secs(12)).await;
    device.ping().await;
    assert_eq!(device.refused().await, DisconnectReasonCode::KeepAliveTimeout);
    assert_eq!(began.elapsed().as_secs(), 27);
    assert_eq!(data.message().await.payload, "offline");
}

#[tokio::test(start_paused = true)]
async fn a_client_of_the_old_version_may_be_silent_for_as_long_as_it_said() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut devices = Vec::new();
    for (id, keep_alive) in [("d-1", 1800), ("d-2", 0)] {
        let mut device = fixture.pipe();
        device.connect_v4(id, keep_alive).await;
        devices.push(device);
    }
    for _ in 0..4 {
        time::sleep(Duration::from_mins(40)).await;
        for device in &mut devices {
            device.ping().await;
        }
    }
    time::sleep(Duration::from_mins(46)).await;
    assert_eq!(devices[0].next().await, None, "half as long again");
    devices[1].ping().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_asks_whether_a_silent_client_is_there() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut device = Raw::dial(fixture.broker.addr()).await;
    device.connect_v4("d-1", 0).await;
    let (ours, theirs) = (device.stream.local_addr().unwrap(), device.stream.peer_addr().unwrap());
    let ports = |line: &str| {
        let port = |at| line.split_whitespace().nth(at).and_then(|addr| addr.split_once(':')).map(|(_, port)| port);
        [port(1), port(2)].map(|port| port.and_then(|port| u16::from_str_radix(port, 16).ok()))
    };
    // The timer of a connection: 2 asks; 1 waits for what was sent to be acknowledged.
    let is_asking = |line: &str| line.split_whitespace().nth(5).is_some_and(|timer| timer.starts_with("02:"));
    let wanted = [Some(theirs.port()), Some(ours.port())];
    eventually(PATIENCE, || {
        let connections = bowline_runtime::fs::read_to_string("/proc/net/tcp").unwrap();
        connections.lines().any(|line| ports(line) == wanted && is_asking(line))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_says_goodbye_and_takes_nothing_more_has_no_will() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut data = fixture.client(Connecting::clean("data")).await;
    let ids: Vec<String> = (0..20).map(|number| format!("d-{number}")).collect();
    for (number, id) in ids.iter().enumerate() {
        let topic = format!("devices/{id}/status");
        let will = Some(LastWill::new(topic, "offline", QoS::AtLeastOnce, true, None));
        let mut device = fixture.client(Connecting { will, ..Connecting::clean(id) }).await;
        let commands = format!("devices/{id}/commands");
        device.subscribe(at_least_once(&commands)).await;
        // More than fits between the two, so that something is being sent to it when it goes; or so much that it is not
        // read meanwhile.
        let bytes = if number % 2 == 0 { 100 } else { 220 } * 1024;
        data.publish(1, &commands, &"x".repeat(bytes)).await;
        data.acknowledged().await;
        device.send(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))).await;
    }
    data.subscribe(at_least_once("devices/+/status")).await;
    data.ping().await;
    time::sleep(Duration::from_secs(5)).await;
    data.ping().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_or_no_mqtt_is_closed() {
    let fixture = Fixture::start(Bounds::default()).await;
    assert_eq!(fixture.pipe().next().await, None, "silence");
    let mut foreign = fixture.pipe();
    foreign.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(foreign.next().await, None);
    let mut old = fixture.pipe();
    old.stream.write_all(b"\x10\x11\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x03d-1").await.unwrap();
    let mut answer = Vec::new();
    old.stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 1]);
    assert_eq!(fixture.count("iot_broker_refused_total{why=\"protocol\"}"), 3);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_nothing_is_closed() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut data = fixture.client(Connecting::lasting("data", 60)).await;
    data.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    let payload = "x".repeat(100 * 1024);
    for pkid in 1..=4 {
        device.publish(pkid, "devices/d-1/readings", &payload).await;
        device.acknowledged().await;
    }
    // More than fits between the two; nobody reads.
    time::sleep(Duration::from_secs(31)).await;
    assert_eq!(fixture.count("iot_broker_refused_total{why=\"slow\"}"), 1);
    let mut data = fixture.client(Connecting::lasting("data", 60)).await;
    for _ in 1..=4 {
        assert_eq!(data.message().await.payload.len(), payload.len());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_too_much_is_refused_by_its_name() {
    let bounds = Bounds {
        packet_bytes_max: 1024,
        filters_max: 2,
        topic_bytes_max: 40,
        topic_levels_max: 4,
        will_bytes_max: 8,
        retained_max: 2,
        sessions_max: 3,
        client_bytes_max: 10,
        ..Bounds::default()
    };
    let fixture = Fixture::start(bounds).await;
    let mut data = fixture.client(Connecting::clean("data")).await;
    for (filter, code) in [
        ("devices/1/2/3/4", SubscribeReasonCode::TopicFilterInvalid),
        ("a/#/b", SubscribeReasonCode::TopicFilterInvalid),
        ("$SYS/#", SubscribeReasonCode::TopicFilterInvalid),
        ("$share/g/devices/#", SubscribeReasonCode::SharedSubscriptionsNotSupported),
        ("a/+", SubscribeReasonCode::Success(QoS::AtLeastOnce)),
        ("b/#", SubscribeReasonCode::Success(QoS::AtLeastOnce)),
        ("b/#", SubscribeReasonCode::Success(QoS::AtLeastOnce)),
        ("c", SubscribeReasonCode::QuotaExceeded),
    ] {
        assert_eq!(data.subscribe(at_least_once(filter)).await, code, "{filter}");
    }
    for (pkid, topic, reason) in [
        (1, "r/1", PubAckReason::Success),
        (2, "r/2", PubAckReason::Success),
        (3, "r/3", PubAckReason::QuotaExceeded),
        (4, "r/2", PubAckReason::Success),
        (5, "$SYS/x", PubAckReason::TopicNameInvalid),
        (6, &"t".repeat(41), PubAckReason::TopicNameInvalid),
    ] {
        data.send(retained(pkid, topic, "x")).await;
        assert_eq!(data.acknowledged().await.reason, reason, "{topic}");
    }
    data.publish(7, "a", &"x".repeat(2000)).await;
    assert_eq!(data.refused().await, DisconnectReasonCode::PacketTooLarge);
    let will = Some(LastWill::new("devices/d-1/status", "far too long", QoS::AtLeastOnce, true, None));
    let ack = fixture.pipe().connect(Connecting { will, ..Connecting::clean("d-1") }).await;
    assert_eq!(ack.code, ConnectReturnCode::QuotaExceeded);
    let ack = fixture.pipe().connect(Connecting::clean("data-that-is-too-long")).await;
    assert_eq!(ack.code, ConnectReturnCode::ClientIdentifierNotValid);
    let mut connected = Vec::new();
    for id in ["d-1", "d-2", "d-3"] {
        connected.push(fixture.client(Connecting::clean(id)).await);
    }
    assert_eq!(fixture.pipe().connect(Connecting::clean("d-4")).await.code, ConnectReturnCode::QuotaExceeded);
    assert_eq!(fixture.count("iot_broker_refused_total{why=\"too_many\"}"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_offered_is_said() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    let twice = Publish { pkid: 1, ..Publish::new("devices/d-1/readings", QoS::ExactlyOnce, "x", None) };
    device.send(Packet::Publish(twice)).await;
    assert_eq!(device.refused().await, DisconnectReasonCode::QoSNotSupported);
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    device.send(Packet::PingResp).await;
    assert_eq!(device.refused().await, DisconnectReasonCode::ProtocolError);
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    let properties = Some(SubscribeProperties { id: Some(7), user_properties: Vec::new() });
    let subscribe = Subscribe { pkid: 1, filters: vec![at_least_once("devices/d-1/commands")], properties };
    device.send(Packet::Subscribe(subscribe)).await;
    assert_eq!(device.refused().await, DisconnectReasonCode::SubscriptionIdentifiersNotSupported);
}

#[tokio::test]
async fn too_many_connections_are_closed_at_once() {
    let fixture = Fixture::start(Bounds { connections_max: 1, ..Bounds::default() }).await;
    let mut first = Raw::dial(fixture.broker.addr()).await;
    first.connect(Connecting::clean("d-1")).await;
    assert_eq!(Raw::dial(fixture.broker.addr()).await.next().await, None);
    first.ping().await;
    assert_eq!(fixture.count("iot_broker_refused_total{why=\"too_many\"}"), 1);
}

#[tokio::test]
async fn whoever_is_connected_when_it_stops_is_told() {
    for version in VERSIONS {
        let fixture = Fixture::start(Bounds::default()).await;
        let mut data = Options::new(version, "data").connect(fixture.broker.addr()).await;
        let mut raw = fixture.client(Connecting::clean("d-1")).await;
        let Fixture { broker, .. } = fixture;
        broker.stop().await;
        assert_eq!(raw.refused().await, DisconnectReasonCode::ServerShuttingDown);
        data.ended().await;
    }
}
