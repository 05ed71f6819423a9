//! What order keeps of a customer: read once, forgotten when it changes, and good while `user` does not answer.

use std::time::Duration;

use http::Method;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Answer, Home, PATIENCE, Running, eventually};

const JSON: (&str, &str) = ("content-type", "application/json");

/// How soon a change is known everywhere, and that is shown.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

async fn order(running: &Running, signed: &str, user: &str) -> Answer {
    let key = format!("k{:016x}", bowline_runtime::rand::u64());
    let body = json!({"user_id": user, "items": [{"sku": "book", "quantity": 1, "unit_price": 500}]}).to_string();
    let headers = [JSON, ("authorization", signed), ("idempotency-key", &key)];
    running.ask(Method::POST, "shop.localhost", "/orders", &headers, body.as_bytes()).await
}

async fn cache(running: &Running) -> Value {
    let found = running.api_json("/v1/caches?service=order").await;
    assert_eq!(found["missing"], Value::Null, "{found}");
    found["caches"][0]["status"].clone()
}

#[tokio::test]
async fn a_profile_is_read_once_and_forgotten_when_it_changes() {
    let home = Home::shop();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    let is_following = async || cache(&running).await["feeds"][0]["standing"] == "following";
    assert!(eventually(PATIENCE, is_following).await, "{}", cache(&running).await);

    let first = order(&running, &ada, "u-1").await;
    assert_eq!((first.status.as_u16(), &first.json()["status"]), (201, &json!("paid")), "{first:?}");
    let second = order(&running, &ada, "u-1").await;
    assert_eq!(second.json()["status"], "paid");
    // Who is asked in a trace is told by its own process, in its own time.
    running.spans(first.header("x-trace-id"), |span| span["service"] == "user" && span["kind"] == "server").await;
    let status = cache(&running).await;
    assert_eq!((&status["loads"]["value"], &status["requests"]["fresh"]), (&json!(1), &json!(1)), "{status}");

    let changed = json!({"name": "Ada Lovelace", "card": "card-0002"}).to_string();
    let headers = [JSON, ("authorization", ada.as_str())];
    let changed = running.ask(Method::PUT, "shop.localhost", "/users/u-1", &headers, changed.as_bytes()).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let is_known = async || cache(&running).await["invalidated_by_feed"] == 1;
    assert!(eventually(KNOWN_WITHIN, is_known).await, "{}", cache(&running).await);
    let third = order(&running, &ada, "u-1").await;
    assert_eq!(third.json()["status"], "declined", "{third:?}");

    let listed = running.command(&["caches", "order"]).await;
    assert!(listed.contains("user-profile") && listed.contains("user.changed following"), "{listed}");
    let shown = running.command(&["caches", "order", "user-profile"]).await;
    assert!(shown.contains("chosen by what is observed: ") && shown.contains("invalidated: 1 by feeds"), "{shown}");
    let status = cache(&running).await;
    assert_eq!((&status["loads"]["value"], &status["loads"]["failed"]), (&json!(2), &json!(0)), "{status}");
    running.stop().await;
}

#[tokio::test]
async fn whoever_is_known_can_buy_while_user_does_not_answer() {
    let home = Home::shop();
    let mut running = home.up().await;
    let (ada, bob) = (running.sign_in("ada@example.com").await, running.sign_in("bob@example.com").await);
    let is_kept = async || {
        // Before its feed is heard, nothing is fresh.
        order(&running, &ada, "u-1").await;
        cache(&running).await["requests"]["fresh"] != 0
    };
    assert!(eventually(PATIENCE, is_kept).await, "{}", cache(&running).await);
    let pid = running.processes("user").await[0];
    kill_process(pid, Signal::STOP).unwrap();
    let known = order(&running, &ada, "u-1").await;
    assert_eq!((known.status.as_u16(), &known.json()["status"]), (201, &json!("paid")), "{known:?}");
    let unknown = order(&running, &bob, "u-2").await;
    assert!([503, 504].contains(&unknown.status.as_u16()), "{unknown:?}");
    kill_process(pid, Signal::CONT).unwrap();
    let is_back = async || order(&running, &bob, "u-2").await.status == 201;
    assert!(eventually(PATIENCE, is_back).await, "{}", running.output());
    running.stop().await;
}
