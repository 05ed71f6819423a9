//! `bowline config` without a service: what is printed, what is told, what goes back.

use std::process::Stdio;

use http::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Home, PATIENCE, Running, ask, eventually};

const EMPTY: &str = "name = \"empty\"\n";
const KEY: &str = "shop/order";

fn file(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A command that must fail: its standard output and its standard error.
async fn refused(running: &Running, args: &[&str]) -> (String, String) {
    let outcome = running.outcome(args).await;
    let (out, err) = (String::from_utf8(outcome.stdout).unwrap(), String::from_utf8(outcome.stderr).unwrap());
    assert_eq!(outcome.status.code(), Some(1), "{args:?}: {out}{err}");
    (out, err)
}

async fn json(running: &Running, args: &[&str]) -> Value {
    serde_json::from_str(&running.command(&[args, &["--output", "json"]].concat()).await).unwrap()
}

/// Publishes what comes on standard input.
async fn set_piped(running: &Running, args: &[&str], text: &str) {
    let mut command = tokio::process::Command::new(crate::harness::bowline());
    command.args(["config", "set", KEY, "-", "--api", &running.api().to_string()]).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
    drop(stdin);
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_document_is_printed_as_it_was_published() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    for text in ["# a\r\na = 1\r\n\tb = 2", "a = \"é\"\n\n", ""] {
        running.command(&["config", "set", KEY, &file(&home, "a.toml", text)]).await;
        assert_eq!(running.command(&["config", "get", KEY]).await, text);
    }
    let schema = "{\r\n}";
    running.command(&["config", "schema", KEY, &file(&home, "s.json", schema)]).await;
    assert_eq!(running.command(&["config", "schema", KEY]).await, schema);
    running.stop().await;
}

#[tokio::test]
async fn a_dry_run_says_what_a_publication_would_and_publishes_nothing() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    running.command(&["config", "set", KEY, &file(&home, "a.toml", "a = 1")]).await;
    let schema = r#"{"properties": {"a": {"type": "integer"}}}"#;
    running.command(&["config", "schema", KEY, &file(&home, "s.json", schema)]).await;
    let good = file(&home, "b.toml", "a = 2");
    let told = running.command(&["config", "set", KEY, &good, "--dry-run"]).await;
    assert!(told.contains("would be at version 2; nothing was published"), "{told}");
    let bad = file(&home, "c.toml", "a = \"x\"");
    let (_, dry) = refused(&running, &["config", "set", KEY, &bad, "--dry-run"]).await;
    let (_, wet) = refused(&running, &["config", "set", KEY, &bad]).await;
    assert_eq!(dry, wet);
    let (_, behind) = refused(&running, &["config", "set", KEY, &good, "--dry-run", "--expect", "7"]).await;
    assert!(behind.contains('7'), "{behind}");
    assert_eq!(running.command(&["config", "get", KEY]).await, "a = 1");
    running.stop().await;
}

#[tokio::test]
async fn a_format_is_told_by_flag_name_or_version() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    let format = async || json(&running, &["config", "get", KEY]).await["document"]["format"].clone();
    set_piped(&running, &[], "hi").await;
    assert_eq!(format().await, "text");
    running.command(&["config", "set", KEY, &file(&home, "a.toml", "a = 1")]).await;
    set_piped(&running, &[], "a = 2").await;
    assert_eq!(format().await, "toml", "it stays what it is");
    set_piped(&running, &["--format", "json"], "{}").await;
    assert_eq!(format().await, "json");
    running.command(&["config", "set", KEY, &file(&home, "a.txt", "{")]).await;
    assert_eq!(format().await, "text");
    std::fs::write(home.path().join("b.txt"), b"\xff").unwrap();
    let (_, told) = refused(&running, &["config", "set", KEY, &home.path().join("b.txt").display().to_string()]).await;
    assert!(told.contains("b.txt") && told.contains("UTF-8"), "{told}");
    let (_, told) = refused(&running, &["config", "set", KEY, &file(&home, "c.txt", &"x".repeat(262_145))]).await;
    assert!(told.contains("c.txt") && told.contains("more than 262144 bytes"), "{told}");
    running.stop().await;
}

#[tokio::test]
async fn a_deletion_is_undone_and_who_ran_it_is_still_told() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    let (_, told) = refused(&running, &["config", "rollback", KEY]).await;
    assert!(told.contains("there is no document shop/order"), "{told}");
    running.command(&["config", "set", KEY, &file(&home, "a.toml", "a = 1")]).await;
    running.command(&["config", "set", KEY, &file(&home, "a.toml", "a = 2")]).await;
    let ack = br#"{"service":"order","version":2,"outcome":"applied","runs":2,"ttl":"1h"}"#;
    let header = [("content-type", "application/json")];
    let path = "/v1/config/shop/order/status/order-1";
    let answer = ask(running.api(), Method::PUT, "localhost", path, &header, ack).await;
    assert_eq!(answer.status, 204, "{:?}", answer.body);
    let status = running.command(&["config", "status", KEY]).await;
    assert!(status.contains("order-1") && status.contains("current"), "{status}");
    assert_eq!(json(&running, &["config", "delete", KEY]).await, serde_json::json!({"deleted": KEY}));
    let status = running.command(&["config", "status", KEY]).await;
    assert!(status.contains("shop/order is deleted") && status.contains("order-1"), "{status}");
    running.command(&["config", "rollback", KEY]).await;
    assert_eq!(running.command(&["config", "get", KEY]).await, "a = 2");
    assert_eq!(json(&running, &["config", "get", KEY]).await["restores"], 2);
    running.stop().await;
}

