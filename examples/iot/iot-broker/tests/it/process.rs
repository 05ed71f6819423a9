//! The broker as a process: killed while messages are published, and reached by Debian's own client.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bowline_runtime::{rand, task};
use bowline_testkit::{eventually, eventually_blocking, free_addr, mosquitto, seed, temp_dir};

use crate::client::{Client, Options, PATIENCE, VERSIONS};

/// The program, which ends with the value.
struct Process(Child);

impl Process {
    fn start(dir: &Path, addr: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iot-broker"));
        command
            .env("BOWLINE_LISTEN_MQTT", addr.to_string())
            .env("IOT_BROKER_DIR", dir)
            .env("IOT_SERVICES_PASSWORD", "secret")
            .env_remove("BOWLINE_API");
        let process = Self(command.spawn().unwrap());
        eventually_blocking(PATIENCE, || TcpStream::connect(addr).is_ok());
        process
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Publishes one message after the other until the broker is gone; answers those that were acknowledged.
async fn publish_until_it_ends(publisher: Client, name: String, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let payload = format!("{name}-{}", acknowledged.len());
        if publisher.try_publish("devices/d-1/readings", &payload, 1, false).await.is_err() {
            return acknowledged;
        }
        acknowledged.push(payload);
        count.fetch_add(1, Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_message_is_lost_by_a_kill() {
    seed();
    for version in VERSIONS {
        let (dir, addr) = (temp_dir(), free_addr());
        let service = |id: &str| Options::new(version, id).credentials("service", "secret");
        let mut process = Process::start(dir.path(), addr);
        let data = service("data").lasting().connect(addr).await;
        assert!(data.subscribe("devices/+/readings", 1).await);
        drop(data);
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            service("status").connect(addr).await.retain("devices/d-1/status", &format!("round {round}")).await;
            let (count, mut publishing) = (Arc::new(AtomicUsize::new(0)), task::JoinSet::new());
            for number in 0..4 {
                let publisher = service(&format!("publisher-{number}")).connect(addr).await;
                publishing.spawn(publish_until_it_ends(publisher, format!("{round}-{number}"), count.clone()));
            }
            let enough = 20 + rand::below(100);
            eventually(PATIENCE, || count.load(Relaxed) >= enough).await;
            process.kill();
            acknowledged.extend(publishing.join_all().await.concat());
            process = Process::start(dir.path(), addr);
        }
        let mut data = service("data").lasting().connect(addr).await;
        assert!(data.is_present);
        let mut missing: BTreeSet<String> = acknowledged.into_iter().collect();
        // Some came that were not acknowledged to who published them.
        while !missing.is_empty() {
            missing.remove(&data.next().await.payload);
        }
        let mut late = service("late").connect(addr).await;
        assert!(late.subscribe("devices/+/status", 1).await);
        assert_eq!(late.next().await.payload, "round 2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_with_an_account_sends_a_reading_by_mosquitto_pub() {
    let Some(mut publish) = mosquitto::client("mosquitto_pub") else { return };
    let (dir, addr) = (temp_dir(), free_addr());
    let _process = Process::start(dir.path(), addr);
    let mut data = Options::new(VERSIONS[1], "data").credentials("service", "secret").connect(addr).await;
    assert!(data.subscribe("devices/+/readings", 1).await);
    publish.args(["-h", "127.0.0.1", "-p", &addr.port().to_string(), "-i", "d-1", "-u", "d-1", "-P", "token"]);
    publish.args(["-q", "1", "-t", "devices/d-1/readings", "-m", "21.5"]);
    // Nobody has let it in yet.
    assert!(!publish.status().unwrap().success());
    let sha256_of_token = "3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0";
    data.retain("accounts/d-1", sha256_of_token).await;
    for version in ["mqttv311", "mqttv5"] {
        assert!(publish.args(["-V", version]).status().unwrap().success());
        assert_eq!(data.next().await.payload, "21.5");
    }
    data.retain("accounts/d-1", "").await;
    assert!(!publish.status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_told_to_stop_says_goodbye() {
    let (dir, addr) = (temp_dir(), free_addr());
    let mut process = Process::start(dir.path(), addr);
    let service = Options::new(VERSIONS[1], "data").credentials("service", "secret");
    let mut data = service.clone().will("status", "lost").connect(addr).await;
    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let why = data.ended().await;
    assert!(why.contains("ServerShuttingDown"), "{why}");
    assert!(process.0.wait().unwrap().success());
    let _process = Process::start(dir.path(), addr);
    let mut data = service.connect(addr).await;
    assert!(data.subscribe("status", 1).await);
    assert_eq!(data.next().await.payload, "lost");
}

#[test]
fn a_broker_without_a_password_says_what_is_missing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iot-broker"));
    let output = command.env_remove("IOT_SERVICES_PASSWORD").env_remove("IOT_SERVICES_PASSWORD_FILE").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("neither IOT_SERVICES_PASSWORD nor"), "{text}");
}
