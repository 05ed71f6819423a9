//! One request's life on one worker: route, limit, prepare, call, answer.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bowline_runtime::metric::{Gauge, Registry};
use bowline_telemetry::{SpanKind, Tracer, names};
use bowline_transport::{
    LocalPool,
    server::{Incoming, Peer},
};
use bowline_upstream::ResponseBody;
use http::{HeaderValue, Method, Request, Response, Version, request::Parts};
use tokio::sync::watch;

use crate::{
    body::{Left, ProxyBody, Rest},
    cells::Cells,
    engine::Settings,
    error::{Error, rescue},
    gate::Gates,
    headers::{self, Client, Seen},
    matcher::Query,
    record::{Chosen, Record, note_method},
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
    /// What keeps its failures from flooding the log.
    pub(crate) gates: Gates,
}

/// The snapshot that was last seen.
#[derive(Debug)]
struct Latest {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    seen: Rc<Held>,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        settings: &Settings,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        tracer: Tracer,
        metrics: &Registry,
    ) -> Self {
        let seen = Rc::new(Held(Arc::clone(&snapshots.borrow_and_update())));
        let labels = [(names::LABEL_REPORTER, settings.reporter), ("worker", &*index.to_string())];
        Self {
            snapshots: RefCell::new(Latest { snapshots, seen }),
            pool: LocalPool::new(settings.pool.clone()),
            tracer,
            in_flight: metrics.gauge("bowline_requests_in_flight", "Requests under way.", &labels),
            unrouted: Cells::new(metrics, settings.reporter, "", ""),
            gates: Gates::default(),
        }
    }

    /// Lets go of the snapshots that were replaced, also while no request comes.
    pub(crate) async fn follow(self: Rc<Self>) {
        let mut snapshots = self.snapshots.borrow().snapshots.clone();
        while snapshots.changed().await.is_ok() {
            self.snapshots.borrow_mut().get();
        }
    }

    /// Answers one request.
    ///
    /// # Cancel safety
    /// Dropping the future, as hyper does when the client leaves, cancels the call upstream; the
    /// request is counted as 499.
    pub(crate) async fn handle(self: Rc<Self>, client: Rc<Client>, request: Request<Incoming>) -> Response<ProxyBody> {
        let version = request.version();
        let mut seen = Seen::look(request.headers());
        let parent = seen.read_trace(request.headers());
        let span = self.tracer.start("request", SpanKind::Server, parent);
        let trace_id = span.context().trace_id;
        let mut record = Record::begin(&self, span);
        let (parts, body) = request.into_parts();
        let rest = Rest::new(body, seen.expect);
        let mut response = match self.forward(&client, parts, &rest, seen, &mut record).await {
            Ok(response) => {
                record.answer(response.status());
                response.map(|body| ProxyBody::upstream(body, record))
            }
            Err(error) => {
                record.refuse(&error);
                record.finish();
                // HTTP/2 can end a request without the connection.
                let left = if version < Version::HTTP_2 { rest.take() } else { Left::Nothing };
                rescue(&error, trace_id, left.is_last()).map(|answer| ProxyBody::local(answer, left))
            }
        };
        headers::add_trace_id(response.headers_mut(), trace_id);
        response
    }

    async fn forward(
        &self,
        client: &Client,
        mut parts: Parts,
        rest: &Rest,
        seen: Seen,
        record: &mut Record,
    ) -> Result<Response<ResponseBody<LocalPool>>, Error> {
        describe(&parts, &client.peer, record);
        let (chosen, host) = self.route(&parts, record)?;
        let route = &chosen.snapshot.routes[chosen.route];
        headers::check_upgrade(&parts.headers, seen)?;
        let body = rest.pass_on(route.body_max)?;
        headers::prepare_request(&mut parts.headers, host, client, seen);
        let upstream = &route.backends[chosen.backend].upstream;
        let request = Request::from_parts(parts, body);
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
        if self.snapshots.has_changed().unwrap_or(false) {
            self.seen = Rc::new(Held(Arc::clone(&self.snapshots.borrow_and_update())));
        }
        Rc::clone(&self.seen)
    }
}

/// Says on the span what was asked.
fn describe(parts: &Parts, peer: &Peer, record: &mut Record) {
    let span = &mut record.span;
    if !span.is_recording() {
        return;
    }
    note_method(span, &parts.method);
    span.set(names::URL_PATH, parts.uri.path().to_owned());
    span.set(names::NETWORK_PROTOCOL_VERSION, if parts.version >= Version::HTTP_2 { "2" } else { "1.1" });
    if let Some(remote) = peer.remote {
        span.set(names::CLIENT_ADDRESS, remote.ip().to_string());
    }
}
