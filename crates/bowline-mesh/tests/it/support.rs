//! A shop with a mesh: store, authority, control plane, and sidecars before applications that answer.

mod broken;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_config::{Author, ConfigManager, Document, Draft, Format, StoreConfig, conformance::Anything};
use bowline_identity::Identity;
use bowline_mesh::{
    ControlPlane, Mesh,
    ca::{self, Authority},
    sidecar::Sidecar,
};
use bowline_model::{
    Address, ConfigKey, Instance, InstanceId, ServiceName, System,
    instance::METADATA_MESH,
    mesh::{CERTIFICATE_TTL_RANGE, MeshPolicy, Snapshot, Traffic, Workload},
    parse,
    system::Outbound,
};
use bowline_registry::{Discovery, Registry as _, StoreRegistry};
use bowline_runtime::{metric, task, time};
use bowline_store::{Embedded, Settings, Store};
use bowline_telemetry::{Always, Reporter, SpanData, Tracer};
use bowline_testkit::{Answer, HttpServer, TempDir, temp_dir};
use bowline_transport::{Body, Endpoint, Error, PoolSettings, SharedPool, send};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;

pub(crate) use broken::{Broken, broken};

/// Longer than anything here takes.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Order calls payment and user, payment calls bank, which declares nothing; the gateway leads to order.
pub(crate) const SHOP: &str = r#"
name = "shop"
[service.user]
run = "user"
boundary.api = ["GET /users/{id}"]
[service.order]
run = "order"
boundary.api = ["POST /orders"]
[service.order.calls.user]
[service.order.calls.payment]
[service.payment]
run = "payment"
boundary.api = ["POST /charges", "GET /charges/{order}"]
[service.payment.calls.bank]
[service.bank]
run = "bank"
[[route]]
name = "orders"
matches = [{ path = "/orders", methods = ["POST"] }]
backends = [{ service = "order" }]
"#;

pub(crate) fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

pub(crate) fn service(text: &str) -> Workload {
    Workload::Service(name(text))
}

/// The shop, in a strict mesh.
pub(crate) fn shop() -> System {
    shop_with(MeshPolicy::default())
}

pub(crate) fn shop_with(mesh: MeshPolicy) -> System {
    System { mesh: Some(mesh), ..parse(SHOP).unwrap() }
}

async fn store(dir: &TempDir) -> Arc<dyn Store> {
    let settings = Settings::new(dir.path().join("store.redb"));
    Arc::new(Embedded::open(settings, &metric::Registry::default()).await.unwrap())
}

/// A manager of configuration over a store of its own.
pub(crate) async fn config(dir: &TempDir) -> Arc<dyn ConfigManager> {
    Arc::new(StoreConfig::new(store(dir).await, Arc::new(Anything)))
}

/// The services that have an identity, and that the shop's rules know nothing of: `stranger-0` and so on.
pub(crate) const STRANGERS: usize = 66;

/// An authority over a store of its own.
pub(crate) async fn authority(dir: &TempDir, store: Arc<dyn Store>) -> Arc<Authority> {
    let (system, certificate_ttl, key_file) = (name("shop"), CERTIFICATE_TTL_RANGE.0, dir.path().join(ca::KEY_FILE));
    let strangers = (0..STRANGERS).map(|index| name(&format!("stranger-{index}")));
    let services = shop().services.into_iter().map(|service| service.name).chain(strangers).collect();
    let settings = ca::Settings { system, services, certificate_ttl, key_file };
    Arc::new(Authority::open(store, settings).await.unwrap())
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            task::yield_now().await;
        }
    };
    time::timeout(BOUND, asking).await.unwrap_or_else(|_| panic!("{what} does not come about"))
}

