//! Server and gateway as processes of their own, and what each does without the other.

use bowline_testkit::{Answer, HttpServer};
use http::Method;
use rustix::process::Signal;

use crate::harness::{Home, PATIENCE, Running, ask, eventually};

const FILE: &str = r#"name = "shop"
[service.order]
[service.payment]
[[route]]
name = "orders"
matches = [{ path = "/orders/**" }]
backends = [{ service = "order" }]
"#;

/// The same with one more route.
fn more_routes() -> String {
    let routes = FILE.split_once("[[route]]").unwrap().1;
    format!(
        "[[route]]{routes}[[route]]\nname = \"charges\"\nmatches = [{{ path = \"/charges/**\" }}]\nbackends = [{{ service = \"order\" }}]\n"
    )
}

/// An instance of `order` that runs elsewhere, as the registry knows it.
async fn register(server: &Running, order: &HttpServer) {
    let body = serde_json::json!({ "service": "order", "address": order.addr().to_string(), "ttl": "1h" });
    let json = [("content-type", "application/json")];
    let body = body.to_string();
    let answer = ask(server.api(), Method::PUT, "localhost", "/v1/instances/order-1", &json, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

async fn status(gateway: &Running, path: &str) -> u16 {
    gateway.ask(Method::GET, "localhost", path, &[], b"").await.status.as_u16()
}

#[tokio::test]
async fn a_gateway_serves_on_without_its_server_and_follows_it_when_it_is_back() {
    let home = Home::new(FILE);
    let order = HttpServer::start(|_| Answer::Status(200, "an order".to_owned()));
    let mut server = home.server("127.0.0.1:0").await;
    let api = server.api().to_string();
    register(&server, &order).await;
    let mut gateway = home.start_gateway(&api, &["--admin", "127.0.0.1:0"]);
    gateway.ready().await;
    assert!(gateway.output().contains("every host /orders/** → order"), "{}", gateway.output());
    assert_eq!((status(&gateway, "/orders/1").await, status(&gateway, "/charges/1").await), (200, 404));

    // Its spans reach the server, its figures whoever asks for them.
    let traced =
        eventually(PATIENCE, async || server.command(&["traces", "--service", "gateway"]).await.contains("orders"));
    assert!(traced.await, "{}", server.command(&["traces"]).await);
    let metrics = ask(gateway.admin(), Method::GET, "localhost", "/metrics", &[], b"").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("bowline_requests_total"), "{metrics:?}");
    let acknowledged = async || server.command(&["routes", "status"]).await.contains("current");
    assert!(eventually(PATIENCE, acknowledged).await);

    // What is known of the instances is on disk within a second or two.
    let kept = home.path().join("gateway/discovery/order.json");
    assert!(eventually(PATIENCE, async || kept.exists()).await);

    server.signal(Signal::KILL);
    server.ended().await;
    assert_eq!(status(&gateway, "/orders/2").await, 200);

    gateway.stop().await;
    let mut gateway = home.start_gateway(&api, &[]);
    gateway.ready().await;
    assert!(gateway.output().contains("which is away"), "{}", gateway.output());
    assert_eq!((status(&gateway, "/orders/3").await, status(&gateway, "/charges/3").await), (200, 404));

    let mut server = home.server(&api).await;
    let file = home.path().join("routes.toml");
    std::fs::write(&file, more_routes()).unwrap();
    server.command(&["routes", "set", file.to_str().unwrap()]).await;
    let is_live = eventually(PATIENCE, async || status(&gateway, "/charges/4").await == 200);
    assert!(is_live.await, "{}", gateway.output());
    gateway.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_gateway_splits_its_first_requests_as_the_server_says() {
    let versions = "[service.order]\nrun = \"true\"\nversion = \"v1\"\n[service.order.versions.v2]\n";
    let home = Home::new(&FILE.replace("[service.order]\n", versions));
    let mut server = home.server("127.0.0.1:0").await;
    let orders = ["v1", "v2"].map(|version| HttpServer::start(move |_| Answer::Status(200, version.to_owned())));
    for (version, order) in ["v1", "v2"].into_iter().zip(&orders) {
        let address = order.addr().to_string();
        let body = serde_json::json!({ "service": "order", "version": version, "address": address, "ttl": "1h" });
        let (path, json) = (format!("/v1/instances/order-{version}"), [("content-type", "application/json")]);
        let answer = ask(server.api(), Method::PUT, "localhost", &path, &json, body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    for version in ["v2", "v1"] {
        let split = format!("{version}=1");
        server.command(&["mesh", "split", "order", &split]).await;
        let snapshot = ["config", "get", "bowline.mesh/gateway"];
        let line = format!("\"{version}\": 1");
        let published = eventually(PATIENCE, async || server.command(&snapshot).await.contains(&line));
        assert!(published.await, "{}", server.command(&snapshot).await);
        // The second one has on disk what the first acted by.
        let mut gateway = home.start_gateway(&server.api().to_string(), &[]);
        gateway.ready().await;
        for _ in 0..20 {
            let answer = gateway.ask(Method::GET, "localhost", "/orders/1", &[], b"").await;
            assert_eq!(String::from_utf8_lossy(&answer.body), version);
        }
        gateway.stop().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_gateway_that_knows_nothing_waits_for_its_server() {
    let home = Home::new(FILE);
    let order = HttpServer::start(|_| Answer::status(200));
    let mut server = home.server("127.0.0.1:0").await;
    let api = server.api().to_string();
    server.stop().await;
    let mut gateway = home.start_gateway(&api, &[]);
    let waits = eventually(PATIENCE, async || gateway.output().contains("waiting for it"));
    assert!(waits.await, "{}", gateway.output());
    let mut server = home.server(&api).await;
    register(&server, &order).await;
    gateway.ready().await;
    let serves = eventually(PATIENCE, async || status(&gateway, "/orders/1").await == 200);
    assert!(serves.await, "{}", gateway.output());
    gateway.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_gateway_that_may_not_ask_says_so() {
    let home = Home::new(FILE);
    let mut server = home.server("127.0.0.1:0").await;
    let mut gateway = home.start_gateway(&server.api().to_string(), &["--token", "bwl_0123456789ab_wrong"]);
    assert_eq!(gateway.ended().await.code(), Some(1));
    let told = eventually(PATIENCE, async || gateway.output().contains("bowline token create gateway"));
    assert!(told.await, "{}", gateway.output());
    server.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_starts_no_server() {
    let home = Home::new("name = \"s\"\n[mesh]\nmode = \"lax\"\n");
    let mut command = tokio::process::Command::new(crate::harness::bowline());
    command.arg("server").arg(home.path()).args(["--api", "127.0.0.1:0", "--otlp-grpc", "off", "--otlp-http", "off"]);
    command.arg("--data-dir").arg(home.data_dir());
    let output = command.output().await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("bowline.toml:3:8: error: `mode` (\"lax\") is unknown"), "{told}");
    assert!(!home.data_dir().exists());
}

#[tokio::test]
async fn faults_come_and_go_and_traffic_is_steered() {
    let home = Home::new(&format!("{FILE}[mesh]\n"));
    let mut server = home.server("127.0.0.1:0").await;
    assert_eq!(server.command(&["fault", "list"]).await, "there are no faults\n");
    let add = ["fault", "add", "payment", "--delay", "300ms", "--percent", "50", "--from", "order", "--output", "json"];
    let fault: serde_json::Value = serde_json::from_str(&server.command(&add).await).unwrap();
    let id = fault["id"].as_str().unwrap().to_owned();
    assert_eq!((fault["delay"].as_str(), fault["share"].as_str()), (Some("300ms"), Some("50%")));
    // Two at once: neither is lost.
    let (one, two) = tokio::join!(
        server.command(&["fault", "add", "order", "--abort", "503", "--for", "24h"]),
        server.command(&["mesh", "split", "payment", "v1=90", "v2=10"]),
    );
    assert!(one.contains("100% of the requests to order are answered 503"), "{one}");
    assert_eq!(two, "traffic to payment: v1 90, v2 10\n");
    let list = server.command(&["fault", "list"]).await;
    assert!(list.contains(&id) && list.contains("service/order") && list.contains("503"), "{list}");
    let mirrored = server.command(&["mesh", "mirror", "payment", "--to", "v2", "--percent", "5"]).await;
    assert_eq!(mirrored, "traffic to payment: v1 90, v2 10; copies of 5% go to v2\n");

    server.command(&["fault", "remove", &id]).await;
    let gone = server.outcome(&["fault", "remove", &id]).await;
    let told = String::from_utf8(gone.stderr).unwrap();
    assert!(!gone.status.success() && told.contains("`bowline fault list` shows"), "{told}");
    let unknown = server.outcome(&["fault", "add", "bank", "--abort", "503"]).await;
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert!(!unknown.status.success() && told.contains("the system has no service `bank`"), "{told}");
    let twice = server.outcome(&["mesh", "split", "payment", "v1=1", "v1=2"]).await;
    let told = String::from_utf8(twice.stderr).unwrap();
    assert!(!twice.status.success() && told.contains("v1 is named twice"), "{told}");
    server.command(&["mesh", "split", "payment", "--off"]).await;
    let traffic = server.command(&["config", "get", "bowline/traffic"]).await;
    let traffic: serde_json::Value = serde_json::from_str(&traffic).unwrap();
    assert_eq!(traffic["steering"]["payment"]["mirror"]["version"], "v2");
    assert_eq!((traffic["steering"]["payment"].get("split"), traffic["faults"].as_array().unwrap().len()), (None, 1));
    server.stop().await;
}

#[tokio::test]
async fn without_a_mesh_nothing_is_steered_and_who_was_in_one_is_told() {
    let home = Home::new(FILE);
    let mut server = home.server("127.0.0.1:0").await;
    for args in ["mesh split payment v1=1", "fault add payment --abort 503", "mesh status", "mesh join payment"] {
        let refused = server.outcome(&args.split(' ').collect::<Vec<_>>()).await;
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{args}: {told}");
        assert!(told.contains("add the table [mesh]"), "{args}: {told}");
    }
    let snapshot = ["config", "get", "bowline.mesh/gateway"];
    assert!(!server.outcome(&snapshot).await.status.success());
    server.stop().await;

    home.edit(|text| format!("{text}[mesh]\n"));
    let mut server = home.server("127.0.0.1:0").await;
    assert!(server.command(&snapshot).await.contains("\"mode\": \"strict\""));
    server.stop().await;

    home.edit(|text| text.replace("[mesh]\n", ""));
    let mut server = home.server("127.0.0.1:0").await;
    assert!(server.command(&snapshot).await.contains("\"mode\": null"));
    server.stop().await;
}

const MESHED: &str = r#"name = "shop"
[mesh]
[service.order.calls.payment]
operations = ["GET /charges"]
[service.payment]
[service.user]
"#;

#[tokio::test]
async fn whatever_runs_behind_a_sidecar_is_called_as_declared() {
    let home = Home::new(MESHED);
    let mut server = home.server("127.0.0.1:0").await;
    let api = server.api().to_string();
    let token = server.command(&["mesh", "join", "payment"]).await;
    let file = home.path().join("join.token");
    std::fs::write(&file, token).unwrap();
    let args = ["--service", "payment", "--join-file", file.to_str().unwrap(), "--bind", "port", "--check", "/readyz"];
    let mut sidecar = home.start_sidecar(&api, &args, &crate::stand_in::kind());
    let listed = eventually(PATIENCE, async || server.command(&["services"]).await.contains("payment-"));
    assert!(listed.await, "{}", sidecar.output());

    let services = server.command(&["services"]).await;
    assert!(services.starts_with("SERVICE") && services.contains("MESH") && services.contains("mtls"), "{services}");
    let passed = server.outcome(&["call", "--as", "order", "payment", "GET", "/charges"]).await;
    let told = String::from_utf8_lossy(&passed.stdout).into_owned();
    assert!(passed.status.success() && told.starts_with("200 OK"), "{told} {}", sidecar.output());
    for (caller, path, reason) in [
        ("user", "/charges", "mesh_not_declared"),
        ("order", "/refunds", "mesh_operation"),
        ("gateway", "/charges", "mesh_not_declared"),
    ] {
        let denied = server.outcome(&["call", "--as", caller, "payment", "GET", path]).await;
        let told = String::from_utf8_lossy(&denied.stdout).into_owned();
        assert_eq!(denied.status.code(), Some(1), "{told}");
        assert!(told.starts_with("403 Forbidden") && told.contains(&format!("x-bowline-reason: {reason}")), "{told}");
    }
    let status = server.command(&["mesh", "status"]).await;
    let own = status.lines().find(|line| line.starts_with("service/payment ")).unwrap();
    assert!(own.contains("1 of 1"), "{status}");

    let typo = server.outcome(&["mesh", "join", "paymnt"]).await;
    let told = String::from_utf8(typo.stderr).unwrap();
    assert!(!typo.status.success() && told.contains("shop has no service `paymnt`"), "{told}");

    // A fault comes and goes without the application.
    let add = ["fault", "add", "payment", "--abort", "503", "--from", "order", "--output", "json"];
    let fault: serde_json::Value = serde_json::from_str(&server.command(&add).await).unwrap();
    let call = ["call", "--as", "order", "payment", "GET", "/charges"];
    let aborted = async || String::from_utf8_lossy(&server.outcome(&call).await.stdout).starts_with("503");
    assert!(eventually(PATIENCE, aborted).await, "{}", sidecar.output());
    server.command(&["fault", "remove", fault["id"].as_str().unwrap()]).await;
    assert!(eventually(PATIENCE, async || server.outcome(&call).await.status.success()).await);

    let family = sidecar.descendants();
    sidecar.signal(Signal::TERM);
    sidecar.ended().await;
    let all_gone = eventually(PATIENCE, async || !family.iter().any(|pid| crate::harness::is_alive(*pid)));
    assert!(all_gone.await, "{}", sidecar.output());
    assert!(server.instances("payment").await.is_empty());
    let nobody = server.outcome(&call).await;
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no instance of payment"), "{nobody:?}");

    // The server is gone: what is on disk is enough to start, and the command's end is the sidecar's.
    server.signal(Signal::KILL);
    server.ended().await;
    let brief = ["sh", "-c", "exit 7"].map(ToOwned::to_owned);
    let mut again = home.start_sidecar(&api, &args, &brief);
    assert_eq!(again.ended().await.code(), Some(7), "{}", again.output());
}
