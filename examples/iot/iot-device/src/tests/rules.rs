//! What becomes of what is asked for and of what devices say, at any time.

use bowline::{Code, runtime::metric::Counter};
use example_sql::{Db, Statement, on_both, testing::Fixture};
use iot_mqtt::topic::Said;
use serde_json::{Map, Value, json};

use super::{Devices, add, load, object, publish_all};
use crate::{
    broker::Kind,
    device::{Due, State},
    repository::DeviceRepository as _,
    service::{Asked, Provisioning, now_ms},
};

on_both!(
    what_changes_while_it_is_published_is_published_again,
    commands_end_once_and_in_time,
    who_comes_back_is_told_again,
    what_was_applied_before_does_not_come_back,
    what_the_broker_remembers_is_no_news,
    a_removed_device_is_told_of_and_its_id_is_free_later,
    another_broker_is_told_everything_again,
    a_token_is_kept_for_as_long_as_it_has_to_be,
    when_a_device_was_heard_is_known_after_a_restart,
);

async fn hear<DB: Db>(devices: &Devices<DB>, said: Said, payload: &str, now_ms: i64) {
    devices.hear(("d-1", said), payload.as_bytes(), false, now_ms).await.unwrap();
}

async fn command<DB: Db>(devices: &Devices<DB>, ttl_s: i64, now_ms: i64) -> String {
    let asked = Asked { name: "reboot".to_owned(), arguments: Map::default(), ttl_s: Some(ttl_s) };
    devices.command("d-1", asked, now_ms).await.unwrap().command
}

async fn state<DB: Db>(devices: &Devices<DB>, command: &str, now_ms: i64) -> State {
    devices.show_command("d-1", command, now_ms).await.unwrap().state
}

async fn due<DB: Db>(devices: &Devices<DB>, now_ms: i64) -> Vec<Due> {
    devices.repository.due(now_ms, 100).await.unwrap()
}

fn ack(command: &str, state: &str) -> String {
    json!({"command": command, "state": state}).to_string()
}

async fn what_changes_while_it_is_published_is_published_again<DB: Db>(fixture: Fixture<DB>) {
    let devices = load(&fixture, Kind::Embedded).await;
    add(&devices, "d-1").await;
    devices.desire("d-1", object(&json!({"a": 1})), None).await.unwrap();
    let first = due(&devices, 0).await;
    assert!(matches!(&first[..], [Due::Account { .. }, Due::Desired { told, .. }] if told.version == 1), "{first:?}");
    devices.renew("d-1").await.unwrap();
    devices.desire("d-1", object(&json!({"a": 2})), None).await.unwrap();
    devices.repository.published(&first).await.unwrap();
    let next = due(&devices, 0).await;
    let is_next =
        matches!(&next[..], [Due::Account { version: 2, .. }, Due::Desired { told, .. }] if told.version == 2);
    assert!(is_next, "{next:?}");
    devices.remove("d-1", 0).await.unwrap();
    devices.repository.published(&next).await.unwrap();
    let last = due(&devices, 0).await;
    assert!(matches!(&last[..], [Due::Removal { .. }]), "{last:?}");
    devices.repository.published(&last).await.unwrap();
    assert!(due(&devices, 0).await.is_empty());
}

async fn commands_end_once_and_in_time<DB: Db>(fixture: Fixture<DB>) {
    let devices = load(&fixture, Kind::Embedded).await;
    add(&devices, "d-1").await;
    let now_ms = now_ms();
    let (done, failed) = (command(&devices, 10, now_ms).await, command(&devices, 10, now_ms).await);
    let late = command(&devices, 1, now_ms).await;
    hear(&devices, Said::Status, "online", now_ms).await;
    assert_eq!(state(&devices, &done, now_ms).await, State::Waiting);
    publish_all(&devices, now_ms).await;
    assert_eq!(state(&devices, &done, now_ms).await, State::Sent);
    hear(&devices, Said::Acks, &ack(&done, "done"), now_ms + 1).await;
    hear(&devices, Said::Acks, &ack(&done, "failed"), now_ms + 2).await;
    let text = json!({"command": failed, "state": "failed", "detail": "no power"}).to_string();
    hear(&devices, Said::Acks, &text, now_ms + 3).await;
    // The time of the third is over, also while nobody has looked.
    assert_eq!(state(&devices, &late, now_ms + 1000).await, State::Expired);
    hear(&devices, Said::Acks, &ack(&late, "done"), now_ms + 1000).await;
    hear(&devices, Said::Acks, &ack("c-unknown", "done"), now_ms + 1000).await;
    devices.sweep(now_ms + 1000).await.unwrap();
    assert_eq!(state(&devices, &late, now_ms).await, State::Expired);
    assert_eq!(state(&devices, &done, now_ms).await, State::Done);
    let failed = devices.show_command("d-1", &failed, now_ms).await.unwrap();
    assert_eq!((failed.state, failed.detail.as_deref()), (State::Failed, Some("no power")));
    assert_eq!(failed.ended_at_ms, Some(now_ms + 3));
    let counts = &devices.counts;
    let counted = [&counts.done, &counts.failed, &counts.expired, &counts.late].map(Counter::get);
    assert_eq!(counted, [1, 1, 1, 3]);
    devices.sweep(now_ms + 8 * 24 * 60 * 60 * 1000).await.unwrap();
    assert_eq!(devices.show_command("d-1", &done, now_ms).await.unwrap_err().code(), Code::NotFound);
}

