//! Watches: newline-delimited JSON, resumed by revision without a miss.

use std::time::Duration;

use bowline_runtime::{metric, task, time};
use bowline_store::{Embedded, Store as _, Txn};
use serde_json::json;

use crate::support::{BOUND, Fixture, until};

#[tokio::test]
async fn puts_and_deletes_are_told_in_order() {
    let fixture = Fixture::start().await;
    let first = fixture.register("order-1").await;
    let mut all = fixture.watch("&from=0").await.ok().unwrap();
    let mut users = fixture.watch("&from=0&service=user").await.ok().unwrap();
    let second = fixture.register("user-1").await;
    fixture.ask("DELETE", "/v1/instances/order-1", "").await;
    let fourth = fixture.register("user-2").await;
    assert_eq!(all.next_short().await, format!("put order-1 @{first}"));
    assert_eq!(all.next_short().await, format!("put user-1 @{second}"));
    let deleted = all.next().await.unwrap();
    assert_eq!((&deleted["type"], &deleted["id"]), (&json!("delete"), &json!("order-1")));
    assert_eq!(deleted["service"], "order");
    assert_eq!(all.next_short().await, format!("put user-2 @{fourth}"));
    assert_eq!(users.next_short().await, format!("put user-1 @{second}"));
    let put = users.next().await.unwrap();
    assert_eq!(put["instance"]["address"], "127.0.0.1:9000");
    assert_eq!(put["revision"], fourth);
}

#[tokio::test]
async fn a_watch_without_a_revision_begins_now() {
    let fixture = Fixture::start().await;
    fixture.register("order-1").await;
    let mut watch = fixture.watch("").await.ok().unwrap();
    let second = fixture.register("order-2").await;
    assert_eq!(watch.next_short().await, format!("put order-2 @{second}"));
}

#[tokio::test]
async fn a_watch_says_first_where_it_begins() {
    let fixture = Fixture::start().await;
    let revision = fixture.register("order-1").await;
    let list = fixture.get("/v1/instances").await.json();
    let begin = fixture.watch("").await.ok().unwrap().begin;
    assert_eq!((&begin["type"], &begin["history"]), (&json!("bookmark"), &list["history"]));
    // Others write into the store, too: what is kept of the instance's health.
    assert!(begin["revision"].as_u64() >= Some(revision), "{begin}");
    let begin = fixture.watch("&from=0").await.ok().unwrap().begin;
    assert_eq!((&begin["revision"], &begin["history"]), (&json!(0), &list["history"]));

    // Another store under the same address: who compares sees it, who gives the history is refused.
    let other = Fixture::start().await;
    other.register("user-1").await;
    let blind = other.watch(&format!("&from={revision}")).await.ok().unwrap().begin;
    assert_ne!(blind["history"], list["history"]);
    let history = list["history"].as_str().unwrap();
    let refused = other.watch(&format!("&from={revision}&history={history}")).await.err().unwrap();
    refused.problem(410, "out_of_range");
}

#[tokio::test]
async fn nothing_is_missed_by_who_resumes() {
    let fixture = Fixture::start().await;
    let list = fixture.get("/v1/instances").await.json();
    let registry = fixture.node.registry();
    let writer = task::spawn(async move {
        for at in 0..200 {
            registry.register(crate::support::instance(&format!("order-{at:03}")), None).await.unwrap();
        }
    });
    let mut from = list["revision"].as_u64().unwrap();
    let history = list["history"].as_str().unwrap();
    let mut seen = Vec::new();
    while seen.len() < 200 {
        // A connection that breaks off after each third line.
        let mut watch = fixture.watch(&format!("&from={from}&history={history}")).await.ok().unwrap();
        for _ in 0..3.min(200 - seen.len()) {
            let line = watch.next().await.unwrap();
            from = line["revision"].as_u64().unwrap();
            seen.push(line["instance"]["id"].as_str().unwrap().to_owned());
        }
    }
    writer.await.unwrap();
    let expected: Vec<_> = (0..200).map(|at| format!("order-{at:03}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_revision_that_cannot_be_watched_from_is_gone() {
    let fixture = Fixture::start().await;
    let revision = fixture.register("order-1").await;
    let refused = async |query: String| fixture.watch(&query).await.err().unwrap().problem(410, "out_of_range");
    refused(format!("&from={}", revision + 1000)).await;
    refused(format!("&from={}", u64::MAX)).await;
    refused(format!("&from={revision}&history=00000000000000aa")).await;
    for history in ["xyz", "", "+123456789abcdef", "00000000000000aa0"] {
        let refusal = fixture.watch(&format!("&from={revision}&history={history}")).await.err().unwrap();
        refusal.problem(400, "invalid_argument");
    }
    fixture.watch("&from=0&health=healthy").await.err().unwrap().problem(400, "invalid_argument");
}

#[tokio::test]
async fn a_compacted_revision_is_gone() {
    let dir = bowline_testkit::temp_dir();
    let path = dir.path().join("data").join("store.redb");
    let settings = bowline_store::Settings { history_max: 4, ..bowline_store::Settings::new(path) };
    let store = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
    for at in 0..20 {
        store.commit(Txn::default().put("other/key", format!("{at}"))).await.unwrap();
    }
    store.close().await;
    drop(store);
    let fixture = Fixture::start_in(dir).await;
    let refusal = fixture.watch("&from=3").await.err().unwrap();
    let detail = refusal.problem(410, "out_of_range");
    assert!(detail.contains("history begins"), "{detail}");
    let revision = fixture.get("/v1/instances").await.json()["revision"].clone();
    assert_eq!(revision, 21, "the root token was made");
    let mut watch = fixture.watch("&from=21").await.ok().unwrap();
    fixture.register("order-1").await;
    assert_eq!(watch.next_short().await, "put order-1 @22");
}

#[tokio::test]
async fn a_silent_watch_sends_bookmarks_that_keep_up() {
    let fixture = Fixture::start().await;
    let mut watch = fixture.watch("&from=0&service=order").await.ok().unwrap();
    // Changes of other services are not told, but count; so does the record of how the instance became, which follows.
    let revision = fixture.register("user-1").await + 1;
    until(async || fixture.get("/v1/instances").await.json()["revision"] == revision).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    let bookmark = watch.next().await.unwrap();
    assert_eq!((&bookmark["type"], &bookmark["revision"]), (&json!("bookmark"), &json!(revision)));
    assert_eq!(bookmark["history"], watch.begin["history"]);
    let next = fixture.register("order-1").await;
    assert_eq!(watch.next_short().await, format!("put order-1 @{next}"));
}

#[tokio::test]
async fn a_drain_ends_watches() {
    let fixture = Fixture::start().await;
    fixture.register("order-1").await;
    let mut watch = fixture.watch("&from=0").await.ok().unwrap();
    watch.next().await.unwrap();
    let stopped = task::spawn(fixture.node.stop());
    assert_eq!(watch.next().await, None);
    time::timeout(BOUND, stopped).await.expect("an open watch does not hold up the end").unwrap();
}
