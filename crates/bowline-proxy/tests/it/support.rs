//! Upstreams that answer as a test says, a proxy before them, and clients.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_model::{
    Instance, InstanceId, ServiceName,
    instance::Protocol,
    policy::{Backoff, BreakerPolicy, CallPolicy, RetryPolicy},
    route::{Backend, HostPattern, PathPattern, Route, RouteMatch},
    units::Share,
};
use bowline_proxy::{Engine, Filter, Settings, Snapshot, matcher::Matcher};
use bowline_runtime::{
    metric::Registry,
    net::{self, TcpStream},
    task,
};
use bowline_telemetry::{Always, Reporter, SpanData, Tracer};
use bowline_upstream::Upstream;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

/// Longer than anything here takes; a test that needs it has failed.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type TestBody = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> TestBody {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body whose parts the test sends one by one; an error breaks it off.
pub(crate) fn channel() -> (mpsc::Sender<Result<Bytes, BoxError>>, TestBody) {
    let (sender, receiver) = mpsc::channel(1);
    let parts = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
        let part: Result<Bytes, BoxError> = receiver.recv().await?;
        Some((part.map(Frame::data), receiver))
    });
    (sender, StreamBody::new(parts).boxed_unsync())
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<TestBody> {
    Response::builder().status(status).body(full(body)).unwrap()
}

/// An HTTP/1.1 upstream.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    pub(crate) protocol: Protocol,
    _accepting: task::Guarded<()>,
}

impl Fake {
    pub(crate) fn http1<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<TestBody>> + Send + 'static,
    {
        Self::start(Protocol::Http1, move |stream| {
            let handler = handler.clone();
            async move {
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            }
        })
    }

    pub(crate) fn http2<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<TestBody>> + Send + 'static,
    {
        Self::start(Protocol::Http2, move |stream| {
            let handler = handler.clone();
            async move {
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), service).await.ok();
            }
        })
    }

    /// What it does with each connection is up to the test.
    pub(crate) fn raw<H, F>(handler: H) -> Self
    where
        H: Fn(TcpStream) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start(Protocol::Http1, handler)
    }

    /// Answers everything with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::http1(move |_| async move { answer(200, name) })
    }

    fn start<H, F>(protocol: Protocol, handler: H) -> Self
    where
        H: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = task::spawn(async move {
            let mut connections = task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(handler(stream));
            }
        });
        Self { addr, protocol, _accepting: task::Guarded::new(accepting) }
    }

    pub(crate) fn instance(&self, service: &str, id: &str) -> Instance {
        instance(service, id, self.addr, self.protocol)
    }
}

pub(crate) fn instance(service: &str, id: &str, addr: SocketAddr, protocol: Protocol) -> Instance {
    let (id, service) = (InstanceId::new(id).unwrap(), ServiceName::new(service).unwrap());
    Instance { protocol, ..Instance::new(id, service, addr.into()) }
}

/// A route `name` for `path` on every host, to the service of the same name.
pub(crate) fn route(name: &str, path: &str) -> Route {
    Route {
        matches: vec![RouteMatch { path: PathPattern::parse(path).unwrap(), methods: Vec::new(), headers: Vec::new() }],
        policy: policy(),
        ..Route::new(name, vec![Backend { service: ServiceName::new(name).unwrap(), weight: 1 }])
    }
}

pub(crate) fn with_host(mut route: Route, host: &str) -> Route {
    route.hosts.push(HostPattern::parse(host).unwrap());
    route
}

/// Time enough, quick retries, and a breaker that does not get in the way.
pub(crate) fn policy() -> CallPolicy {
    let backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(2) };
    CallPolicy {
        timeout: BOUND,
        retry: Some(RetryPolicy { attempts_max: 3, backoff, budget: Share::ALL, ..RetryPolicy::default() }),
        breaker: Some(BreakerPolicy { calls_min: 1000, ..BreakerPolicy::default() }),
        ..CallPolicy::default()
    }
}

/// Spans as they end.
#[derive(Clone, Default)]
pub(crate) struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl Reporter for Spans {
    fn report(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

impl Spans {
    /// Waits for the span of the only request so far.
    pub(crate) async fn only(&self) -> SpanData {
        bowline_testkit::eventually(BOUND, || !self.0.lock().unwrap().is_empty()).await;
        let spans = self.0.lock().unwrap();
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans[0].clone()
    }
}

/// An attribute as text.
pub(crate) fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|(name, _)| name == key)?.1.clone();
    Some(match serde_json::to_value(value).unwrap() {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    })
}

