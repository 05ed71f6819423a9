//! Breakers of the shop: seen, held open on every instance that holds one, and given back.

use http::Method;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Home, PATIENCE, Running, eventually};

/// The shop with two instances of who calls.
fn home() -> Home {
    let home = Home::shop();
    home.edit(|text| text.replace("[service.order]\n", "[service.order]\nreplicas = 2\n"));
    home
}

/// Each holder of breakers of a call with the states that it tells, as `order-1 closed,closed`.
async fn states(running: &Running, caller: &str, callee: &str) -> Vec<String> {
    let listed = running.command(&["breakers", "--output", "json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.get("missing"), None, "{listed}");
    let calls = listed["calls"].as_array().unwrap().iter();
    let calls = calls.filter(|call| call["caller"] == caller && call["callee"] == callee && call["route"] != "stock");
    let of = |call: &Value| {
        let breakers = call["breakers"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let states: Vec<&str> = breakers.map(|breaker| breaker["state"].as_str().unwrap()).collect();
        format!("{} {}", call["holder"].as_str().unwrap(), states.join(","))
    };
    calls.map(of).collect()
}

async fn order(running: &Running, signed: &str) -> u16 {
    let item = json!({"sku": "book", "quantity": 1, "unit_price": 1999});
    let body = json!({"user_id": "u-1", "items": [item]}).to_string();
    let headers = [("content-type", "application/json"), ("authorization", signed)];
    running.ask(Method::POST, "shop.localhost", "/orders", &headers, body.as_bytes()).await.status.as_u16()
}

/// Refused with that in its words.
async fn refused(running: &Running, args: &[&str], words: &str) {
    let outcome = running.outcome(&[&["breakers"][..], args].concat()).await;
    let told = String::from_utf8(outcome.stderr).unwrap();
    assert!(!outcome.status.success() && told.contains(words), "{args:?}: {told}");
}

#[tokio::test]
async fn breakers_are_held_on_every_instance_that_holds_one_and_given_back() {
    let home = home();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    assert_eq!(order(&running, &ada).await, 201);
    let closed = ["order-1 closed,closed", "order-2 closed,closed"];
    let are = async |expect: &[&str]| {
        eventually(PATIENCE, async || states(&running, "order", "payment").await == expect).await
    };
    assert!(are(&closed).await, "{:?}", states(&running, "order", "payment").await);
    let list = running.command(&["breakers"]).await;
    let line = list.lines().find(|line| line.starts_with("order->payment ")).unwrap_or_else(|| panic!("{list}"));
    assert!(line.contains(" closed ") && line.ends_with(" 2"), "{list}");
    assert!(list.contains("route:orders->order ") && list.contains("payment->bank "), "{list}");

    let told = running.command(&["breakers", "open", "order->payment", "--for", "10m"]).await;
    let expect = "the breakers of order->payment are held open, for 10m\n  order-1 confirmed\n  order-2 confirmed\n";
    assert_eq!(told, expect);
    let open = ["order-1 forced_open,forced_open", "order-2 forced_open,forced_open"];
    assert_eq!(states(&running, "order", "payment").await, open);
    assert!(states(&running, "payment", "bank").await.iter().all(|held| held.ends_with(" closed")));

    processes_that_come_later(&running).await;
    assert!(are(&open).await, "{:?}", states(&running, "order", "payment").await);

    refused(&running, &["open", "oder->payment"], "did you mean `order->payment`?").await;
    refused(&running, &["reset", "order->payment@payment-1"], "`bowline breakers reset order->payment` ends that")
        .await;
    let told = running.command(&["breakers", "reset", "order->payment"]).await;
    assert!(told.ends_with("  order-1 confirmed\n  order-2 confirmed\n"), "{told}");
    assert_eq!(states(&running, "order", "payment").await, closed);
    of_the_gateway(&running, &ada).await;

    let changes = running.api_json("/v1/changes").await;
    let told = |what: &str| changes["changes"].as_array().unwrap().iter().any(|change| change["what"] == what);
    assert!(told("the breakers of order->payment are held open"), "{changes}");
    assert!(told("the breakers of route:orders->order are held open"), "{changes}");
    running.stop().await;
}

/// One who calls and one who is called are started anew.
async fn processes_that_come_later(running: &Running) {
    for service in ["order", "payment"] {
        let before = running.processes(service).await;
        kill_process(before[0], Signal::KILL).unwrap();
        let is_back = eventually(PATIENCE, async || {
            let now = running.processes(service).await;
            now.len() == 2 && !now.contains(&before[0])
        });
        assert!(is_back.await, "{}", running.output());
    }
}

/// A route of the gateway is closed to everybody, and no other.
async fn of_the_gateway(running: &Running, signed: &str) {
    let told = running.command(&["breakers", "open", "route:orders->order"]).await;
    assert!(told.contains("(route orders) confirmed"), "{told}");
    assert_eq!(order(running, signed).await, 503);
    let stock = running.ask(Method::GET, "shop.localhost", "/stock/book", &[], b"").await;
    assert_eq!(stock.status, 200, "{:?}", stock.body);
    let told = running.command(&["breakers", "reset", "order", "--output", "json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((told["confirmed"].as_array().unwrap().len(), &told["unconfirmed"]), (2, &json!([])), "{told}");
    assert_eq!(order(running, signed).await, 201);
}
