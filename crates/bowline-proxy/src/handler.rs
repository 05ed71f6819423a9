//! One request's life on one worker: route, limit, prepare, call, answer.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use arc_swap::{ArcSwap, Cache};
use bowline_runtime::metric::{Gauge, Registry};
use bowline_telemetry::{SpanKind, Tracer, names, propagation};
use bowline_transport::{
    LocalPool,
    server::{Incoming, Peer},
};
use bowline_upstream::ResponseBody;
use http::{HeaderValue, Method, Request, Response, Version, request::Parts};

use crate::{
    body::{ProxyBody, Rest, limit},
    cells::Cells,
    engine::Settings,
    error::{Error, rescue},
    headers::{self, Client, Seen},
    matcher::Query,
    record::{Chosen, Record},
    snapshot::{Held, Snapshot},
    target::Target,
};

/// What one worker has for itself.
#[derive(Debug)]
pub(crate) struct Worker {
    snapshots: RefCell<Latest>,
    pool: LocalPool,
    tracer: Tracer,
    pub(crate) in_flight: Gauge,
    /// Counts what matches no route.
    pub(crate) unrouted: Cells,
}

/// The snapshot that was last seen.
#[derive(Debug)]
struct Latest {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    /// The same once more, for the requests to hold.
    local: Rc<Held>,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        settings: &Settings,
        snapshots: Arc<ArcSwap<Snapshot>>,
        tracer: Tracer,
        metrics: &Registry,
    ) -> Self {
        let mut cache = Cache::new(snapshots);
        let local = Rc::new(Held(Arc::clone(cache.load())));
        let labels = [(names::LABEL_REPORTER, settings.reporter), ("worker", &*index.to_string())];
        Self {
            snapshots: RefCell::new(Latest { cache, local }),
            pool: LocalPool::new(settings.pool.clone()),
            tracer,
            in_flight: metrics.gauge("bowline_requests_in_flight", "Requests under way.", &labels),
            unrouted: Cells::new(metrics, settings.reporter, "", ""),
        }
    }

    /// Answers one request.
    ///
    /// # Cancel safety
    /// Dropping the future, as hyper does when the client leaves, cancels the call upstream; the
    /// request is counted as 499.
    pub(crate) async fn handle(self: Rc<Self>, client: Rc<Client>, request: Request<Incoming>) -> Response<ProxyBody> {
        let version = request.version();
        let seen = Seen::look(request.headers());
        let parent = if seen.trace { propagation::extract(request.headers()) } else { None };
        let span = self.tracer.start("request", SpanKind::Server, parent);
        let trace_id = span.context().trace_id;
        let mut record = Record::begin(&self, span);
        let mut rest = Rest::default();
        let mut response = match self.forward(&client, request, seen, &mut record, &mut rest).await {
            Ok(response) => {
                record.answer(response.status());
                response.map(|body| ProxyBody::upstream(body, record))
            }
            Err(error) => {
                record.refuse(&error);
                record.finish();
                rescue(&error, trace_id, version).map(|answer| ProxyBody::local(answer, &rest))
            }
        };
        headers::add_trace_id(response.headers_mut(), trace_id);
        response
    }

    async fn forward(
        &self,
        client: &Client,
        request: Request<Incoming>,
        seen: Seen,
        record: &mut Record,
        rest: &mut Rest,
    ) -> Result<Response<ResponseBody<LocalPool>>, Error> {
        let (mut parts, body) = request.into_parts();
        describe(&parts, &client.peer, record);
        let (chosen, host) = self.route(&parts, record)?;
        let route = &chosen.snapshot.routes[chosen.route];
        headers::check_upgrade(&parts.headers, seen)?;
        let limited;
        (limited, *rest) = limit(body, route.body_max, seen.expect);
        headers::prepare_request(&mut parts.headers, host, client, seen);
        let upstream = &route.backends[chosen.backend].upstream;
        let request = Request::from_parts(parts, limited?);
        let mut response = upstream.call(&self.pool, request, &mut record.span, None).await?;
        headers::prepare_response(response.headers_mut());
        Ok(response)
    }

    /// Finds the route and picks one of its backends; also says whom the client asked for.
    fn route(&self, parts: &Parts, record: &mut Record) -> Result<(Chosen, HeaderValue), Error> {
        if parts.method == Method::CONNECT {
            return Err(Error::Connect);
        }
        let target = Target::read(parts)?;
        let snapshot = self.snapshots.borrow_mut().get();
        let query = Query { host: target.host, path: target.path, method: &parts.method, headers: &parts.headers };
        let route = snapshot.matcher.find(query)?;
        let backend = snapshot.routes[route].pick().ok_or(Error::NoBackend)?;
        let chosen = Chosen { snapshot, route, backend };
        record.choose(&chosen, &parts.method);
        Ok((chosen, target.to_header(&parts.headers)))
    }
}

impl Latest {
    fn get(&mut self) -> Rc<Held> {
        let latest = self.cache.load();
        if !Arc::ptr_eq(latest, &self.local.0) {
            self.local = Rc::new(Held(Arc::clone(latest)));
        }
        Rc::clone(&self.local)
    }
}

/// Says on the span what was asked.
fn describe(parts: &Parts, peer: &Peer, record: &mut Record) {
    let span = &mut record.span;
    if !span.is_recording() {
        return;
    }
    span.set(names::HTTP_REQUEST_METHOD, parts.method.as_str().to_owned());
    span.set(names::URL_PATH, parts.uri.path().to_owned());
    span.set(names::NETWORK_PROTOCOL_VERSION, if parts.version >= Version::HTTP_2 { "2" } else { "1.1" });
    if let Some(remote) = peer.remote {
        span.set(names::CLIENT_ADDRESS, remote.ip().to_string());
    }
}
