//! The devices' system as its README shows it: devices by MQTT, what they read, what they are told, and what is wrong.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use bowline_runtime::time;
use bowline_testkit::mosquitto;
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Answer, Home, PATIENCE, Running, eventually, example, programs};

const IOT: &str = "iot.localhost";

/// The key of the README.
const OPERATOR: &str = "iot-demo-operator";

/// From reading to reading of a device, in milliseconds.
const INTERVAL_MS: i64 = 300_000;

/// A device that was provisioned, and where it talks.
struct Device {
    id: String,
    token: String,
    broker: SocketAddr,
}

impl Device {
    async fn provisioned(running: &Running, broker: SocketAddr) -> Self {
        let made = ask(running, Method::POST, "/devices", &json!({"name": "cellar"})).await;
        assert_eq!(made.status, 201, "{:?}\n{}", made.body, running.output());
        let made = made.json();
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        Self { id: text("id"), token: text("token"), broker }
    }

    fn topic(&self, rest: &str) -> String {
        format!("devices/{}/{rest}", self.id)
    }

    /// A client of Mosquitto's that is this device.
    fn client(&self, program: &'static str, version: &str, rest: &str) -> Option<tokio::process::Command> {
        let mut command = tokio::process::Command::from(mosquitto::client(program)?);
        let (host, port) = (self.broker.ip().to_string(), self.broker.port().to_string());
        command.args(["-h", &host, "-p", &port, "-V", version, "-q", "1", "-i", &self.id]);
        command.args(["-u", &self.id, "-P", &self.token, "-t", &self.topic(rest)]);
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Some(command)
    }

    /// Publishes by `mosquitto_pub`, which ends when it was acknowledged.
    async fn publish(&self, version: &str, rest: &str, payload: &Value) -> Option<()> {
        self.say(version, rest, &payload.to_string(), &[]).await
    }

    async fn say(&self, version: &str, rest: &str, payload: &str, how: &[&str]) -> Option<()> {
        let mut command = self.client("mosquitto_pub", version, rest)?;
        let output = command.args(how).args(["-m", payload]).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(())
    }
}

/// A question of the operator's.
async fn ask(running: &Running, method: Method, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("x-api-key", OPERATOR)];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    running.ask(method, IOT, path, &headers, body.as_bytes()).await
}

async fn get(running: &Running, path: &str) -> Value {
    let answer = ask(running, Method::GET, path, &Value::Null).await;
    assert_eq!(answer.status, 200, "{path}: {:?}\n{}", answer.body, running.output());
    answer.json()
}

fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap()
}

/// Where the broker of a system listens, as its file says.
fn broker_of(home: &Home) -> SocketAddr {
    let text = std::fs::read_to_string(home.path().join("bowline.toml")).unwrap();
    let system = bowline_model::parse(&text).unwrap();
    system.service("broker").unwrap().listen[0].addr
}

/// How many readings of a device are kept.
async fn kept(running: &Running, device: &str) -> usize {
    let path = format!("/series/{device}?from=0&to={}", now_ms() + INTERVAL_MS);
    get(running, &path).await["points"].as_array().unwrap().len()
}

#[test]
fn the_example_is_a_good_file_and_its_documents_are_there() {
    let iot = example("iot");
    let text = std::fs::read_to_string(iot.join("bowline.toml")).unwrap();
    let system = bowline_model::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(system.table.routes.iter().all(|route| route.auth.is_some() && route.limit.is_some()));
    for service in &system.services {
        let document = iot.join(format!("openapi/{}.yaml", service.name));
        assert!(service.boundary.api.is_empty() || document.is_file(), "{document:?}");
    }
}

#[tokio::test]
async fn a_device_tells_what_it_reads_and_is_told_what_to_do() {
    let home = Home::iot();
    let mut running = home.up().await;
    let device = Device::provisioned(&running, broker_of(&home)).await;
    everything_of_a_device(&running, &device).await;
    running.stop().await;
}

