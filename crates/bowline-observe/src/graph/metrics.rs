//! What the graph counts, of calls and of itself.

use std::time::Duration;

use bowline_runtime::metric::{Counter, Gauge, Histogram, Registry};

use super::{fact::Fact, figures::Mode};

/// The graph's own cells.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) spans: Counter,
    pub(super) duplicates: Counter,
    pub(super) dropped_service: Counter,
    pub(super) dropped_edge: Counter,
    pub(super) dropped_late: Counter,
    pub(super) dropped_early: Counter,
    pub(super) remembered: Gauge,
    pub(super) services: Gauge,
    pub(super) edges: Gauge,
}

/// Requests, errors and durations of one kind.
#[derive(Debug)]
pub(super) struct Red {
    ok: Counter,
    error: Counter,
    duration: Histogram,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let dropped = |reason| {
            let help = "Spans and calls that are not, or not wholly, in the service graph.";
            registry.counter("bowline_graph_dropped_total", help, &[("reason", reason)])
        };
        Self {
            spans: registry.counter("bowline_graph_spans_total", "Spans that the service graph saw.", &[]),
            duplicates: registry.counter(
                "bowline_graph_duplicates_total",
                "Spans that were reported more than once.",
                &[],
            ),
            dropped_service: dropped("too_many_services"),
            dropped_edge: dropped("too_many_edges"),
            dropped_late: dropped("too_late"),
            dropped_early: dropped("settled_early"),
            remembered: registry.gauge(
                "bowline_graph_spans_remembered",
                "Spans that wait for others, or would be known again.",
                &[],
            ),
            services: registry.gauge("bowline_graph_services", "Services in the service graph.", &[]),
            edges: registry.gauge("bowline_graph_edges", "Pairs of services of which one calls the other.", &[]),
        }
    }
}

impl Red {
    pub(super) fn of_operation(registry: &Registry, service: &str, operation: &str, kind: &str) -> Self {
        let requests = |status| {
            let labels = [("service", service), ("operation", operation), ("kind", kind), ("status", status)];
            registry.counter("bowline_span_requests_total", "Requests and messages answered, by their spans.", &labels)
        };
        let labels = [("service", service), ("operation", operation), ("kind", kind)];
        Self {
            ok: requests("ok"),
            error: requests("error"),
            duration: registry.histogram(
                "bowline_span_duration_seconds",
                "How long requests and messages took, by their spans.",
                &labels,
            ),
        }
    }

    pub(super) fn of_edge(registry: &Registry, caller: &str, callee: &str, mode: Mode) -> Self {
        let mode = mode.as_str();
        let requests = |status| {
            let labels = [("caller", caller), ("callee", callee), ("mode", mode), ("status", status)];
            registry.counter("bowline_edge_requests_total", "Calls of one service to another, by their spans.", &labels)
        };
        let labels = [("caller", caller), ("callee", callee), ("mode", mode)];
        Self {
            ok: requests("ok"),
            error: requests("error"),
            duration: registry.histogram(
                "bowline_edge_duration_seconds",
                "How long calls of one service to another took, by their spans.",
                &labels,
            ),
        }
    }

    /// Counts one, unless an earlier run did.
    pub(super) fn record(&self, fact: &Fact) {
        if !fact.is_live {
            return;
        }
        if fact.is_error() { &self.error } else { &self.ok }.increment();
        self.duration.record(Duration::from_nanos(fact.duration_nanos));
    }
}
