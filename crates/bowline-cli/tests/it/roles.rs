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
    command.arg("server").arg(home.path()).args(["--api", "127.0.0.1:0"]).arg("--data-dir").arg(home.data_dir());
    let output = command.output().await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("bowline.toml:3:8: error: `mode` (\"lax\") is unknown"), "{told}");
    assert!(!home.data_dir().exists());
}
