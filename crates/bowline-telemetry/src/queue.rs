//! A bounded queue between the spans that end and the task that sends them on.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_runtime::{
    metric::{Counter, Gauge, Registry},
    time::{self, Duration},
};
use tokio::sync::Notify;

use crate::{Reporter, SpanData, names};

/// A queue of at most `capacity` spans: its reporter drops the new span when it is full.
///
/// Drops are counted in `bowline_spans_dropped_total`.
pub fn queue(capacity: usize, metrics: &Registry) -> (QueueReporter, SpanQueue) {
    let dropped = |reason| {
        let help = "Spans dropped before they left the process.";
        metrics.counter(names::SPANS_DROPPED_TOTAL, help, &[("reason", reason)])
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(State { batch_max: 1, ..State::default() }),
        ready: Notify::new(),
        capacity: capacity.max(1),
        full: dropped("queue_full"),
        closed: dropped("queue_closed"),
        queued: metrics.gauge(names::SPANS_QUEUED, "Spans that wait for their reporter.", &[]),
    });
    (QueueReporter(Arc::new(Closer(Arc::clone(&shared)))), SpanQueue(shared))
}

/// Puts spans in; made by [`queue`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct QueueReporter(Arc<Closer>);

/// Takes spans out, in batches; made by [`queue`].
#[derive(Debug)]
pub struct SpanQueue(Arc<Shared>);

/// Closes the queue when the last reporter is gone.
#[derive(Debug)]
struct Closer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    ready: Notify,
    capacity: usize,
    full: Counter,
    closed: Counter,
    queued: Gauge,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<SpanData>,
    /// At this length the taker is woken although its wait is not over.
    batch_max: usize,
    is_closed: bool,
    is_abandoned: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for QueueReporter {
    fn report(&self, span: SpanData) {
        let shared = &self.0.0;
        let mut state = shared.lock();
        if state.is_abandoned {
            shared.closed.increment();
            return;
        }
        if state.spans.len() >= shared.capacity {
            shared.full.increment();
            return;
        }
        state.spans.push_back(span);
        let length = state.spans.len();
        // A wake costs more than the push: one for the first of a batch, one when it is full.
        let is_wake = length == 1 || length == state.batch_max;
        drop(state);
        shared.queued.add(1);
        if is_wake {
            shared.ready.notify_one();
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.ready.notify_one();
    }
}

impl Drop for SpanQueue {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_abandoned = true;
        let left = std::mem::take(&mut state.spans);
        drop(state);
        self.0.closed.add(left.len() as u64);
        self.0.queued.set(0);
    }
}

impl SpanQueue {
    /// The next spans: `max` of them, or those that came within `wait` of the first one seen.
    ///
    /// `None` when every reporter is gone and nothing is left.
    ///
    /// # Cancel safety
    /// Nothing is lost: spans are taken only when the batch is returned.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Option<Vec<SpanData>> {
        let max = max.clamp(1, self.0.capacity);
        self.0.lock().batch_max = max;
        let mut deadline = None;
        loop {
            let (length, is_closed) = {
                let state = self.0.lock();
                (state.spans.len(), state.is_closed)
            };
            if length >= max || (is_closed && length > 0) {
                return Some(self.take(max));
            }
            if is_closed {
                return None;
            }
            if length == 0 {
                self.0.ready.notified().await;
                continue;
            }
            let until = *deadline.get_or_insert_with(|| time::now() + wait);
            if time::timeout_at(until, self.0.ready.notified()).await.is_err() {
                return Some(self.take(max));
            }
        }
    }

    /// How many wait now.
    pub fn len(&self) -> usize {
        self.0.lock().spans.len()
    }

    /// Whether none waits now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, max: usize) -> Vec<SpanData> {
        let mut state = self.0.lock();
        let count = max.min(state.spans.len());
        let batch: Vec<_> = state.spans.drain(..count).collect();
        drop(state);
        self.0.queued.add(-i64::try_from(batch.len()).unwrap_or(i64::MAX));
        batch
    }
}

#[cfg(test)]
mod tests;
