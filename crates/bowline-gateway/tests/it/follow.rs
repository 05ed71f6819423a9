//! Routes that are published: live at once, acknowledged, kept for a start without the store.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use bowline_config::{
    Acknowledged, Author, ConfigManager, Document, Draft, Format, Outcome, StoreConfig, conformance::Anything,
};
use bowline_gateway::{Follow, Gateway, LastGood};
use bowline_model::{ConfigKey, InstanceId, ServiceName};
use bowline_runtime::{metric, task, time};
use bowline_store::{Embedded, Settings};
use bowline_testkit::{Answer, HttpServer};
use tempfile::TempDir;

use crate::support::{BOUND, FakeRegistry, connect, get, get_over, instance, route, start};

struct Published {
    dir: TempDir,
    config: Arc<dyn ConfigManager>,
    gateway: Gateway,
    _server: HttpServer,
}

fn services() -> Vec<ServiceName> {
    ["order", "user"].map(|name| ServiceName::new(name).unwrap()).to_vec()
}

fn routes(names: &[&str]) -> String {
    let route = |name: &&str| {
        format!(
            "[[route]]\nname = \"{name}\"\nmatches = [{{ path = \"/{name}/**\" }}]\nbackends = [{{ service = \"order\" }}]\n"
        )
    };
    names.iter().map(route).collect()
}

impl Published {
    /// A gateway that serves `/order`, and follows what is published.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::new(dir.path().join("store.redb"));
        let store = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
        let config: Arc<dyn ConfigManager> = Arc::new(StoreConfig::new(Arc::new(store), Arc::new(Anything)));
        let server = HttpServer::start(|_| Answer::Status(200, "served".to_owned()));
        let registry = FakeRegistry::new(&[instance("order", "o-1", server.addr())]);
        let gateway = start(&registry, vec![route("order")]).await;
        let mut this = Self { dir, config, gateway, _server: server };
        this.gateway.follow(Follow {
            config: Arc::clone(&this.config),
            services: Some(services()),
            instance: InstanceId::new("gateway").unwrap(),
            service: ServiceName::new("gateway").unwrap(),
            last_good: Some(this.last_good()),
            runs: None,
        });
        this
    }

    fn last_good(&self) -> PathBuf {
        self.dir.path().join("routes.toml")
    }

    async fn publish(&self, format: Format, text: impl Into<String>) -> u64 {
        let draft = Draft::new(Document::new(format, text), Author::anonymous());
        self.config.set_config(&ConfigKey::routes(), draft).await.unwrap().number
    }

    /// Waits for what the gateway says of a version.
    async fn said(&self, version: u64) -> Acknowledged {
        let asking = async {
            loop {
                let status = self.config.status(&ConfigKey::routes()).await.unwrap();
                if let Some(said) = status.instances.into_iter().find(|each| each.ack.version == version) {
                    return said;
                }
                task::yield_now().await;
            }
        };
        time::timeout(BOUND, asking).await.expect("the gateway says what it makes of each version")
    }

    async fn status(&self, path: &str) -> u16 {
        get(self.gateway.addr(), path).await.0.as_u16()
    }
}

#[tokio::test]
async fn what_is_published_is_live_acknowledged_and_kept() {
    let published = Published::new().await;
    assert_eq!(published.status("/order/1").await, 200, "what it started with, while nothing is published");
    let first = published.publish(Format::Toml, routes(&["new"])).await;
    let said = published.said(first).await;
    assert_eq!((said.ack.outcome, said.ack.runs), (Outcome::Applied, Some(first)));
    assert_eq!((said.ack.instance.as_str(), said.ack.service.as_str()), ("gateway", "gateway"));
    assert_eq!((published.status("/new/1").await, published.status("/order/1").await), (200, 404));
    let kept = LastGood::read(&published.last_good(), Some(&services())).unwrap().unwrap();
    assert_eq!((kept.version, &*kept.table.routes[0].name), (first, "new"));
    // A deletion is no proof that nothing is to be served.
    assert!(published.config.delete_config(&ConfigKey::routes(), None).await.unwrap());
    let next = published.publish(Format::Toml, routes(&["new", "other"])).await;
    published.said(next).await;
    assert_eq!(published.status("/other/1").await, 200);
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_the_reason_and_the_old_routes_stay() {
    let published = Published::new().await;
    let good = published.publish(Format::Toml, routes(&["good"])).await;
    published.said(good).await;
    let auth = "[auth.a]\njwt = { issuer = \"i\", audience = \"a\", algorithms = [\"HS256\"], secret = \"env:BOWLINE_TEST_UNSET\" }\n";
    for (format, text, why) in [
        (Format::Toml, "[[route]]\nnam = \"x\"\n".to_owned(), "nam"),
        (Format::Toml, routes(&["a", "a"]), "two routes"),
        (Format::Toml, routes(&["a"]).replace("service = \"order\"", "service = \"nobody\""), "nobody"),
        (Format::Toml, format!("{auth}{}", routes(&["a"])), "BOWLINE_TEST_UNSET"),
        (Format::Json, "{}".to_owned(), "TOML"),
    ] {
        let version = published.publish(format, text).await;
        let said = published.said(version).await;
        let Outcome::Refused { reason } = said.ack.outcome else { panic!("{why}: {said:?}") };
        assert!(reason.contains(why), "{reason}");
        assert_eq!(said.ack.runs, Some(good), "{why}");
        assert_eq!(published.status("/good/1").await, 200);
    }
    let kept = LastGood::read(&published.last_good(), Some(&services())).unwrap().unwrap();
    assert_eq!(kept.version, good);
}

#[tokio::test]
async fn publishing_under_load_drops_no_request() {
    let published = Published::new().await;
    let addr = published.gateway.addr();
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            task::spawn(async move {
                let mut client = connect(addr).await;
                while !is_over.load(SeqCst) {
                    let (status, _, body) = get_over(&mut client, "/order/1").await;
                    assert_eq!((status.as_u16(), body.as_str()), (200, "served"));
                }
            })
        })
        .collect();
    for round in 0..10 {
        let names = if round % 2 == 0 { &["order", "other"][..] } else { &["order"] };
        published.said(published.publish(Format::Toml, routes(names)).await).await;
        assert_eq!(published.status("/other/1").await, if round % 2 == 0 { 200 } else { 404 });
    }
    is_over.store(true, SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}

#[test]
fn what_is_kept_is_read_only_where_it_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.toml");
    assert_eq!(LastGood::read(&path, Some(&services())).unwrap(), None);
    for (content, why) in [
        ("", "another release"),
        ("[[route]]\n", "another release"),
        ("# bowline routes, format 2, version 7\n", "another release"),
        ("# bowline routes, format 1, version x\n", "another release"),
        ("# bowline routes, format 1, version 7\n[[rout]]\n", "rout"),
        ("\u{fffd}", "another release"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = LastGood::read(&path, Some(&services())).unwrap_err();
        assert!(error.kind() == std::io::ErrorKind::InvalidData && error.to_string().contains(why), "{error}");
    }
    std::fs::write(&path, format!("# bowline routes, format 1, version 7\n{}", routes(&["a"]))).unwrap();
    assert_eq!(LastGood::read(&path, Some(&services())).unwrap().unwrap().version, 7);
    assert!(LastGood::read(&path, Some(&[])).is_err(), "a service that is gone");
}
