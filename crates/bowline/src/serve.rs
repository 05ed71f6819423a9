//! The server of an application: what every request passes on its way in and out.

use std::{io, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bowline_model::{
    Address, Code, ServiceName,
    instance::{OWN_PATHS, SPEAKS_HEADER, SPEAKS_HTTP2},
};
use bowline_resilience::deadline::{self, Deadline};
use bowline_runtime::{drain::Drain, metric, net, time, watchdog};
use bowline_telemetry::{Span, SpanKind, Tracer, current, names, propagation};
use bowline_transport::{
    problem::{Problem, code_of_status},
    server::{self, Service as _},
};
use futures_util::FutureExt;
use http_body::Body as _;
use tokio::sync::watch;

use crate::{
    client,
    error::{HandlerError, trace_id},
    microservice::{BODY_MAX_DEFAULT, ReadyCheck},
    settings::Settings,
    shed::{self, Shedding},
    stream,
};

/// The longest one condition of readiness may take to be checked.
const READY_CHECK_MAX: time::Duration = time::Duration::from_secs(5);

/// Tells who checks the application what is spoken here: a supervisor registers it so.
const SPEAKS: [(&str, &str); 1] = [(SPEAKS_HEADER, SPEAKS_HTTP2)];

/// What the middleware and the health paths share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context(Arc<Inner>);

struct Inner {
    service: ServiceName,
    tracer: Tracer,
    metrics: metric::Registry,
    ready: Vec<ReadyCheck>,
    /// Whether a sidecar stands before the application.
    is_meshed: bool,
    shedding: Option<Shedding>,
    draining: watch::Sender<bool>,
}

impl Context {
    pub(crate) fn new(
        settings: &Settings,
        tracer: Tracer,
        metrics: metric::Registry,
        ready: Vec<ReadyCheck>,
        draining: watch::Sender<bool>,
    ) -> Self {
        let (service, is_meshed) = (settings.service.clone(), settings.mesh.is_some());
        let shedding = settings.shed.as_ref().map(|policy| Shedding::new(policy, &metrics, &service));
        Self(Arc::new(Inner { service, tracer, metrics, ready, is_meshed, shedding, draining }))
    }

    /// From here on `/readyz` answers 503, and streams end.
    pub(crate) fn begin_drain(&self) {
        self.0.draining.send_replace(true);
    }
}

/// The application's routes in their span, with the health paths beside them.
pub(crate) fn router(app: Router, context: Context) -> Router {
    let health = Router::new()
        .route("/livez", get(|| async { (SPEAKS, "ok\n") }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route_layer(middleware::from_fn(explain))
        .with_state(context.clone());
    // Health checks are asked for every second or two: they are not traced.
    let observe = middleware::from_fn_with_state(context, observe);
    let body_max = DefaultBodyLimit::max(BODY_MAX_DEFAULT);
    let app = app.layer(middleware::from_fn(explain)).layer(observe).layer(body_max);
    // In this order: what no route matches is the application's.
    health.merge(app)
}

/// Opens a listener, and says where it is: with the port that 0 became.
pub(crate) fn listen(at: &Address) -> io::Result<(server::Listener, Address)> {
    match at {
        Address::Tcp(addr) => {
            let listener = net::listen(*addr)?;
            let addr = listener.local_addr()?;
            Ok((listener.into(), addr.into()))
        }
        Address::Unix(path) => Ok((net::listen_unix(path)?.into(), at.clone())),
    }
}

/// Accepts until drained.
pub(crate) async fn accept(
    listener: server::Listener,
    router: Router,
    drain: Drain,
    grace: time::Duration,
    metrics: metric::Registry,
) {
    let metrics = server::Metrics::new(&metrics, "service");
    let settings = server::Settings { grace, metrics, ..server::Settings::of_system() };
    let service = hyper_util::service::TowerToHyperService::new(router);
    let make = move |peer: &server::Peer| {
        let (service, peer) = (service.clone(), peer.clone());
        server::service_fn(move |mut request: http::Request<server::Incoming>| {
            request.extensions_mut().insert(peer.clone());
            service.call(request)
        })
    };
    server::serve(listener, settings, drain, make).await;
}

async fn readyz(State(context): State<Context>) -> Result<impl IntoResponse, HandlerError> {
    if *context.0.draining.borrow() {
        return Err(HandlerError::new(Code::Unavailable, "draining"));
    }
    for check in &context.0.ready {
        let checked = time::timeout(READY_CHECK_MAX, check()).await;
        let checked = checked.unwrap_or_else(|_| Err(format!("a check took more than {READY_CHECK_MAX:?}")));
        checked.map_err(|reason| HandlerError::new(Code::Unavailable, reason))?;
    }
    Ok((SPEAKS, "ok\n"))
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    if let Some(shedding) = &context.0.shedding {
        shedding.show();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], context.0.metrics.render())
}

/// Makes a problem document of an error without a body: the router's own 404 and 405, and a
/// handler's bare status.
async fn explain(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let has_body = response.body().size_hint().exact() != Some(0);
    if !is_error || has_body || response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => format!("nothing at {path}"),
        StatusCode::METHOD_NOT_ALLOWED => format!("{method} is not for {path}"),
        _ => format!("answered {status}"),
    };
    let problem =
        Problem { status: status.as_u16(), trace_id: trace_id(), ..Problem::new(code_of_status(status), detail) };
    let mut explained = problem.into_response().map(axum::body::Body::new);
    // What it said in headers stays said: `Allow`, `Retry-After`.
    for (name, value) in response.headers() {
        if *name != header::CONTENT_LENGTH {
            explained.headers_mut().append(name, value.clone());
        }
    }
    explained
}

/// By when the caller wants its answer, where it says so.
fn deadline_of(headers: &HeaderMap, now: time::Instant) -> Option<Deadline> {
    let header = |name| headers.get(name).map(HeaderValue::as_bytes);
    Deadline::told(header(deadline::TIMEOUT_HEADER), header(deadline::GRPC_TIMEOUT_HEADER), now)
}

/// Runs a handler in its server span, under its caller's deadline, and counts it.
async fn observe(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    let begun = time::now();
    let inner = &*context.0;
    if !inner.is_meshed {
        // Nobody stands before us who would have made sure of it.
        request.headers_mut().remove(names::CALLER_HEADER);
    }
    let route = request.extensions().get::<MatchedPath>().map_or_else(String::new, |path| path.as_str().to_owned());
    let is_own = request.uri().path().starts_with(OWN_PATHS);
    // What Bowline asks to show it to people is no work of the service.
    let is_looked_at = is_own && request.method() == Method::GET;
    let mut span = if is_looked_at { Span::disabled() } else { start_span(&inner.tracer, &request, &route) };
    if let Some(caller) = request.headers().get(names::CALLER_HEADER).and_then(|caller| caller.to_str().ok()) {
        span.set_with(names::BOWLINE_CALLER, || caller.to_owned());
    }
    let (deadline, priority) = (deadline_of(request.headers(), begun), shed::priority_of(request.headers()));
    let task = task_name(request.method(), &route);
    let handled = async {
        let handler = task.watch(client::with_deadline(deadline, next.run(request)));
        match AssertUnwindSafe(handler).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => panicked(panic).into_response(),
        }
    };
    let handled = client::with_priority(priority, handled);
    let handled = async {
        match inner.shedding.as_ref().filter(|_| !is_own) {
            None => handled.await,
            Some(shedding) => shedding.admit(priority, deadline, begun, handled).await,
        }
    };
    let mut response = current::scope(span.context(), handled).await;
    let status = response.status();
    span.set(names::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(format!("answered {status}"));
    }
    if !is_looked_at || !status.is_success() {
        if let Ok(id) = HeaderValue::from_str(&span.context().trace_id.to_string()) {
            response.headers_mut().insert(names::TRACE_ID_HEADER, id);
        }
        count(inner, &route, status.as_u16(), time::now() - begun);
    }
    stream::end_at_drain(response, inner.draining.subscribe(), span.context(), task)
}

