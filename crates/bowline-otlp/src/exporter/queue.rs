//! Spans that wait to be sent, encoded already: bounded by the bytes they take.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_runtime::{
    metric::{Gauge, Registry},
    time::{self, Duration},
};
use bowline_telemetry::SpanData;
use tokio::sync::Notify;

use crate::encode::Encoded;

/// A batch has no more bytes than this, but for its last span.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Notify,
    bytes_max: usize,
    metrics: Registry,
    queued: Gauge,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<Encoded>,
    bytes: usize,
    batch_max: usize,
    is_closed: bool,
}

/// Spans that were taken out, and whose fate is still to be told: dropped, they count as such.
#[derive(Debug)]
pub(super) struct Owed {
    queue: Arc<Queue>,
    count: u64,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, metrics: &Registry) -> Self {
        let help = "Bytes of spans that wait for a collector.";
        Self {
            state: Mutex::new(State { batch_max: 1, ..State::default() }),
            ready: Notify::new(),
            bytes_max,
            queued: metrics.gauge("bowline_otlp_export_queued_bytes", help, &[]),
            metrics: metrics.clone(),
        }
    }

    pub(super) fn offer(&self, spans: &[SpanData]) {
        let (room, is_closed) = {
            let state = self.lock();
            (self.bytes_max.saturating_sub(state.bytes), state.is_closed)
        };
        if is_closed {
            return self.dropped("stopping", spans.len() as u64);
        }
        // Encoded without the lock, and only what seems to fit.
        let (mut encoded, mut bytes) = (Vec::new(), 0);
        for span in spans {
            let span = if bytes < room { Encoded::new(span) } else { break };
            bytes += span.bytes();
            encoded.push(span);
        }
        let mut state = self.lock();
        let (mut taken, before) = (0_u64, state.spans.len());
        for span in encoded {
            if state.bytes + span.bytes() > self.bytes_max {
                break;
            }
            state.bytes += span.bytes();
            state.spans.push_back(span);
            taken += 1;
        }
        let now = state.spans.len();
        let is_wake = (before == 0 && now > 0) || (before < state.batch_max && now >= state.batch_max);
        self.queued.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        drop(state);
        if is_wake {
            self.ready.notify_one();
        }
        self.dropped("queue_full", spans.len() as u64 - taken);
    }

    /// The next spans; none when it is closed and nothing is left.
    pub(super) async fn next_batch(&self, count_max: usize, wait: Duration) -> Option<Vec<Encoded>> {
        let count_max = count_max.max(1);
        self.lock().batch_max = count_max;
        let mut until = None;
        loop {
            let (count, is_closed) = {
                let state = self.lock();
                (state.spans.len(), state.is_closed)
            };
            if count >= count_max || (is_closed && count > 0) {
                return Some(self.take(count_max));
            }
            if is_closed {
                return None;
            }
            if count == 0 {
                self.ready.notified().await;
                continue;
            }
            let until = *until.get_or_insert_with(|| time::now() + wait);
            if time::timeout_at(until, self.ready.notified()).await.is_err() {
                return Some(self.take(count_max));
            }
        }
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.ready.notify_one();
    }

    /// So many spans were taken out.
    pub(super) fn owe(self: &Arc<Self>, count: u64) -> Owed {
        Owed { queue: Arc::clone(self), count }
    }

    /// Drops what still waits.
    pub(super) fn abandon(&self) {
        let left = {
            let mut state = self.lock();
            state.bytes = 0;
            std::mem::take(&mut state.spans)
        };
        self.queued.set(0);
        self.dropped("stopping", left.len() as u64);
    }

    fn take(&self, count_max: usize) -> Vec<Encoded> {
        let mut state = self.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < count_max && bytes < BATCH_BYTES_MAX {
            let Some(span) = state.spans.pop_front() else { break };
            state.bytes -= span.bytes();
            bytes += span.field.len();
            batch.push(span);
        }
        self.queued.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        batch
    }

    fn dropped(&self, reason: &str, count: u64) {
        if count > 0 {
            let help = "Spans that were not passed on to a collector.";
            self.metrics.counter("bowline_otlp_export_dropped_total", help, &[("reason", reason)]).add(count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owed {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// So many of them were dropped, the others are well.
    pub(super) fn settle(&mut self, reason: &str, dropped: u64) {
        self.queue.dropped(reason, dropped);
        self.count = 0;
    }

    pub(super) fn settle_all(&mut self, reason: &str) {
        self.settle(reason, self.count);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.queue.dropped("stopping", self.count);
    }
}
