//! Breakers over the API: what those who hold them tell, and who may order what of them.

use std::sync::Arc;

use bowline_config::{Author, Document, Draft, Format};
use bowline_model::{
    ConfigKey, InstanceId, ServiceName,
    mesh::{Authorization, CallBreakers, OwnBreakers, SNAPSHOT_FORMAT, Snapshot, Workload},
};
use bowline_server::{Declared, Dial, GatewayBreakers, Settings};
use bowline_testkit::{Answer, HttpServer, temp_dir};
use bowline_transport::{Endpoint, PoolSettings};
use serde_json::{Value, json};

use crate::support::{Fixture, settings, start};

fn call(callee: &str, instance: &str, state: &str) -> Value {
    json!({"callee": callee, "is_guarded": true, "breakers": [
        {"instance": instance, "state": state, "calls": 4, "failures": 1, "slow": 0, "failure_rate": 0.25}]})
}

async fn register(fixture: &Fixture, instances: &[(&str, &str, &HttpServer)]) {
    for (id, service, server) in instances {
        let body = json!({"service": service, "address": server.addr().to_string()}).to_string();
        let answer = fixture.ask("PUT", &format!("/v1/instances/{id}"), body).await;
        assert!(answer.status < 300, "{answer:?}");
    }
}

async fn collect(fixture: &Fixture) {
    let dial: Dial = Arc::new(|instance| Endpoint::from(instance));
    fixture.node.collect(PoolSettings::default(), dial).await;
}

/// Who calls whom by which process, of an answer.
fn held(listed: &Value) -> Vec<(&str, &str, &str)> {
    let calls = listed["calls"].as_array().unwrap().iter();
    calls.map(names).collect()
}

fn names(call: &Value) -> (&str, &str, &str) {
    let [caller, holder, callee] = ["caller", "holder", "callee"].map(|field| call[field].as_str().unwrap());
    (caller, holder, callee)
}

#[tokio::test]
async fn all_who_hold_breakers_are_asked_and_who_does_not_answer_is_named() {
    let fixture = Fixture::start().await;
    let said = json!({"calls": [call("payment", "payment-1", "open"), call("user", "user-1", "closed")]});
    let order = HttpServer::start(move |request| match (&*request.method, &*request.path) {
        ("GET", "/-/bowline/breakers") => Answer::Status(200, said.to_string()),
        _ => Answer::Status(404, "{}".to_owned()),
    });
    let plain = HttpServer::start(|_| Answer::Status(404, "{}".to_owned()));
    let web = HttpServer::start(|_| Answer::Status(200, "<html></html>".to_owned()));
    let broken = HttpServer::start(|_| Answer::Status(500, "{}".to_owned()));
    let hangs = HttpServer::start(|_| Answer::Hang);
    let newer = HttpServer::start(|_| Answer::Status(200, json!({"calls": [{"to": "a"}]}).to_string()));
    register(
        &fixture,
        &[
            ("order-1", "order", &order),
            ("order-2", "order", &order),
            ("plain-1", "plain", &plain),
            ("web-1", "web", &web),
            ("broken-1", "broken", &broken),
            ("hangs-1", "hangs", &hangs),
            ("newer-1", "newer", &newer),
        ],
    )
    .await;
    fixture.get("/v1/breakers").await.problem(503, "unavailable");
    collect(&fixture).await;
    fixture.node.set_gateway_breakers(GatewayBreakers::new(InstanceId::new("gateway-1").unwrap(), || {
        let told: CallBreakers = serde_json::from_value(call("order", "order-1", "half_open")).unwrap();
        OwnBreakers { calls: vec![CallBreakers { route: Some("orders".to_owned()), ..told }] }
    }));

    let listed = fixture.get("/v1/breakers").await.json();
    let expect = [
        ("gateway", "gateway-1", "order"),
        ("order", "order-1", "payment"),
        ("order", "order-2", "payment"),
        ("order", "order-1", "user"),
        ("order", "order-2", "user"),
    ];
    assert_eq!(held(&listed), expect);
    assert_eq!(listed["calls"][0]["route"], "orders");
    assert_eq!(listed["calls"][1]["breakers"], call("payment", "payment-1", "open")["breakers"]);
    let missing: Vec<_> = listed["missing"].as_array().unwrap().iter().collect();
    let names: Vec<_> = missing.iter().map(|one| one["holder"].as_str().unwrap()).collect();
    assert_eq!(names, ["broken-1", "hangs-1", "newer-1"]);
    assert!(missing[1]["why"].as_str().unwrap().contains("does not answer"), "{missing:?}");

    let asked = async |query: &str| fixture.get(&format!("/v1/breakers?{query}")).await.json();
    assert_eq!(
        held(&asked("caller=order&callee=user").await),
        [("order", "order-1", "user"), ("order", "order-2", "user")]
    );
    assert_eq!(asked("caller=gateway").await["calls"].as_array().unwrap().len(), 1);
    assert_eq!(asked("caller=plain").await, json!({"calls": []}));
    fixture.get("/v1/breakers?caller=Order!").await.problem(400, "invalid_argument");
    fixture.get("/v1/breakers?service=order").await.problem(400, "invalid_argument");
}

