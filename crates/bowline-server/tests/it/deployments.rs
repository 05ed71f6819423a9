//! Rollouts over HTTP: who may begin them, what they are told as, and what the audit says.

use std::sync::Arc;

use bowline_deploy::{Deployer, Failure, Fleet, Judge, Ports, Question, Verdict};
use bowline_mesh::Splits;
use bowline_model::{ServiceName, System, deploy::Release, parse};
use bowline_provider_remote::wire::{AuditActor, Deployment, ServiceDeployments};
use bowline_runtime::{BoxFuture, metric};
use bowline_server::{Declared, Settings};
use bowline_testkit::temp_dir;
use serde_json::json;

use crate::support::{Answer, Fixture, settings, start, until};

const BEGIN: &str = r#"{"run": "./order"}"#;

#[tokio::test]
async fn a_node_that_runs_no_services_says_what_to_do() {
    let fixture = Fixture::start().await;
    for (method, path) in [
        ("GET", "/v1/deployments"),
        ("GET", "/v1/deployments/order"),
        ("POST", "/v1/deployments/order"),
        ("POST", "/v1/deployments/order/pause"),
        ("POST", "/v1/deployments/order/resume"),
        ("POST", "/v1/deployments/order/promote"),
        ("POST", "/v1/deployments/order/abort"),
    ] {
        let body = if method == "GET" { "" } else { BEGIN };
        let answer = fixture.ask_as(&fixture.root(), method, path, body).await;
        let detail = answer.problem(400, "failed_precondition");
        assert!(detail.contains("bowline up"), "{method} {path}: {detail}");
    }
}

#[tokio::test]
async fn a_node_whose_services_are_starting_says_to_try_again() {
    let dir = temp_dir();
    let order = ServiceName::new("order").unwrap();
    let declared = Declared { services: vec![order], ..Declared::default() };
    let node = start(Settings { declared, ..settings(&dir, Some(([127, 0, 0, 1], 0).into())) }).await.unwrap();
    let fixture = Fixture::of(dir, node);
    let answer = fixture.ask_as(&fixture.root(), "GET", "/v1/deployments/order", "").await;
    let detail = answer.problem(503, "unavailable");
    assert!(detail.contains("try again"), "{detail}");
}

#[tokio::test]
async fn who_may_not_run_commands_may_not_begin() {
    let fixture = Fixture::start().await;
    let path = "/v1/deployments/order";
    fixture.ask("POST", path, BEGIN).await.problem(401, "unauthenticated");
    let editor = fixture.token("ci", "editor").await;
    fixture.ask_as(&editor.token, "POST", path, BEGIN).await.problem(403, "permission_denied");
    let order = fixture.ask_as(&editor.token, "POST", "/v1/deployments/order/pause", "").await;
    order.problem(400, "failed_precondition");
}

/// Does all that it is asked for, and measures nothing.
struct Willing;

impl Fleet for Willing {
    fn scale<'a>(&'a self, _: &'a ServiceName, _: &'a Release, _: u32) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

impl Judge for Willing {
    fn judge<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Verdict::Unknown("nothing is measured".to_owned()) })
    }
}

fn system() -> System {
    parse(
        r#"
        name = "shop"
        [service.order]
        run = "./order"
        version = "v1"
        [service.user]
        run = "./user"
        [deploy.order]
        strategy = "canary"
        steps = ["5%"]
        bake = "1h"
        "#,
    )
    .unwrap()
}

/// A node whose deployer splits traffic, and has willing ports else.
async fn fixture() -> (Fixture, Deployer) {
    let dir = temp_dir();
    let (system, metrics) = (system(), metric::Registry::default());
    let names = system.services.iter().map(|service| service.name.clone()).collect();
    let declared = Declared { services: names, ..Declared::default() };
    let addr = Some(([127, 0, 0, 1], 0).into());
    let node = start(Settings { declared, is_steered: true, ..settings(&dir, addr) }).await.unwrap();
    let fixture = Fixture::of(dir, node);
    let deployer = Deployer::open(fixture.node.recorded_store(), &system, &metrics).await.unwrap();
    let (fleet, steer, judge) = (Arc::new(Willing), Arc::new(Splits::new(fixture.node.config())), Arc::new(Willing));
    deployer.start(&Ports { fleet, steer, judge });
    fixture.node.set_deployer(deployer.clone(), &system);
    (fixture, deployer)
}

fn deployment(answer: &Answer) -> Deployment {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error} in {answer:?}"))
}

async fn stands(fixture: &Fixture) -> ServiceDeployments {
    fixture.client().service_deployments("order").await.unwrap()
}

