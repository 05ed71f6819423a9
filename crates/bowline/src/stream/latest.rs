//! The newest item, for a consumer that is slower than its source.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bowline_runtime::{
    metric::Counter,
    task::{self, JoinHandle},
};
use bowline_telemetry::current;
use futures_util::stream::{Stream, StreamExt as _};

use super::TAKEN_AT_ONCE_MAX;

/// See [`Flow::latest`](super::Flow::latest).
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Latest<S: Stream> {
    state: State<S>,
    slot: Arc<Mutex<Slot<S::Item>>>,
    dropped: Counter,
}

#[derive(Debug)]
enum State<S> {
    Waits(Option<Box<S>>),
    Drains(JoinHandle<()>),
    Ended,
}

/// What the task hands over.
#[derive(Debug)]
struct Slot<T> {
    newest: Option<T>,
    waker: Option<Waker>,
}

impl<S: Stream> Unpin for Latest<S> {}

impl<S: Stream> Latest<S> {
    pub(super) fn new(source: S) -> Self {
        let slot = Arc::new(Mutex::new(Slot { newest: None, waker: None }));
        Self { state: State::Waits(Some(Box::new(source))), slot, dropped: Counter::default() }
    }

    /// Counts there what the consumer misses.
    pub fn counted_by(mut self, dropped: Counter) -> Self {
        self.dropped = dropped;
        self
    }

    /// Counts what the consumer missed.
    pub fn dropped(&self) -> &Counter {
        &self.dropped
    }
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn drain<S: Stream>(source: S, slot: Arc<Mutex<Slot<S::Item>>>, dropped: Counter) {
    let mut source = pin!(source);
    let mut taken = 0_usize;
    while let Some(item) = source.next().await {
        let (before, waker) = {
            let mut slot = lock(&slot);
            (slot.newest.replace(item), slot.waker.take())
        };
        // Outside the lock, and not held while others run.
        if before.map(drop).is_some() {
            dropped.increment();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        taken += 1;
        // A source that always has one would keep the thread.
        if taken.is_multiple_of(TAKEN_AT_ONCE_MAX) {
            task::yield_now().await;
        }
    }
}

impl<S> Stream for Latest<S>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        if let State::Waits(source) = &mut this.state {
            let source = Box::into_pin(source.take().expect("a source that waits is there"));
            let drained = drain(source, this.slot.clone(), this.dropped.clone());
            this.state = State::Drains(task::spawn(current::inherit(drained)));
        }
        {
            let mut slot = lock(&this.slot);
            if let Some(item) = slot.newest.take() {
                return Poll::Ready(Some(item));
            }
            slot.waker = Some(cx.waker().clone());
        }
        let State::Drains(task) = &mut this.state else { return Poll::Ready(None) };
        let ended = ready!(Pin::new(task).poll(cx));
        this.state = State::Ended;
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        // The last one may have come since we looked.
        Poll::Ready(lock(&this.slot).newest.take())
    }
}

impl<S: Stream> Drop for Latest<S> {
    fn drop(&mut self) {
        if let State::Drains(task) = &self.state {
            task.abort();
        }
    }
}
