//! Configuration: the port over HTTP, and what stands in requests and answers.

use std::{sync::Arc, time::Duration};

use bowline_config::{
    Author, ConfigManager, ConfigWatcher, Document, Draft, Error, Format, Origin, Version, Violation, conformance,
};
use bowline_model::{Code, ConfigKey};
use bowline_runtime::{metric, task, time::timeout};
use bowline_server::{Node, RoutesCheck};
use serde_json::{Value, json};

use crate::support::{Answer, BOUND, Fixture, settings};

const ORDER: &str = "/v1/config/shop/order";
const SCHEMA: &str = r#"{"required": ["items_max"], "properties": {"items_max": {"maximum": 100}}}"#;

fn order() -> ConfigKey {
    ConfigKey::new("shop/order").unwrap()
}

fn publication(text: &str) -> String {
    json!({"format": "toml", "text": text}).to_string()
}

fn draft(text: &str) -> Draft {
    Draft::new(Document::new(Format::Toml, text), Author::anonymous())
}

impl Fixture {
    async fn publish(&self, text: &str) -> Version {
        self.node.config().set_config(&order(), draft(text)).await.unwrap()
    }

    async fn put(&self, target: &str, body: &Value) -> Answer {
        self.ask("PUT", target, body.to_string()).await
    }
}

async fn next(watch: &mut Box<dyn ConfigWatcher>) -> Result<Option<Version>, Error> {
    timeout(BOUND, watch.next()).await.expect("a state comes")
}

#[tokio::test]
async fn the_configuration_of_a_node_passes_the_suite() {
    let fixture = Fixture::start().await;
    conformance::all(&fixture.node.config()).await;
}

#[tokio::test]
async fn the_configuration_of_a_remote_node_passes_the_suite() {
    let fixture = Fixture::start().await;
    let remote: Arc<dyn ConfigManager> = Arc::new(fixture.remote_config());
    conformance::all(&remote).await;
}

