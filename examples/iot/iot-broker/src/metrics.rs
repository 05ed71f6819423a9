//! What the broker counts.

use bowline_runtime::metric::{Counter, Gauge, Histogram, Registry};

/// Its metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) retained: Gauge,
    pub(crate) queued_bytes: Gauge,
    /// Publishers that wait for room.
    pub(crate) held: Gauge,
    pub(crate) published: Counter,
    pub(crate) delivered: Counter,
    pub(crate) dropped: Dropped,
    pub(crate) refused: Refused,
    pub(crate) journal_bytes: Gauge,
    pub(crate) journal_failures: Counter,
    pub(crate) journal_seconds: Histogram,
}

/// Messages that somebody did not get.
#[derive(Debug, Clone)]
pub(crate) struct Dropped {
    /// Of QoS 0: too many waited already.
    pub(crate) full: Counter,
    /// Their time was over.
    pub(crate) expired: Counter,
    /// Longer than the client takes.
    pub(crate) too_large: Counter,
    /// Last wills: too many waited already.
    pub(crate) wills: Counter,
}

/// Connections that were refused or cut off.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) too_many: Counter,
    pub(crate) unknown: Counter,
    /// They did not take what was sent to them.
    pub(crate) slow: Counter,
    /// What they sent is no MQTT, or not allowed by it.
    pub(crate) protocol: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let dropped =
            |why| registry.counter("iot_broker_dropped_total", "Messages that a client did not get.", &[("why", why)]);
        let refused =
            |why| registry.counter("iot_broker_refused_total", "Connections refused or cut off.", &[("why", why)]);
        Self {
            connections: registry.gauge("iot_broker_connections", "Connections open.", &[]),
            sessions: registry.gauge("iot_broker_sessions", "Sessions, connected or not.", &[]),
            retained: registry.gauge("iot_broker_retained", "Retained messages.", &[]),
            queued_bytes: registry.gauge("iot_broker_queued_bytes", "Bytes of messages that wait for clients.", &[]),
            held: registry.gauge("iot_broker_held", "Messages of publishers that wait for room in a queue.", &[]),
            published: registry.counter("iot_broker_published_total", "Messages that clients published.", &[]),
            delivered: registry.counter("iot_broker_delivered_total", "Messages sent to clients.", &[]),
            dropped: Dropped {
                full: dropped("full"),
                expired: dropped("expired"),
                too_large: dropped("too_large"),
                wills: dropped("wills"),
            },
            refused: Refused {
                too_many: refused("too_many"),
                unknown: refused("unknown"),
                slow: refused("slow"),
                protocol: refused("protocol"),
            },
            journal_bytes: registry.gauge("iot_broker_journal_bytes", "Length of the journal.", &[]),
            journal_failures: registry.counter("iot_broker_journal_failures_total", "Writes that failed.", &[]),
            journal_seconds: registry.histogram("iot_broker_journal_seconds", "Time of a write and its sync.", &[]),
        }
    }
}
