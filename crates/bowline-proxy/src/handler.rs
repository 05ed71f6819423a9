//! One request's life on one worker: route, limit, prepare, call, answer.

use std::{cell::RefCell, net::IpAddr, rc::Rc, sync::Arc};

use bowline_runtime::metric::{Gauge, Registry};
use bowline_telemetry::{SpanKind, Tracer, names};
use bowline_transport::{
    LocalPool,
    server::{Incoming, Peer},
};
use bowline_upstream::ResponseBody;
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Version,
    header::{CONNECTION, HOST},
    request::Parts,
};
use http_body::Body as _;
use tokio::sync::watch;

use crate::{
    body::{Left, ProxyBody, Rest},
    cells::Cells,
    client::Client,
    engine::{Settings, Spans},
    error::{Error, rescue},
    filter::{Exits, Filter, Verdict, Visit},
    gate::Gates,
    headers::{self, Seen},
    record::{Chosen, Record, note_method},
    snapshot::{Found, Held, Snapshot},
};

/// What one worker has for itself.
#[derive(Debug)]
pub(crate) struct Worker {
    snapshots: RefCell<Latest>,
    pool: LocalPool,
    tracer: Tracer,
    spans: Spans,
    pub(crate) counts_requests: bool,
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
        let in_flight = || metrics.gauge("bowline_requests_in_flight", "Requests under way.", &labels);
        Self {
            snapshots: RefCell::new(Latest { snapshots, seen }),
            pool: LocalPool::new(settings.pool.clone()),
            tracer,
            spans: settings.spans,
            counts_requests: settings.counts_requests,
            in_flight: if settings.counts_requests { in_flight() } else { Gauge::default() },
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
        let span = match self.spans {
            Spans::Every => self.tracer.start("request", SpanKind::Server, parent),
            Spans::Eventful => self.tracer.start_aside("request", SpanKind::Server, parent),
        };
        let trace_id = span.context().trace_id;
        let mut record = Record::begin(&self, span);
        let (parts, body) = request.into_parts();
        let rest = Rest::new(body, seen.expect);
        let mut exits = Exits::default();
        let asked = Asked { parts, seen, client: &client };
        let forwarded = self.forward(asked, &rest, &mut record, &mut exits).await;
        // HTTP/2 can end a request without the connection.
        let left = || if version < Version::HTTP_2 { rest.take() } else { Left::Nothing };
        // Who was told of no trace has begun one, and says which.
        let mut is_theirs = false;
        let mut response = match forwarded {
            Ok(Forwarded::Upstream(response)) => {
                record.answer(response.status());
                is_theirs = record.span.passed_on().is_none() && headers::has_trace_id(response.headers());
                leave(response, &mut exits, record)
            }
            Ok(Forwarded::Here(answer)) => {
                record.answer(answer.status());
                record.finish();
                leave_here(*answer, &mut exits, left())
            }
            Err(error) => {
                record.refuse(&error);
                record.finish();
                leave_here(rescue(&error, trace_id), &mut exits, left())
            }
        };
        if !is_theirs {
            headers::add_trace_id(response.headers_mut(), trace_id);
        }
        response
    }

