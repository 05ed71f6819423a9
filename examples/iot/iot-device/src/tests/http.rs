//! The service as its callers know it.

use std::sync::Arc;

use bowline::runtime::net::TcpStream;
use bowline_testkit::eventually;
use example_sql::{Db, on_both, testing::Fixture};
use example_testing::{Document, JSON};
use iot_mqtt::topic::Said;
use serde_json::{Value, json};
use sqlx::Sqlite;
use tokio::io::AsyncWriteExt as _;

use super::{Devices, PATIENCE, load};
use crate::{
    api,
    broker::Kind,
    device::State,
    repository::{DeviceRepository as _, SqlDevices},
    service::now_ms,
};

const DOCUMENT: &str = include_str!("../../../openapi/device.yaml");

on_both!(
    a_device_is_added_shown_listed_and_removed,
    what_is_desired_has_versions,
    a_command_waits_for_its_device,
    whoever_does_not_wait_has_it_done,
    what_is_in_the_database_alone_is_found,
    what_makes_no_sense_is_refused_as_the_document_says,
);

struct Running(example_testing::Running);

impl Running {
    async fn start<DB: Db>(devices: Arc<Devices<DB>>) -> Self {
        Self(example_testing::Running::start("device", api::app(devices), DOCUMENT).await)
    }

    /// Asks in an operator's name.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.ask_with(method, path, &[JSON, ("x-bowline-subject", "ada")], body).await
    }

    async fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let answer = self.0.ask(method, path, headers, body).await;
        (answer.status, answer.value())
    }

    /// Asks, and goes away.
    async fn say(&self, method: &str, path: &str, body: &str) {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: device\r\nx-bowline-subject: ada\r\n");
        let rest = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(self.0.addr).await.unwrap();
        stream.write_all((head + &rest).as_bytes()).await.unwrap();
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        self.ask("POST", "/devices", &body.to_string()).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "").await
    }
}

async fn running<DB: Db>(fixture: &Fixture<DB>) -> (Arc<Devices<DB>>, Running) {
    let devices = Arc::new(load(fixture, Kind::Embedded).await);
    (devices.clone(), Running::start(devices).await)
}

