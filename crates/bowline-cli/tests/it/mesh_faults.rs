//! Faults that come, are seen in traces and end by themselves; traffic that is split between versions and copied.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Home, PATIENCE, Running, eventually},
    stand_in,
};

/// A user, and the token that shows it.
type User<'a> = (&'a str, &'a str);

async fn order(running: &Running, (user, signed): User<'_>) -> Answer {
    let item = json!({"sku": "book", "quantity": 1, "unit_price": 1999});
    let body = json!({"user_id": user, "items": [item]}).to_string();
    let headers = [("content-type", "application/json"), ("authorization", signed)];
    running.ask(Method::POST, "shop.localhost", "/orders", &headers, body.as_bytes()).await
}

async fn add(running: &Running, args: &[&str]) -> String {
    let told = running.command(&[&["fault", "add"][..], args, &["--output", "json"]].concat()).await;
    serde_json::from_str::<Value>(&told).unwrap()["id"].as_str().unwrap().to_owned()
}

/// The faults of the document that is published.
async fn published(running: &Running) -> Vec<Value> {
    let traffic = running.command(&["config", "get", "bowline/traffic"]).await;
    let traffic: Value = serde_json::from_str(&traffic).unwrap();
    traffic["faults"].as_array().cloned().unwrap_or_default()
}

/// Whether it is the span of a request that the sidecar of that service did that to.
fn is_befallen(span: &Value, service: &str, fault: &str) -> bool {
    let told = |event: &Value| event["name"] == "fault" && event["attributes"]["bowline.fault"] == fault;
    span["service"] == service
        && span["attributes"]["bowline.fault"] == fault
        && span["events"].as_array().is_some_and(|events| events.iter().any(told))
}

/// Orders until a trace is found by the fault; its id.
async fn befallen(running: &Running, user: User<'_>, fault: &str, status: &[u16]) -> String {
    let attr = format!("bowline.fault={fault}");
    let mut found = String::new();
    let is_seen = eventually(PATIENCE, async || {
        let answer = order(running, user).await;
        assert!(status.contains(&answer.status.as_u16()), "{answer:?}\n{}", running.output());
        let list = running.command(&["traces", "--attr", &attr, "--output", "json"]).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        list["traces"][0]["trace_id"].as_str().unwrap_or_default().clone_into(&mut found);
        !found.is_empty()
    });
    assert!(is_seen.await, "{}", running.output());
    found
}

#[tokio::test]
async fn a_fault_is_seen_in_orders_and_ends_by_itself() {
    let home = Home::shop();
    let mut running = home.up().await;
    let (ada, bob) = (running.sign_in("ada@example.com").await, running.sign_in("bob@example.com").await);
    delay(&running, ("u-1", &ada)).await;
    // The order service keeps what it knows of Ada: only of others it asks.
    abort(&running, ("u-2", &bob)).await;
    running.stop().await;
}

async fn delay(running: &Running, ada: User<'_>) {
    let slow = add(running, &["payment", "--delay", "300ms", "--percent", "100", "--for", "4s"]).await;
    let list = running.command(&["fault", "list"]).await;
    assert!(list.contains(&slow) && list.contains("300ms") && list.contains("100%"), "{list}");
    let trace = befallen(running, ada, &slow, &[201]).await;
    let spans = running.spans(&trace, |span| span["service"] == "gateway").await;
    let held_up = spans.iter().find(|span| is_befallen(span, "payment", &slow));
    let held_up = held_up.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(held_up["attributes"]["bowline.fault.delay_ms"], 300);
    assert_eq!(held_up["attributes"]["bowline.caller"], "service/order");
    for span in spans.iter().filter(|span| span["service"] == "gateway").chain([held_up]) {
        assert!(span["duration_nanos"].as_u64().unwrap() >= 300_000_000, "{span:#}");
    }
    let waterfall = running.command(&["trace", &trace]).await;
    assert!(waterfall.contains(&format!("fault {slow} +300ms")), "{waterfall}");

    // Nobody does anything, and it is over: also in what is published.
    assert!(eventually(PATIENCE, async || published(running).await.is_empty()).await);
    assert_eq!(running.command(&["fault", "list"]).await, "there are no faults\n");
    let after = order(running, ada).await;
    assert_eq!(after.status, 201, "{after:?}");
    let is_asked = |span: &Value| span["service"] == "payment" && span["kind"] == "server";
    let spans = running.spans(after.header("x-trace-id"), is_asked).await;
    assert!(!spans.iter().any(|span| span["attributes"].get("bowline.fault").is_some()), "{spans:#?}");
}