#[tokio::test]
async fn a_gateway_that_cannot_be_asked_is_named() {
    let fixture = Fixture::start().await;
    collect(&fixture).await;
    let snapshot = Snapshot {
        format: SNAPSHOT_FORMAT,
        system: ServiceName::new("shop").unwrap(),
        workload: Workload::Gateway,
        mode: None,
        authorization: Authorization::default(),
        inbound: Vec::new(),
        outbound: Vec::new(),
        faults: Vec::new(),
    };
    let document = Document::new(Format::Json, serde_json::to_string(&snapshot).unwrap());
    let draft = Draft::new(document, Author::new("test").unwrap());
    let key = ConfigKey::snapshot(&Workload::Gateway);
    fixture.node.config().set_config(&key, draft).await.unwrap();
    let ack = json!({"version": 1, "outcome": "applied", "service": "gateway", "ttl": "1m"}).to_string();
    let answer = fixture.ask("PUT", "/v1/config/bowline.mesh/gateway/status/gateway-x", ack).await;
    assert!(answer.status < 300, "{answer:?}");
    let listed = fixture.get("/v1/breakers").await.json();
    assert_eq!(listed["missing"][0]["holder"], "gateway-x");
    let why = listed["missing"][0]["why"].as_str().unwrap();
    assert!(why.contains("version 1 of bowline.mesh/gateway"), "{why}");
}

#[tokio::test]
async fn orders_are_published_by_administrators_alone_and_what_makes_no_sense_is_refused() {
    let dir = temp_dir();
    let services = ["order", "payment"].map(|name| ServiceName::new(name).unwrap()).into();
    let declared = Declared { services, ..Declared::default() };
    let settings = Settings { declared, ..settings(&dir, Some(([127, 0, 0, 1], 0).into())) };
    let fixture = Fixture::of(dir, start(settings).await.unwrap());
    let (editor, admin) = (fixture.token("e", "editor").await, fixture.token("a", "admin").await);
    let traffic = |orders: Value| {
        let text = json!({"steering": {"payment": {"breakers": orders}}}).to_string();
        json!({"format": "json", "text": text, "comment": "payment is held open"}).to_string()
    };
    let target = "/v1/config/bowline/traffic";
    let order = json!([{"caller": "service/order", "order": "open"}]);
    fixture.ask_as(&editor.token, "PUT", target, traffic(order.clone())).await.problem(403, "permission_denied");
    let answer = fixture.ask_as(&admin.token, "PUT", target, traffic(order)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for (bad, path) in [
        (json!([{"caller": "service/bank", "order": "open"}]), "/steering/payment/breakers/0/caller"),
        (json!([{"order": "reset"}]), "/steering/payment/breakers/0/until_unix_ms"),
        (json!([{"order": "open"}, {"order": "closed"}]), "/steering/payment/breakers/1"),
        (json!([{"order": "ajar"}]), ""),
    ] {
        let answer = fixture.ask_as(&admin.token, "PUT", target, traffic(bad)).await;
        assert_eq!((answer.status, answer.json()["violations"][0]["path"].as_str()), (422, Some(path)), "{answer:?}");
    }

    let changes = fixture.get("/v1/changes").await.json();
    let change = changes["changes"].as_array().unwrap().iter().find(|change| change["kind"] == "breaker");
    let change = change.unwrap_or_else(|| panic!("{changes}"));
    assert_eq!((&change["subject"], &change["service"]), (&json!("order->payment"), &json!("payment")));
    assert_eq!(change["what"], "the breakers of order->payment are held open");
}