/// The ids of a list.
fn ids(list: &Value) -> Vec<String> {
    list["devices"].as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_document_has_the_operations_and_the_states_of_the_service() {
    let document = Document::read(DOCUMENT);
    let routed = api::operations::<SqlDevices<Sqlite>>();
    document.check_operations(routed.iter().map(|(method, path, _)| (*method, *path)));
    assert_eq!(document.schema("State")["enum"], json!(State::ALL));
    assert_eq!(json!(State::ALL), json!(State::ALL.map(State::word)));
}

async fn a_device_is_added_shown_listed_and_removed<DB: Db>(fixture: Fixture<DB>) {
    let (devices, running) = running(&fixture).await;
    let (status, made) = running.post(&json!({"id": "d-2", "name": "cellar"})).await;
    assert_eq!((status, &made["id"], &made["name"]), (201, &json!("d-2"), &json!("cellar")));
    assert_eq!(running.post(&json!({"id": "d-2"})).await.0, 409);
    let (_, other) = running.post(&json!({})).await;
    let (_, device) = running.get("/devices/d-2").await;
    assert_eq!((&device["connected"], &device["since_ms"]), (&json!(false), &Value::Null));
    let (_, all) = running.get("/devices").await;
    assert_eq!(ids(&all).len(), 2);
    assert!(ids(&all).contains(&"d-2".to_owned()) && ids(&all).contains(&other["id"].as_str().unwrap().to_owned()));
    let (_, page) = running.get("/devices?limit=1").await;
    let (_, next) = running.get(&format!("/devices?limit=1&after={}", ids(&page)[0])).await;
    assert_eq!([ids(&page), ids(&next)].concat(), ids(&all));
    let (status, renewed) = running.ask("POST", "/devices/d-2/token", "").await;
    assert_eq!((status, &renewed["name"]), (200, &json!("cellar")));
    assert_ne!(renewed["token"], made["token"]);
    let delete = || running.ask("DELETE", "/devices/d-2", "");
    assert_eq!((delete().await.0, delete().await.0), (204, 404));
    assert_eq!(running.get("/devices/d-2").await.0, 404);
    super::publish_all(&devices, 0).await;
    let (status, problem) = running.post(&json!({"id": "d-2"})).await;
    assert_eq!((status, problem["free_at_ms"].is_i64()), (409, true));
    devices.sweep(now_ms() + 8 * 24 * 60 * 60 * 1000).await.unwrap();
    assert_eq!(running.post(&json!({"id": "d-2"})).await.0, 201);
}

async fn what_is_desired_has_versions<DB: Db>(fixture: Fixture<DB>) {
    let (_devices, running) = running(&fixture).await;
    running.post(&json!({"id": "d-1"})).await;
    let put = async |version: &str, body: &Value| {
        let headers = [JSON, ("x-bowline-subject", "ada"), ("if-match", version)];
        let headers = if version.is_empty() { &headers[..2] } else { &headers[..] };
        running.ask_with("PUT", "/devices/d-1/desired", headers, &body.to_string()).await
    };
    let (_, shadow) = running.get("/devices/d-1/shadow").await;
    let empty = json!({"desired": {}, "desired_version": 0, "reported": {}, "reported_version": 0, "delta": {}});
    assert_eq!(shadow, empty);
    let every = json!({"interval_s": 10});
    let (status, shadow) = put("", &every).await;
    assert_eq!((status, &shadow["desired_version"], &shadow["delta"]), (200, &json!(1), &every));
    assert_eq!(put("\"1\"", &json!({"interval_s": 20})).await.0, 200);
    let (status, problem) = put("1", &json!({"interval_s": 30})).await;
    assert_eq!((status, &problem["desired_version"]), (409, &json!(2)));
    assert_eq!(put("one", &every).await.0, 400);
    let (_, shadow) = running.get("/devices/d-1/shadow").await;
    assert_eq!((&shadow["desired"]["interval_s"], &shadow["desired_version"]), (&json!(20), &json!(2)));
}

async fn a_command_waits_for_its_device<DB: Db>(fixture: Fixture<DB>) {
    let (_devices, running) = running(&fixture).await;
    running.post(&json!({"id": "d-1"})).await;
    let path = "/devices/d-1/commands";
    let body = json!({"name": "reboot", "arguments": {"at": "night"}, "ttl_s": 60}).to_string();
    let (status, accepted) = running.ask("POST", path, &body).await;
    assert_eq!((status, &accepted["state"]), (202, &json!("waiting")));
    let show = format!("{path}/{}", accepted["command"].as_str().unwrap());
    let (_, shown) = running.get(&show).await;
    assert_eq!((&shown["state"], &shown["arguments"]), (&json!("waiting"), &json!({"at": "night"})));
    assert_eq!(shown["expires_at_ms"].as_i64().unwrap() - shown["created_at_ms"].as_i64().unwrap(), 60_000);
    running.post(&json!({"id": "d-2"})).await;
    let elsewhere = show.replace("d-1", "d-2");
    assert_eq!(running.get(&elsewhere).await.0, 404, "it is another's");
    for _ in 1..100 {
        assert_eq!(running.ask("POST", path, &body).await.0, 202);
    }
    assert_eq!(running.ask("POST", path, &body).await.0, 429);
}

async fn whoever_does_not_wait_has_it_done<DB: Db>(fixture: Fixture<DB>) {
    let (devices, running) = running(&fixture).await;
    for id in ["d-1", "d-2", "d-3"] {
        running.say("POST", "/devices", &json!({"id": id}).to_string()).await;
        eventually(PATIENCE, || devices.fleet.knows(id)).await;
        running.say("DELETE", &format!("/devices/{id}"), "").await;
        eventually(PATIENCE, || !devices.fleet.knows(id)).await;
    }
}

async fn what_is_in_the_database_alone_is_found<DB: Db>(fixture: Fixture<DB>) {
    let (devices, running) = running(&fixture).await;
    running.post(&json!({"id": "d-1"})).await;
    for ask in 0..2 {
        // As where the database's answer to its adding was lost.
        devices.fleet.remove("d-1");
        if ask == 0 {
            running.ask("POST", "/devices/d-1/token", "").await;
        } else {
            devices.hear(("d-1", Said::Status), b"online", false, 0).await.unwrap();
        }
        assert!(devices.fleet.knows("d-1"));
    }
    devices.repository.remove("d-1", 0).await.unwrap();
    assert_eq!(running.ask("DELETE", "/devices/d-1", "").await.0, 404);
    devices.hear(("d-1", Said::Status), b"online", false, 0).await.unwrap();
    assert!(!devices.fleet.knows("d-1"));
}

async fn what_makes_no_sense_is_refused_as_the_document_says<DB: Db>(fixture: Fixture<DB>) {
    let (_devices, running) = running(&fixture).await;
    for (body, status) in [
        (json!({"id": "1"}), 422),
        (json!({"id": "d-a/b"}), 422),
        (json!({"name": ""}), 422),
        (json!({"name": "a\nb"}), 422),
        (json!({"name": "x".repeat(129)}), 422),
        (json!({"more": 1}), 422),
        (json!({"name": "x".repeat(20_000)}), 413),
    ] {
        assert_eq!(running.post(&body).await.0, status, "{body:.80}");
    }
    running.post(&json!({"id": "d-1"})).await;
    let deep = "{\"a\":".repeat(20) + "1" + &"}".repeat(20);
    let large = json!({"a": "x".repeat(8000)}).to_string();
    for (path, body, status) in
        [("d-1", "[]", 422), ("d-1", "{", 400), ("d-1", &large, 422), ("d-1", &deep, 422), ("d-9", "{}", 404)]
    {
        let path = format!("/devices/{path}/desired");
        assert_eq!(running.ask("PUT", &path, body).await.0, status, "{body:.80}");
    }
    for (path, body, status) in [
        ("d-9", json!({"name": "x"}), 404),
        ("d-1", json!({"name": ""}), 422),
        ("d-1", json!({"name": "x", "ttl_s": 0}), 422),
        ("d-1", json!({"name": "x", "arguments": 1}), 422),
        ("d-1", json!({"name": "x", "arguments": {"a": "x".repeat(4096)}}), 422),
    ] {
        let (path, body) = (format!("/devices/{path}/commands"), body.to_string());
        assert_eq!(running.ask("POST", &path, &body).await.0, status, "{body:.80}");
    }
    for (path, status) in [
        ("/devices?limit=0", 422),
        ("/devices?limit=x", 400),
        ("/devices?after=%00", 422),
        ("/devices/%00", 404),
        ("/devices/d-%00/shadow", 404),
        ("/devices/d-1/commands/%00", 404),
        ("/devices/d-9/shadow", 404),
        ("/devices/d-1/commands/c-9", 404),
    ] {
        assert_eq!(running.get(path).await.0, status, "{path}");
    }
    assert_eq!(running.ask("POST", "/devices/d-9/token", "").await.0, 404);
    assert_eq!(running.ask_with("GET", "/devices", &[], "").await.0, 401, "nobody asks");
}
