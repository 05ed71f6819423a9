//! Orders as sagas: whatever crashes, each ends in one state, the money fits and so does the stock; and everybody is
//! told.

use std::{process::Stdio, time::Duration};

use bowline_runtime::{rand, time};
use http::Method;
use serde_json::Value;

use crate::{
    chaos::kill,
    harness::{Answer, Home, PATIENCE, Running, ask, eventually, programs},
};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn order(running: &Running, signed: &str, key: &str, item: &str) -> Answer {
    let body = format!(r#"{{"user_id":"u-1","items":[{item}]}}"#);
    let headers = [JSON, ("authorization", signed), ("idempotency-key", key)];
    running.ask(Method::POST, "shop.localhost", "/orders", &headers, body.as_bytes()).await
}

async fn in_stock(running: &Running, sku: &str) -> i64 {
    let answer = running.ask(Method::GET, "shop.localhost", &format!("/stock/{sku}"), &[], b"").await;
    answer.json()["available"].as_i64().unwrap()
}

/// The lag of all groups of a topic.
async fn lag(running: &Running, topic: &str) -> u64 {
    let topics = running.api_json("/v1/topics").await;
    let topics = topics["topics"].as_array().unwrap();
    let found = topics.iter().find(|found| found["name"] == topic).unwrap();
    found["groups"].as_array().unwrap().iter().map(|group| group["lag"].as_u64().unwrap()).sum()
}

async fn notifications(running: &Running, signed: &str) -> Vec<String> {
    let headers = [("authorization", signed)];
    let answer = running.ask(Method::GET, "shop.localhost", "/notifications", &headers, b"").await;
    let told = answer.json();
    told.as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_becomes_of_an_order_is_shown_and_told() {
    let home = Home::shop();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    let poster = r#"{"sku":"poster","quantity":2,"unit_price":500}"#;
    let paid = order(&running, &ada, "k1", poster).await;
    assert_eq!((paid.status.as_u16(), &paid.json()["status"]), (201, &Value::from("paid")));
    assert_eq!(in_stock(&running, "poster").await, 1);
    let cancelled = order(&running, &ada, "k2", poster).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json()["status"]), (201, &Value::from("cancelled")));
    assert_eq!(in_stock(&running, "poster").await, 1);
    let [paid, cancelled] = [paid, cancelled].map(|answer| answer.json()["id"].as_str().unwrap().to_owned());

    let listed = running.command(&["sagas", "--service", "order"]).await;
    assert!(listed.contains(&paid) && listed.contains("compensated"), "{listed}");
    let shown = running.command(&["sagas", "show", "order", &cancelled]).await;
    assert!(shown.contains("why: items[0]: there is not enough of it"), "{shown}");
    let none = running.outcome(&["sagas", "show", "order", "o-none"]).await;
    assert!(!none.status.success());

    let told = async || {
        let told = notifications(&running, &ada).await;
        let is_told = |text: &str| told.iter().any(|one| one == text);
        is_told(&format!("your order {paid} is paid: 10.00"))
            && is_told(&format!("your order {cancelled} is cancelled: nothing was charged"))
    };
    assert!(eventually(PATIENCE, told).await, "{:?}", notifications(&running, &ada).await);

    let grace = r#"{"email":"grace@example.com","password":"correct horse","name":"Grace","card":"card-4242"}"#;
    let signed_up = running.ask(Method::POST, "shop.localhost", "/users", &[JSON], grace.as_bytes()).await;
    assert_eq!(signed_up.status, 201, "{signed_up:?}");
    let grace = running.sign_in("grace@example.com").await;
    let told = async || notifications(&running, &grace).await == ["welcome, Grace"];
    assert!(eventually(PATIENCE, told).await);
    running.stop().await;
}

/// The database of a service, as somebody else who opens it.
async fn database(home: &Home, file: &str) -> sqlx::SqlitePool {
    let mut folders = vec![home.data_dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with(file) {
                return sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
            }
        }
    }
    panic!("no {file} in {}", home.data_dir().display());
}

/// The dead letters of a topic, once there are some.
async fn dead_letter(running: &Running, topic: &str) -> Value {
    let mut letters = Value::Null;
    let is_dead = eventually(PATIENCE, async || {
        letters = running.api_json(&format!("/v1/topics/{topic}/dead")).await;
        !letters["letters"].as_array().unwrap().is_empty()
    });
    assert!(is_dead.await, "{letters}\n{}", running.output());
    letters["letters"][0].clone()
}

