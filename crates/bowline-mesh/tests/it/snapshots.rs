//! Sidecars act by what is published: live, acknowledged, or refused; and without anybody who publishes.

use std::sync::Arc;

use bowline_config::{ConfigManager, Format, Outcome};
use bowline_mesh::sidecar::{self, First, NoSnapshot, Sidecar, first_snapshot};
use bowline_model::{
    Address, ConfigKey, InstanceId,
    mesh::{Authorization, Snapshot},
    system::Outbound,
};
use bowline_runtime::metric;
use bowline_telemetry::Tracer;
use bowline_testkit::{Answer, HttpServer, temp_dir};

use crate::support::{Broken, Running, Shop, broken, name, service, shop, until};

fn key() -> ConfigKey {
    ConfigKey::snapshot(&service("payment"))
}

async fn published(config: &dyn ConfigManager) -> Snapshot {
    config.get_config(&key()).await.unwrap().unwrap().document.read().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_live_and_acknowledged() {
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let gateway = shop.client("gateway").await;
    assert_eq!(gateway.ask("payment", &payment, "POST", "/charges").await.status, 403);
    let routes =
        "[[route]]\nname = \"pay\"\nmatches = [{ path = \"/charges\" }]\nbackends = [{ service = \"payment\" }]\n";
    shop.publish(&ConfigKey::routes(), Format::Toml, routes).await;
    shop.acted_by("payment", |snapshot| snapshot.inbound.iter().any(|rule| rule.name == "route pay")).await;
    until("the route", async || {
        (gateway.ask("payment", &payment, "POST", "/charges").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_acted_by_is_refused_and_the_one_before_stays() {
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let order = shop.client("service/order").await;
    let good = published(&*shop.mesh.config).await;
    let runs = shop.mesh.config.get_config(&key()).await.unwrap().unwrap().number;
    let text = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = good.clone();
        change(&mut snapshot);
        serde_json::to_string(&snapshot).unwrap()
    };
    let bad_path = text(&|snapshot| {
        let path = bowline_model::route::PathPattern::parse("/a;b").unwrap();
        snapshot.inbound[0].operations[0].path = path;
    });
    for (text, why) in [
        ("{}".to_owned(), "no snapshot"),
        (text(&|snapshot| snapshot.format = 2), "format 2"),
        (text(&|snapshot| snapshot.system = name("mall")), "`mall`"),
        (text(&|snapshot| snapshot.workload = service("order")), "service/order"),
        (text(&|snapshot| snapshot.mode = None), "no mesh"),
        (text(&|snapshot| snapshot.outbound[0].policy.timeout = std::time::Duration::ZERO), "timeout"),
        (bad_path, "`a;b`"),
    ] {
        let version = shop.publish(&key(), Format::Json, text).await;
        let said = until("what becomes of it", async || {
            let status = shop.mesh.config.status(&key()).await.unwrap();
            status.instances.into_iter().find(|said| said.ack.version == version)
        })
        .await;
        let Outcome::Refused { reason } = said.ack.outcome else { panic!("{why}: {said:?}") };
        assert!(reason.contains(why), "{reason}");
        assert_eq!(said.ack.runs, Some(runs), "{why}");
        assert_eq!(order.ask("payment", &payment, "POST", "/charges").await.status, 200);
    }
}

/// A sidecar of payment that stands alone: its manager may fail, its last snapshot is on disk.
async fn alone(shop: &Shop, config: Arc<Broken>, first: First) -> Running {
    let (identity, rotation) = shop.mesh.identity(service("payment")).unwrap();
    identity.ready().await.unwrap();
    let app = HttpServer::start(|_| Answer::status(200));
    let settings = sidecar::Settings {
        service: name("payment"),
        instance: InstanceId::new("payment-1").unwrap(),
        zone: None,
        listen: ([127, 0, 0, 1], 0).into(),
        app: Address::Tcp(app.addr()),
        outbound: Outbound::Sidecar,
        snapshot_dir: Some(shop.dir.path().to_owned()),
        identity,
        discovery: Arc::clone(&shop.mesh.discovery),
        config,
        tracer: Tracer::disabled(),
        metrics: metric::Registry::default(),
        first,
    };
    let sidecar = Sidecar::start(settings).await.unwrap().with_rotation(rotation);
    Running { app, sidecar }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_anybody_who_publishes_acts_by_what_was_acted_by_last() {
    let shop = Shop::new(shop()).await;
    let config = Arc::new(broken(Arc::clone(&shop.mesh.config), false, 0));
    let dir = shop.dir.path();
    let order = shop.client("service/order").await;
    let first = first_snapshot(&*config, &name("payment"), Some(dir)).await.unwrap();
    assert_eq!((&first.snapshot, first.version), (&published(&*shop.mesh.config).await, Some(1)));
    let running = alone(&shop, Arc::clone(&config), first.clone()).await;
    let kept = dir.join("payment.snapshot");
    until("what is kept", async || kept.exists().then_some(())).await;
    assert_eq!(order.ask("payment", &running, "POST", "/charges").await.status, 200);
    drop(running);
    config.set_broken(true);
    let again = first_snapshot(&*config, &name("payment"), Some(dir)).await.unwrap();
    assert_eq!(again, first);
    let running = alone(&shop, Arc::clone(&config), again).await;
    assert_eq!(order.ask("payment", &running, "POST", "/charges").await.status, 200);
    let user = shop.client("service/user").await;
    assert_eq!(user.ask("payment", &running, "POST", "/charges").await.status, 403);
    // And when it comes back, changes flow.
    config.set_broken(false);
    let mut changed = first.snapshot;
    for (authorization, status) in
        [(Authorization::DryRun, 200), (Authorization::Enforce, 403), (Authorization::Off, 200)]
    {
        changed.authorization = authorization;
        shop.publish(&key(), Format::Json, serde_json::to_string(&changed).unwrap()).await;
        let is_so = async || user.ask("payment", &running, "POST", "/charges").await.status == status;
        until("the change", async || is_so().await.then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_snapshot_there_is_no_start_and_both_reasons_are_told() {
    let dir = temp_dir();
    let config = broken(crate::support::config(&dir).await, false, 0);
    let told = async |dir| {
        let error: NoSnapshot = first_snapshot(&config, &name("payment"), dir).await.unwrap_err();
        error.to_string()
    };
    let nowhere = told(None).await;
    assert!(nowhere.contains("none is published") && nowhere.contains("none is kept"), "{nowhere}");
    config.set_broken(true);
    let kept = dir.path().join("payment.snapshot");
    std::fs::write(&kept, "# bowline mesh, format 1, version 3\n{\"format\":7}").unwrap();
    let unread = told(Some(dir.path())).await;
    assert!(unread.contains("unavailable") && unread.contains("format 7"), "{unread}");
}