#[tokio::test]
async fn a_rollout_is_begun_ordered_and_told() {
    let (fixture, deployer) = fixture().await;
    let root = fixture.root();
    assert_eq!((stands(&fixture).await.version.as_str(), stands(&fixture).await.deployment), ("v1", None));
    let begun = fixture.ask_as(&root, "POST", "/v1/deployments/order", BEGIN).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let begun = deployment(&begun);
    assert_eq!((begun.from.as_str(), begun.to.as_str(), begun.step_count), ("v1", "v2", 1));
    until(async || stands(&fixture).await.deployment.unwrap().phase == "baking").await;
    let told = stands(&fixture).await.deployment.unwrap();
    assert_eq!((told.share.to_string().as_str(), told.is_live, told.step), ("5%", true, 1));
    assert_eq!(told.steps, [told.share]);
    until(async || stands(&fixture).await.deployment.unwrap().waits_for.is_some()).await;

    let again = fixture.ask_as(&root, "POST", "/v1/deployments/order", BEGIN).await;
    let detail = again.problem(409, "already_exists");
    assert!(detail.contains("v2") && detail.contains("bowline deploy abort order"), "{detail}");
    let editor = fixture.token("ci", "editor").await;
    let paused = fixture.ask_as(&editor.token, "POST", "/v1/deployments/order/pause", "").await;
    assert_eq!(deployment(&paused).phase, "paused");
    for order in ["promote", "abort"] {
        let path = format!("/v1/deployments/order/{order}");
        fixture.ask_as(&editor.token, "POST", &path, "").await.problem(403, "permission_denied");
        fixture.ask("POST", &path, "").await.problem(401, "unauthenticated");
    }
    let other = fixture.ask_as(&root, "POST", "/v1/deployments/order/promote?id=2", "").await;
    let detail = other.problem(409, "conflict");
    assert!(detail.starts_with("rollout 2 of `order` is not under way: rollout 1 is"), "{detail}");
    fixture.ask_as(&root, "POST", "/v1/deployments/order/promote?di=1", "").await.problem(400, "invalid_argument");
    let promoted = fixture.ask_as(&root, "POST", "/v1/deployments/order/promote?id=1", "").await;
    assert_eq!(promoted.status, 200, "{promoted:?}");
    until(async || stands(&fixture).await.deployment.unwrap().phase == "promoted").await;
    let stood = stands(&fixture).await;
    assert_eq!((stood.version.as_str(), stood.history.len()), ("v2", 1));
    let list = fixture.client().deployments().await.unwrap().deployments;
    assert_eq!(list.iter().map(|it| it.service.as_str()).collect::<Vec<_>>(), ["order"]);
    deployer.stop().await;
}

#[tokio::test]
async fn the_audit_says_who_ordered_and_not_what_followed() {
    let (fixture, deployer) = fixture().await;
    fixture.ask_as(&fixture.root(), "POST", "/v1/deployments/order", BEGIN).await;
    until(async || stands(&fixture).await.deployment.unwrap().phase == "baking").await;
    let audit = fixture.audit("").await;
    let keys = |entry: &bowline_provider_remote::wire::AuditEntry| {
        entry.changes.iter().filter(|change| change.key.starts_with("deploy/")).count()
    };
    let of_rollout: Vec<_> = audit.entries.iter().filter(|entry| keys(entry) > 0).collect();
    assert_eq!(of_rollout.len(), 1, "{audit:?}");
    assert_eq!(of_rollout[0].operation.as_deref(), Some("POST /v1/deployments/order"));
    assert!(matches!(&of_rollout[0].actor, AuditActor::Token { name, .. } if name == "root"), "{audit:?}");
    deployer.stop().await;
}

#[tokio::test]
async fn the_course_of_a_rollout_is_among_what_happened() {
    let (fixture, deployer) = fixture().await;
    let root = fixture.root();
    fixture.ask_as(&root, "POST", "/v1/deployments/order", BEGIN).await;
    until(async || stands(&fixture).await.deployment.unwrap().phase == "baking").await;
    fixture.ask_as(&root, "POST", "/v1/deployments/order/pause", "").await;
    let changes = fixture.get("/v1/changes").await.json();
    let of_rollout = changes["changes"].as_array().unwrap().iter().filter(|change| change["kind"] == "deployment");
    let told: Vec<_> = of_rollout.map(|change| (change["what"].as_str().unwrap(), change["actor"].as_str())).collect();
    for expect in [
        ("a rollout was begun", Some("root")),
        ("pause was ordered", Some("root")),
        ("v1 → v2: preparing, step 1 of 1, 0% of the requests", None),
        ("v1 → v2: baking, step 1 of 1, 5% of the requests", None),
        ("v1 → v2: paused, step 1 of 1, 5% of the requests", None),
    ] {
        assert!(told.contains(&expect), "{expect:?} is not in {told:#?}");
    }
    // That the rollout steers requests follows from it.
    assert!(!changes.to_string().contains("bowline/traffic"), "{changes:#}");
    deployer.stop().await;
}

