//! Caches over the API: what each instance says of its own, and what processes share.

use std::sync::Arc;

use bowline_cache::{Found, SharedCache, shared::conformance};
use bowline_provider_remote::RemoteCache;
use bowline_runtime::time::{self, Duration};
use bowline_server::Dial;
use bowline_testkit::{Answer, HttpServer};
use bowline_transport::{Endpoint, PoolSettings};
use serde_json::json;

use crate::support::Fixture;

fn remote(fixture: &Fixture) -> Arc<dyn SharedCache> {
    Arc::new(RemoteCache::new(fixture.addr))
}

#[tokio::test]
async fn what_processes_share_keeps_every_promise_over_the_api() {
    let fixture = Fixture::start().await;
    conformance::all(remote(&fixture)).await;
    let metrics = String::from_utf8(fixture.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains("bowline_shared_cache_entries"), "{metrics}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let fixture = Fixture::start().await;
    for path in ["/v1/shared-caches/Users/entries/k", &format!("/v1/shared-caches/c/entries/{}", "k".repeat(513))] {
        fixture.get(path).await.problem(400, "invalid_argument");
    }
    for path in ["/v1/shared-caches/c/entries/k?keep=1s", "/v1/shared-caches/c/entries/k?keep=soon"] {
        fixture.ask("PUT", path, "v").await.problem(400, "invalid_argument");
    }
    let empty = fixture.get("/v1/shared-caches/c/entries/k").await;
    assert_eq!((empty.status, empty.header("x-bowline-marks")), (404, "%5B%5D"));
    assert_eq!(empty.header("x-bowline-ticket").len(), 16);
}

#[tokio::test]
async fn whoever_only_asks_takes_the_place_of_no_cache() {
    let fixture = Fixture::start().await;
    let client = remote(&fixture);
    for at in 0..300 {
        assert!(matches!(client.get(&format!("asked-{at}"), "k").await.unwrap().found, Found::Empty(_)));
    }
    let Found::Empty(ticket) = client.get("users", "k").await.unwrap().found else { panic!("it was empty") };
    assert!(client.fill("users", "k", ticket, "v".into(), Duration::from_mins(1)).await.unwrap());
    assert!(matches!(client.get("users", "k").await.unwrap().found, Found::Hit { .. }));
}

#[tokio::test]
async fn every_instance_is_asked_and_who_does_not_answer_is_named() {
    let fixture = Fixture::start().await;
    let status = |cache: &str| {
        json!({"cache": cache, "classes": [], "entries": 1, "levels": [], "feeds": [],
            "requests": {"fresh": 1, "stale": 0, "loaded": 0, "waited": 0, "refused": 0, "bypassed": 0},
            "loads": {"value": 0, "nothing": 0, "failed": 0, "discarded": 0},
            "invalidated_by_feed": 0, "invalidated_here": 0})
    };
    let said = json!({"caches": [status("a"), status("b")]});
    let order = HttpServer::start(move |request| match (&*request.method, &*request.path) {
        ("GET", "/-/bowline/caches") => Answer::Status(200, said.to_string()),
        _ => Answer::Status(404, "{}".to_owned()),
    });
    let plain = HttpServer::start(|_| Answer::Status(404, "{}".to_owned()));
    // A website, which shows its home page at every path; and one that wants to know who asks.
    let web = HttpServer::start(|_| Answer::Status(200, "<html></html>".to_owned()));
    let closed = HttpServer::start(|_| Answer::status(401));
    let api = HttpServer::start(|_| Answer::Status(200, r#"{"is_well": true}"#.to_owned()));
    // One of another release; and another's, with a guard.
    let newer = HttpServer::start(|_| Answer::Status(200, json!({"caches": [{"name": "a"}]}).to_string()));
    let guarded = HttpServer::start(|_| Answer::Status(403, r#"{"error": "who are you?"}"#.to_owned()));
    let huge = HttpServer::start(|_| Answer::Status(200, "x".repeat((1 << 20) + 1)));
    let broken = HttpServer::start(|_| Answer::Status(500, "{}".to_owned()));
    let instances = [
        ("order-1", "order", order.addr()),
        ("order-2", "order", order.addr()),
        ("plain-1", "plain", plain.addr()),
        ("web-1", "web", web.addr()),
        ("closed-1", "closed", closed.addr()),
        ("api-1", "api", api.addr()),
        ("newer-1", "newer", newer.addr()),
        ("guarded-1", "guarded", guarded.addr()),
        ("broken-1", "broken", broken.addr()),
        ("huge-1", "huge", huge.addr()),
    ];
    for (id, service, addr) in instances {
        let body = json!({"service": service, "address": addr.to_string()}).to_string();
        let answer = fixture.ask("PUT", &format!("/v1/instances/{id}"), body).await;
        assert!(answer.status < 300, "{answer:?}");
    }
    fixture.get("/v1/caches").await.problem(503, "unavailable");
    let dial: Dial = Arc::new(|instance| Endpoint::from(instance));
    fixture.node.collect(PoolSettings::default(), dial).await;

    let listed = fixture.get("/v1/caches").await.json();
    let caches = listed["caches"].as_array().unwrap().iter();
    let names: Vec<_> =
        caches.map(|one| (one["instance"].as_str().unwrap(), one["status"]["cache"].as_str().unwrap())).collect();
    assert_eq!(names, [("order-1", "a"), ("order-1", "b"), ("order-2", "a"), ("order-2", "b")]);
    assert_eq!(listed["missing"], json!(["broken-1", "huge-1", "newer-1"]));
    assert_eq!(fixture.get("/v1/caches?service=plain").await.json(), json!({"caches": []}));
}

#[tokio::test]
async fn instances_are_asked_for_no_longer_than_who_asks_waits() {
    let fixture = Fixture::start().await;
    let slow = HttpServer::start(|_| Answer::Hang);
    for at in 0..250 {
        let body = json!({"service": "slow", "address": slow.addr().to_string()}).to_string();
        assert!(fixture.ask("PUT", &format!("/v1/instances/slow-{at}"), body).await.status < 300);
    }
    let dial: Dial = Arc::new(|instance| Endpoint::from(instance));
    fixture.node.collect(PoolSettings::default(), dial).await;
    let begun = time::now();
    let listed = fixture.get("/v1/caches").await.json();
    assert_eq!(listed["missing"].as_array().unwrap().len(), 250);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
