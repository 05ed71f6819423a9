//! Health after the start, and a registry that is not always there.

use bowline_model::Health;
use bowline_runtime::fs;
use bowline_supervisor::Event;
use bowline_testkit::eventually;

use crate::fixture::{BOUND, Fixture, probe};

#[tokio::test]
async fn failing_checks_are_told_to_the_registry_and_so_is_recovery() {
    let fixture = Fixture::new();
    let file = fixture.file("unhealthy");
    let mut order = probe("order");
    order.env.insert("UNHEALTHY_FILE".to_owned(), file.to_str().unwrap().to_owned());
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    let health = || fixture.registry.get("order-1").map(|instance| instance.health);
    assert_eq!(health(), Some(Health::Healthy));
    fs::replace(&file, b"").unwrap();
    eventually(BOUND, || health() == Some(Health::Unhealthy)).await;
    let unhealthy = |event: &Event| match event {
        Event::InstanceUnhealthy { failure, .. } => Some(failure.clone()),
        _ => None,
    };
    assert_eq!(fixture.events.wait(unhealthy).await, "answered with status 503");
    fs::remove_file(&file).unwrap();
    eventually(BOUND, || health() == Some(Health::Healthy)).await;
}

#[tokio::test]
async fn a_registry_that_fails_is_tried_again() {
    let fixture = Fixture::new();
    let supervisor = fixture.start([probe("order")]).await.unwrap();
    fixture.registry.fail(5);
    supervisor.ready().await.unwrap();
    assert!(fixture.registry.get("order-1").is_some());
}

#[tokio::test]
async fn lost_leases_are_registered_again() {
    let fixture = Fixture::new();
    let mut order = probe("order");
    order.replicas = 2;
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    eventually(BOUND, || fixture.registry.heartbeats() > 2).await;
    fixture.registry.forget();
    eventually(BOUND, || fixture.registry.instances().len() == 2).await;
}