/// Of one caller only: others of the same service never notice.
async fn abort(running: &Running, bob: User<'_>) {
    let failing = ["user", "--abort", "503", "--from", "service/order", "--for", "1m"];
    let broken = add(running, &failing).await;
    // Before the first order of Bob: what the order service has read of him it keeps.
    let call = ["call", "--as", "order", "user", "GET", "/users/u-2"];
    let is_in_force = async || running.outcome(&call).await.stdout.starts_with(b"503");
    assert!(eventually(PATIENCE, is_in_force).await, "{}", running.output());
    let trace = befallen(running, bob, &broken, &[201, 502, 503]).await;
    let spans = running.spans(&trace, |span| is_befallen(span, "user", &broken)).await;
    let refused = spans.iter().find(|span| is_befallen(span, "user", &broken)).unwrap();
    assert_eq!(refused["attributes"]["bowline.fault.abort"], 503);
    let waterfall = running.command(&["trace", &trace]).await;
    assert!(waterfall.contains(&format!("fault {broken} 503")), "{waterfall}");
    // The gateway comes in, and is refused for what it says.
    assert_eq!(running.try_sign_in("ada@example.com", "wrong").await.status, 401);
    running.command(&["fault", "remove", &broken]).await;
    assert!(eventually(PATIENCE, async || order(running, bob).await.status == 201).await);
}

/// Two versions of one service, each with a tally of what it was asked.
fn versions(dir: &Path) -> String {
    let tally = |version: &str| dir.join(version).display().to_string();
    let program = stand_in::kind().join(" ");
    format!(
        r#"name = "shop"
[mesh]
[service.echo]
run = "exec {program}"
version = "v1"
env = {{ STAND_IN_TALLY = "{}" }}
[service.echo.boundary]
api = ["GET /echo/**"]
[service.echo.versions.v2]
env = {{ STAND_IN_TALLY = "{}" }}
[[route]]
name = "echo"
matches = [{{ path = "/echo/**" }}]
backends = [{{ service = "echo" }}]
"#,
        tally("v1"),
        tally("v2"),
    )
}

/// Which versions answer so many requests.
async fn answers(running: &Running, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for at in 0..count {
        let answer = running.ask(Method::GET, "localhost", &format!("/echo/{at}"), &[], b"").await;
        assert_eq!(answer.status, 200, "{answer:?}\n{}", running.output());
        seen.push(String::from_utf8(answer.body.to_vec()).unwrap());
    }
    seen
}

/// Whether all answers are that version's, from some moment on.
async fn moves_to(running: &Running, version: &str) -> bool {
    eventually(PATIENCE, async || answers(running, 20).await.iter().all(|seen| seen == version)).await
}

#[tokio::test]
async fn traffic_moves_between_versions_and_is_copied() {
    let tallies = tempfile::tempdir().unwrap();
    let home = Home::new(&versions(tallies.path()));
    let mut running = home.up().await;
    let count =
        |version: &str| std::fs::read_to_string(tallies.path().join(version)).unwrap_or_default().lines().count();
    let both = eventually(PATIENCE, async || {
        let seen = answers(&running, 20).await;
        ["v1", "v2"].iter().all(|version| seen.iter().any(|it| it == version))
    });
    assert!(both.await, "{}", running.output());

    for version in ["v2", "v1"] {
        let weight = format!("{version}=100");
        assert!(running.command(&["mesh", "split", "echo", &weight]).await.contains(&format!("{version} 100")));
        assert!(moves_to(&running, version).await, "{}", running.output());
    }
    let misspelt = running.outcome(&["mesh", "split", "echo", "v9=1"]).await;
    let said = String::from_utf8_lossy(&misspelt.stderr).into_owned();
    assert!(!misspelt.status.success() && said.contains("its instances are of v1, v2"), "{said}");
    running.command(&["mesh", "split", "echo", "v1=50", "v2=50"]).await;
    let halves = eventually(PATIENCE, async || answers(&running, 40).await.iter().filter(|it| *it == "v2").count() > 5);
    assert!(halves.await, "{}", running.output());

    // Copies are made of what v1 answers, and nobody sees theirs.
    running.command(&["mesh", "split", "echo", "v1=100"]).await;
    assert!(moves_to(&running, "v1").await, "{}", running.output());
    let before = count("v2");
    running.command(&["mesh", "mirror", "echo", "--to", "v2"]).await;
    let is_copied = eventually(PATIENCE, async || {
        assert!(answers(&running, 1).await == ["v1"]);
        count("v2") > before
    });
    assert!(is_copied.await, "{}", running.output());
    let before = (count("v1"), count("v2"));
    assert!(answers(&running, 20).await.iter().all(|seen| seen == "v1"));
    let all_copied = eventually(PATIENCE, async || count("v2") >= before.1 + 20);
    assert!(all_copied.await && count("v1") == before.0 + 20, "{before:?} {} {}", count("v1"), count("v2"));

    running.command(&["mesh", "mirror", "echo", "--off"]).await;
    running.command(&["mesh", "split", "echo", "--off"]).await;
    let both = eventually(PATIENCE, async || answers(&running, 20).await.iter().any(|it| it == "v2"));
    assert!(both.await, "{}", running.output());
    running.stop().await;
}
