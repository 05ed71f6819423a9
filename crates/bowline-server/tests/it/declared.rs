//! The declared system: what its file says, but for what is nobody's business.

use std::sync::Arc;

use bowline_model::parse;
use bowline_server::Settings;
use serde_json::json;

use crate::support::{Fixture, settings, start};

const FILE: &str = r#"
name = "shop"
[mesh]
[service.order]
run = "./order --secret hunter2"
replicas = 2
version = "v1"
env = { PASSWORD = "hunter2" }
[service.order.boundary]
api = ["POST /orders", "GET /orders/{id}"]
data = ["sqlite:order.db"]
state = ["topic:order.placed"]
[service.order.calls.bank]
timeout = "2s"
[deploy.order]
strategy = "canary"
bake = "2m"
abort_when = "error_rate > 1%"
[service.bank]
[[route]]
name = "orders"
hosts = ["shop.localhost"]
matches = [{ path = "/orders/**", methods = ["GET", "POST"], headers = { x-key = "hunter2" } }]
backends = [{ service = "order" }]
"#;

#[tokio::test]
async fn a_system_is_told_as_it_is_declared_and_without_secrets() {
    let dir = bowline_testkit::temp_dir();
    let system = Arc::new(parse(FILE).unwrap_or_else(|problems| panic!("{problems:?}")));
    let settings = Settings { system: Some(system), ..settings(&dir, Some(([127, 0, 0, 1], 0).into())) };
    let fixture = Fixture::of(dir, start(settings).await.unwrap());
    let told = fixture.get("/v1/system").await.json();
    assert!(!told.to_string().contains("hunter2"), "{told:#}");
    assert_eq!((&told["name"], &told["is_meshed"]), (&json!("shop"), &json!(true)));
    let order = &told["services"][0];
    let boundary = json!({"api": ["POST /orders", "GET /orders/{id}"], "data": ["sqlite:order.db"],
        "state": ["topic:order.placed"]});
    assert_eq!(order["boundary"], boundary);
    assert_eq!((&order["name"], &order["replicas"], &order["version"]), (&json!("order"), &json!(2), &json!("v1")));
    let call = &order["calls"][0];
    assert_eq!((&call["service"], &call["mode"]), (&json!("bank"), &json!("sync")));
    assert_eq!((&call["policy"]["timeout"], &call["policy"]["retry"]["attempts_max"]), (&json!("2s"), &json!(3)));
    let plan = json!({"strategy": "canary", "steps": ["5%", "25%", "50%"], "bake": "2m",
        "abort_when": "error_rate > 1%", "min_requests": 20});
    assert_eq!(order["rollout"], plan);
    let bank = &told["services"][1];
    assert_eq!(bank.get("rollout"), None, "nothing of it is rolled out here");
    assert_eq!(
        [&bank["is_run"], &bank["is_meshed"], &order["is_meshed"]],
        [&json!(false), &json!(false), &json!(true)]
    );
    let route = json!({"name": "orders", "hosts": ["shop.localhost"], "matches": ["GET|POST /orders/**"],
        "services": ["order"]});
    assert_eq!(told["routes"], json!([route]));
}

#[tokio::test]
async fn without_a_system_nothing_is_declared() {
    let fixture = Fixture::start().await;
    let told = fixture.get("/v1/system").await.json();
    assert_eq!(told, json!({"is_meshed": false, "services": [], "routes": []}));
}