async fn who_comes_back_is_told_again<DB: Db>(fixture: Fixture<DB>) {
    let devices = load(&fixture, Kind::Embedded).await;
    add(&devices, "d-1").await;
    publish_all(&devices, 0).await;
    let now_ms = now_ms();
    let open = command(&devices, 100, now_ms).await;
    assert!(due(&devices, now_ms).await.is_empty(), "it is not there");
    hear(&devices, Said::Status, "online", now_ms).await;
    assert_eq!(due(&devices, now_ms).await.len(), 1);
    assert!(due(&devices, now_ms + 100_000).await.is_empty(), "it is too late");
    // It went and came while the command was published: maybe it did not get it.
    let published = due(&devices, now_ms).await;
    hear(&devices, Said::Status, "online", now_ms).await;
    devices.repository.published(&published).await.unwrap();
    assert_eq!(due(&devices, now_ms).await.len(), 1);
    publish_all(&devices, now_ms).await;
    assert!(due(&devices, now_ms).await.is_empty());
    // What the broker remembers is no news.
    devices.hear(("d-1", Said::Status), b"online", true, now_ms).await.unwrap();
    assert!(due(&devices, now_ms).await.is_empty());
    hear(&devices, Said::Status, "online", now_ms).await;
    assert!(matches!(&due(&devices, now_ms).await[..], [Due::Command { told, .. }] if told.id == open));
    hear(&devices, Said::Acks, &ack(&open, "done"), now_ms).await;
    assert!(due(&devices, now_ms).await.is_empty());
    hear(&devices, Said::Status, "offline", now_ms + 5).await;
    let device = devices.show("d-1").await.unwrap();
    assert_eq!((device.connected, device.since_ms), (false, Some(now_ms + 5)));
}

async fn what_was_applied_before_does_not_come_back<DB: Db>(fixture: Fixture<DB>) {
    let devices = load(&fixture, Kind::Embedded).await;
    add(&devices, "d-1").await;
    for value in [1, 2] {
        devices.desire("d-1", object(&json!({"a": value})), None).await.unwrap();
    }
    let reported = async || {
        let shadow = devices.shadow("d-1").await.unwrap();
        (Value::Object(shadow.reported), shadow.reported_version, Value::Object(shadow.delta))
    };
    let report = async |value: i64, version: Option<i64>| {
        let text = json!({"version": version, "reported": {"a": value}}).to_string();
        hear(&devices, Said::Reported, &text, 0).await;
    };
    report(0, None).await;
    assert_eq!(reported().await, (json!({"a": 0}), 0, json!({"a": 2})));
    report(2, Some(2)).await;
    report(1, Some(1)).await;
    assert_eq!(reported().await, (json!({"a": 2}), 2, json!({})));
    report(5, None).await;
    report(6, Some(77)).await;
    assert_eq!(reported().await, (json!({"a": 6}), 2, json!({"a": 2})), "a version that was never desired");
    hear(&devices, Said::Reported, "{\"reported\":{\"text\":\"\\u0000\"}}", 0).await;
    assert_eq!(reported().await.0, json!({"text": "\0"}));
}

async fn what_the_broker_remembers_is_no_news<DB: Db>(fixture: Fixture<DB>) {
    let devices = load(&fixture, Kind::Embedded).await;
    add(&devices, "d-1").await;
    devices.desire("d-1", object(&json!({"a": 3})), None).await.unwrap();
    let report = async |value: i64, version: Option<i64>, is_remembered: bool| {
        let text = json!({"version": version, "reported": {"a": value}}).to_string();
        devices.hear(("d-1", Said::Reported), text.as_bytes(), is_remembered, 0).await.unwrap();
        devices.shadow("d-1").await.unwrap().reported["a"].as_i64().unwrap()
    };
    assert_eq!(report(1, None, true).await, 1, "nothing is known yet");
    assert_eq!(report(2, None, false).await, 2);
    assert_eq!(report(1, None, true).await, 2, "it was said before");
    assert_eq!(report(3, Some(1), true).await, 3, "it applied that since");
    assert_eq!(report(1, None, true).await, 3);
}

