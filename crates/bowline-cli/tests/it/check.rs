//! `bowline check`: what holds, what does not, and what cannot be read, by exit code and by what is printed.

use std::{path::Path, process::Output};

use http::Method;
use serde_json::Value;

use crate::harness::{Home, ask, bowline};

/// Two services, of which one calls the other.
const HOLDS: &str = "name = \"shop\"\n\
    [service.order]\n\
    [service.order.boundary]\n\
    api = [\"GET /orders/{id}\"]\n\
    data = [\"sqlite:order.db\"]\n\
    [service.order.calls.user]\n\
    [service.user]\n\
    [service.user.boundary]\n\
    api = [\"GET /users/{id}\"]\n";

fn check(dir: &Path, args: &[&str]) -> Output {
    std::process::Command::new(bowline()).arg("check").args(args).current_dir(dir).output().unwrap()
}

#[track_caller]
fn stdout(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{told}{error}");
    told
}

#[test]
fn a_system_that_holds_is_told_in_every_form_and_nothing_is_made() {
    let home = Home::new(HOLDS);
    let told = stdout(&check(home.path(), &[]), 0);
    assert!(told.ends_with("2 services, 1 call: every axiom holds\n"), "{told}");
    assert_eq!(stdout(&check(home.path(), &["bowline.toml"]), 0), told);
    let told: Value = serde_json::from_str(&stdout(&check(home.path(), &["-o", "json"]), 0)).unwrap();
    assert_eq!(told["violations"], serde_json::json!([]));
    assert_eq!(told["file"], "bowline.toml");
    let told: Value = serde_json::from_str(&stdout(&check(home.path(), &["-o", "sarif"]), 0)).unwrap();
    assert_eq!(told["runs"][0]["results"], serde_json::json!([]));
    let told = stdout(&check(home.path(), &["-o", "mermaid"]), 0);
    assert!(told.starts_with("flowchart LR\n") && told.contains("s0 -->|\"sync · 15s · 3 attempts\"| s1"), "{told}");
    assert_eq!(home.path().read_dir().unwrap().count(), 1, "no data folder is made");
}

#[test]
fn the_shop_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for args in [&["examples/shop"][..], &["examples/shop", "--profile", "postgres"]] {
        let told = stdout(&check(&root, args), 0);
        assert!(told.ends_with("5 services, 6 calls: every axiom holds\n"), "{told}");
    }
}

#[test]
fn the_bank_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for args in [&["examples/bank"][..], &["examples/bank", "--profile", "postgres"]] {
        let told = stdout(&check(&root, args), 0);
        assert!(told.ends_with("4 services, 4 calls: every axiom holds\n"), "{told}");
    }
}

#[test]
fn what_cannot_be_read_is_no_violation() {
    let home = Home::new("name = \"shop\"\n[service.order]\nreplicaz = 2\n");
    let output = check(home.path(), &[]);
    stdout(&output, 2);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("bowline.toml:3:1: error: "), "{error}");
    assert!(error.ends_with("1 problem in ./bowline.toml\n"), "{error}");
}

#[test]
fn what_is_not_there_has_no_line() {
    let home = Home::new(HOLDS);
    std::fs::create_dir(home.path().join("empty")).unwrap();
    for (named, told) in [
        ("elsewhere", "error: there is no file or folder elsewhere\n"),
        ("empty", "error: there is no file empty/bowline.toml\n"),
    ] {
        let output = check(home.path(), &[named]);
        stdout(&output, 2);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with(told) && !error.contains(":1:1"), "{error}");
    }
}

#[tokio::test]
async fn another_system_is_not_held_against_what_was_seen() {
    let home = Home::new(HOLDS);
    let mut server = home.server("127.0.0.1:0").await;
    let api = server.api().to_string();
    let other = Home::new(&HOLDS.replace("\"shop\"", "\"bank\""));
    let output = check(other.path(), &["--observed", "--api", &api]);
    stdout(&output, 2);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("runs the system `shop`, and the file declares `bank`: "), "{error}");
    // Of its own nothing was seen yet, which proves nothing.
    let told = stdout(&check(home.path(), &["--observed", "--api", &api]), 0);
    assert!(told.contains("note: no span is kept of that time") && told.contains("\nobserved: 0 spans"), "{told}");
    assert!(told.ends_with("every axiom holds of what is declared, and nothing was observed\n"), "{told}");
    server.stop().await;
}

