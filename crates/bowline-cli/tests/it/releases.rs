//! Releases that take the place of others: judged, promoted, rolled back, and resumed after a crash.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::{
    task::{self, Guarded},
    time,
};
use http::Method;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{Home, PATIENCE, Running, ask, eventually},
    stand_in,
};

/// Time between two requests of one client.
const PAUSE: Duration = Duration::from_millis(10);

/// A service that answers by its version, in a system that is scraped every second.
fn file(mesh: &str) -> String {
    let run = stand_in::kind().join(" ");
    format!(
        r#"
name = "s"
{mesh}
[metrics]
every = "1s"
[service.a]
run = "{run}"
version = "v1"
replicas = 2
metrics = "off"
check = {{ http = "/readyz", every = "200ms", timeout = "200ms" }}
[deploy.a]
strategy = "canary"
steps = ["20%", "50%"]
bake = "3s"
abort_when = "error_rate > 5%"
[[route]]
name = "a"
backends = [{{ service = "a" }}]
"#
    )
}

/// What became of the requests of clients that ask all the time.
#[derive(Debug, Default)]
struct Load {
    answered: AtomicUsize,
    /// The answers by status and body that were no success of any version.
    failed: Mutex<Vec<String>>,
    by_v2: AtomicUsize,
}

impl Load {
    /// Begins to ask.
    fn start(gateway: SocketAddr) -> (Arc<Self>, Vec<Guarded<()>>) {
        let load = Arc::new(Self::default());
        let client = |_| Guarded::new(task::spawn(Arc::clone(&load).ask(gateway)));
        let clients = (0..4).map(client).collect();
        (load, clients)
    }

    async fn ask(self: Arc<Self>, gateway: SocketAddr) {
        loop {
            let answer = ask(gateway, Method::GET, "localhost", "/", &[], b"").await;
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            if answer.status != 200 {
                self.failed.lock().unwrap().push(format!("{} {body}", answer.status));
            }
            self.by_v2.fetch_add(usize::from(body == "v2"), Relaxed);
            self.answered.fetch_add(1, Relaxed);
            time::sleep(PAUSE).await; // tidy: sleep: the load has a rate
        }
    }

    fn failed(&self) -> usize {
        self.failed.lock().unwrap().len()
    }
}

/// The versions of the instances there are, sorted.
async fn versions(running: &Running) -> Vec<String> {
    let instances = running.api_json("/v1/instances?service=a").await;
    let instances = instances["instances"].as_array().unwrap().clone();
    let mut versions: Vec<String> =
        instances.iter().map(|it| it["version"].as_str().unwrap_or_default().to_owned()).collect();
    versions.sort();
    versions
}

async fn rollout(running: &Running) -> Value {
    running.api_json("/v1/deployments/a").await["deployment"].clone()
}

