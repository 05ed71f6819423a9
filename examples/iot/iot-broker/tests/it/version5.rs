//! What version 5 has beyond 3.1.1.

use std::time::Duration;

use bowline_runtime::time;
use iot_broker::Bounds;
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{
        ConnectProperties, ConnectReturnCode, Disconnect, DisconnectProperties, DisconnectReasonCode, LastWill,
        LastWillProperties, Packet, PubAckReason, Publish, PublishProperties, RetainForwardRule, SubscribeFilter,
        SubscribeReasonCode, UnsubAckReason, Unsubscribe,
    },
};

use crate::raw::{Connecting, Fixture, at_least_once, publish, retained};

#[tokio::test(start_paused = true)]
async fn a_client_is_told_what_the_broker_offers() {
    let fixture = Fixture::start(Bounds::default()).await;
    let connecting = Connecting { keep_alive: 0, ..Connecting::lasting("data", u32::MAX) };
    let told = fixture.pipe().connect(connecting).await.properties.unwrap();
    assert_eq!((told.max_qos, told.topic_alias_max), (Some(1), Some(0)));
    assert_eq!((told.shared_subscription_available, told.subscription_identifiers_available), (Some(0), Some(0)));
    assert_eq!((told.server_keep_alive, told.session_expiry_interval), (Some(600), Some(7 * 24 * 60 * 60)));
    assert_eq!((told.receive_max, told.max_packet_size), (Some(1000), Some(256 * 1024)));
    // What it asked for and gets is not said again.
    let told = fixture.pipe().connect(Connecting::lasting("data", 60)).await.properties.unwrap();
    assert_eq!((told.server_keep_alive, told.session_expiry_interval), (None, None));
    let told = fixture.pipe().connect(Connecting::clean("")).await.properties.unwrap();
    assert!(told.assigned_client_identifier.unwrap().starts_with("auto-"));
    let mut properties = ConnectProperties::new();
    properties.authentication_method = Some("SCRAM-SHA-256".to_owned());
    let ack = fixture.pipe().connect(Connecting { properties, ..Connecting::clean("d-1") }).await;
    assert_eq!(ack.code, ConnectReturnCode::BadAuthenticationMethod);
}

