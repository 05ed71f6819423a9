//! Services in plain Python and plain Node, of their standard libraries alone, join the shop.

use std::{path::PathBuf, process::Stdio};

use http::Method;
use serde_json::Value;

use crate::harness::{Home, PATIENCE, eventually};

/// The folder of their sources.
fn sources() -> PathBuf {
    std::path::absolute(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/foreign")).unwrap()
}

/// What they add to the shop: `gift` is run by `bowline up`, `receipt` by somebody else.
fn declared() -> String {
    format!(
        r#"
[service.gift]
run = "exec python3 {}/gift.py"
check = {{ http = "/readyz", every = "1s", timeout = "500ms" }}
[service.gift.boundary]
api = ["GET /gifts/{{user}}"]
[service.gift.calls.user]
operations = ["GET /users/{{id}}"]
[service.receipt.boundary]
api = ["GET /receipts/{{user}}"]
[service.receipt.calls.gift]
operations = ["GET /gifts/{{user}}"]
[[route]]
name = "receipts"
hosts = ["shop.localhost"]
matches = [{{ path = "/receipts/{{user}}", methods = ["GET"] }}]
backends = [{{ service = "receipt" }}]
"#,
        sources().display(),
    )
}

/// Whether both languages are there; where tests have to be whole, they are.
#[expect(clippy::print_stderr, reason = "who skips a test says so")]
fn can_run() -> bool {
    let runs = |program: &str| {
        let mut command = std::process::Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
    };
    let missing: Vec<_> = ["python3", "node"].into_iter().filter(|program| !runs(program)).collect();
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(missing.is_empty() || !is_ci, "this machine lacks {missing:?}");
    if !missing.is_empty() {
        eprintln!("SKIPPED: this machine lacks {missing:?}, so no foreign service joins the shop");
    }
    missing.is_empty()
}

fn served(spans: &[Value], service: &str) -> Value {
    let found = spans.iter().find(|span| span["service"] == service && span["kind"] == "server");
    found.cloned().unwrap_or(Value::Null)
}

#[tokio::test]
async fn python_and_node_join_the_shop() {
    if !can_run() {
        return;
    }
    let home = Home::shop();
    home.edit(|text| format!("{text}{}", declared()));
    let mut running = home.up().await;
    let api = running.api().to_string();
    let token = running.command(&["mesh", "join", "service/receipt"]).await;
    let program = sources().join("receipt.mjs").display().to_string();
    let args = ["--service", "receipt", "--join", token.trim(), "--zone", "z1", "--check", "/readyz"];
    let mut receipt = home.start_sidecar(&api, &args, &["node".to_owned(), program]);

    let get = async |user: &str| {
        let path = format!("/receipts/{user}");
        running.ask(Method::GET, "shop.localhost", &path, &[], b"").await
    };
    let is_there = eventually(PATIENCE, async || get("u-1").await.status == 200).await;
    assert!(is_there, "{:?}\n{}\n{}", get("u-1").await, receipt.output(), running.output());
    let answer = get("u-1").await;
    let gift = serde_json::json!({"for": "u-1", "gift": "a bookmark", "asked_by": "service/receipt"});
    assert_eq!(answer.json(), serde_json::json!({"receipt": true, "gift": gift}));
    assert_eq!(get("u-none").await.status, 404);

    // One trace, each under its own name, from hop to hop.
    let all = ["gateway", "receipt", "gift", "user"];
    let is_whole = |spans: &[Value]| all.iter().all(|service| !served(spans, service).is_null());
    let id = answer.header("x-trace-id");
    let mut spans = Vec::new();
    let whole = eventually(PATIENCE, async || {
        spans = running.spans(id, |_| true).await;
        is_whole(&spans)
    });
    assert!(whole.await, "{spans:#?}\n{}", running.output());
    for pair in all.windows(2) {
        let parent = &served(&spans, pair[1])["parent_span_id"];
        let parent = spans.iter().find(|span| span["span_id"] == *parent);
        assert_eq!(parent.map(|parent| parent["service"].clone()), Some(pair[0].into()), "{spans:#?}");
    }
    undeclared(&home, &running, &api).await;

    let registered = running.api_json("/v1/instances?service=receipt").await;
    assert_eq!(registered["instances"][0]["zone"], "z1");
    receipt.signal(rustix::process::Signal::TERM);
    receipt.ended().await;
    assert!(running.instances("receipt").await.is_empty());
    running.stop().await;
}

/// What nobody declared, nobody may: the callee says so, and already the own sidecar.
async fn undeclared(home: &Home, running: &crate::harness::Running, api: &str) {
    let denied = running.outcome(&["call", "--as", "gift", "order", "GET", "/orders/1"]).await;
    let told = String::from_utf8(denied.stdout).unwrap();
    assert!(told.starts_with("403") && told.contains("[service.gift.calls.order]"), "{told}");

    let token = running.command(&["mesh", "join", "gift"]).await;
    let data_dir = home.path().join("asks").display().to_string();
    let args = ["--service", "gift", "--join", token.trim(), "--data-dir", &data_dir];
    let words = ["curl", "-sS", "-i", "--max-time", "10", "http://order.mesh/orders/1"].map(ToOwned::to_owned);
    let mut asks = home.start_sidecar(api, &args, &words);
    asks.ended().await;
    let told = eventually(PATIENCE, async || asks.output().contains("x-bowline-reason: egress_not_declared"));
    assert!(told.await && asks.output().contains("403 Forbidden"), "{}", asks.output());
}
