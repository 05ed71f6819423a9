//! The bounded queue between those who append and the writer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bowline_runtime::time::{self, Duration, Instant};
use bowline_telemetry::SpanData;
use tokio::sync::Notify;

use crate::traces::writer::{RECORD_BYTES, span_bytes};

/// Spans on their way to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    spans: Vec<SpanData>,
    /// What they take in memory.
    bytes: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// How many batches were ever appended.
    appended: u64,
    /// Whether somebody waits to read them.
    is_write_wanted: bool,
    /// Up to which batch somebody waits for the disk.
    sync_wanted: Option<u64>,
    is_closed: bool,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) spans: Vec<SpanData>,
    /// The batch they end with.
    pub(super) appended: u64,
    pub(super) is_sync: bool,
    pub(super) is_last: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the spans if there is room for all, or as many as ever fit; says how many.
    ///
    /// Not a part where there is room for all later: the caller sends a refused batch again, whole.
    pub(super) fn push(&self, spans: Vec<SpanData>) -> usize {
        let mut state = self.lock();
        if state.is_closed {
            return 0;
        }
        if !state.spans.is_empty() {
            let bytes: usize = spans.iter().map(span_bytes).sum();
            if state.bytes + bytes > self.bytes_max {
                return 0;
            }
        }
        let mut taken = 0;
        for span in spans {
            let bytes = span_bytes(&span);
            if state.bytes + bytes > self.bytes_max {
                break;
            }
            state.bytes += bytes;
            state.spans.push(span);
            taken += 1;
        }
        if taken > 0 {
            state.since.get_or_insert_with(time::now);
            state.appended += 1;
        }
        drop(state);
        self.changed.notify_one();
        taken
    }

    /// Asks for everything appended to be written at once; gives the last batch.
    pub(super) fn request_write(&self) -> u64 {
        let mut state = self.lock();
        state.is_write_wanted = !state.spans.is_empty();
        let appended = state.appended;
        drop(state);
        self.changed.notify_one();
        appended
    }

    /// Asks for everything appended to be written and synced; gives the last batch.
    pub(super) fn request_sync(&self) -> u64 {
        let mut state = self.lock();
        state.sync_wanted = Some(state.appended);
        let appended = state.appended;
        drop(state);
        self.changed.notify_one();
        appended
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Takes nothing more, as nobody writes any more; gives how many spans are lost with it.
    pub(super) fn abandon(&self) -> usize {
        let mut state = self.lock();
        state.is_closed = true;
        state.bytes = 0;
        std::mem::take(&mut state.spans).len()
    }

    /// Waits for something to do: spans that have gathered long enough, a sync that is due.
    pub(super) async fn next(&self, synced: u64, gather_for: Duration, sync_at: Option<Instant>) -> Work {
        loop {
            let due = {
                let mut state = self.lock();
                let gathered_at = state.since.map(|since| since + gather_for);
                let now = time::now();
                let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
                let is_sync_wanted = state.sync_wanted.is_some_and(|wanted| wanted > synced);
                let is_large = state.bytes >= RECORD_BYTES;
                let is_sync = is_sync_wanted || is_past(sync_at) || state.is_closed;
                if is_sync || state.is_write_wanted || is_large || is_past(gathered_at) {
                    return state.take(is_sync);
                }
                earlier(gathered_at, sync_at)
            };
            match due {
                // Whether woken or late, what is to be done is seen above.
                Some(due) => drop(time::timeout_at(due, self.changed.notified()).await),
                None => self.changed.notified().await,
            }
        }
    }
}

impl State {
    fn take(&mut self, is_sync: bool) -> Work {
        self.bytes = 0;
        self.since = None;
        self.is_write_wanted = false;
        if is_sync {
            self.sync_wanted = None;
        }
        Work { spans: std::mem::take(&mut self.spans), appended: self.appended, is_sync, is_last: self.is_closed }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
