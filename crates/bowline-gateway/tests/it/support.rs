//! A registry in memory, and the gateway over it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_gateway::{Error as GatewayError, Gateway, Settings};
use bowline_model::{
    Instance, InstanceId, ServiceName,
    gateway::RouteTable,
    policy::{Backoff, BreakerPolicy, CallPolicy, RetryPolicy},
    route::{Backend, PathPattern, Route, RouteMatch},
    units::Share,
};
use bowline_registry::{
    Discovered, Discovery, Error, HeartbeatAnswer, InstanceChange, InstanceEvent, InstanceWatch, Query, Registry,
    Revision, ServiceSummary,
};
use bowline_runtime::{
    BoxFuture,
    metric::{self},
    net::TcpStream,
    task,
};
use bowline_telemetry::{Always, Reporter, SpanData, Tracer};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

/// Longer than anything here takes.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// A registry whose content the test decides.
#[derive(Clone)]
pub(crate) struct FakeRegistry(Arc<Fake>);

struct Fake {
    instances: Mutex<BTreeMap<InstanceId, Instance>>,
    /// Everything that ever happened; the revision is its length.
    log: watch::Sender<Vec<InstanceEvent>>,
}

struct FakeWatch {
    service: Option<ServiceName>,
    seen: Revision,
    log: watch::Receiver<Vec<InstanceEvent>>,
}

impl FakeRegistry {
    pub(crate) fn new(instances: &[Instance]) -> Self {
        let fake = Fake { instances: Mutex::default(), log: watch::Sender::new(Vec::new()) };
        let this = Self(Arc::new(fake));
        for instance in instances {
            this.put(instance.clone());
        }
        this
    }

    pub(crate) fn put(&self, instance: Instance) {
        self.0.instances.lock().unwrap().insert(instance.id.clone(), instance.clone());
        self.happened(InstanceChange::Put(instance));
    }

    pub(crate) fn remove(&self, id: &str) {
        let instance = self.0.instances.lock().unwrap().remove(id).unwrap();
        self.happened(InstanceChange::Delete { id: instance.id, service: instance.service });
    }

    fn happened(&self, change: InstanceChange) {
        self.0.log.send_modify(|log| log.push(InstanceEvent { revision: log.len() as Revision + 1, change }));
    }
}

impl Registry for FakeRegistry {
    fn register(&self, instance: Instance, _: Option<Duration>) -> BoxFuture<'_, Result<Revision, Error>> {
        self.put(instance);
        Box::pin(async { Ok(self.0.log.borrow().len() as Revision) })
    }

    fn heartbeat(&self, _: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn deregister(&self, id: &InstanceId) -> BoxFuture<'_, Result<bool, Error>> {
        self.remove(id.as_str());
        Box::pin(async { Ok(true) })
    }

    fn discover(&self, query: &Query) -> BoxFuture<'_, Result<Discovered, Error>> {
        let revision = self.0.log.borrow().len() as Revision;
        let instances = self.0.instances.lock().unwrap();
        let is_asked = |instance: &&Instance| query.service.as_ref().is_none_or(|service| instance.service == *service);
        let instances = instances.values().filter(is_asked).cloned().collect();
        Box::pin(async move { Ok(Discovered { revision, history: None, instances, more: false }) })
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn watch(&self, query: &Query, from: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>> {
        let watch = FakeWatch { service: query.service.clone(), seen: from, log: self.0.log.subscribe() };
        Box::pin(async { Ok(Box::new(watch) as Box<dyn InstanceWatch>) })
    }
}

impl InstanceWatch for FakeWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<InstanceEvent, Error>> {
        Box::pin(async {
            loop {
                let event = self.unseen();
                if let Some(event) = event {
                    self.seen = event.revision;
                    return Ok(event);
                }
                if self.log.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }
}

impl FakeWatch {
    fn unseen(&mut self) -> Option<InstanceEvent> {
        let is_asked = |event: &&InstanceEvent| {
            let service = match &event.change {
                InstanceChange::Put(instance) => &instance.service,
                InstanceChange::Delete { service, .. } => service,
            };
            event.revision > self.seen && self.service.as_ref().is_none_or(|asked| asked == service)
        };
        self.log.borrow_and_update().iter().find(is_asked).cloned()
    }
}

pub(crate) fn instance(service: &str, id: &str, addr: SocketAddr) -> Instance {
    Instance::new(InstanceId::new(id).unwrap(), ServiceName::new(service).unwrap(), addr.into())
}

/// A route for everything below `/SERVICE`.
pub(crate) fn route(service: &str) -> Route {
    let backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(2) };
    let path = PathPattern::parse(&format!("/{service}/**")).unwrap();
    Route {
        matches: vec![RouteMatch { path, methods: Vec::new(), headers: Vec::new() }],
        policy: CallPolicy {
            timeout: BOUND,
            retry: Some(RetryPolicy { attempts_max: 3, backoff, budget: Share::ALL, ..RetryPolicy::default() }),
            breaker: Some(BreakerPolicy {
                calls_min: 10,
                open_for: Duration::from_mins(10).into(),
                ..BreakerPolicy::default()
            }),
            ..CallPolicy::default()
        },
        ..Route::new(service, vec![Backend { service: ServiceName::new(service).unwrap(), weight: 1 }])
    }
}

/// Those routes, with nothing demanded.
pub(crate) fn table(routes: Vec<Route>) -> RouteTable {
    RouteTable { routes, ..RouteTable::default() }
}

/// A gateway with two workers on a free port.
pub(crate) async fn start(registry: &FakeRegistry, routes: Vec<Route>) -> Gateway {
    start_on(registry, routes, ([127, 0, 0, 1], 0).into()).await.unwrap()
}

pub(crate) async fn start_on(
    registry: &FakeRegistry,
    routes: Vec<Route>,
    listen: SocketAddr,
) -> Result<Gateway, GatewayError> {
    let settings = Settings { workers: 2, ..Settings::new(listen) };
    start_with(registry, table(routes), settings, Tracer::disabled()).await
}

pub(crate) async fn start_with(
    registry: &FakeRegistry,
    table: RouteTable,
    settings: Settings,
    tracer: Tracer,
) -> Result<Gateway, GatewayError> {
    let discovery = Arc::new(Discovery::new(Arc::new(registry.clone()), None));
    Gateway::start(settings, table, discovery, tracer, &metric::Registry::default()).await
}

/// A connection to the gateway.
pub(crate) async fn connect(addr: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    task::spawn(async move { connection.await.ok() });
    client
}

/// One GET over a connection of its own.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> (StatusCode, HeaderMap, String) {
    get_over(&mut connect(addr).await, path).await
}

pub(crate) async fn get_over(client: &mut SendRequest<Empty<Bytes>>, path: &str) -> (StatusCode, HeaderMap, String) {
    client.ready().await.unwrap();
    let request = Request::get(path).header("host", "a").body(Empty::new()).unwrap();
    let (parts, body) = client.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// One request without a body, over a connection of its own.
pub(crate) async fn ask(addr: SocketAddr, request: http::request::Builder) -> Seen {
    let request = request.body(Empty::new()).unwrap();
    let (parts, body) = connect(addr).await.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Seen { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

/// Spans as they end.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl Reporter for Spans {
    fn report(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

/// A tracer, and the spans that it ends.
pub(crate) fn spans() -> (Tracer, Arc<Mutex<Vec<SpanData>>>) {
    let spans = Spans::default();
    (Tracer::new("gateway", "gateway-1", Always, spans.clone()), spans.0)
}