/// Spans as they end.
#[derive(Clone, Default)]
pub(crate) struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl Reporter for Spans {
    fn report(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

/// A running shop.
pub(crate) struct Shop {
    pub(crate) mesh: Mesh,
    pub(crate) spans: Spans,
    registry: StoreRegistry,
    pub(crate) dir: TempDir,
    control: Option<ControlPlane>,
}

/// An application behind its sidecar.
pub(crate) struct Running {
    pub(crate) app: HttpServer,
    pub(crate) sidecar: Sidecar,
}

/// Somebody of the mesh, who asks.
pub(crate) struct Client {
    pool: SharedPool,
    _rotation: task::Guarded<()>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn reason(&self) -> &str {
        self.headers.get("x-bowline-reason").map_or("", |reason| reason.to_str().unwrap())
    }
}

impl Shop {
    pub(crate) async fn new(system: System) -> Self {
        let dir = temp_dir();
        let store = store(&dir).await;
        let config: Arc<dyn ConfigManager> = Arc::new(StoreConfig::new(Arc::clone(&store), Arc::new(Anything)));
        let control = ControlPlane::start(system, Arc::clone(&config)).await.unwrap();
        let registry = StoreRegistry::new(Arc::clone(&store));
        let discovery = Arc::new(Discovery::new(Arc::new(StoreRegistry::new(Arc::clone(&store))), None));
        let spans = Spans::default();
        let reporter = spans.clone();
        let mesh = Mesh {
            authority: authority(&dir, store).await,
            discovery,
            config,
            tracers: Arc::new(move |service, instance| {
                Tracer::new(service.as_str(), instance.as_str(), Always, reporter.clone())
            }),
            metrics: metric::Registry::default(),
            listen: [127, 0, 0, 1].into(),
        };
        Self { mesh, spans, registry, dir, control: Some(control) }
    }

    /// An instance of a service that answers what it was told to, registered at its sidecar.
    pub(crate) async fn run(&self, service: &str, outbound: Outbound) -> Running {
        let app = HttpServer::start(|request| Answer::Status(200, format!("{} {}", request.method, request.path)));
        self.run_before(service, outbound, app).await
    }

    pub(crate) async fn run_before(&self, service: &str, outbound: Outbound, app: HttpServer) -> Running {
        self.start(service, "1", outbound, app).await
    }

    /// An instance of a release.
    pub(crate) async fn run_version(&self, service: &str, version: &str, app: HttpServer) -> Running {
        self.start(service, version, Outbound::Sidecar, app).await
    }

    async fn start(&self, service: &str, version: &str, outbound: Outbound, app: HttpServer) -> Running {
        let id = InstanceId::new(&format!("{service}-{version}")).unwrap();
        let sidecar = self.sidecar(service, &id, app.addr().into(), outbound).await;
        let mut instance = Instance::new(id, name(service), sidecar.addr().into());
        instance.version = version.to_owned();
        instance.metadata.insert(METADATA_MESH.to_owned(), "mtls".to_owned());
        self.registry.register(instance, None).await.unwrap();
        Running { app, sidecar }
    }

    /// A sidecar before whatever listens there, or does not.
    pub(crate) async fn sidecar(&self, service: &str, id: &InstanceId, app: Address, outbound: Outbound) -> Sidecar {
        self.mesh.sidecar(&name(service), id, "", app, outbound).await.unwrap()
    }

    /// The same with nobody who compiles and publishes.
    pub(crate) fn without_control(self) -> Self {
        Self { control: None, ..self }
    }

    /// The same by another declaration.
    pub(crate) async fn with_system(self, system: System) -> Self {
        drop(self.control);
        let control = ControlPlane::start(system, Arc::clone(&self.mesh.config)).await.unwrap();
        Self { control: Some(control), ..self }
    }

    /// An instance that has no sidecar.
    pub(crate) async fn register_plain(&self, service: &str, addr: SocketAddr) {
        let id = InstanceId::new(&format!("{service}-plain")).unwrap();
        self.registry.register(Instance::new(id, name(service), addr.into()), None).await.unwrap();
    }

    /// The identity of a workload, to ask under.
    pub(crate) async fn client(&self, workload: &str) -> Client {
        let (identity, rotation) = self.mesh.identity(workload.parse().unwrap()).unwrap();
        identity.ready().await.unwrap();
        Client::new(&identity, rotation)
    }

    /// The spans of a service that have ended.
    pub(crate) fn spans_of(&self, service: &str) -> Vec<SpanData> {
        let spans = self.spans.0.lock().unwrap();
        spans.iter().filter(|span| &*span.service == service).cloned().collect()
    }

    pub(crate) async fn publish(&self, key: &ConfigKey, format: Format, text: impl Into<String>) -> u64 {
        let draft = Draft::new(Document::new(format, text), Author::new("somebody").unwrap());
        self.mesh.config.set_config(key, draft).await.unwrap().number
    }

    pub(crate) async fn set_traffic(&self, traffic: &Traffic) {
        self.publish(&ConfigKey::traffic(), Format::Json, serde_json::to_string(traffic).unwrap()).await;
    }

    /// Waits until every sidecar of a service acts by a snapshot that fits.
    pub(crate) async fn acted_by(&self, of: &str, fits: impl Fn(&Snapshot) -> bool) {
        let key = ConfigKey::snapshot(&service(of));
        until("the snapshot", async || {
            let version = self.mesh.config.get_config(&key).await.unwrap()?;
            let status = self.mesh.config.status(&key).await.unwrap();
            let is_in_force = fits(&version.document.read().unwrap())
                && status.instances.iter().any(|said| said.ack.runs == Some(version.number));
            is_in_force.then_some(())
        })
        .await;
    }
}

impl Client {
    pub(crate) fn new(identity: &Identity, rotation: task::Guarded<()>) -> Self {
        let settings = PoolSettings { tls: Some(identity.client_tls()), ..PoolSettings::default() };
        Self { pool: SharedPool::new(settings), _rotation: rotation }
    }

    /// One request to a service behind its sidecar.
    pub(crate) async fn ask(&self, service: &str, running: &Running, method: &str, path: &str) -> Seen {
        self.send(service, running, Request::builder().method(method).uri(path)).await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        service: &str,
        running: &Running,
        request: http::request::Builder,
    ) -> Result<Seen, Error> {
        self.send_to(service, running.sidecar.addr(), request).await
    }

    pub(crate) async fn ask_at(
        &self,
        service: &str,
        addr: SocketAddr,
        method: &str,
        path: &str,
    ) -> Result<Seen, Error> {
        self.send_to(service, addr, Request::builder().method(method).uri(path)).await
    }

    async fn send_to(&self, service: &str, addr: SocketAddr, request: http::request::Builder) -> Result<Seen, Error> {
        let endpoint = Endpoint { tls: Some(name(service)), ..Endpoint::http1(addr) };
        ask(&self.pool, &endpoint, request.header("host", service)).await
    }
}

/// One request in the clear.
pub(crate) async fn ask_plain(addr: SocketAddr, request: http::request::Builder) -> Result<Seen, Error> {
    ask(&SharedPool::default(), &Endpoint::http1(addr), request).await
}

async fn ask(pool: &SharedPool, endpoint: &Endpoint, request: http::request::Builder) -> Result<Seen, Error> {
    let response = send(pool, endpoint, request.body(Body::empty()).unwrap()).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Seen { status: head.status.as_u16(), headers: head.headers, body })
}
