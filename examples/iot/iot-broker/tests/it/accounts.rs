//! What becomes of a device whose account changes or goes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bowline_runtime::{
    metric::Registry,
    time::{self, Duration},
};
use bowline_testkit::temp_dir;
use iot_broker::{Admission, Bounds, Broker, Identity, Settings};
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{ConnectReturnCode, DisconnectReasonCode, LastWill, PubAckReason},
};
use tokio::io::DuplexStream;

use crate::raw::{Connecting, Fixture, Raw, at_least_once, retained};

/// Of `token`, which all devices show.
const SHOWN: &str = "3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0";

fn service(id: &str) -> Connecting<'_> {
    Connecting { user: "service", ..Connecting::clean(id) }
}

/// Says what is to be retained, and waits until it is.
async fn retain(client: &mut Raw<DuplexStream>, topic: &str, payload: &str) -> PubAckReason {
    client.send(retained(1, topic, payload)).await;
    client.acknowledged().await.reason
}

async fn code(fixture: &Fixture, connecting: Connecting<'_>) -> ConnectReturnCode {
    fixture.pipe().connect(connecting).await.code
}

#[tokio::test(start_paused = true)]
async fn a_device_whose_account_changes_is_closed_at_once_and_its_session_waits() {
    let fixture = Fixture::with_accounts(temp_dir(), Bounds::default()).await;
    let mut devices = fixture.client(service("devices")).await;
    for id in ["d-1", "d-2"] {
        assert_eq!(retain(&mut devices, &format!("accounts/{id}"), SHOWN).await, PubAckReason::Success);
    }
    let mut status = fixture.client(service("status")).await;
    status.subscribe(at_least_once("devices/+/status")).await;
    let will = Some(LastWill::new("devices/d-1/status", "offline", QoS::AtLeastOnce, true, None));
    let mut device = fixture.client(Connecting { will, ..Connecting::lasting("d-1", 600) }).await;
    device.subscribe(at_least_once("devices/d-1/commands")).await;
    let mut old = fixture.pipe();
    old.connect_v4("d-2", 60).await;
    // Said again, it is the same.
    retain(&mut devices, "accounts/d-1", SHOWN).await;
    device.ping().await;
    for id in ["d-1", "d-2"] {
        retain(&mut devices, &format!("accounts/{id}"), "of another token").await;
    }
    assert_eq!(device.refused().await, DisconnectReasonCode::NotAuthorized);
    assert_eq!(old.next().await, None);
    assert_eq!(status.message().await.payload, "offline");
    assert_eq!(code(&fixture, Connecting::lasting("d-1", 600)).await, ConnectReturnCode::NotAuthorized);
    devices.publish(1, "devices/d-1/commands", "reboot").await;
    devices.acknowledged().await;
    // Who can show what is asked for now has what came meanwhile.
    retain(&mut devices, "accounts/d-1", SHOWN).await;
    let mut device = fixture.client(Connecting::lasting("d-1", 600)).await;
    assert_eq!(device.message().await.payload, "reboot");
}