#[tokio::test]
async fn a_document_is_published_and_read() {
    let fixture = Fixture::start().await;
    fixture.get(ORDER).await.problem(404, "not_found");
    let body = json!({"format": "toml", "text": "items_max = 5\n", "expect": 0, "comment": "the first"});
    let published = fixture.put(ORDER, &body).await;
    assert_eq!(published.status, 200, "{published:?}");
    let version = published.json();
    assert!(version["at_unix_ms"].as_u64().unwrap() > 1_600_000_000_000, "{version}");
    let mut expected = json!({
        "number": 1, "document": {"format": "toml", "text": "items_max = 5\n"}, "author": "anonymous",
        "origin": "api", "comment": "the first",
    });
    expected["at_unix_ms"] = version["at_unix_ms"].clone();
    assert_eq!(version, expected);
    assert_eq!(fixture.get(ORDER).await.json(), version);
    assert_eq!(fixture.get(&format!("{ORDER}?version=1")).await.json(), version);
    let detail = fixture.get(&format!("{ORDER}?version=2")).await.problem(404, "not_found");
    assert!(detail.contains("version 2") && detail.contains("shop/order"), "{detail}");

    let list = fixture.get("/v1/config?namespace=shop").await.json();
    assert_eq!(list["documents"][0]["key"], "shop/order");
    assert_eq!(list["documents"][0]["version"]["bytes"], 14);
    assert_eq!(fixture.get("/v1/config?namespace=other").await.json(), json!({"documents": []}));
    let history = fixture.get(&format!("{ORDER}/history?limit=1")).await.json();
    assert_eq!(history["versions"][0], list["documents"][0]["version"]);

    assert_eq!(fixture.ask("DELETE", &format!("{ORDER}?expect=1"), "").await.status, 204);
    fixture.ask("DELETE", ORDER, "").await.problem(404, "not_found");
    let restored = fixture.ask("POST", &format!("{ORDER}/rollback"), r#"{"to":1}"#).await.json();
    assert_eq!((&restored["number"], &restored["restores"]), (&2.into(), &1.into()));
    let fixture = fixture.restart().await;
    assert_eq!(fixture.get(ORDER).await.json(), restored);
}

#[tokio::test]
async fn a_conflict_tells_both_sides() {
    let fixture = Fixture::start().await;
    fixture.publish("a = 1").await;
    fixture.publish("a = 2").await;
    let late = fixture.put(ORDER, &json!({"format": "toml", "text": "a = 3", "expect": 1})).await;
    let detail = late.problem(409, "conflict");
    assert!(detail.contains("version 2") && detail.contains("version 1"), "{detail}");
    let problem = late.json();
    assert_eq!(problem["expected"], 1);
    assert_eq!((&problem["base"]["document"]["text"], &problem["base"]["number"]), (&"a = 1".into(), &1.into()));
    assert_eq!(problem["current"]["document"]["text"], "a = 2");
    let new = fixture.put("/v1/config/shop/new", &json!({"format": "toml", "text": "", "expect": 4})).await;
    new.problem(409, "conflict");
    assert_eq!((&new.json()["base"], &new.json()["current"]), (&Value::Null, &Value::Null));
    fixture.ask("DELETE", &format!("{ORDER}?expect=1"), "").await.problem(409, "conflict");
}

#[tokio::test]
async fn a_rollback_from_another_version_tells_both_sides() {
    let fixture = Fixture::start().await;
    for at in 1..=3 {
        fixture.publish(&format!("items_max = {at}")).await;
    }
    let target = format!("{ORDER}/rollback");
    let post = async |body: Value| fixture.ask("POST", &target, body.to_string()).await;
    let refused = post(json!({ "to": 1, "expect": 2 })).await;
    refused.problem(409, "conflict");
    let (expected, base, current) =
        (&refused.json()["expected"], &refused.json()["base"]["number"], &refused.json()["current"]["number"]);
    assert_eq!((expected, base, current), (&json!(2), &json!(2), &json!(3)));
    assert_eq!(post(json!({ "to": 1, "expect": 3 })).await.json()["number"], 4);
    assert_eq!(post(json!({ "to": 3 })).await.json()["number"], 5, "whichever");
    post(json!({ "to": 1, "expect": "5" })).await.problem(422, "unprocessable");
    assert_eq!(fixture.ask("DELETE", ORDER, "").await.status, 204);
    post(json!({ "to": 5, "expect": 5 })).await.problem(409, "conflict");
    assert_eq!(post(json!({ "to": 5, "expect": 0 })).await.json()["number"], 6);
}

#[tokio::test]
async fn a_schema_is_changed_from_the_one_that_was_read() {
    let fixture = Fixture::start().await;
    let schema = format!("{ORDER}/schema");
    let put = async |expect: &str, text: &str| {
        fixture.ask("PUT", &format!("{schema}?expect={expect}"), text.to_owned()).await
    };
    let tag = async || fixture.get(&schema).await.header("etag").trim_matches('"').to_owned();
    assert_eq!(put("none", SCHEMA).await.status, 204);
    let read = tag().await;
    assert!(put("none", "{}").await.problem(409, "conflict").contains("look at it"));
    assert_eq!(put(&read, "{}").await.status, 204);
    assert_ne!(tag().await, read);
    let stale = put(&read, "true").await;
    stale.problem(409, "conflict");
    assert_eq!(stale.json()["schema"], "changed");
    fixture.ask("DELETE", &format!("{schema}?expect={read}"), "").await.problem(409, "conflict");
    fixture.ask("DELETE", &format!("{schema}?expect=none"), "").await.problem(409, "conflict");
    assert_eq!(&fixture.get(&schema).await.body[..], b"{}", "nothing was changed");
    for bad in ["", "1", "%22x%22", "zz"] {
        put(bad, "{}").await.problem(400, "invalid_argument");
    }
    fixture.ask("PUT", &format!("{schema}?exepct={read}"), "{}").await.problem(400, "invalid_argument");
    let last = tag().await;
    assert_eq!(fixture.ask("DELETE", &format!("{schema}?expect={last}"), "").await.status, 204);
    put(&last, "{}").await.problem(409, "conflict");
}

/// A refusal, but for the request that it was of.
fn told(refusal: &Answer) -> Value {
    let mut told = refusal.json();
    told.as_object_mut().unwrap().remove("trace_id");
    told
}

#[tokio::test]
async fn a_check_answers_as_a_publication_would_and_changes_nothing() {
    let fixture = Fixture::start().await;
    let target = format!("{ORDER}/check");
    let check = async |body: String| fixture.ask("POST", &target, body).await;
    assert_eq!(fixture.ask("PUT", &format!("{ORDER}/schema"), SCHEMA).await.status, 204);
    let before = fixture.get("/v1/audit").await.json();
    for refused in ["items_max = 101", "items_max = ", "other = 1"] {
        let (dry, wet) = (check(publication(refused)).await, fixture.ask("PUT", ORDER, publication(refused)).await);
        assert_eq!(dry.problem(422, "unprocessable"), wet.problem(422, "unprocessable"));
        assert_eq!(told(&dry), told(&wet));
    }
    let would = check(publication("items_max = 100")).await;
    assert_eq!((would.status, would.json()), (200, json!({"number": 1})));
    fixture.get(ORDER).await.problem(404, "not_found");
    assert_eq!(fixture.get("/v1/audit").await.json(), before, "nothing was done");
    fixture.publish("items_max = 2").await;
    let before = fixture.get("/v1/audit").await.json();
    let late = json!({"format": "toml", "text": "items_max = 1", "expect": 3});
    let (behind, wet) = (check(late.to_string()).await, fixture.put(ORDER, &late).await);
    behind.problem(409, "conflict");
    assert_eq!(told(&behind), told(&wet));
    assert_eq!(check(publication("items_max = 3")).await.json(), json!({"number": 2}));
    assert_eq!(fixture.get(ORDER).await.json()["number"], 1);
    assert_eq!(fixture.get("/v1/audit").await.json(), before, "nothing was done");
    let both = json!({"format": "toml", "text": "items_max = 1", "schema": "{}"});
    check(both.to_string()).await.problem(400, "invalid_argument");
}

#[tokio::test]
async fn what_breaks_its_schema_is_refused_with_path_and_rule() {
    let fixture = Fixture::start().await;
    let schema = format!("{ORDER}/schema");
    fixture.get(&schema).await.problem(404, "not_found");
    assert_eq!(fixture.ask("PUT", &schema, SCHEMA).await.status, 204);
    let read = fixture.get(&schema).await;
    assert_eq!((read.header("content-type"), &read.body[..]), ("application/schema+json", SCHEMA.as_bytes()));
    let refused = fixture.ask("PUT", ORDER, publication("items_max = 101")).await;
    let detail = refused.problem(422, "unprocessable");
    assert!(detail.contains("/items_max") && detail.contains("maximum") && detail.contains("100"), "{detail}");
    let violations = refused.json()["violations"].clone();
    assert_eq!((&violations[0]["path"], &violations[0]["rule"]), (&"/items_max".into(), &"maximum".into()));
    assert_eq!(fixture.ask("PUT", ORDER, publication("items_max = 100")).await.status, 200);
    let refused = fixture.ask("PUT", &schema, r#"{"required": ["more"]}"#).await;
    refused.problem(422, "unprocessable");
    assert_eq!(refused.json()["violations"][0]["rule"], "required");
    assert_eq!(fixture.ask("DELETE", &schema, "").await.status, 204);
    assert_eq!(fixture.ask("PUT", ORDER, publication("items_max = 101")).await.status, 200);
    let both = json!({"format": "json", "text": "{\"more\": 1}", "schema": r#"{"required": ["more"]}"#});
    assert_eq!(fixture.put(ORDER, &both).await.status, 200);
    fixture.ask("PUT", ORDER, publication("items_max = 1")).await.problem(422, "unprocessable");
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_its_place() {
    let fixture = Fixture::start().await;
    let refused = fixture.ask("PUT", ORDER, publication("a = 1\nb = = 2")).await;
    let detail = refused.problem(422, "unprocessable");
    assert!(detail.starts_with("line 2, column 5 of the toml document: "), "{detail}");
    let syntax = refused.json()["syntax"].clone();
    assert_eq!((&syntax["line"], &syntax["column"], &syntax["format"]), (&2.into(), &5.into(), &"toml".into()));
    let refused = fixture.ask("PUT", &format!("{ORDER}/schema"), r#"{"$ref": "https://example.com/x"}"#).await;
    let detail = refused.problem(422, "unprocessable");
    assert!(detail.contains("https://example.com/x"), "{detail}");
    assert!(refused.json()["schema_fault"].is_string());
    fixture.get(ORDER).await.problem(404, "not_found");
}

#[tokio::test]
async fn requests_that_are_wrong_are_refused() {
    let fixture = Fixture::start().await;
    for key in ["Shop/order", "shop/ORDER", "shop/%2e%2e", "shop/a%2Fb", "%20/x"] {
        for rest in ["", "/history", "/schema", "/status"] {
            fixture.get(&format!("/v1/config/{key}{rest}")).await.problem(400, "invalid_argument");
        }
        fixture.ask("PUT", &format!("/v1/config/{key}"), publication("")).await.problem(400, "invalid_argument");
    }
    for query in ["?colour=red", "?version=x", "?watch=true&version=1", "/history?limit=0", "/history?limit=1001"] {
        fixture.get(&format!("{ORDER}{query}")).await.problem(400, "invalid_argument");
    }
    for (body, part) in [
        (json!({"format": "yaml", "text": ""}), "format"),
        (json!({"format": "toml"}), "text"),
        (json!({"format": "toml", "text": "", "colour": 1}), "colour"),
        (json!({"format": "toml", "text": "", "comment": "x".repeat(501)}), "comment"),
        (json!({"format": "text", "text": "x".repeat((256 << 10) + 1)}), "document"),
        (json!({"format": "toml", "text": "", "schema": "x".repeat((256 << 10) + 1)}), "schema"),
    ] {
        let detail = fixture.put(ORDER, &body).await.problem(422, "unprocessable");
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let schema = format!("{ORDER}/schema");
    let called = [("content-type", "text/plain")];
    fixture.ask_with("PUT", &schema, &called, SCHEMA).await.problem(415, "unsupported_media_type");
    fixture.ask_with("PUT", &schema, &[], SCHEMA).await.problem(415, "unsupported_media_type");
    fixture.ask("PUT", &schema, &b"\xff"[..]).await.problem(400, "invalid_argument");
    fixture.ask("PUT", &schema, "x".repeat((256 << 10) + 1)).await.problem(422, "unprocessable");
    fixture.ask("PUT", &schema, "x".repeat(9 << 20)).await.problem(413, "payload_too_large");
    fixture.ask("POST", &format!("{ORDER}/rollback"), r#"{"to":1}"#).await.problem(404, "not_found");
    fixture.publish("a = 1").await;
    let detail = fixture.ask("POST", &format!("{ORDER}/rollback"), r#"{"to":1}"#).await.problem(422, "unprocessable");
    assert!(detail.contains("current"), "{detail}");
}

#[tokio::test]
async fn a_watch_begins_with_the_state_and_tells_each_change() {
    let fixture = Fixture::start().await;
    let target = format!("{ORDER}?watch=true");
    let mut lines = fixture.lines(&target).await.ok().unwrap();
    assert_eq!(lines.begin, json!({"type": "absent"}));
    let first = fixture.publish("a = 1").await;
    let put = |version: &Version| json!({"type": "put", "version": version});
    assert_eq!(lines.next().await.unwrap(), put(&first));
    assert_eq!(fixture.lines(&target).await.ok().unwrap().begin, put(&first));
    fixture.node.config().delete_config(&order(), None).await.unwrap();
    assert_eq!(lines.next().await.unwrap(), json!({"type": "absent"}));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_eq!(lines.next().await.unwrap(), json!({"type": "bookmark"}));
    let stopped = task::spawn(fixture.node.stop());
    assert_eq!(lines.next().await, None, "a drain ends it");
    timeout(BOUND, stopped).await.expect("an open watch does not hold up the end").unwrap();
}

#[tokio::test]
async fn a_remote_watch_survives_a_restart_and_tells_nothing_twice() {
    let fixture = Fixture::start().await;
    let first = fixture.publish("a = 1").await;
    let mut watch = fixture.remote_config().watch_config(&order()).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), Some(first));
    let Fixture { dir, node, addr } = fixture;
    node.stop().await;
    for _ in 0..2 {
        let error = next(&mut watch).await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true), "{error:?}");
    }
    let node = Node::start(settings(&dir, Some(addr)), metric::Registry::default()).await.unwrap();
    let waiting = task::spawn(async move { next(&mut watch).await });
    let second = node.config().set_config(&order(), draft("a = 2")).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), Some(second), "not the first again");
    node.stop().await;
}

#[tokio::test]
async fn acknowledgements_are_told_by_the_status() {
    let fixture = Fixture::start().await;
    let ack = json!({"service": "order", "version": 1, "outcome": "applied", "runs": 1, "ttl": "15s"});
    let (one, two) = (format!("{ORDER}/status/order-1"), format!("{ORDER}/status/order-2"));
    fixture.put(&one, &ack).await.problem(404, "not_found");
    let current = fixture.publish("a = 1").await;
    assert_eq!(fixture.put(&one, &ack).await.status, 204);
    let refused = json!({"service": "order", "version": 1, "outcome": "refused", "reason": "no a", "ttl": "15s"});
    assert_eq!(fixture.put(&two, &refused).await.status, 204);
    let status = fixture.get(&format!("{ORDER}/status")).await.json();
    assert_eq!((&status["key"], &status["current"]), (&"shop/order".into(), &json!(current.summary())));
    let mut expected = json!([
        {"instance": "order-1", "service": "order", "version": 1, "outcome": "applied", "runs": 1},
        {"instance": "order-2", "service": "order", "version": 1, "outcome": "refused", "reason": "no a"},
    ]);
    for (at, instance) in status["instances"].as_array().unwrap().iter().enumerate() {
        expected[at]["at_unix_ms"] = instance["at_unix_ms"].clone();
    }
    assert_eq!(status["instances"], expected);

    for (field, value) in [
        ("version", json!(2)),
        ("outcome", json!("refused")),
        ("reason", json!("for nothing")),
        ("ttl", json!("1ms")),
        ("service", json!("Order!")),
    ] {
        let mut bad = ack.clone();
        bad[field] = value;
        let answer = fixture.put(&one, &bad).await;
        let expected = if field == "version" { (404, "not_found") } else { (422, "unprocessable") };
        answer.problem(expected.0, expected.1);
    }
    fixture.put(&format!("{ORDER}/status/a%20b"), &ack).await.problem(400, "invalid_argument");
}

#[tokio::test]
async fn bowlines_own_documents_need_an_administrator_and_a_judge() {
    let fixture = Fixture::start().await;
    let root = fixture.root();
    let routes = "/v1/config/bowline/routes";
    for target in [routes, "/v1/config/bowline/other"] {
        fixture.ask("PUT", target, publication("")).await.problem(401, "unauthenticated");
        let refused = fixture.ask_as(&root, "PUT", target, publication("")).await;
        refused.problem(422, "unprocessable");
        assert_eq!(refused.json()["violations"][0]["rule"], "reserved");
        let schema = fixture.ask_as(&root, "PUT", &format!("{target}/schema"), "{}").await;
        schema.problem(422, "unprocessable");
    }

    let check = RoutesCheck::new(|text| {
        let bad = Violation { path: "/route/0".to_owned(), rule: "route".to_owned(), detail: "bad".to_owned() };
        if text.contains("bad") { Err(vec![bad]) } else { Ok(()) }
    });
    let dir = bowline_testkit::temp_dir();
    let place = settings(&dir, Some(([127, 0, 0, 1], 0).into()));
    let node = Node::start_with_routes(place, metric::Registry::default(), check).await.unwrap();
    let fixture = Fixture::of(dir, node);
    let root = fixture.root();
    assert_eq!(fixture.ask_as(&root, "PUT", routes, publication("a = 1")).await.status, 200);
    let refused = fixture.ask_as(&root, "PUT", routes, publication("bad = 1")).await;
    assert_eq!(refused.problem(422, "unprocessable"), "the document breaks its rules: /route/0: bad (route)");
    let other = fixture.ask_as(&root, "PUT", "/v1/config/bowline/other", publication("")).await;
    other.problem(422, "unprocessable");
}

#[tokio::test]
async fn no_other_spelling_of_a_path_changes_bowlines_own_documents() {
    let dir = bowline_testkit::temp_dir();
    let place = settings(&dir, Some(([127, 0, 0, 1], 0).into()));
    let node = Node::start_with_routes(place, metric::Registry::default(), RoutesCheck::new(|_| Ok(()))).await.unwrap();
    let fixture = Fixture::of(dir, node);
    let before = fixture.node.config().set_config(&ConfigKey::routes(), draft("a = 1")).await.unwrap();
    fixture.node.config().set_config(&ConfigKey::routes(), draft("a = 2")).await.unwrap();
    let current =
        fixture.node.config().rollback(&ConfigKey::routes(), before.number, None, Author::anonymous()).await.unwrap();
    for target in ["/v1/config/%62owline/routes", "/v1/config/bowl%69ne/%72outes", "/v1/config/bowline/routes?"] {
        fixture.ask("PUT", target, publication("a = 3")).await.problem(401, "unauthenticated");
        fixture.ask("DELETE", target, "").await.problem(401, "unauthenticated");
    }
    for target in ["/v1/config/bowline/%72outes/rollback", "/v1/config/%62owline/routes/rollback"] {
        fixture.ask("POST", target, r#"{"to":2}"#).await.problem(401, "unauthenticated");
    }
    for target in [
        "/v1/config//bowline/routes",
        "/v1/config/bowline%2Froutes",
        "/v1/config/shop/../bowline/routes",
        "/v1/config/shop/%2e%2e/bowline/routes",
        "/v1/config/x%2F..%2Fbowline/routes",
        "/v1/config/Bowline/routes",
        "/v1/config/bowline%00/routes",
        "/v1//config/bowline/routes",
        "/V1/config/bowline/routes",
    ] {
        for method in ["PUT", "POST", "PATCH", "DELETE", "OPTIONS", "put"] {
            let answer = fixture.ask(method, target, publication("a = 3")).await;
            assert!(answer.status >= 400, "{method} {target}: {answer:?}");
        }
    }
    assert_eq!(fixture.node.config().get_config(&ConfigKey::routes()).await.unwrap(), Some(current));
}

#[tokio::test]
async fn the_origin_is_the_servers_to_say() {
    let fixture = Fixture::start().await;
    let claimed = Draft { origin: Origin::File, author: Author::new("root").unwrap(), ..draft("a = 1") };
    let version = fixture.remote_config().set_config(&order(), claimed.clone()).await.unwrap();
    assert_eq!((version.origin, version.author), (Origin::Api, Author::anonymous()));
    let version = fixture.node.config().set_config(&order(), claimed).await.unwrap();
    assert_eq!((version.origin, version.author.as_str()), (Origin::File, "root"));
    assert_eq!(fixture.remote_config().get_config(&order()).await.unwrap(), Some(version));
}

#[tokio::test]
async fn a_change_is_told_within_a_second() {
    let fixture = Fixture::start().await;
    let remote = fixture.remote_config();
    let mut watches = Vec::new();
    for _ in 0..50 {
        let mut watch = remote.watch_config(&order()).await.unwrap();
        assert_eq!(next(&mut watch).await.unwrap(), None);
        watches.push(watch);
    }
    let version = remote.set_config(&order(), draft("a = 1")).await.unwrap();
    let told = async {
        for watch in &mut watches {
            assert_eq!(watch.next().await.unwrap(), Some(version.clone()));
        }
    };
    timeout(Duration::from_secs(1), told).await.expect("it is told to everybody");
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_deletes_nothing() {
    let remote = bowline_provider_remote::RemoteConfig::new(bowline_testkit::free_addr());
    let mut watch = remote.watch_config(&order()).await.unwrap();
    for error in [
        remote.get_config(&order()).await.unwrap_err(),
        remote.set_config(&order(), draft("")).await.unwrap_err(),
        remote.list(None).await.unwrap_err(),
        remote.get_schema(&order()).await.unwrap_err(),
        remote.status(&order()).await.unwrap_err(),
        next(&mut watch).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unavailable(Some(_))), "{error:?}");
        assert!(error.retryable());
    }
    // Nor does one that has never heard of configuration.
    let server = bowline_testkit::HttpServer::start(|_| bowline_testkit::Answer::status(404));
    let remote = bowline_provider_remote::RemoteConfig::new(server.addr());
    let mut watch = remote.watch_config(&order()).await.unwrap();
    for error in [
        remote.get_config(&order()).await.unwrap_err(),
        remote.get_schema(&order()).await.unwrap_err(),
        remote.delete_config(&order(), None).await.unwrap_err(),
        next(&mut watch).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Refused { code: Code::NotFound, .. }), "{error:?}");
    }
}