#[tokio::test(start_paused = true)]
async fn a_message_keeps_its_properties_and_its_time() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut data = fixture.client(Connecting::lasting("data", 600)).await;
    data.subscribe(at_least_once("devices/#")).await;
    drop(data);
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    for (pkid, expiry_s) in [(1, 10), (2, 100)] {
        let properties = PublishProperties {
            message_expiry_interval: Some(expiry_s),
            content_type: Some("application/json".to_owned()),
            user_properties: vec![("unit".to_owned(), "°C".to_owned())],
            ..PublishProperties::default()
        };
        let message =
            Publish { pkid, ..Publish::new("devices/d-1/readings", QoS::AtLeastOnce, "{}", Some(properties)) };
        device.send(Packet::Publish(message)).await;
        assert_eq!(device.acknowledged().await.reason, PubAckReason::Success);
    }
    time::sleep(Duration::from_secs(30)).await;
    let mut data = fixture.client(Connecting::lasting("data", 600)).await;
    let properties = data.message().await.properties.unwrap();
    assert!(properties.message_expiry_interval.unwrap().abs_diff(70) <= 1, "{properties:?}");
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.user_properties, [("unit".to_owned(), "°C".to_owned())]);
    data.ping().await;
    assert_eq!(fixture.count("iot_broker_dropped_total{why=\"expired\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_has_its_options() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut data = fixture.client(Connecting::clean("data")).await;
    data.send(retained(1, "a", "kept")).await;
    data.acknowledged().await;
    let filter = |nolocal, preserve_retain, retain_forward_rule| SubscribeFilter {
        nolocal,
        preserve_retain,
        retain_forward_rule,
        ..at_least_once("a")
    };
    let never = filter(true, true, RetainForwardRule::Never);
    assert_eq!(data.subscribe(never).await, SubscribeReasonCode::Success(QoS::AtLeastOnce));
    data.send(retained(2, "a", "my own")).await;
    data.acknowledged().await;
    data.ping().await;
    let mut other = fixture.client(Connecting::clean("data2")).await;
    other.send(retained(1, "a", "another's")).await;
    other.acknowledged().await;
    let message = data.message().await;
    assert_eq!((&message.payload[..], message.retain), (&b"another's"[..], true));
    // It is no new subscription.
    data.subscribe(filter(false, false, RetainForwardRule::OnNewSubscribe)).await;
    data.ping().await;
    data.subscribe(filter(false, false, RetainForwardRule::OnEverySubscribe)).await;
    assert!(data.message().await.retain);
    data.send(retained(3, "a", "last")).await;
    let mut came = [data.next().await.unwrap(), data.next().await.unwrap()];
    came.sort_by_key(|packet| matches!(packet, Packet::PubAck(_)));
    assert!(matches!(&came[0], Packet::Publish(message) if !message.retain && message.payload == "last"));
}

#[tokio::test(start_paused = true)]
async fn a_session_lasts_as_long_as_was_said() {
    let fixture = Fixture::start(Bounds::default()).await;
    let lasting = Connecting::lasting("data", 100);
    let present = async |after_s: u64| {
        time::sleep(Duration::from_secs(after_s)).await;
        let mut data = fixture.pipe();
        (data.connect(lasting.clone()).await.session_present, data)
    };
    let (is_present, data) = present(0).await;
    assert!(!is_present);
    drop(data);
    let (is_present, data) = present(98).await;
    assert!(is_present);
    drop(data);
    let (is_present, mut data) = present(102).await;
    assert!(!is_present);
    // Who says goodbye may say something else.
    let properties = DisconnectProperties {
        session_expiry_interval: Some(10),
        reason_string: None,
        user_properties: Vec::new(),
        server_reference: None,
    };
    data.send(Packet::Disconnect(Disconnect::new_with_properties(
        DisconnectReasonCode::NormalDisconnection,
        properties,
    )))
    .await;
    assert_eq!(data.next().await, None);
    assert!(!present(12).await.0);
}

#[tokio::test(start_paused = true)]
async fn a_will_waits_for_whoever_may_come_back() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut data = fixture.client(Connecting::clean("data")).await;
    data.subscribe(at_least_once("devices/#")).await;
    let mut will = LastWill::new("devices/d-1/status", "offline", QoS::AtLeastOnce, false, None);
    will.properties = Some(LastWillProperties {
        delay_interval: Some(30),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    });
    let device = Connecting { will: Some(will), ..Connecting::lasting("d-1", 600) };
    drop(fixture.client(device.clone()).await);
    time::sleep(Duration::from_secs(20)).await;
    let mut back = fixture.client(device.clone()).await;
    time::sleep(Duration::from_secs(20)).await;
    data.ping().await;
    // With the will, all the same.
    back.send(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::DisconnectWithWillMessage))).await;
    assert_eq!(back.next().await, None);
    let began = time::now();
    assert_eq!(data.message().await.payload, "offline");
    assert!((30..=31).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_is_taken_over_is_told_and_only_so_much_is_on_its_way() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut connecting = Connecting::lasting("data", 60);
    connecting.properties.receive_maximum = Some(2);
    let mut first = fixture.client(connecting.clone()).await;
    first.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    for pkid in 1..=4 {
        device.publish(pkid, "devices/d-1/readings", &pkid.to_string()).await;
        device.acknowledged().await;
    }
    let (one, two) = (first.message().await, first.message().await);
    first.ping().await;
    first.acknowledge(two.pkid).await;
    assert_eq!(first.message().await.payload, "3");
    let mut second = fixture.client(connecting).await;
    assert_eq!(first.refused().await, DisconnectReasonCode::SessionTakenOver);
    let again = second.message().await;
    assert_eq!((again.pkid, again.dup, again.payload), (one.pkid, true, one.payload));
    assert_eq!(second.message().await.payload, "3");
    second.ping().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_client_does_not_take_is_not_sent() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut connecting = Connecting::lasting("data", 60);
    connecting.properties.max_packet_size = Some(100);
    let mut data = fixture.client(connecting).await;
    data.subscribe(at_least_once("devices/#")).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    for payload in ["x".repeat(200).as_str(), "short"] {
        device.publish(1, "devices/d-1/readings", payload).await;
        device.acknowledged().await;
    }
    assert_eq!(data.message().await.payload, "short");
    assert_eq!(fixture.count("iot_broker_dropped_total{why=\"too_large\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_said_and_what_was_not_subscribed_to_as_well() {
    let fixture = Fixture::start(Bounds::default()).await;
    let mut device = fixture.client(Connecting::clean("d-1")).await;
    assert_eq!(device.subscribe(at_least_once("devices/#")).await, SubscribeReasonCode::NotAuthorized);
    device.publish(1, "devices/d-2/readings", "x").await;
    assert_eq!(device.acknowledged().await.reason, PubAckReason::NotAuthorized);
    device.send(publish(0, "devices/d-2/readings", "x")).await;
    device.ping().await;
    let filters = vec!["devices/d-1/commands".to_owned()];
    device.send(Packet::Unsubscribe(Unsubscribe { pkid: 2, filters, properties: None })).await;
    match device.next().await {
        Some(Packet::UnsubAck(ack)) => assert_eq!(ack.reasons, [UnsubAckReason::NoSubscriptionExisted]),
        other => panic!("{other:?}"),
    }
}
