//! What reaches a terminal or a file: no escape codes of strangers, none of ours in a pipe.

use http::Method;

use crate::harness::{Home, PATIENCE, Running, ask, eventually};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn put(running: &Running, path: &str, body: &str) {
    let answer = ask(running.api(), Method::PUT, "localhost", path, &JSON, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

#[tokio::test]
async fn registrations_and_spans_write_no_control_characters() {
    let home = Home::new("name = \"empty\"\n");
    let mut running = home.up().await;
    let evil = r"\u001b]0;x\u0007\u001b[2J\u009b2J\nsecond";
    let body = format!(r#"{{"service":"ledger","address":"127.0.0.1:9999","ttl":"1h","version":"v{evil}"}}"#);
    put(&running, "/v1/instances/ledger-1", &body).await;
    let id = "0123456789abcdef0123456789abcdef";
    let span = format!(
        r#"{{"spans":[{{"trace_id":"{id}","span_id":"0123456789abcdef","parent_span_id":null,"service":"a",
        "instance":"a-1","name":"n{evil}","kind":"server","start_unix_nanos":1,"duration_nanos":5,
        "status":{{"code":"error","message":"m{evil}"}},"attributes":{{"http.route":"r{evil}"}},"events":[]}}]}}"#
    );
    let answer = ask(running.api(), Method::POST, "localhost", "/v1/spans", &JSON, span.as_bytes()).await;
    assert!(answer.status.is_success(), "{:?}", answer.body);
    let is_stored = eventually(PATIENCE, async || running.outcome(&["trace", id]).await.status.success());
    assert!(is_stored.await);
    for (args, wanted) in [
        (&["services"][..], "v2J second"),
        (&["services", "-o", "json"], "second"),
        (&["traces"], "n2J second"),
        (&["trace", id], "✗ m2J second"),
        (&["trace", id, "-o", "json"], "second"),
    ] {
        let shown = running.command(args).await;
        assert!(shown.contains(wanted), "{args:?}: {shown:?}");
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{args:?}: {shown:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn logs_in_a_pipe_have_no_colours() {
    let home = Home::new("name = \"empty\"\n");
    let mut running = home.start_with(&[], &[("BOWLINE_LOG", "info")]);
    running.ready().await;
    running.stop().await;
    let is_logged = eventually(PATIENCE, async || running.output().contains("gateway listens"));
    assert!(is_logged.await, "{}", running.output());
    assert!(!running.output().contains('\x1b'), "{:?}", running.output());
}

#[tokio::test]
async fn an_unusable_log_filter_is_told() {
    let home = Home::new("name = \"empty\"\n");
    let mut running = home.start_with(&[], &[("BOWLINE_LOG", "bowline=loud")]);
    running.ready().await;
    let is_told = eventually(PATIENCE, async || running.output().contains("BOWLINE_LOG cannot be used"));
    assert!(is_told.await, "{}", running.output());
    running.stop().await;
}

#[tokio::test]
async fn services_shows_processes_and_says_when_there_is_no_such_service() {
    let home = Home::new("name = \"empty\"\n");
    let mut running = home.up().await;
    let nobody = running.outcome(&["services", "paymnt"]).await;
    assert_eq!(nobody.status.code(), Some(1));
    let body = r#"{"service":"payment","address":"127.0.0.1:9999","ttl":"1h","metadata":{"pid":"4711"}}"#;
    put(&running, "/v1/instances/payment-1", body).await;
    let shown = running.command(&["services", "payment"]).await;
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["SERVICE", "INSTANCE", "ADDRESS", "HEALTH", "PID", "VERSION"]);
    assert_eq!(rows[1][4], "4711", "{shown}");
    for format in ["text", "json"] {
        let unknown = running.outcome(&["services", "paymnt", "--output", format]).await;
        assert_eq!(unknown.status.code(), Some(1), "{format}");
        let report = String::from_utf8(unknown.stderr).unwrap();
        assert!(report.contains("paymnt") && report.contains("payment"), "{report}");
    }
    running.stop().await;
}
