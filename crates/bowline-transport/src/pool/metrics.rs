//! What a pool counts.

use bowline_runtime::metric::{Counter, Gauge, Histogram, Registry};

/// What a pool counts.
#[derive(Debug, Clone, Default)]
pub struct PoolMetrics {
    /// Connections made.
    pub connected: Counter,
    /// Connections that could not be made.
    pub connect_failed: Counter,
    /// Connections closed since the pool was full.
    pub closed_full: Counter,
    /// Connections closed since nobody used them.
    pub closed_idle: Counter,
    /// Connections that were as old as they may be.
    pub closed_age: Counter,
    /// Connections over which a certificate was shown that is about to expire.
    pub closed_over: Counter,
    /// Connections found closed by the other end.
    pub closed_stale: Counter,
    /// HTTP/1 connections that are open.
    pub open_http1: Gauge,
    /// HTTP/2 connections that are open.
    pub open_http2: Gauge,
    /// HTTP/1 connections that wait for a request, as of a second ago.
    pub idle: Gauge,
    /// Requests under way over HTTP/2.
    pub streams: Gauge,
    /// How long requests waited for a connection that others had; of those that waited.
    pub waited: Histogram,
    /// Requests for which the line of those that wait was too long.
    pub refused_full: Counter,
}

impl PoolMetrics {
    /// Cells that the registry shows, labelled with the name of the pool.
    pub fn new(registry: &Registry, pool: &str) -> Self {
        let connects = |outcome| {
            let help = "Connections to upstreams that were tried.";
            registry.counter("bowline_pool_connects_total", help, &[("pool", pool), ("outcome", outcome)])
        };
        let closed = |reason| {
            let help = "Connections to upstreams that were closed while they waited.";
            registry.counter("bowline_pool_closed_total", help, &[("pool", pool), ("reason", reason)])
        };
        let open = |protocol| {
            let help = "Connections to upstreams that are open.";
            registry.gauge("bowline_pool_connections", help, &[("pool", pool), ("protocol", protocol)])
        };
        let labels = [("pool", pool)];
        Self {
            connected: connects("ok"),
            connect_failed: connects("error"),
            closed_full: closed("full"),
            closed_idle: closed("idle"),
            closed_age: closed("age"),
            closed_over: closed("expired"),
            closed_stale: closed("stale"),
            open_http1: open("http1"),
            open_http2: open("http2"),
            idle: registry.gauge("bowline_pool_idle", "HTTP/1 connections that wait for a request.", &labels),
            streams: registry.gauge("bowline_pool_streams", "Requests under way over HTTP/2.", &labels),
            waited: registry.histogram(
                "bowline_pool_wait_seconds",
                "How long requests waited for a connection, of those that had to.",
                &labels,
            ),
            refused_full: registry.counter(
                "bowline_pool_refused_total",
                "Requests refused, since too many waited for a connection.",
                &labels,
            ),
        }
    }
}

/// Counts in a gauge as long as it lives.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.add(1);
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}