async fn a_removed_device_is_told_of_and_its_id_is_free_later<DB: Db>(fixture: Fixture<DB>) {
    let devices = load(&fixture, Kind::Embedded).await;
    add(&devices, "d-1").await;
    let now_ms = now_ms();
    devices.remove("d-1", now_ms).await.unwrap();
    assert_eq!(devices.remove("d-1", now_ms).await.unwrap_err().code(), Code::NotFound);
    let sql = &devices.repository.sql;
    let payload =
        if fixture.url().starts_with("sqlite") { "CAST(payload AS TEXT)" } else { "convert_from(payload, 'UTF8')" };
    let select = format!("SELECT topic, ordering_key, {payload} AS payload FROM bowline_outbox");
    let select = Statement::new(Box::leak(select.into_boxed_str()));
    let rows = sql.rows(&mut *sql.read().await.unwrap(), "bowline_outbox", select).await.unwrap();
    let told: Vec<_> =
        rows.iter().map(|row| ["topic", "ordering_key", "payload"].map(|it| row.text(it).unwrap())).collect();
    assert_eq!(told, [["device.removed", "d-1", "{\"device\":\"d-1\"}"]]);
    let again = async |now_ms: i64| {
        devices.sweep(now_ms).await.unwrap();
        devices.provision(Provisioning { id: Some("d-1".to_owned()), name: None }, now_ms).await.map(drop)
    };
    let week_ms = 7 * 24 * 60 * 60 * 1000;
    assert_eq!(again(now_ms + week_ms + 1).await.unwrap_err().code(), Code::AlreadyExists, "the broker is not told");
    publish_all(&devices, now_ms).await;
    assert!(due(&devices, now_ms).await.is_empty());
    let refusal = again(now_ms + week_ms).await.unwrap_err();
    assert!(format!("{refusal:?}").contains(&(now_ms + week_ms).to_string()), "{refusal:?}");
    again(now_ms + week_ms + 1).await.unwrap();
}

async fn another_broker_is_told_everything_again<DB: Db>(fixture: Fixture<DB>) {
    let devices = load(&fixture, Kind::Embedded).await;
    devices.repository.meet(Kind::Embedded, true).await.unwrap();
    add(&devices, "d-1").await;
    devices.desire("d-1", object(&json!({"a": 1})), None).await.unwrap();
    for (kind, has_forgotten, count) in [
        (Kind::Embedded, false, 0),
        (Kind::Embedded, true, 2),
        (Kind::Mosquitto, false, 2),
        (Kind::Mosquitto, false, 0),
        (Kind::Embedded, false, 2),
    ] {
        publish_all(&devices, 0).await;
        let unknown = devices.repository.meet(kind, has_forgotten).await.unwrap();
        let due = due(&devices, 0).await;
        assert_eq!((due.len(), unknown), (count, i64::from(count > 0)), "{kind:?} {has_forgotten} {due:?}");
    }
}

async fn a_token_is_kept_for_as_long_as_it_has_to_be<DB: Db>(fixture: Fixture<DB>) {
    for (kind, is_kept) in [(Kind::Embedded, false), (Kind::Mosquitto, true)] {
        let devices = load(&fixture, kind).await;
        let token = add(&devices, &format!("d-{}", i32::from(is_kept))).await;
        let due = due(&devices, 0).await;
        let [Due::Account { credential, .. }] = &due[..] else { panic!("{due:?}") };
        assert_eq!(credential.token.as_ref().map(|token| token.0.clone()), is_kept.then(|| token.clone()));
        assert_eq!(credential.hash, iot_mqtt::hash(token.as_bytes()));
        assert!(!format!("{due:?}").contains(&token));
        devices.repository.published(&due).await.unwrap();
        let sql = &devices.repository.sql;
        let select = Statement::new("SELECT token FROM devices WHERE token IS NOT NULL");
        assert!(sql.row(&mut *sql.read().await.unwrap(), "devices", select).await.unwrap().is_none());
    }
}

async fn when_a_device_was_heard_is_known_after_a_restart<DB: Db>(fixture: Fixture<DB>) {
    let devices = load(&fixture, Kind::Embedded).await;
    add(&devices, "d-1").await;
    hear(&devices, Said::Status, "online", 5).await;
    devices.fleet.heard("d-1", 7);
    devices.fleet.heard("d-unknown", 7);
    assert_eq!(devices.show("d-1").await.unwrap().last_reading_ms, Some(7));
    devices.sweep(8).await.unwrap();
    assert!(devices.fleet.take_heard().is_empty());
    // Where the database did not take it.
    devices.fleet.give_back(&[("d-1".to_owned(), 7)].into());
    assert_eq!(devices.fleet.take_heard().len(), 1);
    drop(devices);
    let devices = load(&fixture, Kind::Embedded).await;
    let device = devices.show("d-1").await.unwrap();
    assert_eq!((device.connected, device.since_ms, device.last_reading_ms), (true, Some(5), Some(7)));
    assert_eq!((devices.counts.connected.get(), devices.counts.disconnected.get()), (1, 0));
}