    async fn forward(
        &self,
        asked: Asked<'_>,
        rest: &Rest,
        record: &mut Record,
        exits: &mut Exits,
    ) -> Result<Forwarded, Error> {
        let Asked { mut parts, seen, client } = asked;
        describe(&parts, &client.peer, record);
        if !client.is_admitted().await {
            return Err(Error::NotAdmitted);
        }
        let snapshot = self.snapshots.borrow_mut().get();
        let own = client.check_own_paths(&parts);
        let mut found = match own.and_then(|()| client.addressed.find(&mut parts, &snapshot)) {
            Err(error) if snapshot.listener.is_none() => return Err(error),
            found => found,
        };
        let upgrade = headers::check_upgrade(&parts.headers, seen);
        let address = client.address(&parts.headers, seen);
        let deadline = client.deadline(&parts.headers, seen, record.started);
        let host = found.as_mut().map_or(NO_HOST, |found| std::mem::replace(&mut found.host, NO_HOST));
        headers::prepare_request(&mut parts.headers, host, client, seen);
        let mut visitor = Visitor { head: &mut parts, client, address, exits };
        let filter = found.as_ref().ok().and_then(|found| snapshot.routes[found.route].filter.as_deref());
        let is_preflight = found.as_ref().is_ok_and(|found| found.is_preflight);
        if let Some(filter) = filter {
            filter.begin(&mut visitor.visit(is_preflight, record));
        }
        if let Some(listener) = &snapshot.listener
            && let Some(answer) = visitor.ask(&**listener, is_preflight, record).await?
        {
            return Ok(Forwarded::Here(answer));
        }
        let Found { route: place, .. } = found?;
        let route = &snapshot.routes[place];
        let backend = route.pick().ok_or(Error::NoBackend)?;
        record.choose(&Chosen { snapshot: Rc::clone(&snapshot), route: place, backend }, &visitor.head.method);
        upgrade?;
        if client.addressed.is_outbound() {
            visitor.head.headers.insert(HOST, route.backends[backend].host.clone());
        }
        if let Some(filter) = filter
            && let Some(answer) = visitor.ask(filter, is_preflight, record).await?
        {
            return Ok(Forwarded::Here(answer));
        }
        // A filter may have made it another path.
        client.check_own_paths(visitor.head)?;
        let body = rest.pass_on(route.body_max)?;
        let request = Request::from_parts(parts, body);
        let upstream = &route.backends[backend].upstream;
        let mut unrecorded;
        let span = if self.spans == Spans::Every || record.span.is_kept() {
            &mut record.span
        } else {
            unrecorded = record.span.unrecorded();
            &mut unrecorded
        };
        let mut response = upstream.call(&self.pool, request, span, deadline).await?;
        // What a fallback says of itself is ours.
        if !response.body().is_own() {
            let is_of_sidecar = response.body().is_verified();
            headers::prepare_response(response.headers_mut(), is_of_sidecar);
        }
        Ok(Forwarded::Upstream(response))
    }
}

/// A request as it came in.
struct Asked<'a> {
    parts: Parts,
    seen: Seen,
    client: &'a Client,
}

/// What came of a request.
enum Forwarded {
    Upstream(Response<ResponseBody<LocalPool>>),
    /// A filter answered.
    Here(Box<Response<Bytes>>),
}

/// Whom the client asked for where no route was found.
const NO_HOST: HeaderValue = HeaderValue::from_static("");

/// A request on its way from filter to filter.
struct Visitor<'a> {
    head: &'a mut Parts,
    client: &'a Client,
    address: Option<IpAddr>,
    exits: &'a mut Exits,
}

impl Visitor<'_> {
    fn visit<'a>(&'a mut self, is_preflight: bool, record: &'a mut Record) -> Visit<'a> {
        let (head, client, exits) = (&mut *self.head, self.address, &mut *self.exits);
        let (peer, listener) = (self.client.id.as_ref(), self.client.listener);
        let (has_waited, span) = (false, &mut record.span);
        Visit { head, client, peer, listener, is_preflight, has_waited, span, exits }
    }

    /// Asks a filter until it has decided: what it answers in the place of the service, if anything.
    async fn ask(
        &mut self,
        filter: &dyn Filter,
        is_preflight: bool,
        record: &mut Record,
    ) -> Result<Option<Box<Response<Bytes>>>, Error> {
        for has_waited in [false, true] {
            match filter.admit(&mut Visit { has_waited, ..self.visit(is_preflight, record) }) {
                Verdict::Pass => return Ok(None),
                Verdict::Answer(answer) => return Ok(Some(answer)),
                Verdict::Refuse(refusal) => return Err(Error::Refused(refusal)),
                Verdict::Wait(event) => event.await,
            }
        }
        Err(Error::Undecided)
    }
}

/// Passes a service's answer on, through what was registered for it.
fn leave(response: Response<ResponseBody<LocalPool>>, exits: &mut Exits, record: Record) -> Response<ProxyBody> {
    if exits.is_empty() {
        return response.map(|body| ProxyBody::upstream(body, record));
    }
    let (mut head, body) = response.into_parts();
    let body = match exits.run(&mut head, body.size_hint().exact()) {
        Some(coder) => ProxyBody::recoded(body, coder, record),
        None => ProxyBody::upstream(body, record),
    };
    Response::from_parts(head, body)
}

/// Gives an answer of our own, through the same; closes the connection where what is left of the request
/// may not be read to its end.
fn leave_here(answer: Response<Bytes>, exits: &mut Exits, left: Left) -> Response<ProxyBody> {
    let (mut head, body) = answer.into_parts();
    if left.is_last() {
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let body = match exits.run(&mut head, Some(body.len() as u64)) {
        Some(mut coder) => Bytes::from([coder.push(&body), coder.finish()].concat()),
        None => body,
    };
    Response::from_parts(head, ProxyBody::local(body, left))
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
