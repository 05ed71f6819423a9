//! Devices and the service, with what goes wrong between them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bowline::runtime::{metric::Counter, task};
use bowline_testkit::{eventually, temp_dir};
use example_sql::{Db, Statement, testing::Fixture};
use iot_mqtt::topic::{self, Said};
use serde_json::{Map, json};

use super::{
    PATIENCE,
    client::{Client, Version},
    object,
    world::{Does, Place, REFUSED, World, readings},
};
use crate::{
    device::State,
    service::{Asked, now_ms},
};

/// Makes of each function tests with each broker and version of devices, and on each database.
macro_rules! everywhere {
    ($($test:ident),+ $(,)?) => {
        mod ours {
            use super::{Fixture, Place, VERSIONS, World};

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                for version in VERSIONS {
                    super::$test(World::new(Fixture::sqlite(), Place::ours().await, version).await).await;
                }
            })+
        }

        mod theirs {
            use super::{Fixture, Place, VERSIONS, World};

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                for version in VERSIONS {
                    let Some(broker) = Place::theirs() else { return };
                    super::$test(World::new(Fixture::sqlite(), broker, version).await).await;
                }
            })+
        }

        mod postgresql {
            use super::{Fixture, Place, Version, World};

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(fixture) = Fixture::postgresql() else { return };
                super::$test(World::new(fixture, Place::ours().await, Version::V5).await).await;
            })+
        }
    };
}

everywhere!(
    readings_are_stored_once_whatever_data_does,
    what_makes_no_sense_is_counted_and_in_nobodys_way,
    a_message_that_cannot_be_kept_stops_nobody,
    a_device_speaks_for_itself_alone,
    a_device_is_told_the_newest_that_is_desired,
    a_command_reaches_a_device_that_comes_later,
    what_was_to_be_published_is_after_a_restart,
    no_acknowledged_reading_is_lost_when_the_broker_restarts,
    a_broker_that_lost_everything_is_told_it_again,
    who_has_no_account_does_not_connect,
    who_is_lost_is_known_to_be,
);

const VERSIONS: [Version; 2] = [Version::V4, Version::V5];

async fn readings_are_stored_once_whatever_data_does<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let mut device = world.device("d-1").await;
    let one = json!({"sequence": 0, "at_ms": now_ms(), "value": 21.5}).to_string();
    // As where the database's answer to its adding was lost.
    world.devices.fleet.remove("d-1");
    device.tell(Said::Readings, &one).await;
    world.stored("d-1", 0..1).await;
    // Away for a while, then an answer is lost.
    world.data.plan([Does::Fails, Does::Fails, Does::Loses]);
    for batch in 0..15 {
        device.tell(Said::Readings, &readings(100 * batch + 1..=100 * batch + 100)).await;
    }
    // The other session goes on meanwhile.
    world.devices.desire("d-1", Map::default(), None).await.unwrap();
    assert_eq!(device.next().await.0, "desired");
    world.stored("d-1", 0..1501).await;
    let counts = &world.devices.counts;
    eventually(PATIENCE, || counts.stored.get() + counts.duplicates.get() == 1501).await;
    assert!(world.data.duplicates.load(Relaxed) > 0, "what was stored before the answer was lost came again");
    assert_eq!(counts.failures.get(), 3);
    assert!(world.devices.show("d-1").await.unwrap().last_reading_ms.is_some());
    // Nothing is left with the broker.
    device.tell(Said::Reported, "{\"reported\":{}}").await;
    let calls = world.data.calls.load(Relaxed);
    assert!(calls < 19, "they are handed over together, and not in {calls} calls");
    world.restart().await;
    world.link().await;
    device.tell(Said::Readings, &readings([2000])).await;
    world.stored("d-1", (0..1501).chain([2000])).await;
}

async fn what_makes_no_sense_is_counted_and_in_nobodys_way<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let device = world.device("d-1").await;
    let long = format!("[{}]", "1".repeat(17 << 10));
    for nonsense in ["", "21.5", "{\"sequence\":1}", "[]", &readings(0..101), "\u{fffd}", &long] {
        device.tell(Said::Readings, nonsense).await;
    }
    for (said, nonsense) in [
        (Said::Reported, "[]"),
        (Said::Acks, "{}"),
        (Said::Acks, r#"{"command":"\u0000","state":"done"}"#),
        (Said::Status, "maybe"),
    ] {
        device.tell(said, nonsense).await;
    }
    // One that data refuses, among others.
    let refused = json!([
        {"sequence": 1, "at_ms": 1, "value": 1.0},
        {"sequence": 2, "at_ms": 1, "value": REFUSED},
        {"sequence": 3, "at_ms": 1, "value": 1.0},
    ]);
    device.tell(Said::Readings, &refused.to_string()).await;
    world.stored("d-1", [1, 3]).await;
    device.tell(Said::Reported, "{\"reported\":{\"a\":1}}").await;
    let counts = &world.devices.counts;
    eventually(PATIENCE, || counts.malformed.each_ref().map(Counter::get) == [7, 1, 2, 1]).await;
    eventually(PATIENCE, || counts.refused.get() == 1).await;
    while world.devices.shadow("d-1").await.unwrap().reported.is_empty() {
        task::yield_now().await;
    }
    world.connected("d-1", true).await;
}

