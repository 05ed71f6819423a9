//! The mesh over HTTP: join tokens, certificates, status, and documents that nobody else writes.

use std::{os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use bowline_config::{Author, Document, Draft, Format};
use bowline_identity::{Admission, Identity, Key, peer_id};
use bowline_model::{
    ConfigKey, Secret, ServiceName,
    mesh::{Authorization, MeshDemands, Mode, Workload},
};
use bowline_provider_remote::{RemoteIssuer, wire};
use bowline_runtime::metric;
use bowline_server::{MeshSettings, Node, Settings};
use bowline_testkit::TempDir;
use serde_json::json;

use crate::support::{Fixture, settings, start};

fn services<C: FromIterator<ServiceName>>() -> C {
    ["order", "payment"].into_iter().map(|name| ServiceName::new(name).unwrap()).collect()
}

fn meshed(dir: &TempDir) -> Settings {
    let system = ServiceName::new("shop").unwrap();
    let mesh = MeshSettings { system, services: services(), certificate_ttl: Duration::from_hours(1), ca_key: None };
    Settings { mesh: Some(mesh), ..settings(dir, Some(([127, 0, 0, 1], 0).into())) }
}

async fn fixture() -> Fixture {
    let dir = bowline_testkit::temp_dir();
    let node = Node::start(meshed(&dir), metric::Registry::default()).await.unwrap();
    Fixture::of(dir, node)
}

async fn join_token(fixture: &Fixture, workload: &str) -> Secret {
    let body = json!({"workload": workload}).to_string();
    let answer = fixture.ask_as(&fixture.root(), "POST", "/v1/mesh/join-tokens", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    serde_json::from_slice::<wire::CreatedJoinToken>(&answer.body).unwrap().token
}

fn identity(fixture: &Fixture, of: &str, token: &Secret) -> (Identity, bowline_runtime::task::Guarded<()>) {
    let settings = bowline_identity::Settings {
        id: format!("spiffe://shop/{of}").parse().unwrap(),
        admission: Admission::Join { token: token.clone(), folder: None },
        metrics: metric::Registry::default(),
    };
    Identity::start(settings, Arc::new(RemoteIssuer::new(fixture.addr))).unwrap()
}

#[tokio::test]
async fn a_workload_joins_over_the_api() {
    let fixture = fixture().await;
    let token = join_token(&fixture, "service/order").await;
    let (order, _order) = identity(&fixture, "service/order", &token);
    order.ready().await.unwrap();
    assert_eq!(peer_id(&order.chain().unwrap()[0]).unwrap().to_string(), "spiffe://shop/service/order");
    let roots = fixture.client().mesh_roots().await.unwrap();
    assert_eq!(roots.roots[0].0, order.roots().unwrap().ders()[0]);
    assert_eq!(roots.roots[0].0, fixture.node.authority().unwrap().roots()[0]);

    let (again, _again) = identity(&fixture, "service/order", &token);
    let error = again.ready().await.unwrap_err().to_string();
    assert!(error.contains("used already"), "{error}");

    // The audit says who made the token, and who was let in by it.
    let audit = fixture.audit("?class=other").await;
    let keys = |at: usize| audit.entries[at].changes.iter().map(|change| change.key.clone()).collect::<Vec<_>>();
    assert!(keys(0).iter().any(|key| key.starts_with("mesh/certificates/service/order/")), "{audit:?}");
    assert_eq!(audit.entries[0].operation.as_deref(), Some("POST /v1/mesh/certificates"));
    assert!(keys(1)[0].starts_with("mesh/joins/service/order/"), "{audit:?}");
    assert_eq!(audit.entries[1].operation.as_deref(), Some("POST /v1/mesh/join-tokens"));
}

#[tokio::test]
async fn join_tokens_are_an_administrators() {
    let fixture = fixture().await;
    let editor = fixture.token("ci", "editor").await.token;
    let body = json!({"workload": "service/order"}).to_string();
    fixture.ask("POST", "/v1/mesh/join-tokens", body.clone()).await.problem(401, "unauthenticated");
    fixture.ask_as(&editor, "POST", "/v1/mesh/join-tokens", body).await.problem(403, "permission_denied");
    let root = fixture.root();
    for body in [json!({"workload": "service/order", "ttl": "2h"}), json!({"workload": "bowline"})] {
        let answer = fixture.ask_as(&root, "POST", "/v1/mesh/join-tokens", body.to_string()).await;
        answer.problem(422, "unprocessable");
    }
    let gone = json!({"workload": "service/bank"}).to_string();
    let gone = fixture.ask_as(&root, "POST", "/v1/mesh/join-tokens", gone).await.problem(422, "unprocessable");
    assert!(gone.contains("shop has no service `bank`"), "{gone}");
    let bad = fixture.ask_as(&root, "POST", "/v1/mesh/join-tokens", r#"{"workload":"order"}"#).await;
    assert!(bad.problem(422, "unprocessable").contains("service/NAME"));
}

#[tokio::test]
async fn what_asks_for_certificates_is_bounded() {
    let fixture = fixture().await;
    let key = Key::generate().unwrap();
    let csr = wire::Der(key.csr().unwrap());
    let body =
        |token: &str| json!({"workload": "service/order", "csr": csr, "proof": {"kind": "join", "token": token}});
    let target = "/v1/mesh/certificates";
    let refused = fixture.ask("POST", target, body("bwj_x").to_string()).await;
    assert!(refused.problem(401, "unauthenticated").contains("no join token"));
    let large = fixture.ask("POST", target, vec![b' '; 65 << 10]).await;
    large.problem(413, "payload_too_large");
    // Many more at once than are let through.
    let answers = futures_util::future::join_all((0..600).map(|_| fixture.ask("POST", target, "{"))).await;
    let limited = answers.into_iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(limited.headers["retry-after"], "1");
    limited.problem(429, "rate_limited");
}

#[tokio::test]
async fn the_status_tells_snapshots_and_certificates() {
    let fixture = fixture().await;
    let token = join_token(&fixture, "service/order").await;
    let (order, _order) = identity(&fixture, "service/order", &token);
    order.ready().await.unwrap();
    let snapshot = |workload: &str| {
        let text = json!({"format": 1, "system": "shop", "workload": workload, "mode": "strict",
            "authorization": "off", "inbound": [], "outbound": [], "faults": []});
        Draft::new(Document::new(Format::Json, text.to_string()), Author::new("bowline").unwrap())
    };
    let config = fixture.node.config();
    for workload in ["service/order", "gateway"] {
        let key = ConfigKey::snapshot(&workload.parse().unwrap());
        config.set_config(&key, snapshot(workload)).await.unwrap();
    }
    let ack = json!({"service": "order", "version": 1, "outcome": "applied", "runs": 1, "ttl": "1m"}).to_string();
    let editor = fixture.token("sidecar", "editor").await.token;
    let target = "/v1/config/bowline.service/order/status/order-1";
    assert_eq!(fixture.ask_as(&editor, "PUT", target, ack).await.status, 204, "a sidecar tells what it runs");

    let status = fixture.client().mesh_status().await.unwrap();
    assert_eq!(status.system.as_str(), "shop");
    let [about, gateway] = status.workloads.as_slice() else { panic!("{status:?}") };
    assert_eq!((about.version, about.certificates, about.instances.len()), (Some(1), 1, 1));
    let expires = order.expires_at().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert_eq!(about.expires_unix_ms.map(u128::from), Some(expires));
    let demands = MeshDemands { mode: Mode::Strict, authorization: Authorization::Off };
    assert_eq!((about.demands, gateway.demands), (Some(demands), Some(demands)));
    assert_eq!((gateway.workload.clone(), gateway.version, gateway.certificates), (Workload::Gateway, Some(1), 0));

    // A document that is another workload's snapshot, or none, is refused even here.
    let key = ConfigKey::snapshot(&"service/payment".parse().unwrap());
    assert!(config.set_config(&key, snapshot("service/order")).await.is_err());
    let bad = Draft::new(Document::new(Format::Json, "{}"), Author::new("bowline").unwrap());
    assert!(config.set_config(&key, bad).await.is_err());
}

#[tokio::test]
async fn snapshots_are_nobodys_to_write() {
    let fixture = fixture().await;
    let root = fixture.root();
    let publication = json!({"format": "json", "text": "{}"}).to_string();
    for (method, target, body) in [
        ("PUT", "/v1/config/bowline.service/order", publication.as_str()),
        ("DELETE", "/v1/config/bowline.service/order", ""),
        ("POST", "/v1/config/bowline.mesh/gateway/rollback", r#"{"to":1}"#),
        ("PUT", "/v1/config/bowline.mesh/gateway/schema", "{}"),
        ("DELETE", "/v1/config/bowline.mesh/gateway/schema", ""),
    ] {
        let answer = fixture.ask_as(&root, method, target, body.to_owned()).await;
        let detail = answer.problem(403, "permission_denied");
        assert!(detail.contains("control plane") && detail.contains("bowline/traffic"), "{method} {target}: {detail}");
        assert_eq!(answer.headers["x-bowline-reason"], "compiled");
    }
}

#[tokio::test]
async fn traffic_is_judged() {
    let fixture = fixture().await;
    let root = fixture.root();
    let target = "/v1/config/bowline/traffic";
    let put = async |format: &str, text: &str| {
        let body = json!({"format": format, "text": text}).to_string();
        fixture.ask_as(&root, "PUT", target, body).await
    };
    assert_eq!(put("json", r#"{"steering":{"payment":{"split":{"v1":9,"v2":1}}}}"#).await.status, 200);
    assert_eq!(put("toml", "[steering.payment.split]\nv1 = 1\n").await.status, 200);
    for (format, text, path) in [
        ("json", r#"{"steering":{"bank":{"split":{"v1":1}}}}"#, "/steering/bank"),
        ("json", r#"{"steer":{}}"#, ""),
        ("text", "{}", ""),
    ] {
        let answer = put(format, text).await;
        answer.problem(422, "unprocessable");
        assert_eq!(answer.json()["violations"][0]["path"], path, "{text}");
    }
}

#[tokio::test]
async fn an_instance_may_say_that_it_is_in_the_mesh() {
    let fixture = fixture().await;
    let put = async |value: &str| {
        let body = json!({"service": "order", "address": "127.0.0.1:1", "metadata": {"bowline.mesh": value}});
        fixture.ask("PUT", "/v1/instances/order-1", body.to_string()).await
    };
    assert_eq!(put("mtls").await.status, 200);
    assert!(put("plain").await.problem(422, "unprocessable").contains("bowline.mesh"));
}

#[tokio::test]
async fn a_system_without_a_mesh_says_so() {
    let fixture = Fixture::start().await;
    assert!(fixture.node.authority().is_none());
    let root = fixture.root();
    let csr = wire::Der(vec![1]);
    let request = json!({"workload": "gateway", "csr": csr, "proof": {"kind": "join", "token": "bwj_x"}});
    for (method, target, body) in [
        ("GET", "/v1/mesh/roots", String::new()),
        ("GET", "/v1/mesh/status", String::new()),
        ("POST", "/v1/mesh/certificates", request.to_string()),
        ("POST", "/v1/mesh/join-tokens", json!({"workload": "gateway"}).to_string()),
    ] {
        let answer = fixture.ask_as(&root, method, target, body).await;
        assert!(answer.problem(400, "failed_precondition").contains("[mesh]"), "{method} {target}");
    }
}

#[tokio::test]
async fn a_lost_key_of_the_authority_keeps_the_node_from_starting() {
    let dir = bowline_testkit::temp_dir();
    let node = start(meshed(&dir)).await.unwrap();
    let roots = node.authority().unwrap().roots();
    node.stop().await;
    let key = dir.path().join("data/ca.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let elsewhere = dir.path().join("elsewhere.key");
    std::fs::rename(&key, &elsewhere).unwrap();
    let error = start(meshed(&dir)).await.unwrap_err();
    assert!(bowline_model::error::chain(&error).contains("ca.key, is missing"), "{error}");
    let mut moved = meshed(&dir);
    moved.mesh.as_mut().unwrap().ca_key = Some(elsewhere);
    let node = start(moved).await.unwrap();
    assert_eq!(node.authority().unwrap().roots(), roots);
    node.stop().await;
}
