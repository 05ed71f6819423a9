//! What happened to a system, as one line of time: who changed what, and what followed by itself.

use bowline_provider_remote::wire::{ChangeList, SystemChange, SystemChangeKind as Kind};
use bowline_server::{MeshSettings, Settings};
use serde_json::json;

use crate::support::{Fixture, service, settings, start, until};

/// A node of a system with a mesh, so that there may be faults.
async fn fixture() -> Fixture {
    let dir = bowline_testkit::temp_dir();
    let services = ["order", "payment"].map(service).into_iter().collect();
    let certificate_ttl = std::time::Duration::from_hours(1);
    let mesh = MeshSettings { system: service("shop"), services, certificate_ttl, ca_key: None };
    let settings = Settings { mesh: Some(mesh), ..settings(&dir, Some(([127, 0, 0, 1], 0).into())) };
    Fixture::of(dir, start(settings).await.unwrap())
}

async fn list(fixture: &Fixture, query: &str) -> ChangeList {
    let answer = fixture.get(&format!("/v1/changes{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// `subject: what` of those of a kind, newest first.
fn told(list: &ChangeList, kind: Kind) -> Vec<String> {
    let of_kind = list.changes.iter().filter(|change| change.kind == kind);
    of_kind.map(|change| format!("{}: {}", change.subject, change.what)).collect()
}

async fn put(fixture: &Fixture, key: &str, text: &str, comment: &str) {
    let body = json!({"format": "json", "text": text, "comment": comment}).to_string();
    let answer = fixture.ask_as(&fixture.root(), "PUT", &format!("/v1/config/{key}"), body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn documents_are_told_with_who_changed_them_and_why() {
    let fixture = fixture().await;
    let root = fixture.root();
    put(&fixture, "shop/order", "{\"a\":1}", "").await;
    put(&fixture, "shop/order", "{\"a\":2}", "twice as much").await;
    let schema = r#"{"type": "object"}"#;
    assert_eq!(fixture.ask_as(&root, "PUT", "/v1/config/shop/order/schema", schema).await.status, 204);
    let back = json!({"to": 1}).to_string();
    assert_eq!(fixture.ask_as(&root, "POST", "/v1/config/shop/order/rollback", back).await.status, 200);
    assert_eq!(fixture.ask("DELETE", "/v1/config/shop/order", "").await.status, 204);
    let list = list(&fixture, "").await;
    let expect = [
        "shop/order: was deleted",
        "shop/order: version 3 brought version 1 back",
        "shop/order: version 2 was published: twice as much",
        "shop/order: version 1 was published",
    ];
    assert_eq!(told(&list, Kind::Config), expect);
    assert_eq!(told(&list, Kind::Schema), ["shop/order: its schema was replaced"]);
    let actors: Vec<_> = list.changes.iter().filter(|change| change.kind == Kind::Config).collect();
    assert_eq!((actors[0].actor.as_deref(), actors[1].actor.as_deref()), (Some("anonymous"), Some("root")));
    assert_eq!(actors[0].link.as_deref(), Some("/v1/config/shop/order/history"));
    assert!(list.changes.windows(2).all(|two| two[0].at_unix_ms >= two[1].at_unix_ms), "{list:#?}");
}

#[tokio::test]
async fn faults_tokens_and_silences_are_told() {
    let fixture = fixture().await;
    let fault = r#"{"id":"slow","service":"payment","share":"10%","delay":"2s","until_unix_ms":4102444800000}"#;
    put(&fixture, "bowline/traffic", &format!(r#"{{"faults":[{fault}]}}"#), "").await;
    put(&fixture, "bowline/traffic", r#"{"steering":{"order":{"split":{"v1":1}}}}"#, "").await;
    let join = json!({"workload": "service/order"}).to_string();
    assert_eq!(fixture.ask_as(&fixture.root(), "POST", "/v1/mesh/join-tokens", join).await.status, 201);
    let for_call = json!({"workload": "service/payment", "is_for_call": true}).to_string();
    let refused = fixture.ask_as(&fixture.root(), "POST", "/v1/mesh/join-tokens", for_call).await;
    assert_eq!(refused.status, 400, "one that is good for long is told of");
    let for_call = json!({"workload": "service/payment", "is_for_call": true, "ttl": "1m"}).to_string();
    assert_eq!(fixture.ask_as(&fixture.root(), "POST", "/v1/mesh/join-tokens", for_call).await.status, 201);
    let token = fixture.token("ci", "editor").await;
    let revoke = format!("/v1/tokens/{}", token.about.id);
    assert_eq!(fixture.ask_as(&fixture.root(), "DELETE", &revoke, "").await.status, 204);
    let silence = json!({"matchers": ["service=\"order\""], "endsAt": "2100-01-01T00:00:00Z", "createdBy": "ada",
        "comment": "it is mended"});
    let made = fixture.ask("POST", "/v1/alerts/silences", silence.to_string()).await.json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(fixture.ask("DELETE", &format!("/v1/alerts/silences/{id}"), "").await.status, 200);

    let list = list(&fixture, "").await;
    let fault = "10% of the requests to payment wait 2s";
    assert_eq!(told(&list, Kind::Fault), [format!("slow: ended: {fault}"), format!("slow: {fault}")]);
    let faults: Vec<&SystemChange> = list.changes.iter().filter(|change| change.kind == Kind::Fault).collect();
    assert_eq!(faults[0].service.as_ref().unwrap().as_str(), "payment");
    assert_eq!(told(&list, Kind::Config), ["bowline/traffic: version 2 was published"]);
    let of_token = |what: &str| format!("{}: a token was {what}", token.about.id);
    let of_join = "service/order: a token to join the mesh was made".to_owned();
    assert_eq!(told(&list, Kind::Token)[..3], [of_token("revoked"), of_token("made"), of_join]);
    assert!(!told(&list, Kind::Token).iter().any(|it| it.contains("payment")), "{list:#?}");
    assert!(!serde_json::to_string(&list).unwrap().contains(token.token.expose()), "{list:?}");
    let about = format!("{id}: was {{}} for service=\"order\": it is mended");
    assert_eq!(told(&list, Kind::Silence), ["ended", "made"].map(|what| about.replace("{}", what)));
}

#[tokio::test]
async fn instances_come_fall_ill_and_go() {
    let fixture = Fixture::start().await;
    let with = |health: &str| format!(r#"{{"service":"order","address":"127.0.0.1:9000","health":"{health}"}}"#);
    for health in ["healthy", "unhealthy"] {
        assert_eq!(fixture.ask("PUT", "/v1/instances/order-1", with(health)).await.status, 200);
        let is_so = async || list(&fixture, "").await.changes[0].what.contains(health);
        until(is_so).await;
    }
    assert_eq!(fixture.ask("DELETE", "/v1/instances/order-1", "").await.status, 204);
    until(async || told(&list(&fixture, "").await, Kind::Instance).len() == 2).await;
    let list = list(&fixture, "").await;
    assert_eq!(told(&list, Kind::Instance), ["order-1: went: it was deregistered", "order-1: came, healthy"]);
    assert_eq!(told(&list, Kind::Health), ["order-1: healthy → unhealthy"]);
    assert_eq!(list.changes[0].service.as_ref().unwrap().as_str(), "order");
}

#[tokio::test]
async fn a_time_and_a_count_bound_what_is_told() {
    let fixture = Fixture::start().await;
    for at in 0..5 {
        put(&fixture, &format!("shop/c{at}"), "{}", "").await;
    }
    let all = list(&fixture, "").await;
    assert!(!all.more && all.changes.len() == 5, "{all:?}");
    let three = list(&fixture, "?limit=3").await;
    assert_eq!((three.changes.as_slice(), three.more), (&all.changes[..3], true));
    let third = all.changes[2].at_unix_ms;
    let since = list(&fixture, &format!("?since={third}")).await;
    assert!(since.changes.starts_with(&all.changes[..3]) && since.changes.iter().all(|it| it.at_unix_ms >= third));
    let until = list(&fixture, &format!("?until={third}")).await;
    assert!(all.changes.ends_with(&until.changes) && until.changes.contains(&all.changes[2]), "{until:?}");
    assert_eq!(list(&fixture, "?since=1h").await, all);
    assert_eq!(list(&fixture, "?until=1h").await.changes, []);
    for query in
        ["?kind=storm", "?service=Order!", "?limit=0", "?limit=1001", "?since=yesterday", "?until=-1", "?after=1"]
    {
        fixture.get(&format!("/v1/changes{query}")).await.problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn a_kind_and_a_service_are_told_alone() {
    let fixture = fixture().await;
    let payment = r#"{"id":"slow","service":"payment","share":"10%","delay":"2s","until_unix_ms":4102444800000}"#;
    let order = payment.replace("slow", "late").replace("payment", "order");
    put(&fixture, "bowline/traffic", &format!(r#"{{"faults":[{payment},{order}]}}"#), "").await;
    for at in 0..3 {
        put(&fixture, &format!("shop/c{at}"), "{}", "").await;
    }
    let instance = r#"{"service":"order","address":"127.0.0.1:9000","health":"healthy"}"#;
    assert_eq!(fixture.ask("PUT", "/v1/instances/order-1", instance).await.status, 200);
    until(async || told(&list(&fixture, "").await, Kind::Instance).len() == 1).await;

    // What is of another kind takes no place.
    let faults = list(&fixture, "?kind=fault&limit=2").await;
    assert_eq!((faults.changes.len(), faults.more), (2, false), "{faults:#?}");
    assert!(faults.changes.iter().all(|change| change.kind == Kind::Fault));
    let of_order = list(&fixture, "?service=order").await;
    let subjects: Vec<_> = of_order.changes.iter().map(|change| change.subject.as_str()).collect();
    assert_eq!(subjects, ["order-1", "late"]);
    let both = list(&fixture, "?service=order&kind=instance").await;
    assert_eq!(both.changes, of_order.changes[..1]);
    assert_eq!(list(&fixture, "?service=payment&kind=alert").await.changes, []);
}