async fn a_message_that_cannot_be_kept_stops_nobody<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let device = world.device("d-1").await;
    let sql = &world.devices.repository.sql;
    let break_row = Statement::new("UPDATE devices SET reported = 'x' WHERE id = 'd-1'");
    sql.execute(&mut *sql.read().await.unwrap(), "devices", break_row).await.unwrap();
    device.tell(Said::Reported, "{\"reported\":{}}").await;
    let _other = world.device("d-2").await;
    assert_eq!(world.devices.counts.unkept.each_ref().map(Counter::get), [0, 1, 0, 0]);
}

async fn a_device_speaks_for_itself_alone<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let _device = world.device("d-1").await;
    let token = world.add("d-2").await;
    let other = world.try_connect("d-2", &token).await.unwrap();
    // A client of version 5 is told, one of 3.1.1 may be cut off.
    let refused = other.say(&topic::readings("d-1"), &readings([1]), false).await;
    assert!(refused.is_err() || world.version == Version::V4);
    drop(other);
    let other = world.try_connect("d-2", &token).await.unwrap();
    other.tell(Said::Readings, &readings([1])).await;
    world.stored("d-2", [1]).await;
    assert!(world.data.of("d-1").is_empty());
    assert!(world.try_connect("d-1", &token).await.is_err(), "it is another's token");
}

async fn a_device_is_told_the_newest_that_is_desired<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let mut device = world.device("d-1").await;
    let desire = async |value: i64| {
        world.devices.desire("d-1", object(&json!({"interval_s": value})), None).await.unwrap();
    };
    desire(1).await;
    desire(2).await;
    // It may be told of the first, and then of the second.
    let mut told = device.next().await;
    if told.1["version"] == 1 {
        told = device.next().await;
    }
    assert_eq!(told, ("desired".to_owned(), json!({"version": 2, "desired": {"interval_s": 2}})));
    device.tell(Said::Reported, &json!({"version": 2, "reported": {"interval_s": 2}}).to_string()).await;
    while !world.devices.shadow("d-1").await.unwrap().delta.is_empty() {
        task::yield_now().await;
    }
    drop(device);
    world.connected("d-1", false).await;
    desire(3).await;
    desire(4).await;
    let token = world.devices.renew("d-1").await.unwrap().token.0;
    world.settled().await;
    let mut device = world.try_connect("d-1", &token).await.unwrap();
    assert_eq!(device.next().await.1, json!({"version": 4, "desired": {"interval_s": 4}}));
}

fn asked(name: &str, ttl_s: i64) -> Asked {
    Asked { name: name.to_owned(), arguments: object(&json!({"a": 1})), ttl_s: Some(ttl_s) }
}

async fn a_command_reaches_a_device_that_comes_later<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let token = world.add("d-1").await;
    let devices = &world.devices;
    let expired = devices.command("d-1", asked("late", 1), now_ms() - 2000).await.unwrap().command;
    let wanted = devices.command("d-1", asked("reboot", 300), now_ms()).await.unwrap().command;
    let mut device = world.try_connect("d-1", &token).await.unwrap();
    let (word, told) = device.next().await;
    assert_eq!((word.as_str(), &told["command"], &told["name"]), ("commands", &json!(wanted), &json!("reboot")));
    assert_eq!(told["arguments"], json!({"a": 1}));
    // It was lost before it could do it, and is told again.
    drop(device);
    let mut device = world.try_connect("d-1", &token).await.unwrap();
    assert_eq!(device.next().await.1["command"], json!(wanted));
    let ack = json!({"command": wanted, "state": "done", "detail": "in 3 s"}).to_string();
    device.tell(Said::Acks, &ack).await;
    device.tell(Said::Acks, &ack).await;
    eventually(PATIENCE, || devices.counts.late.get() == 1).await;
    let done = devices.show_command("d-1", &wanted, now_ms()).await.unwrap();
    assert_eq!((done.state, done.detail.as_deref()), (State::Done, Some("in 3 s")));
    assert_eq!(devices.show_command("d-1", &expired, now_ms()).await.unwrap().state, State::Expired);
    // One that is there is told at once.
    let next = devices.command("d-1", asked("blink", 300), now_ms()).await.unwrap().command;
    assert_eq!(device.next().await.1["command"], json!(next));
}

async fn what_was_to_be_published_is_after_a_restart<DB: Db>(mut world: World<DB>) {
    let token = super::add(&world.devices, "d-1").await;
    world.devices.desire("d-1", object(&json!({"a": 1})), None).await.unwrap();
    let command = world.devices.command("d-1", asked("reboot", 300), now_ms()).await.unwrap().command;
    world.broker.end().await;
    world.restart().await;
    world.broker.begin().await;
    world.link().await;
    world.settled().await;
    let mut device = world.try_connect("d-1", &token).await.unwrap();
    let mut told = [device.next().await, device.next().await];
    told.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(told[0].1["command"], json!(command));
    assert_eq!(told[1].1, json!({"version": 1, "desired": {"a": 1}}));
}

