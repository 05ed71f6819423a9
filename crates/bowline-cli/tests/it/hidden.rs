//! Calls that nothing declares: what `[boundary] enforce` makes of them, and what their traces tell.

use http::Method;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{Home, PATIENCE, Running, eventually},
    stand_in,
};

/// Nobody declares a call: `user` is led to by the gateway, `payment` by nobody.
fn file(more: &str) -> String {
    let program = stand_in::kind().join(" ");
    format!(
        r#"name = "shop"
[service.user]
run = "exec {program}"
check = {{ http = "/readyz", every = "100ms", timeout = "10s" }}
[service.payment]
run = "exec {program}"
check = {{ http = "/readyz", every = "100ms", timeout = "10s" }}
[service.payment.boundary]
api = ["GET /charges/{{id}}"]
[[route]]
name = "users"
matches = [{{ path = "/**" }}]
backends = [{{ service = "user" }}]
{more}"#
    )
}

/// `user` asks `payment`, by the certificate it has: the status, and the trace's id.
async fn call(running: &Running) -> (String, String) {
    let output = running.outcome(&["call", "--as", "user", "payment", "GET", "/charges/1"]).await;
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let id = told.lines().find_map(|line| line.strip_prefix("x-trace-id: ")).unwrap_or_default();
    (told.lines().next().unwrap_or_default().to_owned(), id.to_owned())
}

/// What that service's span of a request says, once it has come.
async fn served(running: &Running, id: &str, service: &str) -> (Value, Vec<Value>) {
    let is_it = |span: &Value| span["service"] == service && span["kind"] == "server";
    let spans = running.spans(id, is_it).await;
    (spans.iter().find(|span| is_it(span)).unwrap().clone(), spans)
}

/// Checks attributes of a span: `null` is absent.
#[track_caller]
fn check(span: &Value, attributes: &[(&str, Value)]) {
    for (name, value) in attributes {
        assert_eq!(&span["attributes"][*name], value, "{name} of {span:#}");
    }
}

/// The hidden calls that `bowline check --observed` finds: what it says of each, and the trace that shows it.
async fn found(home: &Home, running: &Running) -> Vec<(String, String)> {
    let dir = home.path().to_str().unwrap();
    let output = running.outcome(&["check", dir, "--observed", "--output", "json"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |violation: &Value, key: &str| violation[key].as_str().unwrap_or_default().to_owned();
    let violations = told["violations"].as_array().unwrap().iter();
    let hidden = violations.filter(|violation| violation["rule"] == "B0101");
    hidden.map(|violation| (text(violation, "message"), text(violation, "trace_id"))).collect()
}

/// Checks that a call of user to payment was found, how it ended, and by which trace.
#[track_caller]
fn check_found(found: &[(String, String)], end: &str, trace: &str) {
    let is_it = |(message, id): &(String, String)| {
        message.contains("user") && message.contains("payment") && message.contains(end) && id == trace
    };
    assert!(found.iter().any(is_it), "no {end} {trace} in {found:#?}");
}

#[tokio::test]
async fn a_hidden_call_is_denied_noted_or_let_pass_as_the_file_says() {
    let home = Home::new("");
    let caller = ("bowline.caller", "service/user".into());
    let missing = ("bowline.rule", "service.user.calls.payment".into());
    let none = |name| (name, Value::Null);
    let denied = [caller.clone(), missing.clone(), ("bowline.reason", "mesh_not_declared".into())];
    let noted = [caller.clone(), missing, ("bowline.dry_run", "denied".into()), none("bowline.reason")];
    let passed = [caller, ("bowline.rule", "none".into()), none("bowline.reason"), none("bowline.dry_run")];
    for (enforce, authorization, status, told) in [
        ("deny", "enforce", "403 Forbidden", &denied[..]),
        ("warn", "dry-run", "200 OK", &noted),
        ("off", "off", "200 OK", &passed),
    ] {
        home.edit(|_| file(&format!("[mesh]\n[boundary]\nenforce = \"{enforce}\"\n")));
        let mut running = home.up().await;
        let (answered, id) = call(&running).await;
        assert_eq!(answered, status, "{enforce}");
        let (span, _) = served(&running, &id, "payment").await;
        check(&span, told);
        check(&span, &[("http.request.method", "GET".into()), ("url.path", "/charges/1".into())]);
        if enforce == "deny" {
            check_found(&found(&home, &running).await, "refused", &id);
        } else {
            assert!(found(&home, &running).await.iter().any(|(message, _)| !message.contains("refused")));
        }
        let shown = running.command(&["mesh", "status"]).await;
        let own = shown.lines().find(|line| line.starts_with("service/payment ")).unwrap();
        assert!(own.contains(" strict ") && own.contains(&format!(" {authorization} ")), "{shown}");
        let explained = running.command(&["explain", "GET", "http://localhost/users/1"]).await;
        assert!(explained.contains(&format!("strict, authorization {authorization}\n")), "{explained}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_hidden_call_past_the_mesh_is_in_the_trace_of_who_made_it() {
    let home = Home::new(&file("[mesh]\nmode = \"permissive\"\n"));
    let mut running = home.up().await;
    let instances = running.instances("payment").await;
    let (_, payment) = instances[0].split_once('@').unwrap();
    // It goes out of the application itself, in the clear, with the context it was given.
    let answer = running.ask(Method::GET, "localhost", &format!("/past/{payment}/charges/1"), &[], b"").await;
    assert_eq!(answer.status, 200, "{:?}\n{}", answer.body, running.output());
    let (span, spans) = served(&running, answer.header("x-trace-id"), "payment").await;
    let (unknown, none) = (("bowline.caller", "unknown".into()), ("bowline.rule", "none".into()));
    check(&span, &[unknown, none, ("bowline.reason", Value::Null), ("url.path", "/charges/1".into())]);
    let parent = spans.iter().find(|other| other["span_id"] == span["parent_span_id"]);
    assert_eq!(parent.map(|parent| &parent["service"]), Some(&"user".into()), "{spans:#?}");
    check_found(&found(&home, &running).await, "", answer.header("x-trace-id"));
    running.stop().await;
}

#[tokio::test]
async fn a_sidecar_that_runs_acts_by_what_the_file_says_next() {
    let home = Home::new("name = \"shop\"\n[mesh]\n[service.payment]\n[service.user]\n");
    let mut server = home.server("127.0.0.1:0").await;
    let api = server.api().to_string();
    let token = server.command(&["mesh", "join", "payment"]).await;
    let args = ["--service", "payment", "--join", token.trim(), "--bind", "port", "--check", "/readyz"];
    let mut sidecar = home.start_sidecar(&api, &args, &stand_in::kind());
    let is_answered =
        async |server: &Running, status: &str| eventually(PATIENCE, async || call(server).await.0 == status).await;
    assert!(is_answered(&server, "403 Forbidden").await, "{}", sidecar.output());
    for (enforce, status) in [("off", "200 OK"), ("deny", "403 Forbidden"), ("warn", "200 OK")] {
        server.stop().await;
        home.edit(|text| format!("{}[boundary]\nenforce = \"{enforce}\"\n", text.split("[boundary]").next().unwrap()));
        server = home.server(&api).await;
        assert!(is_answered(&server, status).await, "{enforce}: {}", sidecar.output());
    }
    sidecar.signal(Signal::TERM);
    sidecar.ended().await;
    server.stop().await;
}
