//! The gateway in a mesh: calls under TLS as what is published says, keys included.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use bowline_config::{
    Acknowledged, Author, ConfigManager, Document, Draft, Format, Outcome, StoreConfig, conformance::Anything,
};
use bowline_gateway::{Ask, FollowMesh, Gateway, LastGoodMesh, Settings};
use bowline_model::{
    ConfigKey, InstanceId, ServiceName,
    gateway::{JwtAlgorithm, JwtKeys, RouteTable},
    mesh::{Authorization, MeshDemands, Mode, Outbound, SNAPSHOT_FORMAT, Snapshot, Steering, Workload},
    policy::CallPolicy,
    route::Route,
};
use bowline_proxy::{Engine, Listener, Peers, matcher::Matcher};
use bowline_runtime::{metric::Registry, task, time};
use bowline_store::Embedded;
use bowline_telemetry::Tracer;
use bowline_testkit::{Answer, HttpServer};
use bowline_transport::ClientTls;
use bowline_upstream::Upstream;
use http::{HeaderMap, Method, Request};
use tempfile::TempDir;

use crate::{
    authority::{Authority, peer_id},
    support::{BOUND, FakeRegistry, ask, get, instance, route, start_with, table},
    tokens::{Key, provider},
};

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// A sidecar before a service: whoever comes has to show a certificate.
fn sidecar(authority: &Authority, service: &str, app: SocketAddr) -> Engine {
    let metrics = Registry::default();
    let upstream = Upstream::new(name(service), CallPolicy::default(), "server", &metrics);
    upstream.set_instances(&[instance(service, "app", app)]);
    let routes = [Route { matches: Vec::new(), ..route(service) }];
    let snapshot = bowline_proxy::Snapshot::new(Matcher::new(&routes).unwrap(), &routes, "server", &metrics, |_, _| {
        Arc::clone(&upstream)
    });
    let listener = Listener::new(([127, 0, 0, 1], 0).into()).with_tls(authority.server(service, false));
    let settings = bowline_proxy::Settings {
        workers: 1,
        peers: Peers::Mesh,
        peer_id: Some(peer_id),
        ..bowline_proxy::Settings::with_listeners(vec![listener], "server")
    };
    Engine::start(&settings, Arc::new(snapshot), &Tracer::disabled(), &metrics).unwrap()
}

fn snapshot(mode: Option<Mode>) -> Snapshot {
    Snapshot {
        format: SNAPSHOT_FORMAT,
        system: name("shop"),
        workload: Workload::Gateway,
        mode,
        authorization: Authorization::Enforce,
        inbound: Vec::new(),
        outbound: Vec::new(),
        faults: Vec::new(),
    }
}

/// A gateway of a mesh, and where its snapshot is published.
struct Meshed {
    dir: TempDir,
    config: Arc<dyn ConfigManager>,
    gateway: Gateway,
}

impl Meshed {
    async fn start(
        registry: &FakeRegistry,
        table: RouteTable,
        tls: Option<ClientTls>,
        first: Option<Snapshot>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = bowline_store::Settings::new(dir.path().join("store.redb"));
        let store = Embedded::open(settings, &Registry::default()).await.unwrap();
        let config: Arc<dyn ConfigManager> = Arc::new(StoreConfig::new(Arc::new(store), Arc::new(Anything)));
        let mut settings = Settings { workers: 1, mesh: first, ..Settings::new(([127, 0, 0, 1], 0).into()) };
        settings.pool.tls = tls;
        let gateway = start_with(registry, table, settings, Tracer::disabled()).await.unwrap();
        let mut this = Self { dir, config, gateway };
        this.gateway.follow_mesh(FollowMesh {
            config: Arc::clone(&this.config),
            instance: InstanceId::new("gateway-1").unwrap(),
            service: name("gateway"),
            last_good: Some(this.last_good()),
            runs: None,
        });
        this
    }

    fn last_good(&self) -> PathBuf {
        self.dir.path().join("gateway.snapshot")
    }

    async fn publish(&self, text: String) -> Acknowledged {
        let key = ConfigKey::snapshot(&Workload::Gateway);
        let draft = Draft::new(Document::new(Format::Json, text), Author::anonymous());
        let number = self.config.set_config(&key, draft).await.unwrap().number;
        let asking = async {
            loop {
                let status = self.config.status(&key).await.unwrap();
                if let Some(said) = status.instances.into_iter().find(|each| each.ack.version == number) {
                    return said;
                }
                task::yield_now().await;
            }
        };
        time::timeout(BOUND, asking).await.expect("the gateway says what it makes of each version")
    }

    async fn publish_mode(&self, mode: Option<Mode>) -> Acknowledged {
        self.publish(serde_json::to_string(&snapshot(mode)).unwrap()).await
    }

    async fn status(&self) -> u16 {
        get(self.gateway.addr(), "/order/1").await.0.as_u16()
    }
}

