//! Snapshots are published when they change, and only then; what ended is taken out.

use std::sync::Arc;

use bowline_config::{Author, ConfigManager, Document, Draft, Error, Format, Version};
use bowline_mesh::{ControlPlane, compile};
use bowline_model::{
    ConfigKey, ServiceName,
    mesh::{Fault, Snapshot, Steering, Traffic, Workload},
    units::Share,
};
use bowline_runtime::time;
use bowline_testkit::temp_dir;

use crate::support::{broken, config, name, service, shop, until};

async fn published(config: &dyn ConfigManager, workload: &Workload) -> Option<(Snapshot, Version)> {
    let version = config.get_config(&ConfigKey::snapshot(workload)).await.unwrap()?;
    Some((version.document.read().unwrap(), version))
}

async fn set(config: &dyn ConfigManager, key: &ConfigKey, format: Format, text: impl Into<String>) -> u64 {
    let draft = Draft::new(Document::new(format, text), Author::new("somebody").unwrap());
    config.set_config(key, draft).await.unwrap().number
}

async fn set_traffic(config: &dyn ConfigManager, traffic: &Traffic) -> u64 {
    set(config, &ConfigKey::traffic(), Format::Json, serde_json::to_string(traffic).unwrap()).await
}

fn fault(id: &str, until_unix_ms: u64) -> Fault {
    let service = name("payment");
    Fault { id: id.to_owned(), service, from: None, share: Share::ALL, delay: None, abort: Some(503), until_unix_ms }
}

fn split() -> Traffic {
    let split = Steering { split: [("v2".to_owned(), 1)].into(), ..Steering::default() };
    Traffic { steering: [(name("payment"), split)].into(), faults: Vec::new() }
}

#[tokio::test]
async fn every_workload_has_a_snapshot_when_it_started_and_a_restart_publishes_none_anew() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let first = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    let expected = compile(&shop(), &shop().table, &Traffic::default());
    for (workload, snapshot) in &expected {
        let (found, version) = published(&*config, workload).await.unwrap();
        assert_eq!((&found, version.number, version.author.as_str()), (snapshot, 1, "bowline"), "{workload}");
    }
    drop(first);
    let _second = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    for workload in expected.keys() {
        assert_eq!(published(&*config, workload).await.unwrap().1.number, 1, "{workload}");
    }
}

