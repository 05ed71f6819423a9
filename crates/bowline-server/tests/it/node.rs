//! A node's beginning and end: its folder, its port, and what it says when it cannot have them.

use std::net::SocketAddr;

use bowline_model::{Code, error::chain};
use bowline_registry::Query;
use bowline_runtime::net;
use bowline_server::Error;
use serde_json::json;

use crate::support::{Fixture, instance, settings, start};

/// An error with its causes, as a program prints it.
fn printed(error: &Error) -> String {
    chain(error)
}

#[tokio::test]
async fn a_restart_keeps_registrations_and_traces() {
    let fixture = Fixture::start().await;
    fixture.register("order-1").await;
    let leased = r#"{"service":"order","address":"127.0.0.1:9001","ttl":"10s"}"#;
    fixture.ask("PUT", "/v1/instances/order-2", leased).await;
    let span = json!({
        "trace_id": format!("{:032x}", 7), "span_id": format!("{:016x}", 7), "parent_span_id": null,
        "service": "order", "instance": "order-1", "name": "GET /", "kind": "server",
        "start_unix_nanos": 1_700_000_000_000_000_000_u64, "duration_nanos": 1, "status": {"code": "unset"},
        "attributes": {}, "events": [],
    });
    assert_eq!(fixture.ask("POST", "/v1/spans", json!({ "spans": [span] }).to_string()).await.status, 204);
    let before = fixture.get("/v1/instances").await.json();

    let fixture = fixture.restart().await;
    let after = fixture.get("/v1/instances").await.json();
    // The revision goes on: what became of the instances' health is kept, too.
    assert_eq!((&after["instances"], &after["history"]), (&before["instances"], &before["history"]));
    let beat = fixture.ask("POST", "/v1/instances/order-2/heartbeat", "").await;
    assert_eq!(beat.json()["ttl"], "10s");
    assert_eq!(fixture.get(&format!("/v1/traces/{:032x}", 7)).await.json()["spans"][0]["name"], "GET /");
    // The history goes on: who resumes is told what happens next.
    let (from, history) = (before["revision"].as_u64().unwrap(), before["history"].as_str().unwrap());
    let mut watch = fixture.watch(&format!("&from={from}&history={history}")).await.ok().unwrap();
    let next = fixture.register("order-3").await;
    assert_eq!(watch.next_short().await, format!("put order-3 @{next}"));
}

#[tokio::test]
async fn a_taken_port_is_told_with_what_to_do() {
    let taken = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr: SocketAddr = taken.local_addr().unwrap();
    let dir = bowline_testkit::temp_dir();
    let error = start(settings(&dir, Some(addr))).await.unwrap_err();
    let text = printed(&error);
    assert!(text.starts_with(&format!("the API cannot listen on {addr}: choose another address with --api")), "{text}");
    assert!(text.to_lowercase().contains("in use"), "{text}");
    assert_eq!((error.code(), error.retryable()), (Code::FailedPrecondition, false));
    assert!(!dir.path().join("data").exists(), "nothing was begun");
}

#[tokio::test]
async fn a_folder_belongs_to_one_node() {
    let fixture = Fixture::start().await;
    let error = start(settings(&fixture.dir, None)).await.unwrap_err();
    let text = printed(&error);
    let dir = fixture.dir.path().join("data");
    assert!(text.contains(&format!("cannot open the store in {}", dir.display())), "{text}");
    assert!(text.contains("in use by another process"), "{text}");
    // The first one does not mind.
    fixture.register("order-1").await;
}

#[tokio::test]
async fn traces_that_cannot_be_opened_leave_the_store_free() {
    let dir = bowline_testkit::temp_dir();
    let mut small = settings(&dir, None);
    small.traces_bytes_max = 1;
    let error = start(small).await.unwrap_err();
    assert!(printed(&error).contains("bytes_max is 1"), "{}", printed(&error));
    start(settings(&dir, None)).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let dir = bowline_testkit::temp_dir();
    std::fs::write(dir.path().join("data"), "a file").unwrap();
    let error = start(settings(&dir, None)).await.unwrap_err();
    let text = printed(&error);
    assert!(text.contains("cannot create the data folder") && text.contains("data"), "{text}");
}

#[tokio::test]
async fn a_node_without_a_listener_serves_its_process() {
    let dir = bowline_testkit::temp_dir();
    let node = start(settings(&dir, None)).await.unwrap();
    assert_eq!(node.addr(), None);
    let registry = node.registry();
    registry.register(instance("order-1"), None).await.unwrap();
    assert_eq!(registry.discover(&Query::default()).await.unwrap().instances.len(), 1);
    assert!(node.metrics().render().contains("bowline_"));
    node.stop().await;
    assert_eq!(registry.register(instance("order-2"), None).await.unwrap_err().code(), Code::Unavailable);
}
