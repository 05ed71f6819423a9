//! The registry over HTTP: register, heartbeat, deregister, list.

use std::time::Duration;

use serde_json::json;

use bowline_registry::{Query, Registry};

use crate::support::{Fixture, instance, registration, until};

#[tokio::test]
async fn what_is_registered_is_listed_until_it_is_deregistered() {
    let fixture = Fixture::start().await;
    let body = json!({
        "service": "order", "address": "127.0.0.1:9000", "protocol": "http2", "weight": 7, "version": "1.2",
        "zone": "a", "health": "unhealthy", "metadata": {"k": "v"}, "ttl": "10s",
    });
    let answer = fixture.ask("PUT", "/v1/instances/order-1", body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let revision = answer.json()["revision"].as_u64().unwrap();
    let list = fixture.get("/v1/instances?service=order").await.json();
    let expected = json!({
        "id": "order-1", "service": "order", "address": "127.0.0.1:9000", "protocol": "http2", "weight": 7,
        "version": "1.2", "zone": "a", "health": "unhealthy", "metadata": {"k": "v"},
    });
    assert_eq!(list["instances"], json!([expected]));
    // Others write meanwhile: the node itself does.
    assert!(list["revision"].as_u64().unwrap() >= revision, "{list}");
    assert_eq!(list["history"].as_str().unwrap().len(), 16);

    let gone = fixture.ask("DELETE", "/v1/instances/order-1", "").await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    let again = fixture.ask("DELETE", "/v1/instances/order-1", "").await;
    assert!(again.problem(404, "not_found").contains("order-1"));
    assert_eq!(fixture.get("/v1/instances").await.json()["instances"], json!([]));
}

#[tokio::test]
async fn lists_are_filtered_and_sorted() {
    let fixture = Fixture::start().await;
    for id in ["user-2", "order-1", "user-1"] {
        fixture.register(id).await;
    }
    let unhealthy = r#"{"service":"user","address":"127.0.0.1:1","health":"unhealthy"}"#;
    fixture.ask("PUT", "/v1/instances/user-3", unhealthy).await;
    let ids = async |query: &str| {
        let list = fixture.get(&format!("/v1/instances{query}")).await.json();
        let ids = list["instances"].as_array().unwrap().iter().map(|instance| instance["id"].as_str().unwrap());
        let more = if list["more"] == json!(true) { " …" } else { "" };
        ids.collect::<Vec<_>>().join(" ") + more
    };
    assert_eq!(ids("").await, "order-1 user-1 user-2 user-3");
    assert_eq!(ids("?service=user").await, "user-1 user-2 user-3");
    assert_eq!(ids("?service=nobody").await, "");
    assert_eq!(ids("?service=user&health=unhealthy").await, "user-3");
    assert_eq!(ids("?after=user-1").await, "user-2 user-3");
    assert_eq!(ids("?limit=2").await, "order-1 user-1 …");
    let services = fixture.client().services().await.unwrap().services;
    let services = services.iter().map(|s| format!("{} {}/{}", s.name, s.healthy, s.instances)).collect::<Vec<_>>();
    assert_eq!(services, ["order 1/1", "user 2/3"]);
    let listed = fixture.client().instances(Some("user")).await.unwrap();
    assert_eq!(listed.instances.len(), 3);
}

#[tokio::test]
async fn heartbeats_renew_and_tell_who_is_unknown() {
    let fixture = Fixture::start().await;
    let leased = r#"{"service":"order","address":"127.0.0.1:9000","ttl":"30s"}"#;
    fixture.ask("PUT", "/v1/instances/order-1", leased).await;
    fixture.register("order-2").await;
    let one = fixture.ask("POST", "/v1/instances/order-1/heartbeat", "").await;
    assert_eq!(one.json(), json!({"id": "order-1", "known": true, "ttl": "30s"}));
    let unleased = fixture.ask("POST", "/v1/instances/order-2/heartbeat", "").await;
    assert_eq!(unleased.json(), json!({"id": "order-2", "known": true}));
    let unknown = fixture.ask("POST", "/v1/instances/order-3/heartbeat", "").await;
    assert!(unknown.problem(404, "not_found").contains("PUT /v1/instances/order-3"));

    let batch = fixture.ask("POST", "/v1/heartbeats", r#"{"ids":["order-3","order-1","order-2"]}"#).await.json();
    let known = |at: usize| (batch["answers"][at]["id"].clone(), batch["answers"][at]["known"].clone());
    assert_eq!(known(0), (json!("order-3"), json!(false)));
    assert_eq!(known(1), (json!("order-1"), json!(true)));
    assert_eq!(known(2), (json!("order-2"), json!(true)));
    assert_eq!(fixture.ask("POST", "/v1/heartbeats", r#"{"ids":[]}"#).await.json(), json!({"answers": []}));
}

#[tokio::test]
async fn an_instance_without_heartbeats_leaves() {
    let fixture = Fixture::start().await;
    let leased = r#"{"service":"order","address":"127.0.0.1:9000","ttl":"5s"}"#;
    fixture.ask("PUT", "/v1/instances/order-1", leased).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    until(async || fixture.client().services().await.unwrap().services.is_empty()).await;
    fixture.ask("POST", "/v1/instances/order-1/heartbeat", "").await.problem(404, "not_found");
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    let fixture = Fixture::start().await;
    for id in ["%20", "Order!", "%FF", &"a".repeat(300)] {
        let target = format!("/v1/instances/{id}");
        fixture.ask("PUT", &target, registration("order")).await.problem(400, "invalid_argument");
        fixture.ask("DELETE", &target, "").await.problem(400, "invalid_argument");
        fixture.ask("POST", &format!("{target}/heartbeat"), "").await.problem(400, "invalid_argument");
    }
    fixture.get("/v1/instances?service=Order!").await.problem(400, "invalid_argument");
    fixture.ask("POST", "/v1/heartbeats", r#"{"ids":["a b"]}"#).await.problem(422, "unprocessable");
}

#[tokio::test]
async fn fields_that_break_a_rule_are_named() {
    let fixture = Fixture::start().await;
    for (field, value) in [
        ("weight", "0"),
        ("weight", "1001"),
        ("zone", r#""""#),
        ("ttl", r#""1ms""#),
        ("ttl", r#""2h""#),
        ("ttl", "10"),
        ("health", r#""sick""#),
        ("protocol", r#""http3""#),
        ("metadata", r#"{"":"v"}"#),
    ] {
        let body = format!(r#"{{"service":"order","address":"127.0.0.1:9000","{field}":{value}}}"#);
        let answer = fixture.ask("PUT", "/v1/instances/order-1", body).await;
        let detail = answer.problem(422, "unprocessable");
        assert!(detail.contains(field), "{field}: {detail}");
    }
    for (service, address) in [("Order!", "127.0.0.1:9000"), ("order", "localhost:9000"), ("order", "127.0.0.1:0")] {
        let body = format!(r#"{{"service":"{service}","address":"{address}"}}"#);
        fixture.ask("PUT", "/v1/instances/order-1", body).await.problem(422, "unprocessable");
    }
    for address in ["0.0.0.0:9000", "[::]:9000", "224.0.0.1:9000"] {
        let body = format!(r#"{{"service":"order","address":"{address}"}}"#);
        let answer = fixture.ask("PUT", "/v1/instances/order-1", body).await;
        let detail = answer.problem(422, "unprocessable");
        assert!(detail.starts_with("address: write the IP"), "{address}: {detail}");
    }
    assert_eq!(fixture.get("/v1/instances").await.json()["instances"], json!([]));
}

#[tokio::test]
async fn batches_are_bounded() {
    let fixture = Fixture::start().await;
    let ids: Vec<String> = (0..10_001).map(|at| format!("a-{at}")).collect();
    let answer = fixture.ask("POST", "/v1/heartbeats", json!({ "ids": ids }).to_string()).await;
    assert!(answer.problem(422, "unprocessable").contains("10000"));
    let full = fixture.ask("POST", "/v1/heartbeats", json!({ "ids": ids[1..] }).to_string()).await;
    assert_eq!(full.json()["answers"].as_array().unwrap().len(), 10_000);
}

#[tokio::test]
async fn queries_that_are_wrong_are_refused() {
    let fixture = Fixture::start().await;
    for query in [
        "?colour=red",
        "?watch=maybe",
        "?from=1",
        "?history=0123456789abcdef",
        "?limit=-1",
        "?limit=0",
        "?limit=10001",
        "?health=sick",
    ] {
        fixture.get(&format!("/v1/instances{query}")).await.problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn a_body_that_is_not_called_json_is_not_read() {
    let fixture = Fixture::start().await;
    for headers in [&[][..], &[("content-type", "text/plain")]] {
        let answer = fixture.ask_with("PUT", "/v1/instances/order-1", headers, registration("order")).await;
        let detail = answer.problem(415, "unsupported_media_type");
        assert!(detail.contains("application/json"), "{detail}");
    }
}

/// Registers instances of `order`, many at once.
async fn register_all(registry: &dyn Registry, count: usize, metadata: &[(String, String)]) {
    let register = |at: usize| {
        let mut instance = instance(&format!("order-{at:05}"));
        instance.metadata.extend(metadata.iter().cloned());
        registry.register(instance, None)
    };
    for registered in futures_util::future::join_all((0..count).map(register)).await {
        registered.unwrap();
    }
}

#[tokio::test]
async fn a_list_has_pages_and_clients_read_all_of_them() {
    let fixture = Fixture::start().await;
    register_all(&*fixture.node.registry(), 1001, &[]).await;
    let page = fixture.get("/v1/instances").await.json();
    assert_eq!((page["instances"].as_array().unwrap().len(), &page["more"]), (1000, &json!(true)));
    let whole = fixture.client().instances(Some("order")).await.unwrap();
    assert_eq!((whole.instances.len(), whole.more), (1001, false));
    for limit in [None, Some(0), Some(1000), Some(1001), Some(1002)] {
        let query = Query { limit, ..Query::default() };
        let near = fixture.node.registry().discover(&query).await.unwrap();
        let far = fixture.remote().discover(&query).await.unwrap();
        // The node writes of its own meanwhile: revisions may differ.
        assert!(far.revision >= near.revision, "{limit:?}");
        assert!((far.instances, far.more) == (near.instances, near.more), "{limit:?}");
    }
}

#[tokio::test]
async fn instances_with_all_they_may_have_are_found_too() {
    let fixture = Fixture::start().await;
    let metadata: Vec<_> = (0..64).map(|at| (format!("{at:064}"), "v".repeat(512))).collect();
    register_all(&*fixture.node.registry(), 500, &metadata).await;
    let found = fixture.remote().discover(&Query::default()).await.unwrap();
    assert_eq!((found.instances.len(), found.more), (500, false));
    assert_eq!(fixture.client().instances(None).await.unwrap().instances, found.instances);
}
