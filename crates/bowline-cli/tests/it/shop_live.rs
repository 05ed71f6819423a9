//! The shop's configuration, changed while it runs: limits and retries, under load.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::task::{self, Guarded};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Home, PATIENCE, Running, ask, eventually};

/// How soon a change is live everywhere.
const LIVE_WITHIN: Duration = Duration::from_secs(1);

const JSON: (&str, &str) = ("content-type", "application/json");

/// What became of the orders that were placed meanwhile.
#[derive(Debug, Default)]
struct Load {
    placed: AtomicUsize,
    /// The answers that were no orders.
    failed: Mutex<Vec<Answer>>,
}

async fn order(gateway: SocketAddr, (user, signed): (&str, &str), quantity: u32) -> Answer {
    let item = json!({"sku": "book", "quantity": quantity, "unit_price": 1999});
    let body = json!({"user_id": user, "items": [item]}).to_string();
    let headers = [JSON, ("authorization", signed)];
    ask(gateway, Method::POST, "shop.localhost", "/orders", &headers, body.as_bytes()).await
}

/// Orders one book after the other.
async fn place(gateway: SocketAddr, signed: String, load: Arc<Load>) {
    loop {
        let answer = order(gateway, ("u-1", &signed), 1).await;
        match answer.status.as_u16() {
            201 => drop(load.placed.fetch_add(1, Relaxed)),
            // Told to come again: that is no failure.
            429 => (),
            _ => load.failed.lock().unwrap().push(answer),
        }
    }
}

/// A request about a document of the shop, to the API.
async fn config(running: &Running, method: Method, path: &str, body: Value) -> Answer {
    let path = format!("/v1/config/shop/{path}");
    ask(running.api(), method, "localhost", &path, &[JSON], body.to_string().as_bytes()).await
}

/// Publishes a document; its number.
async fn publish(running: &Running, name: &str, text: &str, schema: Option<&str>) -> u64 {
    let answer = config(running, Method::PUT, name, json!({"format": "toml", "text": text, "schema": schema})).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["number"].as_u64().unwrap()
}

fn file(home: &Home, name: &str) -> String {
    std::fs::read_to_string(home.path().join("config").join(name)).unwrap()
}

#[tokio::test]
async fn limits_and_retries_change_live_and_a_bad_document_changes_nothing() {
    let home = Home::shop();
    let mut running = home.up().await;
    let (gateway, ada) = (running.gateway(), running.sign_in("ada@example.com").await);
    let load = Arc::new(Load::default());
    let begin = |_| Guarded::new(task::spawn(place(gateway, ada.clone(), load.clone())));
    let loading: Vec<_> = (0..4).map(begin).collect();
    limits(&home, &running, &load).await;
    retries(&home, &running).await;
    drop(loading);
    assert!(load.failed.lock().unwrap().is_empty(), "{load:?}\n{}", running.output());
    running.stop().await;
}

/// Another user's: the load has a limit of its own.
async fn limits(home: &Home, running: &Running, load: &Load) {
    let (gateway, bob) = (running.gateway(), running.sign_in("bob@example.com").await);
    let of_bob = async |quantity: u32| order(gateway, ("u-2", &bob), quantity).await;
    let schema = file(home, "order.schema.json");
    let first = publish(running, "order", &file(home, "order.toml"), Some(&schema)).await;
    assert_eq!(of_bob(9).await.status, 201);

    let bad = json!({"format": "toml", "text": "quantity_max = 0\n"});
    let refused = config(running, Method::PUT, "order", bad).await;
    assert_eq!(refused.status, 422, "{:?}", refused.body);
    let violation = &refused.json()["violations"][0];
    assert_eq!((&violation["path"], &violation["rule"]), (&json!("/quantity_max"), &json!("minimum")));

    let placed_before = load.placed.load(Relaxed);
    let second = publish(running, "order", "quantity_max = 5\n", None).await;
    let is_live = eventually(LIVE_WITHIN, async || of_bob(9).await.status == 422).await;
    assert!(is_live, "{:?}", of_bob(9).await.body);
    assert_eq!(of_bob(5).await.status, 201);
    assert_eq!(outcomes(running, "order", second).await, ["order-1 applied"]);

    let rolled_back = config(running, Method::POST, "order/rollback", json!({"to": first})).await;
    assert_eq!(rolled_back.status, 200, "{:?}", rolled_back.body);
    let is_undone = eventually(LIVE_WITHIN, async || of_bob(9).await.status == 201).await;
    assert!(is_undone, "{:?}", of_bob(9).await.body);
    let is_loaded = eventually(PATIENCE, async || load.placed.load(Relaxed) > placed_before + 20).await;
    assert!(is_loaded, "{load:?}");
}

/// What the schema lets pass, and makes no sense beside the rest of the call, is refused by the instances.
async fn retries(home: &Home, running: &Running) {
    let (document, schema) = (file(home, "payment.toml"), file(home, "payment.schema.json"));
    let good = publish(running, "payment", &document.replace("= 3", "= 2"), Some(&schema)).await;
    assert_eq!(outcomes(running, "payment", good).await, ["payment-1 applied", "payment-2 applied"]);
    let longer_than_the_call = format!("{document}per_try_timeout = \"10s\"\n");
    let bad = publish(running, "payment", &longer_than_the_call, None).await;
    assert_eq!(outcomes(running, "payment", bad).await, ["payment-1 refused", "payment-2 refused"]);
    let status = running.api_json("/v1/config/shop/payment/status").await;
    let told = &status["instances"][0];
    assert_eq!(told["runs"], good, "{status}");
    assert!(told["reason"].as_str().unwrap().starts_with("retry.per_try_timeout: "), "{status}");
}

/// What every instance did with a version, once all have said so.
async fn outcomes(running: &Running, name: &str, version: u64) -> Vec<String> {
    let wanted = running.instances(name).await.len();
    let mut told = Vec::new();
    let have_all_said = eventually(LIVE_WITHIN * 5, async || {
        let status = running.api_json(&format!("/v1/config/shop/{name}/status")).await;
        let instances = status["instances"].as_array().unwrap().iter();
        let said = instances.filter(|instance| instance["version"] == version);
        told = said
            .map(|instance| {
                format!("{} {}", instance["instance"].as_str().unwrap(), instance["outcome"].as_str().unwrap())
            })
            .collect();
        told.len() == wanted
    });
    assert!(have_all_said.await, "{told:?}");
    told.sort();
    told
}