#[tokio::test]
async fn a_change_is_published_to_those_whom_it_concerns() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let _control = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    set_traffic(&*config, &split()).await;
    until("the split", async || {
        let (snapshot, _) = published(&*config, &service("order")).await?;
        snapshot.outbound.iter().any(|call| !call.steering.is_empty()).then_some(())
    })
    .await;
    let routes = "[[route]]\nname = \"pay\"\nbackends = [{ service = \"payment\" }]\n";
    set(&*config, &ConfigKey::routes(), Format::Toml, routes).await;
    until("the route", async || {
        let (snapshot, _) = published(&*config, &service("payment")).await?;
        snapshot.inbound.iter().any(|rule| rule.name == "route pay").then_some(())
    })
    .await;
    assert_eq!(published(&*config, &service("user")).await.unwrap().1.number, 1, "nothing of it is user's");
    // That somebody took the traffic away is what nobody steers.
    config.delete_config(&ConfigKey::traffic(), None).await.unwrap();
    until("the end of the split", async || {
        let (snapshot, _) = published(&*config, &service("order")).await?;
        snapshot.outbound.iter().all(|call| call.steering.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing() {
    let dir = temp_dir();
    let config = config(&dir).await;
    set_traffic(&*config, &split()).await;
    let _control = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    let before = published(&*config, &service("order")).await.unwrap().0;
    set(&*config, &ConfigKey::traffic(), Format::Json, "{\"nobody\": 1}").await;
    set(
        &*config,
        &ConfigKey::traffic(),
        Format::Json,
        "{\"faults\": [{\"id\": \"x\", \"service\": \"order\", \"share\": \"1%\", \"until_unix_ms\": 1}]}",
    )
    .await;
    set(
        &*config,
        &ConfigKey::routes(),
        Format::Toml,
        "[[route]]\nname = \"x\"\nbackends = [{ service = \"nobody\" }]\n",
    )
    .await;
    // What is good afterwards is taken, so what was bad before has been seen.
    let routes = "[[route]]\nname = \"good\"\nbackends = [{ service = \"user\" }]\n";
    set(&*config, &ConfigKey::routes(), Format::Toml, routes).await;
    until("the good route", async || {
        let (snapshot, _) = published(&*config, &service("user")).await?;
        snapshot.inbound.iter().any(|rule| rule.name == "route good").then_some(())
    })
    .await;
    assert_eq!(published(&*config, &service("order")).await.unwrap().0.outbound, before.outbound);
}

#[tokio::test]
async fn services_that_are_gone_lose_their_snapshot_and_their_traffic() {
    let dir = temp_dir();
    let config = config(&dir).await;
    drop(ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap());
    let mut traffic = split();
    traffic.faults.push(Fault { service: name("user"), ..fault("f", u64::MAX) });
    traffic.faults.push(Fault { from: Some(service("payment")), service: name("user"), ..fault("g", u64::MAX) });
    set_traffic(&*config, &traffic).await;
    let mut system = shop();
    system.services.retain(|service| service.name.as_str() != "payment");
    system.services[1].calls.retain(|call| call.target.as_str() != "payment");
    let _control = ControlPlane::start(system, Arc::clone(&config)).await.unwrap();
    assert_eq!(published(&*config, &service("payment")).await, None);
    assert_eq!(published(&*config, &service("user")).await.unwrap().0.faults.len(), 1);
    // Nobody could change the rest of it while it names who is gone.
    let left = until("the traffic without it", async || {
        let version = config.get_config(&ConfigKey::traffic()).await.unwrap()?;
        let traffic: Traffic = version.document.read().unwrap();
        traffic.steering.is_empty().then_some(traffic)
    })
    .await;
    assert_eq!(left.faults.iter().map(|fault| fault.id.as_str()).collect::<Vec<_>>(), ["f"]);
}

/// What is left of the traffic in a system without a mesh, and without payment.
async fn left_without_mesh(has_versions: bool) -> Traffic {
    let dir = temp_dir();
    let config = config(&dir).await;
    let of_order = Steering { split: [("v1".to_owned(), 1)].into(), ..Steering::default() };
    let mut traffic = split();
    traffic.steering.insert(name("order"), of_order);
    traffic.faults.push(Fault { service: name("user"), ..fault("f", u64::MAX) });
    set_traffic(&*config, &traffic).await;
    let mut system = shop();
    system.mesh = None;
    system.services.retain(|service| service.name.as_str() != "payment");
    for service in &mut system.services {
        service.calls.retain(|call| call.target.as_str() != "payment");
        service.version = if has_versions { "v1".to_owned() } else { String::new() };
    }
    let _control = ControlPlane::start(system, Arc::clone(&config)).await.unwrap();
    until("the traffic without it", async || {
        let version = config.get_config(&ConfigKey::traffic()).await.unwrap()?;
        (version.number > 1).then(|| version.document.read().unwrap())
    })
    .await
}

#[tokio::test]
async fn without_a_mesh_too_nothing_is_left_that_could_not_be_published_anew() {
    let left = left_without_mesh(true).await;
    assert_eq!(left.steering.keys().map(ServiceName::as_str).collect::<Vec<_>>(), ["order"]);
    assert_eq!(left.faults, []);
    assert_eq!(left_without_mesh(false).await, Traffic::default());
}

#[tokio::test]
async fn faults_that_ended_are_taken_out_and_nothing_else() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let soon = time::unix_millis_now() + 300;
    let faults = vec![fault("past", 1), fault("soon", soon), fault("later", u64::MAX)];
    set_traffic(&*config, &Traffic { faults, ..split() }).await;
    let _control = ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap();
    let left = until("the end of both", async || {
        let version = config.get_config(&ConfigKey::traffic()).await.unwrap()?;
        let traffic: Traffic = version.document.read().unwrap();
        (traffic.faults.len() == 1).then_some((traffic, version))
    })
    .await;
    assert!(time::unix_millis_now() >= soon);
    assert_eq!(left.0, Traffic { faults: vec![fault("later", u64::MAX)], ..split() });
    assert_eq!(left.1.author.as_str(), "bowline");
    until("the service's own", async || {
        let (snapshot, _) = published(&*config, &service("payment")).await?;
        (snapshot.faults.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_mesh_and_versions_nothing_is_published_before_breakers_are_steered() {
    let dir = temp_dir();
    let config = config(&dir).await;
    let mut system = shop();
    system.mesh = None;
    let control = ControlPlane::start(system.clone(), Arc::clone(&config)).await.unwrap();
    assert!(published(&*config, &service("order")).await.is_none());
    let soon = time::unix_millis_now() + 300;
    let orders = format!(
        r#"{{"steering":{{"payment":{{"breakers":[{{"order":"open","until_unix_ms":{soon}}},{{"caller":"service/order","order":"closed"}}]}}}}}}"#
    );
    set(&*config, &ConfigKey::traffic(), Format::Json, orders).await;
    let told = async || {
        let (snapshot, _) = published(&*config, &service("order")).await?;
        Some(snapshot.outbound.iter().map(|call| call.steering.breakers.len()).sum::<usize>())
    };
    until("both orders", async || (told().await == Some(2)).then_some(())).await;
    // One ends by itself, and stays away.
    until("one order", async || (told().await == Some(1)).then_some(())).await;
    assert!(time::unix_millis_now() >= soon);
    until("the document without it", async || {
        let version = config.get_config(&ConfigKey::traffic()).await.unwrap()?;
        let traffic: Traffic = version.document.read().unwrap();
        let left = &traffic.steering[&name("payment")].breakers;
        (left.len() == 1 && version.author.as_str() == "bowline").then_some(())
    })
    .await;
    set_traffic(&*config, &Traffic::default()).await;
    until("no order", async || (told().await == Some(0)).then_some(())).await;
    drop(control);
    // Whoever acts by a snapshot goes on being told.
    set(&*config, &ConfigKey::traffic(), Format::Json, r#"{"steering":{"payment":{"breakers":[{"order":"open"}]}}}"#)
        .await;
    let _control = ControlPlane::start(system, Arc::clone(&config)).await.unwrap();
    assert_eq!(told().await, Some(1));
}

#[tokio::test]
async fn a_store_that_fails_at_the_start_is_told() {
    let dir = temp_dir();
    let config = Arc::new(broken(config(&dir).await, true, 0));
    assert!(matches!(ControlPlane::start(shop(), config).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_store_that_fails_later_is_outlasted() {
    let dir = temp_dir();
    let config = Arc::new(broken(config(&dir).await, false, 0));
    let _control = ControlPlane::start(shop(), Arc::clone(&config) as _).await.unwrap();
    config.set_broken(true);
    set_traffic(&*config.inner, &split()).await;
    config.set_broken(false);
    until("the split", async || {
        let (snapshot, _) = published(&*config.inner, &service("order")).await?;
        snapshot.outbound.iter().any(|call| !call.steering.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_faster_is_not_overwritten() {
    let dir = temp_dir();
    let config = Arc::new(broken(config(&dir).await, false, 2));
    set_traffic(&*config, &Traffic { faults: vec![fault("past", 1)], ..split() }).await;
    let _control = ControlPlane::start(shop(), Arc::clone(&config) as _).await.unwrap();
    let version = until("the end of the fault", async || {
        let version = config.get_config(&ConfigKey::traffic()).await.unwrap()?;
        let traffic: Traffic = version.document.read().unwrap();
        traffic.faults.is_empty().then_some(version)
    })
    .await;
    // One by somebody, two by who was faster, and then ours.
    assert_eq!((version.number, version.author.as_str()), (4, "bowline"));
}
