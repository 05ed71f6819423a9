//! What is kept of one request while it is under way: its span, its place in the metrics, its clock.

use std::rc::Rc;

use bowline_model::{Code, error::chain};
use bowline_runtime::time::{self, Instant};
use bowline_telemetry::{Span, names};
use bowline_transport::Side;
use http::{Method, StatusCode};

use crate::{
    error::{self, Error},
    handler::Worker,
    snapshot::Held,
};

/// A request under way. It is counted once: when it is finished, or when it is dropped.
///
/// Dropped means that the client left: hyper drops what nobody waits for.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    pub(crate) started: Instant,
    pub(crate) span: Span,
    chosen: Option<Chosen>,
    /// What is counted if it is finished.
    status: u16,
    is_counted: bool,
}

/// Where a request goes: a route and one of its backends, in the snapshot it was matched in.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) snapshot: Rc<Held>,
    pub(crate) route: usize,
    pub(crate) backend: usize,
}

impl Record {
    pub(crate) fn begin(worker: &Rc<Worker>, span: Span) -> Self {
        worker.in_flight.add(1);
        let worker = Rc::clone(worker);
        let status = Code::Internal.http_status();
        Self { worker, started: time::now(), span, chosen: None, status, is_counted: false }
    }

    /// Notes where the request goes, so that it is counted there.
    pub(crate) fn choose(&mut self, chosen: &Chosen, method: &Method) {
        if self.span.is_recording() {
            let route = &chosen.snapshot.routes[chosen.route];
            let service = route.backends[chosen.backend].upstream.service().to_string();
            self.span.rename(format!("{} {}", known(method).unwrap_or("HTTP"), route.name));
            self.span.set(names::BOWLINE_ROUTE, route.name.clone());
            self.span.set(names::BOWLINE_BACKEND, service);
        }
        self.chosen = Some(chosen.clone());
    }

    /// Notes what is answered; the request ends when the body has.
    pub(crate) fn answer(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        if status.is_server_error() && self.span.is_recording() {
            self.span.fail(format!("answered with {}", status.as_u16()));
        }
    }

    /// Notes that we answer an error ourselves, and logs it with its causes.
    pub(crate) fn refuse(&mut self, error: &Error) {
        self.log_refusal(error);
        self.status = error.status();
        self.span.keep();
        self.span.set(names::BOWLINE_REASON, error.reason());
        if self.status >= 500 && self.span.is_recording() {
            self.span.set(names::ERROR_TYPE, error.reason());
            self.span.fail(error.to_string());
        }
    }

    /// The response was passed on to its end.
    pub(crate) fn finish(mut self) {
        self.count();
    }

    /// The upstream's answer broke off after its head was passed on.
    pub(crate) fn break_off(mut self, error: &bowline_transport::Error) {
        let (code, reason) = error::broken(error);
        let (route, trace_id) = (self.route(), self.span.context().trace_id);
        if error.side() == Side::Downstream {
            tracing::debug!(route, reason, %trace_id, error = chain(error), "answer was cut off");
        } else if let Some(left_out) = self.admit(reason) {
            let error = chain(error);
            tracing::warn!(route, reason, %trace_id, left_out, error, "answer broke off while it was passed on");
        }
        // Who broke off may be unable to say so.
        self.span.keep();
        self.status = code.http_status();
        self.fail(reason, "the answer broke off");
        self.count();
    }

    fn log_refusal(&self, error: &Error) {
        let (route, reason, trace_id) = (self.route(), error.reason(), self.span.context().trace_id);
        if error.side() == Side::Downstream {
            tracing::debug!(route, reason, %trace_id, error = %error, "request refused");
        } else if let Some(left_out) = self.admit(reason) {
            tracing::warn!(route, reason, %trace_id, left_out, error = chain(error), "request failed");
        }
    }

    /// Whether a failure is logged now: with how many were not since the last that was.
    fn admit(&self, reason: &str) -> Option<u64> {
        let gates = match &self.chosen {
            Some(chosen) => &chosen.snapshot.routes[chosen.route].gates,
            None => &self.worker.gates,
        };
        gates.admit(reason, time::now())
    }

    /// The route's name; empty where none was found.
    fn route(&self) -> &str {
        self.chosen.as_ref().map_or("", |chosen| &chosen.snapshot.routes[chosen.route].name)
    }

    fn fail(&mut self, reason: &'static str, message: &'static str) {
        self.span.set(names::BOWLINE_REASON, reason);
        if self.span.is_recording() {
            self.span.set(names::ERROR_TYPE, reason);
            self.span.fail(message);
        }
    }

    fn count(&mut self) {
        self.is_counted = true;
        self.worker.in_flight.add(-1);
        if self.worker.counts_requests {
            let cells = match &self.chosen {
                Some(chosen) => &chosen.snapshot.routes[chosen.route].backends[chosen.backend].cells,
                None => &self.worker.unrouted,
            };
            cells.record(self.status, self.started.elapsed());
        }
        self.span.set(names::HTTP_RESPONSE_STATUS_CODE, i64::from(self.status));
    }
}

/// Says on a span which method was asked for. Clients may invent methods, and what spans are grouped
/// by must not grow with them.
///
/// Source: OpenTelemetry semantic conventions, HTTP spans.
pub(crate) fn note_method(span: &mut Span, method: &Method) {
    span.set(names::HTTP_REQUEST_METHOD, known(method).unwrap_or("_OTHER"));
    if known(method).is_none() {
        span.set(METHOD_ORIGINAL, method.as_str().to_owned());
    }
}

const METHOD_ORIGINAL: &str = "http.request.method_original";

/// The name of a method that RFC 9110 or RFC 5789 defines.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_counted {
            self.status = Code::Cancelled.http_status();
            self.fail("client_gone", "the client left before the end of the answer");
            self.count();
        }
    }
}
