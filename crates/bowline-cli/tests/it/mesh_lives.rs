//! The mesh lives on: while certificates are renewed, and while its server is dead.

use std::{
    net::{SocketAddr, TcpListener},
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
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Home, PATIENCE, Running, ask, eventually},
    stand_in,
};

/// Time between two rounds of one client: a steady load, and below what the shop's limit lets one customer ask for,
/// however fast it is answered: three clients, two requests a round, 100 a second.
const PAUSE: Duration = Duration::from_millis(70);

/// How long the load lasts.
fn lasts(short: u64, long: u64) -> Duration {
    let is_long = std::env::var_os("BOWLINE_TEST_LONG").is_some();
    Duration::from_secs(if is_long { long } else { short })
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Load {
    answered: AtomicUsize,
    /// The answers that should not be.
    failed: Mutex<Vec<Answer>>,
}

impl Load {
    fn take(&self, answer: Answer, is_good: impl Fn(&Answer) -> bool) {
        self.answered.fetch_add(1, Relaxed);
        if !is_good(&answer) {
            self.failed.lock().unwrap().push(answer);
        }
    }

    /// Waits for so many further answers.
    async fn goes_on(&self, count: usize) -> bool {
        let before = self.answered.load(Relaxed);
        eventually(PATIENCE, async || self.answered.load(Relaxed) >= before + count).await
    }

    fn failed(&self) -> String {
        let failed = self.failed.lock().unwrap();
        if failed.is_empty() {
            String::new()
        } else {
            format!("{} failed: {:?}", failed.len(), &failed[..failed.len().min(3)])
        }
    }
}

/// Orders a book and looks at the order, again and again: gateway → order → user, payment → bank.
async fn shop(gateway: SocketAddr, signed: String, client: usize, load: Arc<Load>) {
    let item = json!({"sku": "book", "quantity": 1, "unit_price": 1999});
    let body = json!({"user_id": "u-1", "items": [item]}).to_string();
    for at in 0_usize.. {
        let key = format!("{client}-{at}");
        let headers =
            [("content-type", "application/json"), ("authorization", &signed), ("idempotency-key", key.as_str())];
        let placed = ask(gateway, Method::POST, "shop.localhost", "/orders", &headers, body.as_bytes()).await;
        if placed.status == 201 {
            let path = format!("/orders/{}", placed.json()["id"].as_str().unwrap());
            let shown = ask(gateway, Method::GET, "shop.localhost", &path, &headers[1..2], b"").await;
            load.take(shown, |shown| shown.status == 200);
        }
        load.take(placed, |placed| placed.status == 201);
        time::sleep(PAUSE).await; // tidy: sleep: the load has a rate
    }
}

/// The samples of a metric with that text in their labels, summed.
fn sum(metrics: &str, name: &str, labels: &[&str]) -> u64 {
    let samples = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let wanted = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
    wanted.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn no_request_fails_while_certificates_are_renewed() {
    let home = Home::shop();
    home.edit(|text| text.replace("mode = \"strict\"", "mode = \"strict\"\ncertificate_ttl = \"60s\""));
    let mut running = home.up().await;
    let (gateway, ada) = (running.gateway(), running.sign_in("ada@example.com").await);
    let load = Arc::new(Load::default());
    let begin = |client| Guarded::new(task::spawn(shop(gateway, ada.clone(), client, load.clone())));
    let loading: Vec<_> = (0..3).map(begin).collect();
    time::sleep(lasts(40, 300)).await; // tidy: sleep: the time of the load is what is tested
    assert!(load.goes_on(20).await);
    let failed = load.failed();
    drop(loading);
    assert!(failed.is_empty(), "{failed}\n{}", running.output());

    let metrics = ask(running.api(), Method::GET, "localhost", "/metrics", &[], b"").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let name = "bowline_certificate_renewals_total";
    for workload in ["gateway", "service/user", "service/order", "service/payment", "service/bank"] {
        let workload = format!("workload=\"{workload}\"");
        let renewed = sum(&metrics, name, &[&workload, "outcome=\"renewed\""]);
        // The first of each is counted too, and payment has two sidecars.
        assert!(renewed >= if workload.contains("payment") { 4 } else { 2 }, "{workload} {renewed}: {metrics}");
        assert_eq!(sum(&metrics, name, &[&workload, "outcome=\"failed\""]), 0, "{metrics}");
    }
    assert_eq!(sum(&metrics, "bowline_certificates_refused_total", &[]), 0, "{metrics}");
    running.stop().await;
}

/// `gateway → a → b`, with two of `b`.
const CHAIN: &str = r#"name = "chain"
[mesh]
[service.a.boundary]
api = ["GET /ask/b"]
[service.a.calls.b]
operations = ["GET /of/b"]
timeout = "5s"
retry = { attempts_max = 3, backoff = "10ms..100ms", budget = "100%" }
breaker = { open_for = "500ms" }
balance = "round-robin"
[service.b]
[[route]]
name = "ask"
matches = [{ path = "/ask/**" }]
backends = [{ service = "a" }]
"#;

/// The same by another way in, too.
fn other_way() -> String {
    let routes = CHAIN.split_once("[[route]]").unwrap().1;
    let other = r#"
[[route]]
name = "other"
hosts = ["other.localhost"]
matches = [{ path = "/ask/b" }]
backends = [{ service = "a" }]
"#;
    format!("[[route]]{routes}{other}")
}

/// Asks through the chain, again and again.
async fn chain(gateway: SocketAddr, load: Arc<Load>) {
    loop {
        let answer = ask(gateway, Method::GET, "localhost", "/ask/b", &[], b"").await;
        load.take(answer, |answer| answer.status == 200 && (&*answer.body == b"v1" || &*answer.body == b"v2"));
        time::sleep(PAUSE).await; // tidy: sleep: the load has a rate
    }
}

/// A sidecar's command line, which is the same at each start.
struct Member {
    api: String,
    args: Vec<String>,
}

impl Member {
    /// One of a service on a port of its own, which it has again after a restart.
    async fn new(home: &Home, server: &Running, service: &str, version: &str) -> Self {
        let token = server.command(&["mesh", "join", service]).await;
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let data_dir = home.path().join(format!("{service}-{version}")).display().to_string();
        let named = [("--service", service), ("--version", version), ("--join", token.trim())];
        let at = [("--listen", listen.as_str()), ("--data-dir", &data_dir), ("--check", "/readyz")];
        let args = named.into_iter().chain(at).flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
        Self { api: server.api().to_string(), args: args.collect() }
    }

    fn start(&self, home: &Home) -> Running {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        home.start_sidecar(&self.api, &args, &stand_in::kind())
    }
}

async fn version_seen(gateway: &Running) -> String {
    let answer = gateway.ask(Method::GET, "localhost", "/ask/b", &[], b"").await;
    String::from_utf8(answer.body.to_vec()).unwrap()
}

async fn sees(gateway: &Running, version: &str) -> bool {
    eventually(PATIENCE, async || version_seen(gateway).await == version).await
}

#[tokio::test]
async fn gateway_and_sidecars_serve_while_the_server_is_dead_and_follow_it_when_it_is_back() {
    let home = Home::new(CHAIN);
    let mut server = home.server("127.0.0.1:0").await;
    let api = server.api().to_string();
    let a = Member::new(&home, &server, "a", "v1").await;
    let b1 = Member::new(&home, &server, "b", "v1").await;
    let b2 = Member::new(&home, &server, "b", "v2").await;
    let (mut at_a, mut at_b1, mut at_b2) = (a.start(&home), b1.start(&home), b2.start(&home));
    let token = server.command(&["mesh", "join", "gateway"]).await;
    let mut gateway = home.start_gateway(&api, &["--join", token.trim()]);
    gateway.ready().await;
    for version in ["v1", "v2"] {
        assert!(sees(&gateway, version).await, "{}\n{}", gateway.output(), at_a.output());
    }
    // What is known of instances is on disk within a second or two.
    for kept in ["gateway/discovery/a.json", "a-v1/discovery/b.json"] {
        assert!(eventually(PATIENCE, async || home.path().join(kept).exists()).await, "{kept}");
    }
    let load = Arc::new(Load::default());
    let begin = |_| Guarded::new(task::spawn(chain(gateway.gateway(), load.clone())));
    let loading: Vec<_> = (0..2).map(begin).collect();
    assert!(load.goes_on(20).await);

    server.signal(Signal::KILL);
    server.ended().await;
    at_b1.signal(Signal::KILL);
    at_b1.ended().await;
    assert!(load.goes_on(20).await);
    let mut at_b1 = b1.start(&home);
    assert!(sees(&gateway, "v1").await, "it does not start by what it knows: {}", at_b1.output());
    let told = "sidecar starts by the snapshot that it acted by last";
    assert!(eventually(PATIENCE, async || at_b1.output().contains(told)).await, "{}", at_b1.output());
    time::sleep(lasts(5, 600)).await; // tidy: sleep: the time without a server is what is tested
    assert!(sees(&gateway, "v1").await && sees(&gateway, "v2").await, "{}", at_b1.output());
    assert_eq!(load.failed(), "", "{}\n{}", gateway.output(), at_a.output());

    let mut server = home.server(&api).await;
    changes_flow(&home, &server, &gateway).await;
    assert!(load.goes_on(20).await);
    assert_eq!(load.failed(), "", "{}\n{}", gateway.output(), at_a.output());
    drop(loading);
    for sidecar in [&mut at_a, &mut at_b1, &mut at_b2] {
        sidecar.signal(Signal::TERM);
        sidecar.ended().await;
    }
    gateway.stop().await;
    server.stop().await;
}

/// A route reaches the gateway, a split the sidecar of the caller, a fault those of the callee.
async fn changes_flow(home: &Home, server: &Running, gateway: &Running) {
    let other = async || gateway.ask(Method::GET, "other.localhost", "/ask/b", &[], b"").await;
    let file = home.path().join("routes.toml");
    std::fs::write(&file, other_way()).unwrap();
    server.command(&["routes", "set", file.to_str().unwrap()]).await;
    // The route of every host leads there as well: the span tells by which it came.
    let is_live = eventually(PATIENCE, async || {
        let answer = other().await;
        let spans = server.spans(answer.header("x-trace-id"), |span| span["service"] == "gateway").await;
        spans.iter().any(|span| span["attributes"]["bowline.route"] == "other")
    });
    assert!(is_live.await, "{}", gateway.output());

    server.command(&["mesh", "split", "b", "v2=100", "--force"]).await;
    let is_moved = eventually(PATIENCE, async || {
        let mut seen = Vec::new();
        while seen.len() < 10 {
            seen.push(version_seen(gateway).await);
        }
        seen.iter().all(|version| version == "v2")
    });
    assert!(is_moved.await, "{}", gateway.output());

    let add = ["fault", "add", "b", "--delay", "50ms", "--for", "1m", "--output", "json"];
    let fault: Value = serde_json::from_str(&server.command(&add).await).unwrap();
    let attr = format!("bowline.fault={}", fault["id"].as_str().unwrap());
    let is_felt =
        eventually(PATIENCE, async || !server.command(&["traces", "--attr", &attr]).await.starts_with("no trace"));
    assert!(is_felt.await, "{}", gateway.output());
}