/// What a device does and is told, by Mosquitto's own clients.
async fn everything_of_a_device(running: &Running, device: &Device) {
    // By 3.1.1 and by 5; what comes twice is kept once.
    let at_ms = now_ms() - INTERVAL_MS;
    for (version, sequence) in [("mqttv311", 1), ("mqttv311", 1), ("mqttv5", 2)] {
        let reading = json!({"sequence": sequence, "at_ms": at_ms + sequence, "value": 21.5});
        if device.publish(version, "readings", &reading).await.is_none() {
            return;
        }
    }
    assert!(eventually(PATIENCE, async || kept(running, &device.id).await == 2).await, "{}", running.output());
    shadow(running, device).await;
    command(running, device).await;
    // Another token is nobody's.
    let stranger = Device { token: "wrong".to_owned(), id: device.id.clone(), broker: device.broker };
    let Some(mut refused) = stranger.client("mosquitto_pub", "mqttv311", "readings") else { return };
    assert!(!refused.args(["-m", "{}"]).output().await.unwrap().status.success());
}

/// What is desired of a device it finds when it comes; what it reports is known.
async fn shadow(running: &Running, device: &Device) {
    let path = format!("/devices/{}/desired", device.id);
    let put = ask(running, Method::PUT, &path, &json!({"interval_s": 60})).await;
    assert_eq!(put.status, 200, "{:?}", put.body);
    let version = put.json()["desired_version"].clone();
    let Some(mut listening) = device.client("mosquitto_sub", "mqttv5", "desired") else { return };
    let heard = listening.args(["-C", "1", "-W", "60"]).output().await.unwrap();
    let heard: Value = serde_json::from_slice(&heard.stdout).unwrap();
    assert_eq!(heard, json!({"version": version, "desired": {"interval_s": 60}}));
    let reported = json!({"version": version, "reported": {"interval_s": 60}});
    device.publish("mqttv5", "reported", &reported).await;
    let path = format!("/devices/{}/shadow", device.id);
    let is_reported = async || get(running, &path).await["reported"] == json!({"interval_s": 60});
    assert!(eventually(PATIENCE, is_reported).await, "{}", get(running, &path).await);
    assert_eq!(get(running, &path).await["delta"], json!({}));
}

/// A command reaches the device, and its acknowledgement who gave it.
async fn command(running: &Running, device: &Device) {
    // Commands wait for a device that says that it is there. Its session outlives its connection here.
    device.say("mqttv311", "status", "online", &["-r"]).await;
    let path = format!("/devices/{}", device.id);
    assert!(eventually(PATIENCE, async || get(running, &path).await["connected"] == true).await);
    let Some(mut beginning) = device.client("mosquitto_sub", "mqttv311", "commands") else { return };
    assert!(beginning.args(["-c", "-E"]).status().await.unwrap().success());
    let path = format!("/devices/{}/commands", device.id);
    let given = ask(running, Method::POST, &path, &json!({"name": "reboot", "ttl_s": 60})).await;
    assert_eq!(given.status, 202, "{:?}", given.body);
    let id = given.json()["command"].as_str().unwrap().to_owned();
    let Some(mut listening) = device.client("mosquitto_sub", "mqttv311", "commands") else { return };
    let heard = listening.args(["-c", "-C", "1", "-W", "60"]).output().await.unwrap();
    let heard: Value = serde_json::from_slice(&heard.stdout).unwrap();
    assert_eq!((&heard["command"], &heard["name"]), (&json!(id), &json!("reboot")), "{heard}");
    device.publish("mqttv311", "acks", &json!({"command": id, "state": "done"})).await;
    let path = format!("{path}/{id}");
    assert!(eventually(PATIENCE, async || get(running, &path).await["state"] == "done").await);
}

