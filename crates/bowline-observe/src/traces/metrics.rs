//! What the trace store counts.

use bowline_runtime::metric::{Counter, Gauge, Registry};

/// The cells, looked up once.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) spans_written: Counter,
    pub(crate) dropped_queue_full: Counter,
    pub(crate) dropped_too_large: Counter,
    pub(crate) dropped_trace_full: Counter,
    pub(crate) dropped_write_failed: Counter,
    pub(crate) bytes: Gauge,
    pub(crate) traces: Gauge,
    pub(crate) traces_forgotten: Counter,
    pub(crate) segments_deleted: Counter,
    pub(crate) segments_corrupt: Counter,
    pub(crate) tails_cut: Counter,
    pub(crate) records_unreadable: Counter,
    pub(crate) searches_cut: Counter,
    pub(crate) searches_running: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let dropped = |reason| {
            let help = "Spans that the trace store did not keep.";
            registry.counter("bowline_traces_spans_dropped_total", help, &[("reason", reason)])
        };
        Self {
            spans_written: counter("bowline_traces_spans_written_total", "Spans written to the trace store."),
            dropped_queue_full: dropped("queue_full"),
            dropped_too_large: dropped("too_large"),
            dropped_trace_full: dropped("trace_full"),
            dropped_write_failed: dropped("write_failed"),
            bytes: registry.gauge("bowline_traces_bytes", "Size of the trace store's files.", &[]),
            traces: registry.gauge("bowline_traces_indexed", "Traces that can be found.", &[]),
            traces_forgotten: counter(
                "bowline_traces_forgotten_total",
                "Traces on disk that can no longer be found, as the index was full.",
            ),
            segments_deleted: counter("bowline_traces_segments_deleted_total", "Segments deleted to keep the cap."),
            segments_corrupt: counter("bowline_traces_segments_corrupt_total", "Segments with damaged records."),
            tails_cut: counter("bowline_traces_tails_cut_total", "Segments whose unfinished end was cut off."),
            records_unreadable: counter(
                "bowline_traces_records_unreadable_total",
                "Records that could not be read back.",
            ),
            searches_cut: counter("bowline_traces_searches_cut_total", "Searches that ended at their bound of work."),
            searches_running: registry.gauge("bowline_traces_searches_running", "Searches that read now.", &[]),
        }
    }
}
