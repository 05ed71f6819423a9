//! Sagas over the API: an instance of each service is asked; who cannot be is named, and a retry is in the audit.

use bowline_server::Dial;
use bowline_testkit::{Answer, HttpServer};
use bowline_transport::{Endpoint, PoolSettings};
use serde_json::json;

use crate::support::Fixture;

#[tokio::test]
async fn an_instance_of_each_service_is_asked_and_who_does_not_answer_is_named() {
    let fixture = Fixture::start().await;
    let saga = json!({"id": "o-1", "name": "order", "phase": "stuck", "step": "charge", "attempts": 12, "due_ms": 2,
        "begun_ms": 1, "history": []});
    let order = HttpServer::start(move |request| match (&*request.method, &*request.path) {
        ("GET", "/-/bowline/sagas") => Answer::Status(200, json!({"sagas": [saga]}).to_string()),
        ("GET", "/-/bowline/sagas/o-1") => Answer::Status(200, saga.to_string()),
        ("POST", "/-/bowline/sagas/o-1/retry") => Answer::Status(200, json!({"is_tried": true}).to_string()),
        _ => Answer::Status(404, "{}".to_owned()),
    });
    let plain = HttpServer::start(|_| Answer::Status(404, "{}".to_owned()));
    let broken = HttpServer::start(|_| Answer::Status(500, "{}".to_owned()));
    for (service, addr) in [("order", order.addr()), ("plain", plain.addr()), ("broken", broken.addr())] {
        let body = json!({"service": service, "address": addr.to_string()}).to_string();
        let answer = fixture.ask("PUT", &format!("/v1/instances/{service}-1"), body).await;
        assert!(answer.status < 300, "{answer:?}");
    }
    // Nobody is asked before the node collects.
    fixture.get("/v1/sagas/order/o-1").await.problem(503, "unavailable");
    let dial: Dial = std::sync::Arc::new(|instance| Endpoint::from(instance));
    fixture.node.collect(PoolSettings::default(), dial).await;

    let listed = fixture.get("/v1/sagas").await.json();
    assert_eq!((&listed["sagas"][0]["id"], &listed["sagas"][0]["service"]), (&json!("o-1"), &json!("order")));
    assert_eq!(listed["missing"], json!(["broken"]));
    assert_eq!(fixture.get("/v1/sagas?service=plain").await.json(), json!({"sagas": []}));
    fixture.get("/v1/sagas?phase=foo").await.problem(400, "invalid_argument");
    assert_eq!(fixture.get("/v1/sagas/order/o-1").await.json()["phase"], "stuck");
    fixture.get("/v1/sagas/order/o-2").await.problem(404, "not_found");
    fixture.get("/v1/sagas/nobody/o-1").await.problem(503, "unavailable");
    let retried = fixture.ask("POST", "/v1/sagas/order/o-1/retry", "").await;
    assert_eq!(retried.json(), json!({"is_tried": true}));
    let audit = fixture.audit("?class=other").await;
    assert!(audit.entries.iter().any(|entry| entry.changes.iter().any(|change| change.key == "sagas/order/o-1")));
}