/// What a handler goes by where it holds its thread: names are few, whatever clients ask for.
fn task_name(method: &Method, route: &str) -> watchdog::Name {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let method = if known.contains(method) { method.as_str() } else { "other" };
    let route = if route.is_empty() { "(no route)" } else { route };
    watchdog::Name::new(&format!("{method} {route}"))
}

fn start_span(tracer: &Tracer, request: &Request, route: &str) -> Span {
    let name = if route.is_empty() { request.method().to_string() } else { format!("{} {route}", request.method()) };
    let mut span = tracer.start(name, SpanKind::Server, propagation::extract(request.headers()));
    span.set(names::HTTP_REQUEST_METHOD, request.method().as_str().to_owned());
    span.set(names::HTTP_ROUTE, route.to_owned());
    span.set(names::URL_PATH, request.uri().path().to_owned());
    span
}

fn count(inner: &Inner, route: &str, status: u16, duration: time::Duration) {
    let code = status.to_string();
    let labels =
        [("reporter", "server"), ("service", inner.service.as_str()), ("route", route), ("code", code.as_str())];
    inner.metrics.counter(names::REQUESTS_TOTAL, "Requests answered.", &labels).increment();
    inner.metrics.histogram(names::REQUEST_DURATION_SECONDS, "How long requests took.", &labels).record(duration);
}

/// A handler's panic is the answer 500 to its caller and nothing to the others.
fn panicked(panic: Box<dyn std::any::Any + Send>) -> HandlerError {
    let text = panic.downcast::<String>().map(|text| *text);
    let text = text.or_else(|panic| panic.downcast::<&str>().map(|text| (*text).to_owned()));
    HandlerError::internal(format!("handler panicked: {}", text.as_deref().unwrap_or("no message")))
}
