//! What the store counts.

use bowline_runtime::metric::{Counter, Gauge, Histogram, Registry};

/// The cells of one store.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) transactions: Counter,
    pub(super) batches: Counter,
    pub(super) write_duration: Histogram,
    pub(super) write_failures: Counter,
    pub(super) leases_ended: Counter,
    pub(super) is_writable: Gauge,
    pub(super) revision: Gauge,
    pub(super) entries: Gauge,
    pub(super) data_bytes: Gauge,
    pub(super) leases: Gauge,
    pub(super) watches: Gauge,
    pub(super) watches_refused: Counter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        Self {
            transactions: counter("bowline_store_transactions_total", "Transactions judged, refused ones included."),
            batches: counter("bowline_store_batches_total", "Batches of transactions written, one sync each."),
            write_duration: registry.histogram("bowline_store_write_duration_seconds", "Time to write a batch.", &[]),
            write_failures: counter("bowline_store_write_failures_total", "Batches that could not be written."),
            leases_ended: counter("bowline_store_leases_ended_total", "Leases that expired or were revoked."),
            is_writable: gauge("bowline_store_is_writable", "0: no write succeeds until the process is started again."),
            revision: gauge("bowline_store_revision", "The revision."),
            entries: gauge("bowline_store_entries", "Keys."),
            data_bytes: gauge("bowline_store_data_bytes", "Bytes of keys and values."),
            leases: gauge("bowline_store_leases", "Leases that live or are ending."),
            watches: gauge("bowline_store_watches", "Open watches."),
            watches_refused: counter("bowline_store_watches_refused_total", "Watches refused beyond the bound."),
        }
    }
}