#[tokio::test]
async fn what_was_not_seen_in_a_part_is_a_note_in_every_form() {
    let home = Home::new(&format!("{HOLDS}[tracing]\nsample = \"10%\"\n"));
    let mut server = home.server("127.0.0.1:0").await;
    let span = r#"{"spans": [{"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
        "service": "order", "instance": "order-1", "name": "work", "kind": "internal", "start_unix_nanos": NOW,
        "duration_nanos": 1, "status": {"code": "unset"}, "attributes": {}, "events": []}]}"#;
    let span = span.replace("NOW", &bowline_runtime::time::unix_nanos(bowline_runtime::time::wall()).to_string());
    let json = [("content-type", "application/json")];
    let sent = ask(server.api(), Method::POST, "localhost", "/v1/spans", &json, span.as_bytes()).await;
    assert_eq!(sent.status, 204, "{:?}", sent.body);
    let dir = home.path().to_str().unwrap();
    let told = async |form: &str| {
        let told = server.command(&["check", dir, "--observed", "--output", form]).await;
        assert!(!told.contains("B0102"), "{told}");
        told
    };
    let text = told("text").await;
    let why = "\nobserved: 1 span in 1 trace since 2";
    assert!(text.contains(why) && text.contains("; no more than 10% of some traces is kept\n"), "{text}");
    assert!(
        text.contains("note: not seen, and maybe made all the same, ") && text.contains("`order` → `user`"),
        "{text}"
    );
    assert!(text.ends_with("every axiom holds of what is declared and of the part that was observed\n"), "{text}");
    let document: Value = serde_json::from_str(&told("json").await).unwrap();
    assert_eq!((&document["observed"]["is_complete"], &document["observed"]["sample"]), (&false.into(), &"10%".into()));
    assert_eq!(document["notes"].as_array().unwrap().len(), 1);
    let log: Value = serde_json::from_str(&told("sarif").await).unwrap();
    let notes = log["runs"][0]["invocations"][0]["toolExecutionNotifications"].as_array().unwrap();
    let says = |text: &str| notes.iter().any(|note| note["message"]["text"].as_str().unwrap().starts_with(text));
    assert!(says("not seen") && says("observed: 1 span in 1 trace"), "{notes:#?}");
    server.stop().await;
}

#[test]
fn what_nobody_can_tell_of_is_no_violation_either() {
    let home = Home::new(HOLDS);
    let nobody = bowline_testkit::free_addr().to_string();
    let output = check(home.path(), &["--observed", "--api", &nobody]);
    stdout(&output, 2);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "));
}

#[test]
fn a_time_is_of_what_was_seen() {
    let home = Home::new(HOLDS);
    let output = check(home.path(), &["--since", "5m"]);
    stdout(&output, 2);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--observed"), "{error}");
}

#[test]
fn an_unknown_rule_is_told() {
    let home = Home::new(HOLDS);
    let output = check(home.path(), &["--explain", "B9999"]);
    stdout(&output, 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no such rule"));
}

/// The line of the system's file that says so, counted from 1; the last where there are several.
#[track_caller]
fn line_of(home: &Home, says: &str) -> usize {
    let text = std::fs::read_to_string(home.path().join("bowline.toml")).unwrap();
    text.lines().collect::<Vec<_>>().iter().rposition(|line| line.contains(says)).unwrap() + 1
}

#[test]
fn data_with_two_owners_is_shown_with_both_lines() {
    let home = Home::shop_as_declared();
    home.edit(|text| text.replacen("[\"sqlite:user.db\"]", "[\"sqlite:user.db\", \"sqlite:order.db\"]", 1));
    let told = stdout(&check(home.path(), &[]), 1);
    assert!(told.contains("error[B0002]: data with two owners: "), "{told}");
    for says in ["data = [\"sqlite:user.db\", \"sqlite:order.db\"]", "data = [\"sqlite:order.db\"]"] {
        let line = line_of(&home, says);
        assert!(told.contains(&format!("{line} | {says}\n")), "{line} in\n{told}");
    }
    assert!(told.ends_with("1 violation of 1 rule in bowline.toml; `bowline check --explain B0002` says more\n"));
    let told: Value = serde_json::from_str(&stdout(&check(home.path(), &["-o", "json"]), 1)).unwrap();
    assert_eq!(told["summary"]["rules"], serde_json::json!(["B0002"]));
    let told: Value = serde_json::from_str(&stdout(&check(home.path(), &["-o", "sarif"]), 1)).unwrap();
    assert_eq!(told["runs"][0]["results"][0]["ruleId"], "B0002");
    let told = stdout(&check(home.path(), &["-o", "mermaid"]), 1);
    assert!(told.contains("[\"order<br/>B0002\"]") && told.contains("[\"user<br/>B0002\"]"), "{told}");
}

#[test]
fn a_synchronous_cycle_is_named() {
    let home = Home::shop_as_declared();
    home.edit(|text| format!("{text}\n[service.payment.calls.order]\n"));
    let told = stdout(&check(home.path(), &[]), 1);
    assert!(told.contains("error[B0008]: "), "{told}");
    for says in ["`order` waits for `payment`", "[service.order.calls.payment]", "[service.payment.calls.order]"] {
        assert!(told.contains(says), "{says} in\n{told}");
    }
}

#[test]
fn a_rule_is_explained() {
    let told = stdout(&check(Path::new("."), &["--explain", "b0002"]), 0);
    assert!(told.starts_with("# B0002: data with two owners\n"), "{told}");
}

#[test]
fn nothing_starts_that_breaks_an_axiom() {
    let home = Home::new(&format!("{HOLDS}data = [\"sqlite:order.db\"]\n"));
    for role in ["up", "server"] {
        let output = std::process::Command::new(bowline()).arg(role).arg(home.path()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.starts_with("error[B0002]: "), "{told}");
        assert!(told.contains("\nnothing was started, "), "{told}");
        assert_eq!(home.path().read_dir().unwrap().count(), 1, "no data folder is made");
    }
}

#[tokio::test]
async fn what_is_only_to_be_told_starts() {
    let home = Home::new(&format!("{HOLDS}data = [\"sqlite:order.db\"]\n[boundary]\nenforce = \"warn\"\n"));
    let mut running = home.up().await;
    assert!(running.output().contains("error[B0002]: "), "{}", running.output());
    assert!(!running.output().contains("nothing was started"), "{}", running.output());
    running.stop().await;
}