#[tokio::test]
async fn every_rule_that_is_broken_is_told_whatever_was_to_be_done() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    running.command(&["config", "set", KEY, &file(&home, "a.toml", "a = 5\nb = 5")]).await;
    running.command(&["config", "set", KEY, &file(&home, "a.toml", "a = 1\nb = 1")]).await;
    let narrow = |max: u32| format!(r#"{{"properties": {{"a": {{"maximum": {max}}}, "b": {{"maximum": {max}}}}}}}"#);
    let (_, told) = refused(&running, &["config", "schema", KEY, &file(&home, "s.json", &narrow(0))]).await;
    assert!(told.contains("\n  /a: ") && told.contains("\n  /b: "), "{told}");
    running.command(&["config", "schema", KEY, &file(&home, "s.json", &narrow(2))]).await;
    let (_, told) = refused(&running, &["config", "rollback", KEY]).await;
    assert!(told.contains("\n  /a: ") && told.contains("\n  /b: "), "{told}");
    running.stop().await;
}

#[tokio::test]
async fn a_conflict_is_told_to_programs_too() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    let document = file(&home, "a.toml", "a = 1");
    running.command(&["config", "set", KEY, &document]).await;
    let (out, told) = refused(&running, &["config", "set", KEY, &document, "--expect", "0", "--output", "json"]).await;
    let conflict: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&conflict["expected"], &conflict["base"]), (&0.into(), &Value::Null));
    assert_eq!(conflict["current"]["document"]["text"], "a = 1");
    assert!(told.contains("`shop/order` is at version 1"), "{told}");
    running.stop().await;
}

const ROUTED: &str = r#"name = "routed"
[service.a]
[[route]]
name = "first"
matches = [{ path = "/one" }]
backends = [{ service = "a" }]
"#;
const SECOND: &str = r#"[[route]]
name = "second"
matches = [{ path = "/two" }]
backends = [{ service = "a" }]
"#;
const GUARDED: &str = r#"[auth.guard]
jwt = { issuer = "https://i", audience = "a", algorithms = ["HS256"], secret = "env:BOWLINE_TEST_IS_NOT_SET" }
[[route]]
name = "third"
matches = [{ path = "/three" }]
backends = [{ service = "a" }]
auth = "guard"
"#;

#[tokio::test]
async fn routes_that_no_gateway_can_serve_do_not_keep_the_system_from_starting() {
    let home = Home::new(ROUTED);
    let mut running = home.up().await;
    running.command(&["routes", "set", &file(&home, "second.toml", SECOND)]).await;
    let is_live = async |running: &Running, path: &str| {
        running.ask(Method::GET, "s.localhost", path, &[], b"").await.status != 404
    };
    assert!(eventually(PATIENCE, async || is_live(&running, "/two").await).await);
    running.command(&["routes", "set", &file(&home, "third.toml", GUARDED)]).await;
    let told = async |running: &Running| running.command(&["routes", "status"]).await;
    let is_refused = eventually(PATIENCE, async || told(&running).await.contains("refused 3"));
    assert!(is_refused.await, "{}", told(&running).await);
    running.stop().await;

    let mut running = home.up().await;
    assert!(is_live(&running, "/two").await && !is_live(&running, "/one").await, "the last good routes are served");
    let is_refused = eventually(PATIENCE, async || told(&running).await.contains("refused 3"));
    assert!(is_refused.await, "{}", told(&running).await);
    // The answer and the log go different ways.
    let is_logged = eventually(PATIENCE, async || running.output().contains("published routes cannot be served"));
    assert!(is_logged.await, "{}", running.output());
    running.stop().await;
    // What was served and cannot be any more is not replaced by what may demand less.
    let mut running = home.start_with(&[], &[("BOWLINE_TEST_IS_NOT_SET", "0123456789abcdef0123456789abcdef")]);
    running.ready().await;
    assert!(is_live(&running, "/three").await);
    let is_current = eventually(PATIENCE, async || told(&running).await.contains("current"));
    assert!(is_current.await, "{}", told(&running).await);
    running.stop().await;
    let mut running = home.start(&[]);
    assert_eq!(running.ended().await.code(), Some(1));
    // What it said last may be read later than its end is seen.
    let says_why = async || running.output().contains("`BOWLINE_TEST_IS_NOT_SET` is not set");
    assert!(eventually(PATIENCE, says_why).await, "{}", running.output());
}
