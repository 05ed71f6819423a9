//! Snapshots are published when they change, and only then; what ended is taken out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use bowline_config::{
    Acknowledgement, Author, ConfigManager, ConfigWatcher, Document, Draft, Error, Format, Status, Summary, Version,
    VersionSummary,
};
use bowline_mesh::{ControlPlane, compile};
use bowline_model::{
    ConfigKey,
    mesh::{Fault, Snapshot, Steering, Traffic, Workload},
    units::Share,
};
use bowline_runtime::{BoxFuture, time};
use bowline_testkit::temp_dir;

use crate::support::{config, name, shop, until};

fn service(text: &str) -> Workload {
    Workload::Service(name(text))
}

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
    let split = Steering { split: [("v2".to_owned(), 1)].into(), mirror: None };
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
async fn services_that_are_gone_lose_their_snapshot_and_their_traffic_is_ignored() {
    let dir = temp_dir();
    let config = config(&dir).await;
    drop(ControlPlane::start(shop(), Arc::clone(&config)).await.unwrap());
    let mut traffic = split();
    traffic.faults.push(Fault { service: name("user"), ..fault("f", u64::MAX) });
    set_traffic(&*config, &traffic).await;
    let mut system = shop();
    system.services.retain(|service| service.name.as_str() != "payment");
    system.services[1].calls.retain(|call| call.target.as_str() != "payment");
    let _control = ControlPlane::start(system, Arc::clone(&config)).await.unwrap();
    assert_eq!(published(&*config, &service("payment")).await, None);
    assert_eq!(published(&*config, &service("user")).await.unwrap().0.faults.len(), 1);
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

/// A manager that fails while it is told to, and lets somebody else be faster now and then.
struct Broken {
    inner: Arc<dyn ConfigManager>,
    is_broken: AtomicBool,
    /// How many writes to the traffic somebody else is faster with.
    races: AtomicU32,
}

impl Broken {
    fn check(&self) -> Result<(), Error> {
        if self.is_broken.load(SeqCst) { Err(Error::Unavailable(None)) } else { Ok(()) }
    }
}

impl ConfigManager for Broken {
    fn get_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        let asked = self.inner.get_config(key);
        Box::pin(async { self.check().and(asked.await) })
    }

    fn set_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<Version, Error>> {
        let key = key.clone();
        Box::pin(async move {
            self.check()?;
            let is_raced = key == ConfigKey::traffic()
                && draft.author.as_str() == "bowline"
                && self.races.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            if is_raced {
                let other = Draft { author: Author::new("racer").unwrap(), expect: None, ..draft.clone() };
                let text = self.inner.get_config(&key).await?.unwrap().document.text + " ";
                self.inner.set_config(&key, Draft { document: Document::new(Format::Json, text), ..other }).await?;
            }
            self.inner.set_config(&key, draft).await
        })
    }

    fn delete_config(&self, key: &ConfigKey, expect: Option<u64>) -> BoxFuture<'_, Result<bool, Error>> {
        self.inner.delete_config(key, expect)
    }

    fn watch_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Box<dyn ConfigWatcher>, Error>> {
        let asked = self.inner.watch_config(key);
        Box::pin(async { self.check().and(asked.await) })
    }

    fn list(&self, namespace: Option<&str>) -> BoxFuture<'_, Result<Vec<Summary>, Error>> {
        let asked = self.inner.list(namespace);
        Box::pin(async { self.check().and(asked.await) })
    }

    fn get_version(&self, _: &ConfigKey, _: u64) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        unreachable!("nobody asks for old versions")
    }

    fn set_config_with_schema(&self, _: &ConfigKey, _: Draft, _: &str) -> BoxFuture<'_, Result<Version, Error>> {
        unreachable!("nobody sets schemas")
    }

    fn rollback(&self, _: &ConfigKey, _: u64, _: Author) -> BoxFuture<'_, Result<Version, Error>> {
        unreachable!("nobody rolls back")
    }

    fn history(&self, _: &ConfigKey, _: Option<u64>, _: usize) -> BoxFuture<'_, Result<Vec<VersionSummary>, Error>> {
        unreachable!("nobody asks for the history")
    }

    fn get_schema(&self, _: &ConfigKey) -> BoxFuture<'_, Result<Option<String>, Error>> {
        unreachable!("nobody asks for schemas")
    }

    fn set_schema(&self, _: &ConfigKey, _: Option<&str>) -> BoxFuture<'_, Result<(), Error>> {
        unreachable!("nobody sets schemas")
    }

    fn acknowledge(
        &self,
        _: &ConfigKey,
        _: Acknowledgement,
        _: std::time::Duration,
    ) -> BoxFuture<'_, Result<(), Error>> {
        unreachable!("nobody acknowledges")
    }

    fn status(&self, _: &ConfigKey) -> BoxFuture<'_, Result<Status, Error>> {
        unreachable!("nobody asks for the status")
    }
}

async fn broken(dir: &bowline_testkit::TempDir, is_broken: bool, races: u32) -> Arc<Broken> {
    let inner = config(dir).await;
    Arc::new(Broken { inner, is_broken: AtomicBool::new(is_broken), races: AtomicU32::new(races) })
}

#[tokio::test]
async fn a_store_that_fails_at_the_start_is_told() {
    let dir = temp_dir();
    let config = broken(&dir, true, 0).await;
    assert!(matches!(ControlPlane::start(shop(), config).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_store_that_fails_later_is_outlasted() {
    let dir = temp_dir();
    let config = broken(&dir, false, 0).await;
    let _control = ControlPlane::start(shop(), Arc::clone(&config) as _).await.unwrap();
    config.is_broken.store(true, SeqCst);
    set_traffic(&*config.inner, &split()).await;
    config.is_broken.store(false, SeqCst);
    until("the split", async || {
        let (snapshot, _) = published(&*config.inner, &service("order")).await?;
        snapshot.outbound.iter().any(|call| !call.steering.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_faster_is_not_overwritten() {
    let dir = temp_dir();
    let config = broken(&dir, false, 2).await;
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