/// A proxy with two workers.
pub(crate) struct Proxy {
    pub(crate) engine: Engine,
    pub(crate) metrics: Registry,
    pub(crate) spans: Spans,
    pub(crate) upstreams: BTreeMap<(String, ServiceName), Arc<Upstream>>,
}

impl Proxy {
    pub(crate) fn start(routes: &[Route], instances: &[Instance]) -> Self {
        Self::start_with(routes, instances, |_| {})
    }

    pub(crate) fn start_with(routes: &[Route], instances: &[Instance], change: impl FnOnce(&mut Settings)) -> Self {
        let metrics = Registry::default();
        let spans = Spans::default();
        let tracer = Tracer::new("gateway", "gateway-1", Always, spans.clone());
        let mut upstreams = BTreeMap::new();
        let snapshot = snapshot(routes, instances, &metrics, &mut upstreams);
        let mut settings = Settings::new(([127, 0, 0, 1], 0).into(), "gateway");
        settings.workers = 2;
        change(&mut settings);
        let engine = Engine::start(&settings, snapshot, &tracer, &metrics).unwrap();
        Self { engine, metrics, spans, upstreams }
    }

    /// A proxy with filters of the listener and of its one route.
    pub(crate) fn start_filtered(
        route: &Route,
        instances: &[Instance],
        listener: Option<Arc<dyn Filter>>,
        filter: &Arc<dyn Filter>,
    ) -> Self {
        Self::start(&[], &[]).filtered(route, instances, listener, filter)
    }

    /// A proxy with a filter of its one route, and with other settings.
    pub(crate) fn start_filtered_with(
        route: &Route,
        instances: &[Instance],
        filter: &Arc<dyn Filter>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::start_with(&[], &[], change).filtered(route, instances, None, filter)
    }

    fn filtered(
        self,
        route: &Route,
        instances: &[Instance],
        listener: Option<Arc<dyn Filter>>,
        filter: &Arc<dyn Filter>,
    ) -> Self {
        let mut upstreams = BTreeMap::new();
        let made = snapshot(std::slice::from_ref(route), instances, &self.metrics, &mut upstreams);
        let made = Arc::into_inner(made).unwrap().with_filters(listener, |_| Some(Arc::clone(filter)));
        self.engine.set_snapshot(Arc::new(made));
        Self { upstreams, ..self }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.engine.addr()
    }

    pub(crate) fn set_routes(&mut self, routes: &[Route], instances: &[Instance]) {
        self.engine.set_snapshot(snapshot(routes, instances, &self.metrics, &mut self.upstreams));
    }

    /// How many requests of a route were counted with that status.
    pub(crate) fn counted(&self, route: &str, code: u16) -> u64 {
        let labels =
            format!(r#"bowline_requests_total{{reporter="gateway",service="{route}",route="{route}",code="{code}"}} "#);
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&labels)?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn in_flight(&self) -> i64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with("bowline_requests_in_flight{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()).sum()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(full("")).unwrap()).await
    }

    /// Sends one request over a connection of its own.
    pub(crate) async fn send(&self, mut request: Request<TestBody>) -> Answer {
        request.headers_mut().entry("host").or_insert("proxy.test".parse().unwrap());
        let mut client = http1(self.addr()).await;
        read(client.send_request(request).await.unwrap()).await
    }
}

fn snapshot(
    routes: &[Route],
    instances: &[Instance],
    metrics: &Registry,
    upstreams: &mut BTreeMap<(String, ServiceName), Arc<Upstream>>,
) -> Arc<Snapshot> {
    let upstream_of = |route: &Route, backend: usize| {
        let service = route.backends[backend].service.clone();
        let make = || Upstream::new(service.clone(), route.policy.clone(), "gateway", metrics);
        let upstream = Arc::clone(upstreams.entry((route.name.clone(), service.clone())).or_insert_with(make));
        let of_service = instances.iter().filter(|instance| instance.service == service);
        upstream.set_instances(&of_service.cloned().collect::<Vec<_>>());
        upstream
    };
    Arc::new(Snapshot::new(Matcher::new(routes).unwrap(), routes, "gateway", metrics, upstream_of))
}

/// A response that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Checks that the proxy answered itself, and why.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, code: &str, reason: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.headers["x-bowline-reason"], reason, "{self:?}");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(self.headers["x-trace-id"], problem["trace_id"].as_str().unwrap());
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
    }
}

pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn http1(addr: SocketAddr) -> conn::http1::SendRequest<TestBody> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    task::spawn(async move { connection.await.ok() });
    client
}

pub(crate) async fn http2(addr: SocketAddr) -> conn::http2::SendRequest<TestBody> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    task::spawn(async move { connection.await.ok() });
    client
}

/// Sends bytes and reads until the other end closes.
pub(crate) async fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}
