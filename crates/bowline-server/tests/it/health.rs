//! How services are, and how their instances became so: over HTTP, across restarts.

use std::time::Duration;

use bowline_model::{Health, Instance};
use bowline_provider_remote::wire::{HealthTransition, OwnHealth, RolledHealth, ServiceHealthDetail};
use bowline_registry::health::{Failure, Probe};
use bowline_server::Declared;
use bowline_testkit::temp_dir;

use crate::support::{Fixture, id, instance, service, settings, start, until};

/// The service, once its history is so long.
async fn detail(fixture: &Fixture, service: &str, transitions: usize) -> ServiceHealthDetail {
    let client = fixture.client();
    let is_told = until(async || {
        let detail = client.service_health(service).await;
        detail.is_ok_and(|detail| detail.transitions.len() == transitions)
    });
    is_told.await;
    client.service_health(service).await.unwrap()
}

/// `order-1 healthy>gone: why` each, newest first.
fn told(transitions: &[HealthTransition]) -> Vec<String> {
    let line = |t: &HealthTransition| {
        let why = t.why.as_deref().unwrap_or("?");
        format!("{} {}>{}: {why}", t.instance, t.from.as_str(), t.to.as_str())
    };
    transitions.iter().map(line).collect()
}

#[tokio::test]
async fn changes_of_foreign_instances_are_kept_across_a_restart() {
    let fixture = Fixture::start().await;
    let put = async |health: &str| {
        let body = format!(r#"{{"service":"ledger","address":"127.0.0.1:1","health":"{health}"}}"#);
        assert_eq!(fixture.ask("PUT", "/v1/instances/ledger-1", body).await.status, 200);
    };
    put("healthy").await;
    put("unhealthy").await;
    put("unhealthy").await;
    assert_eq!(fixture.ask("DELETE", "/v1/instances/ledger-1", "").await.status, 204);
    let expect = [
        "ledger-1 unhealthy>gone: it was deregistered",
        "ledger-1 healthy>unhealthy: ?",
        "ledger-1 unknown>healthy: ?",
    ];
    let before = detail(&fixture, "ledger", 3).await;
    assert_eq!(told(&before.transitions), expect);
    assert_eq!((before.service.own, before.instances.len()), (OwnHealth::NoInstance, 0));
    assert!(before.transitions[0].after_ms.is_some() && before.transitions[2].after_ms.is_none());

    fixture.register("ledger-2").await;
    detail(&fixture, "ledger", 4).await;
    let fixture = fixture.restart().await;
    let after = detail(&fixture, "ledger", 4).await;
    assert_eq!(told(&after.transitions[1..]), expect);
    assert_eq!(after.transitions[1..], before.transitions);
    assert_eq!(after.instances[0].since_unix_ms, Some(after.transitions[0].at_unix_ms));
    assert_eq!(fixture.client().health().await.unwrap().services, [after.service]);
}

#[tokio::test]
async fn an_instance_whose_lease_ends_or_that_moves_is_gone() {
    let fixture = Fixture::start().await;
    let body = r#"{"service":"ledger","address":"127.0.0.1:1","ttl":"1s"}"#;
    assert_eq!(fixture.ask("PUT", "/v1/instances/ledger-1", body).await.status, 200);
    let gone = detail(&fixture, "ledger", 2).await;
    assert_eq!(told(&gone.transitions)[0], "ledger-1 healthy>gone: its lease was not renewed in time");
    fixture.register("order-1").await;
    detail(&fixture, "order", 1).await;
    let body = r#"{"service":"user","address":"127.0.0.1:1"}"#;
    assert_eq!(fixture.ask("PUT", "/v1/instances/order-1", body).await.status, 200);
    let gone = detail(&fixture, "order", 2).await;
    assert_eq!(told(&gone.transitions)[0], "order-1 healthy>gone: it was registered anew for another service");
    detail(&fixture, "user", 1).await;
}

#[tokio::test]
async fn a_deregistration_that_is_none_explains_nothing_later() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.ask("DELETE", "/v1/instances/ledger-1", "").await.status, 404);
    let body = r#"{"service":"ledger","address":"127.0.0.1:1","ttl":"1s"}"#;
    assert_eq!(fixture.ask("PUT", "/v1/instances/ledger-1", body).await.status, 200);
    let gone = detail(&fixture, "ledger", 2).await;
    assert_eq!(told(&gone.transitions)[0], "ledger-1 healthy>gone: its lease was not renewed in time");
}