/// Broken is the table that `notify` writes to.
#[tokio::test]
async fn what_cannot_be_processed_is_dead_with_why_and_is_processed_after_a_fix() {
    let home = Home::shop();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    let notify = database(&home, "notify.db").await;
    sqlx::query("ALTER TABLE notifications RENAME TO hidden").execute(&notify).await.unwrap();
    let paid = order(&running, &ada, "k1", r#"{"sku":"poster","quantity":1,"unit_price":500}"#).await;
    let id = paid.json()["id"].as_str().unwrap().to_owned();
    let headers = [("authorization", &*ada)];
    let failed = running.ask(Method::GET, "shop.localhost", "/notifications", &headers, b"").await;
    assert_eq!(failed.status, 500, "{failed:?}");
    let logged = format!("trace={}", failed.header("x-trace-id"));
    let is_logged = eventually(PATIENCE, async || running.output().contains(&logged));
    assert!(is_logged.await, "no {logged} in\n{}", running.output());
    let letter = dead_letter(&running, "order.paid").await;
    let position = letter["position"].to_string();
    let shown = running.command(&["messages", "show", "order.paid", &position, "--dead"]).await;
    assert!(shown.contains("no such table: notifications"), "{shown}");
    let saga = running.api_json(&format!("/v1/sagas/order/{id}")).await;
    let trace_id = saga["trace_id"].as_str().unwrap();
    assert!(shown.contains(trace_id), "{trace_id}\n{shown}");
    sqlx::query("ALTER TABLE hidden RENAME TO notifications").execute(&notify).await.unwrap();
    running.command(&["messages", "redrive", "order.paid", &position]).await;
    let expect = format!("your order {id} is paid: 5.00");
    let is_told = async || notifications(&running, &ada).await.contains(&expect);
    assert!(eventually(PATIENCE, is_told).await, "{:?}", notifications(&running, &ada).await);
    notify.close().await;
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_nobody_can_read_is_dead_with_its_trace() {
    let home = Home::shop();
    let mut running = home.up().await;
    let publish =
        br#"{"payload":"e30=","headers":[["traceparent","00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]]}"#;
    let target = "/v1/topics/order.paid/messages";
    let published = ask(running.api(), Method::POST, "localhost", target, &[JSON], publish).await;
    assert!(published.status.is_success(), "{published:?}");
    let position = dead_letter(&running, "order.paid").await["position"].to_string();
    let listed = running.command(&["messages", "list", "order.paid", "--dead"]).await;
    assert!(listed.contains("notify"), "{listed}");
    let shown = running.command(&["messages", "show", "order.paid", &position, "--dead"]).await;
    assert!(shown.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{shown}");
    running.stop().await;
}

#[tokio::test]
async fn orders_end_in_one_state_whatever_is_killed() {
    let home = Home::shop();
    let mut running = home.up().await;
    let is_long = std::env::var_os("BOWLINE_TEST_LONG").is_some();
    let (seconds, kills) = if is_long { (60, 20) } else { (8, 4) };
    let mut load = tokio::process::Command::new(programs().join("shop-load"));
    load.args(["--gateway", &running.gateway().to_string(), "--clients", "16", "--seconds", &seconds.to_string()]);
    let mut load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let seed = rand::u64();
    println!("seed {seed}");
    rand::seed(seed);
    let mut killed = 0;
    for _ in 0..kills {
        let pause = Duration::from_millis(500 + rand::below(seconds * 1000 / kills - 500) as u64);
        // tidy: sleep: the time between two crashes, which is up to chance.
        time::sleep(pause).await;
        let service = ["order", "payment"][rand::below(2)];
        kill(&running, service).await;
        killed += usize::from(load.try_wait().unwrap().is_none());
    }
    println!("{killed} of {kills} were killed while there was load");
    assert!(killed > 0, "nobody was killed: this shows nothing");
    let output = load.wait_with_output().await.unwrap();
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        report.contains("the bank moved exactly the paid orders' money"),
        "{report}\n{errors}\n{}",
        running.output()
    );
    // Nobody else ordered: what was taken from the stock is what was paid for.
    let books = report.lines().find(|line| line.contains("books of the paid orders")).unwrap();
    let counts: Vec<&str> = books.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty()).collect();
    assert_eq!(counts[0], counts[1], "{report}");
    let under_way = async || {
        let mut count = 0;
        for phase in ["acting", "undoing", "stuck"] {
            let list = running.api_json(&format!("/v1/sagas?service=order&phase={phase}")).await;
            assert_eq!(list["missing"].as_array().map_or(0, Vec::len), 0, "{list}");
            count += list["sagas"].as_array().unwrap().len();
        }
        count
    };
    assert!(eventually(PATIENCE, async || under_way().await == 0).await, "{} go on", under_way().await);
    for topic in ["order.placed", "order.paid", "order.cancelled"] {
        assert!(eventually(PATIENCE, async || lag(&running, topic).await == 0).await, "{topic}");
    }
    running.stop().await;
}