#[tokio::test]
async fn what_is_published_decides_who_is_called_under_tls() {
    let authority = Authority::new();
    let app = HttpServer::start(|_| Answer::Status(200, "served".to_owned()));
    let sidecar = sidecar(&authority, "order", app.addr());
    let registry = FakeRegistry::new(&[instance("order", "o-1", sidecar.addr())]);
    let tls = Some(authority.client("spiffe://shop/gateway"));
    let meshed = Meshed::start(&registry, table(vec![route("order")]), tls, None).await;
    assert_eq!(meshed.status().await, 502, "the sidecar takes nothing in the clear");
    let said = meshed.publish_mode(Some(Mode::Strict)).await;
    assert_eq!(said.ack.outcome, Outcome::Applied);
    assert_eq!(meshed.status().await, 200);
    assert_eq!(app.requests()[0].headers["x-bowline-caller"], "gateway");
    let kept = LastGoodMesh::read(&meshed.last_good()).unwrap().unwrap();
    assert_eq!((kept.version, kept.snapshot.mode), (said.ack.version, Some(Mode::Strict)));
    for (text, why) in [
        ("{}".to_owned(), "no snapshot"),
        (r#"{"format":2}"#.to_owned(), "format 2"),
        (serde_json::to_string(&snapshot(None)).unwrap().replace("gateway", "bowline"), "not of a gateway"),
    ] {
        let said = meshed.publish(text).await;
        let Outcome::Refused { reason } = said.ack.outcome else { panic!("{why}: {said:?}") };
        assert!(reason.contains(why), "{reason}");
    }
    assert_eq!(meshed.status().await, 200);
    let (method, url) = (Method::GET, "http://localhost/order/1".parse().unwrap());
    let explained = meshed.gateway.explain(Ask { method, url, headers: HeaderMap::new(), client: None }).await;
    let demands = MeshDemands { mode: Mode::Strict, authorization: Authorization::Enforce };
    assert_eq!(explained.mesh, Some(demands));
    // What a route is new with is called so too.
    meshed.gateway.set_table(&table(vec![Route { name: "new".to_owned(), ..route("order") }])).unwrap();
    assert_eq!(meshed.status().await, 200);
    // The instance does not say that it takes TLS.
    meshed.publish_mode(Some(Mode::Permissive)).await;
    assert_eq!(meshed.status().await, 502);
}

#[tokio::test]
async fn what_is_published_decides_which_version_is_called() {
    let [one, two] = ["v1", "v2"].map(|version| HttpServer::start(move |_| Answer::Status(200, version.to_owned())));
    let mut instances = [instance("order", "o-1", one.addr()), instance("order", "o-2", two.addr())];
    for (instance, version) in instances.iter_mut().zip(["v1", "v2"]) {
        instance.version = version.to_owned();
    }
    let registry = FakeRegistry::new(&instances);
    let to = |version: &str| {
        let steering = Steering { split: [(version.to_owned(), 1)].into(), ..Steering::default() };
        let outbound = Outbound { target: name("order"), policy: CallPolicy::default(), steering };
        Snapshot { outbound: vec![outbound], ..snapshot(None) }
    };
    let meshed = Meshed::start(&registry, table(vec![route("order")]), None, Some(to("v1"))).await;
    let answers = async || {
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(get(meshed.gateway.addr(), "/order/1").await.2);
        }
        answers
    };
    assert_eq!(answers().await, ["v1"; 8]);
    let said = meshed.publish(serde_json::to_string(&to("v2")).unwrap()).await;
    assert_eq!(said.ack.outcome, Outcome::Applied);
    assert_eq!(answers().await, ["v2"; 8]);
}

#[tokio::test]
async fn a_gateway_without_an_identity_refuses_to_be_in_a_mesh() {
    let app = HttpServer::start(|_| Answer::Status(200, "served".to_owned()));
    let registry = FakeRegistry::new(&[instance("order", "o-1", app.addr())]);
    let meshed = Meshed::start(&registry, table(vec![route("order")]), None, None).await;
    let said = meshed.publish_mode(Some(Mode::Strict)).await;
    let Outcome::Refused { reason } = said.ack.outcome else { panic!("{said:?}") };
    assert!(reason.contains("no identity"), "{reason}");
    assert_eq!(meshed.status().await, 200);
    assert_eq!(meshed.publish_mode(None).await.ack.outcome, Outcome::Applied);
}

#[tokio::test]
async fn keys_of_a_service_come_under_tls_too() {
    let (authority, key) = (Authority::new(), Key::ed("ed"));
    let keys = serde_json::json!({ "keys": [key.public()] }).to_string();
    let app = HttpServer::start(move |request| {
        Answer::Status(200, if request.path == "/keys" { keys.clone() } else { "served".to_owned() })
    });
    let (order, user) = (sidecar(&authority, "order", app.addr()), sidecar(&authority, "user", app.addr()));
    let instances = [instance("order", "o-1", order.addr()), instance("user", "u-1", user.addr())];
    let registry = FakeRegistry::new(&instances);
    let source = JwtKeys::Service { service: name("user"), path: "/keys".to_owned() };
    let provider = provider(&[JwtAlgorithm::EdDsa], source);
    let route = Route { auth: Some(provider.name.clone()), ..route("order") };
    let table = RouteTable { auth: vec![provider], ..table(vec![route]) };
    let tls = Some(authority.client("spiffe://shop/gateway"));
    let meshed = Meshed::start(&registry, table, tls, Some(snapshot(Some(Mode::Strict)))).await;
    let request =
        Request::get("/order/1").header("host", "a").header("authorization", format!("Bearer {}", key.token("ada")));
    let got = ask(meshed.gateway.addr(), request).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let asked: Vec<_> =
        app.requests().into_iter().map(|request| (request.path, request.headers["x-bowline-caller"].clone())).collect();
    assert_eq!(asked, [("/keys".to_owned(), "gateway".to_owned()), ("/order/1".to_owned(), "gateway".to_owned())]);
    assert_eq!(app.requests()[1].headers["x-bowline-subject"], "ada");
}