/// What a device has said that was acknowledged, and whether it has said enough.
#[derive(Debug, Default)]
struct Spoken {
    acknowledged: Mutex<Vec<i64>>,
    is_enough: AtomicBool,
}

/// Publishes one reading after the other, connecting again where it is cut off.
async fn publish_until_it_is_enough(said: Arc<Spoken>, version: Version, addr: SocketAddr, token: String) {
    let (mut device, mut sequence) = (None, 0);
    while !said.is_enough.load(Relaxed) {
        let Some(client) = &device else {
            device = Client::connect(version, addr, "d-1", &token).await.ok();
            task::yield_now().await;
            continue;
        };
        if client.say(&topic::readings("d-1"), &readings([sequence]), false).await.is_ok() {
            said.acknowledged.lock().unwrap().push(sequence);
            sequence += 1;
        } else {
            device = None;
        }
    }
}

async fn no_acknowledged_reading_is_lost_when_the_broker_restarts<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let token = world.add("d-1").await;
    let said = Arc::new(Spoken::default());
    let count = || said.acknowledged.lock().unwrap().len();
    let saying = publish_until_it_is_enough(said.clone(), world.version, world.broker.addr(), token);
    let saying = task::spawn(saying);
    for _ in 0..3 {
        let enough = count() + 20;
        eventually(PATIENCE, || count() >= enough).await;
        world.data.plan([Does::Fails, Does::Loses]);
        world.broker.end().await;
        world.broker.begin().await;
    }
    said.is_enough.store(true, Relaxed);
    saying.await.unwrap();
    let acknowledged = said.acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() >= 60);
    let is_stored = || {
        let stored = world.data.of("d-1");
        acknowledged.iter().all(|sequence| stored.contains(sequence))
    };
    eventually(PATIENCE, is_stored).await;
}

async fn a_broker_that_lost_everything_is_told_it_again<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let token = world.add("d-1").await;
    world.devices.desire("d-1", object(&json!({"a": 1})), None).await.unwrap();
    world.settled().await;
    world.broker.end().await;
    // Mosquitto has no hashes of ours, and would need new tokens.
    let Place::Ours { dir, .. } = &mut world.broker else { return };
    *dir = temp_dir();
    world.broker.begin().await;
    let mut device = loop {
        match world.try_connect("d-1", &token).await {
            Ok(device) => break device,
            Err(_) => task::yield_now().await,
        }
    };
    assert_eq!(device.next().await, ("desired".to_owned(), json!({"version": 1, "desired": {"a": 1}})));
}

async fn who_has_no_account_does_not_connect<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let device = world.device("d-1").await;
    assert!(world.try_connect("d-2", "token").await.is_err());
    let token = world.devices.renew("d-1").await.unwrap().token.0;
    world.settled().await;
    drop(device);
    let device = world.try_connect("d-1", &token).await.unwrap();
    device.tell(Said::Readings, &readings([1])).await;
    world.stored("d-1", [1]).await;
    world.devices.remove("d-1", now_ms()).await.unwrap();
    world.settled().await;
    // It may be connected still: what it says is not taken.
    let _said_or_not = device.say(&topic::readings("d-1"), &readings([2]), false).await;
    drop(device);
    assert!(world.try_connect("d-1", &token).await.is_err(), "it is removed");
    let other = world.device("d-2").await;
    other.tell(Said::Readings, &readings([1])).await;
    world.stored("d-2", [1]).await;
    assert_eq!(world.data.of("d-1").len(), 1);
    // After a week the id may be given again, and nothing is left of who had it.
    world.devices.sweep(now_ms() + 8 * 24 * 60 * 60 * 1000).await.unwrap();
    let mut device = world.device("d-1").await;
    world.devices.desire("d-1", Map::default(), None).await.unwrap();
    assert_eq!(device.next().await.1["version"], json!(1));
}

async fn who_is_lost_is_known_to_be<DB: Db>(mut world: World<DB>) {
    world.link().await;
    let device = world.device("d-1").await;
    eventually(PATIENCE, || world.devices.counts.connected.get() == 1).await;
    let since_ms = world.devices.show("d-1").await.unwrap().since_ms.unwrap();
    drop(device);
    world.connected("d-1", false).await;
    assert!(world.devices.show("d-1").await.unwrap().since_ms.unwrap() >= since_ms);
    eventually(PATIENCE, || world.devices.counts.disconnected.get() == 1).await;
    let token = world.devices.renew("d-1").await.unwrap().token.0;
    world.settled().await;
    // It comes while nobody of the service is there to hear of it.
    world.restart().await;
    let _device = world.try_connect("d-1", &token).await.unwrap();
    world.link().await;
    world.connected("d-1", true).await;
}