#[tokio::test]
async fn a_stuck_sensor_becomes_an_alert() {
    let home = Home::iot();
    home.edit(|text| format!("{text}\n[metrics]\nevery = \"1s\"\n"));
    let mut running = home.up().await;
    let device = Device::provisioned(&running, broker_of(&home)).await;
    // More than a day is learned from; then nothing changes any more.
    let (count, begun_ms) = (340, now_ms());
    let reading = |number: i32| {
        let tenths = if number < count - 30 { 200 + number % 17 } else { 210 };
        json!({"sequence": number, "at_ms": begun_ms - i64::from(count - number) * INTERVAL_MS, "value": f64::from(tenths) / 10.0})
    };
    let numbers: Vec<i32> = (0..count).collect();
    for batch in numbers.chunks(100) {
        let batch: Vec<Value> = batch.iter().map(|number| reading(*number)).collect();
        if device.publish("mqttv311", "readings", &Value::Array(batch)).await.is_none() {
            return;
        }
    }
    let path = format!("/anomalies?device={}&open=true", device.id);
    let mut found = Value::Null;
    let is_found = eventually(PATIENCE, async || {
        found = get(&running, &path).await;
        found["anomalies"].as_array().is_some_and(|all| all.iter().any(|one| one["kind"] == "stuck"))
    });
    assert!(is_found.await, "{found}\n{}", running.output());
    let mut alerts = String::new();
    let is_firing = eventually(PATIENCE, async || {
        alerts = running.command(&["alerts"]).await;
        alerts.lines().any(|line| line.contains("DeviceAnomaly") && line.contains("firing"))
    });
    assert!(is_firing.await, "{alerts}");
    // Of a device that is removed nothing is wrong any more.
    let removed = ask(&running, Method::DELETE, &format!("/devices/{}", device.id), &Value::Null).await;
    assert_eq!(removed.status, 204, "{removed:?}");
    let is_over = async || get(&running, &path).await["anomalies"] == json!([]);
    assert!(eventually(PATIENCE, is_over).await, "{}", get(&running, &path).await);
    let told = running.command(&["check", home.path().to_str().unwrap(), "--observed"]).await;
    assert!(!told.contains("warning"), "{told}");
    assert!(
        told.contains("\nobserved: ")
            && told.ends_with("every axiom holds of what is declared and what was observed\n")
    );
    running.stop().await;
}

#[tokio::test]
async fn no_acknowledged_reading_is_lost_while_the_broker_is_killed() {
    let home = Home::iot();
    let mut running = home.up().await;
    let mut simulation = tokio::process::Command::new(programs().join("iot-sim"));
    simulation.args(["--gateway", &running.gateway().to_string(), "--mqtt", &broker_of(&home).to_string()]);
    // It goes on as time passes, so that there is something to lose until the last is killed.
    simulation.args(["--key", OPERATOR, "--devices", "40", "--days", "6", "--seed", "7", "--live-s", "25"]);
    let mut simulation = simulation.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stored = "sum(iot_data_readings_total{outcome=\"stored\"})";
    let is_flowing = async || running.measured(stored).await > Some(0.0);
    assert!(eventually(PATIENCE, is_flowing).await, "{}", running.output());
    for service in ["broker", "device", "analytics", "broker", "data"] {
        let before = eventually_process(&running, service).await;
        assert!(
            simulation.try_wait().unwrap().is_none(),
            "{service} is killed after the simulation: this shows nothing"
        );
        kill_process(before, Signal::KILL).unwrap();
        let is_back = async || running.processes(service).await.first().is_some_and(|now| *now != before);
        assert!(eventually(PATIENCE, is_back).await, "{}", running.output());
        // tidy: sleep: some readings flow between two crashes.
        time::sleep(Duration::from_millis(500)).await;
    }
    let output = simulation.wait_with_output().await.unwrap();
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{report}\n{errors}");
    assert!(output.status.success(), "{report}\n{errors}\n{}", running.output());
    let verdict = "every acknowledged reading is kept once";
    assert!(report.contains(verdict), "{report}");
    assert!(!report.contains("connections lost 0 "), "the broker was not missed: {report}");
    each_episode_is_told_once(&running).await;
    running.stop().await;
}

async fn each_episode_is_told_once(running: &Running) {
    let mut told = std::collections::BTreeSet::new();
    let mut after = 0;
    loop {
        let page = get(running, &format!("/anomalies?limit=1000&after={after}")).await;
        let anomalies = page["anomalies"].as_array().unwrap();
        for anomaly in anomalies {
            let episode = [&anomaly["device"], &anomaly["kind"], &anomaly["began_ms"]].map(ToString::to_string);
            assert!(told.insert(episode), "twice: {anomaly}");
        }
        let Some(last) = anomalies.last() else { break };
        after = last["id"].as_i64().unwrap();
    }
    assert!(!told.is_empty(), "nothing was found: this shows nothing");
}

async fn eventually_process(running: &Running, service: &str) -> Pid {
    let mut found = None;
    let is_there = eventually(PATIENCE, async || {
        found = running.processes(service).await.first().copied();
        found.is_some()
    });
    assert!(is_there.await, "{service} has no process");
    found.unwrap()
}
