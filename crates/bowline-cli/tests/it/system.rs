//! Systems of shell commands: listeners, failures to start, drain.

use std::{net::TcpListener, time::Duration};

use http::Method;

use crate::harness::{Home, PATIENCE, ask, eventually};

const EMPTY: &str = "name = \"empty\"\n";

#[tokio::test]
async fn an_empty_system_starts_answers_and_stops() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    assert_eq!(running.api_json("/v1/services").await["services"].as_array().unwrap().len(), 0);
    let answer = running.ask(Method::GET, "localhost", "/", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-bowline-reason")), (404, "no_route"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["trace_id"], answer.header("x-trace-id"));
    running.stop().await;
}

#[tokio::test]
async fn listeners_can_be_off() {
    let home = Home::new(EMPTY);
    let mut running = home.start(&["--quiet"]);
    running.ready().await;
    running.stop().await;
    // The later flag wins: the harness gave addresses already.
    let dir = home.path().display().to_string();
    let data = home.data_dir().display().to_string();
    let mut command = tokio::process::Command::new(crate::harness::bowline());
    command
        .args([
            "up",
            &dir,
            "--api",
            "off",
            "--gateway",
            "off",
            "--otlp-grpc",
            "off",
            "--otlp-http",
            "off",
            "--data-dir",
            &data,
        ])
        .stdout(std::process::Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let mut seen = Vec::new();
    while seen.iter().filter(|line: &&String| line.ends_with(" off")).count() < 2 {
        seen.push(lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended: {seen:?}")));
    }
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_told_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let all = ["--api", "--gateway", "--otlp-grpc", "--otlp-http"];
    for flag in all {
        let home = Home::new("name = \"s\"\n[service.a]\nrun = \"touch ${data}/started; sleep 100\"\n");
        let mut command = tokio::process::Command::new(crate::harness::bowline());
        command
            .arg("up")
            .arg(home.path())
            .args(all.map(|it| format!("{it}={}", if it == flag { &addr } else { "127.0.0.1:0" })))
            .arg("--data-dir")
            .arg(home.data_dir());
        let output = command.output().await.unwrap();
        let report = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{report}");
        assert!(report.contains(&addr) && report.contains(flag), "{report}");
        assert!(!home.data_dir().join("started").exists());
    }
}

#[tokio::test]
async fn a_service_listens_where_its_file_says_unless_that_is_taken() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let run = "echo at $BOWLINE_LISTEN_MQTT; sleep 100";
    let home = Home::new(&format!("name = \"s\"\n[service.a]\nrun = \"{run}\"\nlisten = [\"mqtt:{port}\"]\n"));
    let mut refused = home.start(&[]);
    assert_eq!(refused.ended().await.code(), Some(1));
    let message = format!("a cannot listen on 127.0.0.1:{port}, as its `listen` says");
    assert!(eventually(PATIENCE, async || refused.output().contains(&message)).await, "{}", refused.output());
    let api = format!("127.0.0.1:{port}");
    drop(free);
    let mut refused = home.start(&["--api", &api]);
    assert_eq!(refused.ended().await.code(), Some(1));
    assert!(eventually(PATIENCE, async || refused.output().contains(&message)).await, "{}", refused.output());
    // Whoever is not to run is in nobody's way.
    let nobody = Home::new(&format!(
        "name = \"s\"\n[service.a]\nrun = \"sleep 100\"\nreplicas = 0\nlisten = [\"mqtt:{port}\"]\n"
    ));
    let mut running = nobody.start(&["--api", &api]);
    running.ready().await;
    running.stop().await;
    let mut running = home.start(&[]);
    let told = format!("at 127.0.0.1:{port}");
    assert!(eventually(PATIENCE, async || running.output().contains(&told)).await, "{}", running.output());
    running.signal(rustix::process::Signal::TERM);
    running.ended().await;
}

#[tokio::test]
async fn a_failing_build_says_which_and_why() {
    let home = Home::new("name = \"s\"\n[service.a]\nbuild = \"echo no compiler here; exit 3\"\nrun = \"sleep 100\"\n");
    let mut running = home.start(&[]);
    assert_eq!(running.ended().await.code(), Some(1));
    let told = eventually(PATIENCE, async || {
        let output = running.output();
        output.contains("the build of a failed") && output.contains("status 3") && output.contains("no compiler here")
    });
    assert!(told.await, "{}", running.output());
}

#[tokio::test]
async fn a_second_up_on_the_same_data_is_refused() {
    let home = Home::new(EMPTY);
    let mut first = home.up().await;
    let mut second = home.start(&[]);
    assert_eq!(second.ended().await.code(), Some(1));
    let told = eventually(PATIENCE, async || second.output().contains("cannot open the store"));
    assert!(told.await, "{}", second.output());
    first.stop().await;
}

#[tokio::test]
async fn the_api_refuses_foreign_names_and_registers_over_http() {
    let home = Home::new(EMPTY);
    let mut running = home.up().await;
    let api = running.api();
    for headers in [&[("origin", "http://evil.example")][..], &[]] {
        let host = if headers.is_empty() { "evil.example" } else { "localhost" };
        let answer = ask(api, Method::GET, host, "/v1/services", headers, b"").await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (403, Some("permission_denied")));
    }
    let json = [("content-type", "application/json")];
    let body = br#"{"service":"ledger","address":"127.0.0.1:9999","ttl":"2s"}"#;
    let answer = ask(api, Method::PUT, "localhost", "/v1/instances/ledger-1", &json, body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(running.instances("ledger").await, ["ledger-1@127.0.0.1:9999"]);
    assert!(running.command(&["services"]).await.contains("ledger-1"));
    let answer = ask(api, Method::POST, "localhost", "/v1/instances/ledger-1/heartbeat", &[], b"").await;
    assert_eq!(answer.status, 200);
    // Nobody heartbeats any more: the lease ends.
    let is_gone = eventually(PATIENCE, async || running.instances("ledger").await.is_empty());
    assert!(is_gone.await);
    let answer = ask(api, Method::POST, "localhost", "/v1/instances/ledger-1/heartbeat", &[], b"").await;
    assert_eq!(answer.status, 404);
    for (path, body) in [
        ("/v1/instances/a-1", &br#"{"service":"A","address":"127.0.0.1:1"}"#[..]),
        ("/v1/instances/a-1", br#"{"service":"a"}"#),
    ] {
        let answer = ask(api, Method::PUT, "localhost", path, &json, body).await;
        assert_eq!(answer.status, 422, "{:?}", answer.body);
    }
    let document = running.api_json("/openapi.json").await;
    assert!(document["paths"]["/v1/instances/{id}"]["put"].is_object());
    running.stop().await;
}

#[tokio::test]
async fn a_service_that_is_never_healthy_is_named_and_a_stop_meanwhile_is_clean() {
    let home = Home::new("name = \"s\"\n[service.mute]\nrun = \"sleep 1000\"\n");
    let mut running = home.start(&["--grace", "1s"]);
    let is_starting = eventually(PATIENCE, async || running.descendants().len() >= 2);
    assert!(is_starting.await);
    let processes = running.descendants();
    running.stop().await;
    let all_gone =
        eventually(Duration::from_secs(2), async || !processes.iter().any(|pid| crate::harness::is_alive(*pid)));
    assert!(all_gone.await, "{}", running.output());
}
