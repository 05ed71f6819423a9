//! What the series store counts.

use bowline_runtime::metric::{Counter, Gauge, Registry};

/// The cells, looked up once.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) appended: Counter,
    pub(crate) dropped_out_of_order: Counter,
    pub(crate) dropped_duplicate: Counter,
    pub(crate) dropped_too_new: Counter,
    pub(crate) dropped_too_old: Counter,
    pub(crate) dropped_queue_full: Counter,
    pub(crate) dropped_no_room: Counter,
    pub(crate) series_refused: Counter,
    pub(crate) live: Gauge,
    pub(crate) head_bytes: Gauge,
    pub(crate) bytes: Gauge,
    pub(crate) blocks: Gauge,
    pub(crate) blocks_written: Counter,
    pub(crate) blocks_deleted_cap: Counter,
    pub(crate) blocks_deleted_retention: Counter,
    pub(crate) blocks_corrupt: Counter,
    pub(crate) logs_corrupt: Counter,
    pub(crate) tails_cut: Counter,
    pub(crate) reads_corrupt: Counter,
    pub(crate) writes_failed: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let dropped = |reason| {
            let help = "Samples that the series store did not keep.";
            registry.counter("bowline_series_samples_dropped_total", help, &[("reason", reason)])
        };
        let deleted = |reason| {
            let help = "Blocks of the series store deleted.";
            registry.counter("bowline_series_blocks_deleted_total", help, &[("reason", reason)])
        };
        Self {
            appended: counter("bowline_series_samples_appended_total", "Samples that the series store took."),
            dropped_out_of_order: dropped("out_of_order"),
            dropped_duplicate: dropped("duplicate"),
            dropped_too_new: dropped("too_new"),
            dropped_too_old: dropped("too_old"),
            dropped_queue_full: dropped("queue_full"),
            dropped_no_room: dropped("no_room"),
            series_refused: counter("bowline_series_refused_total", "Series refused, as too many take samples."),
            live: gauge("bowline_series_live", "Series that take samples."),
            head_bytes: gauge("bowline_series_head_bytes", "Size of the compressed samples in memory."),
            bytes: gauge("bowline_series_bytes", "Size of the series store's files."),
            blocks: gauge("bowline_series_blocks", "Blocks on disk."),
            blocks_written: counter("bowline_series_blocks_written_total", "Blocks written."),
            blocks_deleted_cap: deleted("cap"),
            blocks_deleted_retention: deleted("retention"),
            blocks_corrupt: counter(
                "bowline_series_blocks_corrupt_total",
                "Blocks found damaged at open, and skipped.",
            ),
            logs_corrupt: counter(
                "bowline_series_logs_corrupt_total",
                "Logs with damaged records, skipped from there.",
            ),
            tails_cut: counter("bowline_series_tails_cut_total", "Logs whose unfinished end was cut off."),
            reads_corrupt: counter(
                "bowline_series_reads_corrupt_total",
                "Blocks or chunks that could not be read back, and were skipped.",
            ),
            writes_failed: counter("bowline_series_writes_failed_total", "Writes that failed, to be tried again."),
        }
    }
}