async fn phase(running: &Running) -> String {
    rollout(running).await["phase"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_bad_canary_is_rolled_back_and_hurts_its_first_share_at_most() {
    for mesh in ["", "[mesh]"] {
        let home = Home::new(&file(mesh));
        let mut running = home.up().await;
        let (load, clients) = Load::start(running.gateway());
        let args = ["deploy", "a", "--env", "STAND_IN_FAILS=5", "--bake", "1m", "--follow"];
        let ended = running.outcome(&args).await;
        let told = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{mesh}: {told}\n{}", running.output());
        assert!(told.contains("rolling back") && told.contains("> 5%"), "{mesh}: {told}");
        assert!(told.contains("step 1 of 2") && !told.contains("step 2 of 2"), "{mesh}: {told}");
        let (answered, failed, by_v2) = (load.answered.load(Relaxed), load.failed(), load.by_v2.load(Relaxed));
        drop(clients);
        // A fifth of the requests went there, and a fifth of those failed; chance is given as much again.
        assert!((by_v2 + failed) * 10 < answered * 4, "{mesh}: {by_v2} and {failed} of {answered}");
        assert!(failed * 10 < answered, "{mesh}: {failed} of {answered}");
        assert_eq!(versions(&running).await, ["v1", "v1"], "{mesh}");
        let split = running.outcome(&["config", "get", "bowline/traffic"]).await;
        assert!(!String::from_utf8_lossy(&split.stdout).contains("v2"), "{mesh}: nothing is split any more");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_good_canary_is_promoted_without_a_failed_request_and_stays_after_a_restart() {
    let home = Home::new(&file(""));
    let mut running = home.up().await;
    let (load, clients) = Load::start(running.gateway());
    let told = running.command(&["deploy", "a", "--env", "STAND_IN_NEW=1", "--follow"]).await;
    drop(clients);
    assert!(told.contains("step 1 of 2") && told.contains("step 2 of 2") && told.contains("promoted"), "{told}");
    assert_eq!(*load.failed.lock().unwrap(), Vec::<String>::new(), "{told}");
    assert!(load.by_v2.load(Relaxed) > 0, "{told}");
    assert_eq!(versions(&running).await, ["v2", "v2"]);
    running.stop().await;

    let mut again = home.up().await;
    assert_eq!(versions(&again).await, ["v2", "v2"], "it counts until the file says otherwise");
    let status = again.command(&["deploy", "status"]).await;
    assert!(status.contains("promoted"), "{status}");
    again.stop().await;
}

/// Has a release rolled out until it bakes, without a request that tells how it is; then Bowline is killed, and started
/// anew. What was known of the rollout, and the next Bowline.
async fn killed_while_baking(home: &Home, release: &str) -> (Value, Running) {
    let mut running = home.up().await;
    running.command(&["deploy", "a", "--env", release, "--bake", "2s"]).await;
    assert!(eventually(PATIENCE, async || phase(&running).await == "baking").await, "{}", running.output());
    let known = rollout(&running).await;
    running.signal(Signal::KILL);
    running.ended().await;
    (known, home.up().await)
}

/// Checks that a rollout is the one that was known, and did what it did since: once, and from its step on.
#[track_caller]
fn check_goes_on(known: &Value, rollout: &Value) {
    assert_eq!(rollout["id"], known["id"]);
    let transitions = |of: &Value| of["transitions"].as_array().unwrap().clone();
    let (known, all) = (transitions(known), transitions(rollout));
    assert_eq!(all[..known.len()], known[..], "none is lost");
    let numbers: Vec<_> = all.iter().map(|it| it["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
    let phases = |of: &[Value]| of.iter().map(|it| it["phase"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(phases(&all[known.len()..])[..2], ["shifting", "baking"], "the step is baked anew");
    assert_eq!(phases(&all).iter().filter(|phase| *phase == "preparing").count(), 1, "{all:?}");
}

#[tokio::test]
async fn a_rollout_goes_on_after_bowline_was_killed_at_a_step() {
    let home = Home::new(&file(""));
    let (known, mut again) = killed_while_baking(&home, "STAND_IN_NEW=1").await;
    let (load, clients) = Load::start(again.gateway());
    assert!(eventually(PATIENCE, async || phase(&again).await == "promoted").await, "{}", again.output());
    drop(clients);
    check_goes_on(&known, &rollout(&again).await);
    assert_eq!(*load.failed.lock().unwrap(), Vec::<String>::new());
    assert_eq!(versions(&again).await, ["v2", "v2"]);
    again.stop().await;
}

#[tokio::test]
async fn a_bad_release_is_rolled_back_though_bowline_was_killed_at_a_step() {
    let home = Home::new(&file(""));
    let (known, mut again) = killed_while_baking(&home, "STAND_IN_FAILS=2").await;
    let (_load, clients) = Load::start(again.gateway());
    assert!(eventually(PATIENCE, async || phase(&again).await == "rolled back").await, "{}", again.output());
    drop(clients);
    let ended = rollout(&again).await;
    check_goes_on(&known, &ended);
    assert!(ended["why"].as_str().unwrap().contains("> 5%"), "{ended}");
    assert_eq!((ended["step"].as_u64(), versions(&again).await), (Some(0), vec!["v1".to_owned(), "v1".to_owned()]));
    again.stop().await;
}

#[tokio::test]
async fn operators_pause_and_abort() {
    let home = Home::new(&file(""));
    let mut running = home.up().await;
    let refused = async |args: &[&str], told: &str| {
        let output = running.outcome(args).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(told), "{args:?}: {said}");
    };
    let deploy = ["deploy", "a", "--env", "STAND_IN_NEW=1", "--bake", "1m"];
    running.command(&["mesh", "split", "a", "v1=100"]).await;
    refused(&deploy, "its requests are split by hand, which `bowline mesh split a --off` ends").await;
    running.command(&["mesh", "split", "a", "--off"]).await;
    running.command(&deploy).await;
    let twice = running.outcome(&["deploy", "a", "--run", "x"]).await;
    assert!(!twice.status.success(), "one at a time");
    assert!(eventually(PATIENCE, async || phase(&running).await == "baking").await, "{}", running.output());
    running.command(&["deploy", "pause", "a"]).await;
    assert!(eventually(PATIENCE, async || phase(&running).await == "paused").await, "{}", running.output());
    for split in ["v1=100", "--off"] {
        refused(&["mesh", "split", "a", split], "are split by its rollout 1, v1 → v2, which is under way").await;
    }
    refused(&["deploy", "abort", "a", "--id", "2"], "rollout 2 of `a` is not under way: rollout 1 is").await;
    running.command(&["deploy", "abort", "a", "--id", "1"]).await;
    assert!(eventually(PATIENCE, async || phase(&running).await == "rolled back").await, "{}", running.output());
    assert_eq!(versions(&running).await, ["v1", "v1"]);
    let unknown = running.outcome(&["deploy", "status", "nobody"]).await;
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no service `nobody`"));
    running.stop().await;
}