#[tokio::test(start_paused = true)]
async fn of_a_device_without_an_account_nothing_is_kept() {
    let fixture = Fixture::with_accounts(temp_dir(), Bounds::default()).await;
    let mut devices = fixture.client(service("devices")).await;
    let mut status = fixture.client(service("status")).await;
    status.subscribe(at_least_once("devices/+/status")).await;
    let mut connected = Vec::new();
    for id in ["d-away", "d-here", "d-deaf"] {
        retain(&mut devices, &format!("accounts/{id}"), SHOWN).await;
        let will = LastWill::new(format!("devices/{id}/status"), "offline", QoS::AtLeastOnce, true, None);
        let will = Some(will).filter(|_| id != "d-away");
        let mut device = fixture.client(Connecting { will, ..Connecting::lasting(id, 600) }).await;
        device.subscribe(at_least_once(&format!("devices/{id}/commands"))).await;
        connected.push(device);
    }
    drop(connected.remove(0));
    // More than fits between the two, and nobody reads.
    devices.publish(1, "devices/d-deaf/commands", &"x".repeat(200 * 1024)).await;
    devices.acknowledged().await;
    for id in ["d-away", "d-here", "d-deaf"] {
        retain(&mut devices, &format!("accounts/{id}"), "").await;
    }
    assert_eq!(connected[0].refused().await, DisconnectReasonCode::NotAuthorized);
    // Long before it would be closed for what it does not take.
    time::sleep(Duration::from_secs(3)).await;
    assert_eq!((fixture.count("iot_broker_connections"), fixture.count("iot_broker_sessions")), (2, 2));
    status.ping().await;
    let fixture = fixture.restart_with_accounts(Bounds::default()).await;
    let mut devices = fixture.client(service("devices")).await;
    for id in ["d-away", "d-here", "d-deaf"] {
        assert_eq!(code(&fixture, Connecting::lasting(id, 600)).await, ConnectReturnCode::NotAuthorized);
        retain(&mut devices, &format!("accounts/{id}"), SHOWN).await;
        assert!(!fixture.pipe().connect(Connecting::lasting(id, 600)).await.session_present);
    }
}

#[tokio::test(start_paused = true)]
async fn however_much_devices_retain_there_is_room_for_accounts() {
    let fixture =
        Fixture::with_accounts(temp_dir(), Bounds { retained_bytes_max: 16 << 10, ..Bounds::default() }).await;
    let mut devices = fixture.client(service("devices")).await;
    let mut reasons = Vec::new();
    for id in ["d-1", "d-2", "d-3", "d-4"] {
        retain(&mut devices, &format!("accounts/{id}"), SHOWN).await;
        let mut device = fixture.client(Connecting::clean(id)).await;
        for word in ["readings", "reported", "acks", "status"] {
            reasons.push(retain(&mut device, &format!("devices/{id}/{word}"), &"x".repeat(1000)).await);
        }
    }
    assert_eq!((reasons[0], reasons[15]), (PubAckReason::Success, PubAckReason::QuotaExceeded));
    for number in 5..13 {
        assert_eq!(retain(&mut devices, &format!("accounts/d-{number}"), SHOWN).await, PubAckReason::Success);
    }
    // Of the others, too, there is less from one that may say less.
    let told = fixture.pipe().connect(service("devices")).await.properties.unwrap();
    assert_eq!(told.max_packet_size, Some(256 << 10));
    let mut device = fixture.pipe();
    assert_eq!(device.connect(Connecting::clean("d-1")).await.properties.unwrap().max_packet_size, Some(20 << 10));
    device.publish(1, "devices/d-1/readings", &"x".repeat(20 << 10)).await;
    assert_eq!(device.refused().await, DisconnectReasonCode::PacketTooLarge);
}

/// Knows everybody, but for the second time that it is asked.
struct Fickle(AtomicUsize);

impl Admission for Fickle {
    fn authenticate(&self, client: &str, _: Option<&str>, _: Option<&[u8]>) -> Option<Identity> {
        (self.0.fetch_add(1, Relaxed) != 1).then(|| Identity::new(client))
    }

    fn may_publish(&self, _: &Identity, _: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _: &Identity, _: &str) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_changes_as_its_device_connects_lets_nobody_in() {
    let dir = temp_dir();
    let (settings, metrics) = (Settings::new("127.0.0.1:0".parse().unwrap(), dir.path()), Registry::default());
    let broker = Broker::start(settings, Arc::new(Fickle(AtomicUsize::new(0))), &metrics).await.unwrap();
    let fixture = Fixture { broker, metrics, dir };
    assert_eq!(code(&fixture, Connecting::clean("d-1")).await, ConnectReturnCode::NotAuthorized);
    fixture.client(Connecting::clean("d-1")).await.ping().await;
}
