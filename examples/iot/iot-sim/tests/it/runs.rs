//! Runs, and what disturbs them.

use std::time::Duration;

use bowline_runtime::task::{self, Guarded};
use bowline_testkit::eventually;
use iot_mqtt::topic;
use iot_sim::{Counts, Fleet, Live, Patience, Settings, audit, play};
use serde_json::json;

use crate::system::{PATIENCE, System};

/// For what is not to come.
const SHORT: Patience = Patience { pause: Duration::from_millis(10), quiet_max: Duration::from_millis(500) };

#[tokio::test]
async fn a_run_says_everything_and_the_audit_finds_it() {
    let system = System::start().await;
    let is_long = std::env::var_os("BOWLINE_TEST_LONG").is_some();
    let (devices, days) = if is_long { (1000, 6) } else { (4, 1) };
    let settings = system.settings(devices).days(days);
    let fleet = Fleet::provision(&settings).await.unwrap();
    let run = play(&settings, &fleet, Counts::new()).await.unwrap();
    println!("{run}");
    let most = usize::try_from(devices * 288).unwrap() * usize::try_from(days).unwrap();
    assert!((most * 9 / 10..=most).contains(&run.made()), "{run}");
    assert_eq!((run.acknowledged(), run.counts.acknowledged()), (run.made(), run.made() as u64));
    let verdict = audit(&settings, &run, Patience::default()).await.unwrap();
    assert!(verdict.is_good() && verdict.acknowledged == run.made(), "{verdict}");
    // They have said goodbye.
    assert_eq!(run.counts.connected(), 0);
    for number in 0..devices {
        let status = system.retained(&topic::status(&format!("d-1-{number:04}")));
        assert_eq!(status.as_deref(), Some(&b"offline"[..]));
    }
    assert!(run.to_string().lines().next().unwrap().ends_with(" readings/s"), "{run}");
    // A reading that is gone, one that is there twice, one that has another value.
    {
        let mut stored = system.stored.lock().unwrap();
        stored.pop_first().unwrap();
        let mut left = stored.values_mut();
        let twice = left.next().unwrap();
        twice.push(twice[0]);
        left.next().unwrap()[0].value += 1.0;
    }
    let verdict = audit(&settings, &run, SHORT).await.unwrap();
    assert_eq!((verdict.lost.count, verdict.doubled.count, verdict.changed.count), (1, 1, 1), "{verdict}");
}

#[tokio::test]
async fn a_broker_that_is_restarted_loses_nothing() {
    let mut system = System::start().await;
    let settings = Settings { batch: 1, ..system.settings(10) };
    let fleet = Fleet::provision(&settings).await.unwrap();
    let counts = Counts::new();
    let playing = task::spawn({
        let (settings, counts) = (settings.clone(), counts.clone());
        async move { play(&settings, &fleet, counts).await }
    });
    for times in 1..=2 {
        eventually(PATIENCE, || counts.acknowledged() > times * 400).await;
        system.stop_broker().await;
        eventually(PATIENCE, || counts.lost() >= times * 10).await;
        system.start_broker().await;
    }
    let run = playing.await.unwrap().unwrap();
    assert_eq!(run.acknowledged(), run.made(), "{run}");
    let verdict = audit(&settings, &run, Patience::default()).await.unwrap();
    assert!(verdict.is_good() && verdict.acknowledged == run.made(), "{verdict}");
}

/// Devices that go on for an hour.
async fn live(settings: Settings) -> (std::sync::Arc<Counts>, Guarded<()>) {
    let live = Some(Live::new(settings.devices, settings.devices, Duration::from_hours(1)));
    let settings = Settings { live, ..settings.days(0) };
    let fleet = Fleet::provision(&settings).await.unwrap();
    let counts = Counts::new();
    let playing = task::spawn({
        let counts = counts.clone();
        async move { drop(play(&settings, &fleet, counts).await) }
    });
    (counts, Guarded::new(playing))
}

#[tokio::test]
async fn a_command_is_carried_out_once_and_answered_each_time() {
    let mut system = System::start().await;
    let (counts, _playing) = live(system.settings(2)).await;
    let command = |name: &str, expires_ms: i64| json!({"command": name, "name": "reboot", "expires_ms": expires_ms});
    for (device, times) in [("d-1-0000", 1), ("d-1-0001", 2)] {
        system.tell(topic::desired(device), &json!({"version": 1, "desired": {}}), true).await;
        // It is there, whichever of the two came first.
        system.hear(&topic::reported(device), 1).await;
        system.tell(topic::commands(device), &command("c-late", 1), false).await;
        for _ in 0..2 {
            system.tell(topic::commands(device), &command("c-1", i64::MAX), false).await;
        }
        let acks = system.hear(&topic::acks(device), 2).await;
        assert_eq!(acks, vec![json!({"command": "c-1", "state": "done"}); 2]);
        assert_eq!(counts.commands(), times);
    }
    // It remembers over a connection that is lost.
    system.stop_broker().await;
    eventually(PATIENCE, || counts.lost() >= 2).await;
    system.start_broker().await;
    eventually(PATIENCE, || counts.connected() == 2).await;
    for device in ["d-1-0000", "d-1-0001"] {
        system.tell(topic::desired(device), &json!({"version": 2, "desired": {}}), true).await;
        system.hear_that(&topic::reported(device), &json!({"version": 2, "reported": {}})).await;
        for name in ["c-1", "c-2"] {
            system.tell(topic::commands(device), &command(name, i64::MAX), false).await;
        }
        system.hear_that(&topic::acks(device), &json!({"command": "c-2", "state": "done"})).await;
    }
    assert_eq!((counts.commands(), counts.applied()), (4, 4));
}

#[tokio::test]
async fn what_is_desired_is_applied_and_reported() {
    let system = System::start().await;
    let desired = json!({"version": 3, "desired": {"interval_s": 60}});
    // It is there before the device is.
    system.tell(topic::desired("d-1-0000"), &desired, true).await;
    let (counts, _playing) = live(system.settings(1)).await;
    let reported = json!({"version": 3, "reported": {"interval_s": 60}});
    assert_eq!(system.hear(&topic::reported("d-1-0000"), 1).await, std::slice::from_ref(&reported));
    // What is older, or known, is nothing.
    for (version, interval_s) in [(2, 1), (3, 60), (4, 30)] {
        let desired = json!({"version": version, "desired": {"interval_s": interval_s}});
        system.tell(topic::desired("d-1-0000"), &desired, true).await;
    }
    let newer = json!({"version": 4, "reported": {"interval_s": 30}});
    assert_eq!(system.hear(&topic::reported("d-1-0000"), 2).await, [reported, newer]);
    assert_eq!(counts.applied(), 2);
}