#[tokio::test]
async fn what_the_prober_knows_is_the_reason() {
    let fixture = Fixture::start().await;
    let (registry, watcher) = (fixture.node.registry(), fixture.node.probe_watcher());
    let probed = |failure: Option<&str>| {
        let failure = failure.map(Failure::new);
        let (instance, service) = (id("order-1"), service("order"));
        watcher.probed(Probe { instance, service, at_unix_ms: 7, took: Duration::from_micros(1500), failure });
    };
    probed(Some("connection refused"));
    let starting = fixture.client().service_health("order").await.unwrap();
    assert_eq!((starting.service.own, starting.transitions.len()), (OwnHealth::NoInstance, 0));
    assert_eq!(starting.instances[0].health.as_str(), "unknown");
    assert_eq!(starting.instances[0].last_probe.as_ref().unwrap().failure.as_deref(), Some("connection refused"));

    let put = async |health| {
        registry.register(Instance { health, ..instance("order-1") }, None).await.unwrap();
    };
    probed(None);
    put(Health::Healthy).await;
    detail(&fixture, "order", 1).await;
    probed(Some("answered with status 503"));
    put(Health::Unhealthy).await;
    detail(&fixture, "order", 2).await;
    watcher.leaves(&id("order-1"), "its process ended");
    registry.deregister(&id("order-1")).await.unwrap();
    let after = detail(&fixture, "order", 3).await;
    let expect = [
        "order-1 unhealthy>gone: its process ended",
        "order-1 healthy>unhealthy: answered with status 503",
        "order-1 unknown>healthy: its check succeeded",
    ];
    assert_eq!(told(&after.transitions), expect);
    assert_eq!(after.transitions[1].probe.as_ref().unwrap().took_us, 1500);
    assert!(after.instances.is_empty(), "{after:?}");
}

#[tokio::test]
async fn health_is_rolled_up_along_declared_calls() {
    let dir = temp_dir();
    let mut settings = settings(&dir, Some(([127, 0, 0, 1], 0).into()));
    settings.declared = Declared {
        system: Some(service("shop")),
        services: ["user", "order", "payment"].map(service).into(),
        calls: [("user", "order"), ("order", "payment")].map(|(a, b)| (service(a), service(b))).into(),
    };
    let fixture = Fixture::of(dir, start(settings).await.unwrap());
    assert_eq!(fixture.client().server().await.unwrap().system.as_deref(), Some("shop"));
    for id in ["user-1", "order-1", "order-2"] {
        fixture.register(id).await;
        detail(&fixture, id.split('-').next().unwrap(), if id == "order-2" { 2 } else { 1 }).await;
    }
    let services = fixture.client().health().await.unwrap().services;
    let lines: Vec<_> = services
        .iter()
        .map(|s| (s.name.as_str(), s.own, s.rolled_up, s.because.concat().into_iter().map(|n| n.to_string()).collect()))
        .collect::<Vec<(_, _, _, Vec<String>)>>();
    let path = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expect = [
        ("order", OwnHealth::AllHealthy, RolledHealth::Degraded, path(&["payment"])),
        ("payment", OwnHealth::NoInstance, RolledHealth::Unhealthy, path(&[])),
        ("user", OwnHealth::AllHealthy, RolledHealth::Degraded, path(&["order", "payment"])),
    ];
    assert_eq!(lines, expect);
    assert_eq!(services[0].healthy, 2);
    assert_eq!(fixture.get("/v1/health/payment").await.status, 200, "it is declared");
    assert!(fixture.get("/v1/health/nobody").await.problem(404, "not_found").contains("nobody"));
    fixture.get("/v1/health/No").await.problem(400, "invalid_argument");
}
