//! Every path: health, metrics, the document, and what is refused by all of them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Fixture, registration};

/// The operations of the API.
const OPERATIONS: [(&str, &str); 96] = [
    ("GET", "/livez"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/readyz"),
    ("GET", "/v1/config"),
    ("DELETE", "/v1/config/{namespace}/{name}"),
    ("GET", "/v1/config/{namespace}/{name}"),
    ("PUT", "/v1/config/{namespace}/{name}"),
    ("POST", "/v1/config/{namespace}/{name}/check"),
    ("GET", "/v1/config/{namespace}/{name}/history"),
    ("POST", "/v1/config/{namespace}/{name}/rollback"),
    ("DELETE", "/v1/config/{namespace}/{name}/schema"),
    ("GET", "/v1/config/{namespace}/{name}/schema"),
    ("PUT", "/v1/config/{namespace}/{name}/schema"),
    ("GET", "/v1/config/{namespace}/{name}/status"),
    ("PUT", "/v1/config/{namespace}/{name}/status/{instance}"),
    ("POST", "/v1/explain"),
    ("GET", "/v1/instances"),
    ("DELETE", "/v1/instances/{id}"),
    ("PUT", "/v1/instances/{id}"),
    ("POST", "/v1/heartbeats"),
    ("POST", "/v1/instances/{id}/heartbeat"),
    ("GET", "/v1/audit"),
    ("POST", "/v1/mesh/certificates"),
    ("POST", "/v1/mesh/join-tokens"),
    ("GET", "/v1/mesh/roots"),
    ("GET", "/v1/mesh/status"),
    ("GET", "/v1/server"),
    ("GET", "/v1/services"),
    ("POST", "/v1/spans"),
    ("DELETE", "/v1/session"),
    ("GET", "/v1/session"),
    ("POST", "/v1/session"),
    ("GET", "/v1/tokens"),
    ("POST", "/v1/tokens"),
    ("DELETE", "/v1/tokens/{id}"),
    ("GET", "/v1/traces"),
    ("GET", "/v1/traces/{id}"),
    ("GET", "/v1/service-graph"),
    ("GET", "/v1/observed"),
    ("GET", "/v1/system"),
    ("GET", "/v1/events"),
    ("GET", "/v1/changes"),
    ("GET", "/v1/logs/{service}"),
    ("GET", "/v1/deployments"),
    ("GET", "/v1/deployments/{service}"),
    ("POST", "/v1/deployments/{service}"),
    ("POST", "/v1/deployments/{service}/abort"),
    ("POST", "/v1/deployments/{service}/pause"),
    ("POST", "/v1/deployments/{service}/promote"),
    ("POST", "/v1/deployments/{service}/resume"),
    ("GET", "/v1/health"),
    ("GET", "/v1/health/{service}"),
    ("GET", "/v1/alerts/history"),
    ("GET", "/v1/alerts/notifications"),
    ("GET", "/v1/alerts/silences"),
    ("POST", "/v1/alerts/silences"),
    ("DELETE", "/v1/alerts/silences/{id}"),
    ("POST", "/v1/alerts/receivers/{name}/test"),
    ("GET", "/api/v1/query"),
    ("POST", "/api/v1/query"),
    ("GET", "/api/v1/query_range"),
    ("POST", "/api/v1/query_range"),
    ("GET", "/api/v1/query_exemplars"),
    ("POST", "/api/v1/query_exemplars"),
    ("GET", "/api/v1/series"),
    ("POST", "/api/v1/series"),
    ("GET", "/api/v1/labels"),
    ("POST", "/api/v1/labels"),
    ("GET", "/api/v1/label/{name}/values"),
    ("GET", "/api/v1/metadata"),
    ("GET", "/api/v1/targets"),
    ("GET", "/api/v1/rules"),
    ("GET", "/api/v1/alerts"),
    ("GET", "/api/v1/status/buildinfo"),
    ("GET", "/v1/sagas"),
    ("GET", "/v1/sagas/{service}/{id}"),
    ("POST", "/v1/sagas/{service}/{id}/retry"),
    ("DELETE", "/v1/topics/{topic}/groups/{group}"),
    ("GET", "/v1/topics"),
    ("GET", "/v1/topics/{topic}/dead"),
    ("GET", "/v1/topics/{topic}/messages"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/subscriptions/{session}/answers"),
    ("POST", "/v1/topics/{topic}/dead/purge"),
    ("POST", "/v1/topics/{topic}/dead/redrive"),
    ("POST", "/v1/topics/{topic}/groups/{group}/seek"),
    ("POST", "/v1/topics/{topic}/groups/{group}/subscribe"),
    ("POST", "/v1/topics/{topic}/messages"),
    ("PUT", "/v1/topics/{topic}"),
    ("GET", "/v1/breakers"),
    ("GET", "/v1/caches"),
    ("GET", "/v1/shared-caches/{cache}/entries/{key}"),
    ("PUT", "/v1/shared-caches/{cache}/entries/{key}"),
    ("POST", "/v1/shared-caches/{cache}/invalidate"),
    ("POST", "/v1/shared-caches/{cache}/clear"),
];

const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "PATCH"];

fn documented(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys().filter(|key| METHODS.contains(&&*key.to_uppercase()));
        methods.map(|method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

#[tokio::test]
async fn the_document_tells_every_route_and_no_other() {
    let fixture = Fixture::start().await;
    let answer = fixture.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    let documented = documented(&document);
    let expected = OPERATIONS.map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(documented, expected.into_iter().collect());
    assert_eq!(serde_json::to_value(bowline_server::openapi()).unwrap(), document);

    let paths: BTreeSet<&str> = documented.iter().map(|(_, path)| &**path).collect();
    for path in paths {
        for method in METHODS {
            let parts = ["{id}", "{namespace}", "{name}", "{instance}", "{service}"];
            let target = parts.iter().fold(path.to_owned(), |target, part| target.replace(part, "%20"));
            if (method, path) == ("GET", "/v1/events") {
                // It does not end.
                continue;
            }
            let answer = fixture.ask(method, &target, "").await;
            if documented.contains(&(method.to_owned(), path.to_owned())) {
                // What was asked for may not be there; the path is.
                let is_nowhere = answer.status == 404 && format!("{answer:?}").contains("nothing at");
                assert!(answer.status != 405 && !is_nowhere, "{method} {path} is documented: {answer:?}");
            } else {
                let detail = answer.problem(405, "method_not_allowed");
                assert_eq!(detail, format!("{method} is not for {target}"));
                assert!(!answer.header("allow").is_empty(), "{answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn references_of_the_document_lead_somewhere() {
    let document = serde_json::to_value(bowline_server::openapi()).unwrap();
    let text = document.to_string();
    let mut count = 0;
    for reference in text.split(r##""$ref":"#"##).skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn the_document_tells_the_bounds() {
    let document = serde_json::to_value(bowline_server::openapi()).unwrap();
    let schema = |pointer: &str| document.pointer(pointer).unwrap_or_else(|| panic!("{pointer}")).clone();
    let heartbeats = schema("/components/schemas/HeartbeatBatch/properties/ids/maxItems");
    assert_eq!(heartbeats, bowline_registry::HEARTBEATS_MAX);
    assert_eq!(schema("/components/schemas/SpanBatch/properties/spans/maxItems"), 10_000);
    let history = "/v1/config/{namespace}/{name}/history";
    for (path, max) in [("/v1/instances", 10_000), ("/v1/traces", 1000), (history, 1000)] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let limit = parameters.iter().find(|parameter| parameter["name"] == "limit").unwrap();
        assert_eq!((&limit["schema"]["minimum"], &limit["schema"]["maximum"]), (&1.into(), &max.into()), "{path}");
    }
}

#[tokio::test]
async fn health_is_told() {
    let fixture = Fixture::start().await;
    for path in ["/livez", "/readyz"] {
        let answer = fixture.get(path).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok\n"[..]));
        assert_eq!(answer.header("x-trace-id").len(), 32);
    }
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let fixture = Fixture::start().await;
    let answer = fixture.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"), "{answer:?}");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("# TYPE bowline_connections gauge\nbowline_connections{listener=\"api\"}"), "{text}");
    assert!(text.contains("bowline_traces_"), "{text}");
}

#[tokio::test]
async fn the_server_says_who_it_is() {
    let fixture = Fixture::start().await;
    let before = fixture.client().server().await.unwrap();
    let data_dir = fixture.dir.path().join("data").canonicalize().unwrap();
    assert_eq!(before.data_dir, Some(data_dir.display().to_string()));
    assert_eq!(before.pid, std::process::id());
    assert_eq!(before.version, env!("CARGO_PKG_VERSION"));
    let revision = fixture.register("order-1").await;
    // What is kept of its health may be in the store by then.
    assert!(fixture.client().server().await.unwrap().revision >= revision);
    assert!(revision > before.revision);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let fixture = Fixture::start().await;
    for path in ["/u", "/v1", "/v1/instances/a/b", "/v2/services"] {
        let detail = fixture.get(path).await.problem(404, "not_found");
        assert!(detail.contains(path) && detail.contains("/openapi.json"), "{detail}");
    }
}

#[tokio::test]
async fn a_callers_trace_is_the_answers() {
    let fixture = Fixture::start().await;
    let headers = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    let answer = fixture.ask_with("GET", "/nothing", &headers, "").await;
    answer.problem(404, "not_found");
    assert_eq!(answer.header("x-trace-id"), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn bodies_that_are_wrong_are_told_apart() {
    let fixture = Fixture::start().await;
    let target = "/v1/instances/order-1";
    for bad in ["", "{", "not json", r#"{"service":"order","address":"127.0.0.1:9000"}}"#] {
        fixture.ask("PUT", target, bad).await.problem(400, "invalid_argument");
    }
    let untyped = fixture.ask_with("PUT", target, &[("content-type", "text/plain")], registration("order")).await;
    untyped.problem(415, "unsupported_media_type");
    let unknown = r#"{"service":"order","address":"127.0.0.1:9000","colour":"red"}"#;
    let detail = fixture.ask("PUT", target, unknown).await.problem(422, "unprocessable");
    assert!(detail.contains("colour"), "{detail}");
    let detail = fixture.ask("PUT", target, r#"{"service":"order"}"#).await.problem(422, "unprocessable");
    assert!(detail.contains("address"), "{detail}");
    // A registration is small, and so is the bound.
    let huge = format!(r#"{{"service":"{}"}}"#, "a".repeat(9 << 20));
    fixture.ask("PUT", target, huge).await.problem(413, "payload_too_large");
}
