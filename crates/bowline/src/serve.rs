//! The server of an application: what every request passes on its way in and out.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bowline_model::{Code, ServiceName};
use bowline_resilience::deadline::{self, Deadline};
use bowline_runtime::{drain::Drain, metric, net, time};
use bowline_telemetry::{Span, SpanKind, Tracer, current, names, propagation};
use bowline_transport::server;
use futures_util::FutureExt;

use crate::{client, error::HandlerError, microservice::ReadyCheck, settings::Settings};

/// What the middleware and the health paths share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context(Arc<Inner>);

struct Inner {
    service: ServiceName,
    tracer: Tracer,
    metrics: metric::Registry,
    ready: Vec<ReadyCheck>,
    is_draining: AtomicBool,
}

impl Context {
    pub(crate) fn new(settings: &Settings, tracer: Tracer, metrics: metric::Registry, ready: Vec<ReadyCheck>) -> Self {
        let service = settings.service.clone();
        Self(Arc::new(Inner { service, tracer, metrics, ready, is_draining: AtomicBool::new(false) }))
    }

    /// From here on `/readyz` answers 503.
    pub(crate) fn begin_drain(&self) {
        self.0.is_draining.store(true, Relaxed);
    }
}

/// The application's routes in their span, with the health paths beside them.
pub(crate) fn router(app: Router, context: Context) -> Router {
    let health = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(context.clone());
    // Health checks are asked for every second or two: they are not traced.
    app.fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(context, observe))
        .merge(health)
}

/// Accepts until drained.
pub(crate) async fn accept(
    listener: net::TcpListener,
    router: Router,
    drain: Drain,
    grace: time::Duration,
    metrics: metric::Registry,
) {
    let metrics = server::Metrics::new(&metrics, "service");
    let settings = server::Settings { grace, metrics, ..server::Settings::default() };
    let service = hyper_util::service::TowerToHyperService::new(router);
    server::serve(listener, settings, drain, move |_peer| service.clone()).await;
}

async fn readyz(State(context): State<Context>) -> Result<&'static str, HandlerError> {
    if context.0.is_draining.load(Relaxed) {
        return Err(HandlerError::new(Code::Unavailable, "draining"));
    }
    for check in &context.0.ready {
        check().await.map_err(|reason| HandlerError::new(Code::Unavailable, reason))?;
    }
    Ok("ok\n")
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], context.0.metrics.render())
}

async fn nothing_here(uri: axum::http::Uri) -> HandlerError {
    HandlerError::new(Code::NotFound, format!("nothing at {}", uri.path()))
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> HandlerError {
    HandlerError::new(Code::MethodNotAllowed, format!("{method} is not for {}", uri.path()))
}

/// Runs a handler in its server span, under its caller's deadline, and counts it.
async fn observe(State(context): State<Context>, request: Request, next: Next) -> Response {
    let begun = time::now();
    let inner = &*context.0;
    let route = request.extensions().get::<MatchedPath>().map_or_else(String::new, |path| path.as_str().to_owned());
    let mut span = start_span(&inner.tracer, &request, &route);
    let deadline = request.headers().get(deadline::TIMEOUT_HEADER);
    let deadline = deadline.and_then(|value| Deadline::decode(value.as_bytes(), begun).ok());
    let handler = client::with_deadline(deadline, next.run(request));
    let handler = current::scope(span.context(), AssertUnwindSafe(handler).catch_unwind());
    let mut response = match handler.await {
        Ok(response) => response,
        Err(panic) => {
            let error = panicked(&*panic);
            current::scope(span.context(), async { error.into_response() }).await
        }
    };
    let status = response.status();
    span.set(names::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(format!("answered {status}"));
    }
    if let Ok(id) = HeaderValue::from_str(&span.context().trace_id.to_string()) {
        response.headers_mut().insert(names::TRACE_ID_HEADER, id);
    }
    count(inner, &route, status.as_u16(), time::now() - begun);
    response
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
fn panicked(panic: &(dyn std::any::Any + Send)) -> HandlerError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    HandlerError::internal(format!("handler panicked: {}", text.unwrap_or("no message")))
}