#[tokio::test]
async fn who_splits_traffic_is_one_at_a_time() {
    let (fixture, deployer) = fixture().await;
    let root = fixture.root();
    let target = "/v1/config/bowline/traffic";
    let put = async |text: &str| {
        let body = json!({"format": "json", "text": text}).to_string();
        fixture.ask_as(&root, "PUT", target, body).await
    };
    let by_hand = r#"{"steering":{"order":{"split":{"v1":9,"v2":1}}}}"#;
    assert_eq!(put(by_hand).await.status, 200);
    let begin = async || fixture.ask_as(&root, "POST", "/v1/deployments/order", BEGIN).await;
    let detail = begin().await.problem(400, "failed_precondition");
    assert!(
        detail.ends_with("its requests are split by hand, which `bowline mesh split order --off` ends"),
        "{detail}"
    );
    assert_eq!(put("{}").await.status, 200);
    assert_eq!(begin().await.status, 202);
    until(async || stands(&fixture).await.deployment.unwrap().phase == "baking").await;

    let traffic = async || fixture.ask_as(&root, "GET", target, "").await.json();
    let (before, user) = (traffic().await, r#""user":{"split":{"v1":1}}"#);
    let of_rollout = r#""order":{"split":{"v1":950,"v2":50},"rollout":1}"#;
    let refused = |answer: Answer| {
        let detail = answer.problem(400, "failed_precondition");
        let told = "the requests to `order` are split by its rollout 1, v1 → v2, which is under way";
        assert!(detail.starts_with(told) && detail.contains("bowline deploy abort order"), "{detail}");
    };
    for order in ["pause", "resume"] {
        let target_of = format!("/v1/deployments/order/{order}");
        assert_eq!(fixture.ask_as(&root, "POST", &target_of, "").await.status, 200);
        refused(put(by_hand).await);
        refused(put("{}").await);
        refused(put(&format!(r#"{{"steering":{{{user}}}}}"#)).await);
        refused(fixture.ask_as(&root, "DELETE", target, "").await);
        refused(fixture.ask_as(&root, "POST", &format!("{target}/rollback"), r#"{"to":1}"#).await);
        assert_eq!(traffic().await["number"], before["number"], "{order}");
    }
    // What is said of others may change, and a conflict is one.
    assert_eq!(put(&format!(r#"{{"steering":{{{of_rollout},{user}}}}}"#)).await.status, 200);
    for expect in [1, 100] {
        let text = format!(r#"{{"steering":{{{of_rollout}}}}}"#);
        let other = json!({"format": "json", "text": text, "expect": expect});
        fixture.ask_as(&root, "PUT", target, other.to_string()).await.problem(409, "conflict");
    }

    fixture.ask_as(&root, "POST", "/v1/deployments/order/abort", "").await;
    until(async || !stands(&fixture).await.deployment.unwrap().is_live).await;
    let text = traffic().await["document"]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("user") && !text.contains("order"), "{text}");
    // A split of a rollout that is over is nobody's.
    assert_eq!(put(&format!(r#"{{"steering":{{{of_rollout}}}}}"#)).await.status, 200);
    begin().await.problem(400, "failed_precondition");
    assert_eq!(put(by_hand).await.status, 200);
    deployer.stop().await;
}

#[tokio::test]
async fn what_cannot_be_begun_is_told_why() {
    let (fixture, deployer) = fixture().await;
    let root = fixture.root();
    for (service, body, status, code, told) in [
        ("nobody", json!({}), 404, "not_found", "nobody"),
        ("user", json!({}), 400, "failed_precondition", "version"),
        ("order", json!({"version": "v1"}), 400, "invalid_argument", "v1"),
        ("order", json!({"run": "./order", "strategy": "rolling", "steps": ["5%"]}), 400, "invalid_argument", "steps"),
        ("order", json!({}), 400, "invalid_argument", "under another name"),
        ("order", json!({"version": "v7", "replicas": 2}), 400, "invalid_argument", "under another name"),
        ("order", json!({"abort_when": "p98 > 1s"}), 422, "unprocessable", "abort_when"),
        ("order", json!({"run": "./order", "replicas": 0}), 400, "invalid_argument", "replicas"),
        ("order", json!({"run": "./order", "min_requests": 0}), 400, "invalid_argument", "min_requests"),
        ("order", json!({"env": {"BOWLINE_LISTEN": "x"}}), 400, "invalid_argument", "env: `BOWLINE_LISTEN`"),
        ("order", json!({"colour": "blue"}), 422, "unprocessable", "colour"),
    ] {
        let answer = fixture.ask_as(&root, "POST", &format!("/v1/deployments/{service}"), body.to_string()).await;
        let detail = answer.problem(status, code);
        assert!(detail.contains(told), "{body}: {detail}");
    }
    let answer = fixture.ask_as(&root, "POST", "/v1/deployments/order", r#"{"bake": "5 parsecs"}"#).await;
    let detail = answer.problem(422, "unprocessable");
    assert_eq!(detail, "bake: write a number with a unit: \"250ms\", \"2s\", \"1h 30m\"");
    let answer = fixture.ask_as(&root, "POST", "/v1/deployments/order/abort", "").await;
    answer.problem(404, "not_found");
    assert_eq!(stands(&fixture).await.deployment, None, "none of it has begun");
    deployer.stop().await;
}
