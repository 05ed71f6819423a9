//! What an application turns away when it has more than it can do.
//!
//! Requests are admitted after their span has begun and their deadline is known, and before anything is done of them;
//! their place is given back when the answer's head is there: a body that streams is no work of the handler's. Until then
//! they hold it, also while the handler waits for the request's body or for something to tell (a long poll): what it
//! waits for is not seen from here, and a limit that did not count it would not bound what the process holds. What Bowline
//! itself asks (health, metrics) is never turned away.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bowline_model::{
    ServiceName,
    policy::{Priority, ShedPolicy},
};
use bowline_resilience::{
    Deadline,
    shed::{PRIORITY_HEADER, REASON, Refused, Shedder},
};
use bowline_runtime::{
    metric::{Counter, Gauge, Registry},
    time::{self, Instant},
};
use bowline_telemetry::names;

use crate::error::HandlerError;

/// The shedder of an application, and what is counted of it.
#[derive(Debug)]
pub(crate) struct Shedding {
    shedder: Shedder,
    refused: [Counter; Priority::ALL.len()],
    limit: Gauge,
    at_work: Gauge,
    waiting: Gauge,
}

impl Shedding {
    pub(crate) fn new(policy: &ShedPolicy, metrics: &Registry, service: &ServiceName) -> Self {
        let own: &[_] = &[("service", service.as_str())];
        let refused = |priority: Priority| {
            let labels: &[_] = &[("service", service.as_str()), ("priority", priority.name())];
            metrics.counter("bowline_shed_total", "Requests turned away for want of capacity.", labels)
        };
        Self {
            shedder: Shedder::new(policy),
            refused: Priority::ALL.map(refused),
            limit: metrics.gauge("bowline_shed_limit", "Requests that may be at work.", own),
            at_work: metrics.gauge("bowline_shed_at_work", "Requests at work.", own),
            waiting: metrics.gauge("bowline_shed_waiting", "Requests that wait for their turn.", own),
        }
    }

    /// Handles a request once it is its turn, or turns it away.
    pub(crate) async fn admit(
        &self,
        priority: Priority,
        deadline: Option<Deadline>,
        begun: Instant,
        handled: impl Future<Output = Response>,
    ) -> Response {
        let permit = match self.shedder.admit(priority, deadline, begun).await {
            Ok(permit) => permit,
            Err(refused) => {
                self.refused[priority as usize].increment();
                return answer(refused);
            }
        };
        let response = handled.await;
        let now = time::now();
        // What fails at once says nothing of how long work takes, nor does what a stranger asks for in vain.
        if deadline.is_some_and(|deadline| deadline.is_past(now)) {
            permit.record(true, now);
        } else if !response.status().is_client_error() && !response.status().is_server_error() {
            permit.record(false, now);
        }
        response
    }

    /// Writes down how many there are, for who reads the metrics next.
    pub(crate) fn show(&self) {
        let occupancy = self.shedder.occupancy();
        self.limit.set(i64::from(occupancy.limit));
        self.at_work.set(i64::from(occupancy.in_flight));
        self.waiting.set(i64::from(occupancy.waiting));
    }
}

/// How important a request says that it is; what is none of the words counts as not said.
pub(crate) fn priority_of(headers: &HeaderMap) -> Priority {
    let said = headers.get(PRIORITY_HEADER).and_then(|value| value.to_str().ok());
    said.and_then(Priority::parse).unwrap_or_default()
}

/// 503 with when to come again, or 504 of one whose deadline passed while it waited.
fn answer(refused: Refused) -> Response {
    let mut response = HandlerError::new(refused.code(), refused.to_string()).into_response();
    if let Some(after) = refused.retry_after() {
        let seconds = after.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.headers_mut().insert(names::REASON_HEADER, HeaderValue::from_static(REASON));
    response
}
