//! The newest item of each interval.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_runtime::time::{self, Interval, MissedTickBehavior};
use futures_util::stream::{Fuse, Stream, StreamExt as _};
use pin_project_lite::pin_project;

use super::TAKEN_AT_ONCE_MAX;

pin_project! {
    /// See [`Flow::sample`](super::Flow::sample).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Sample<S: Stream> {
        #[pin]
        source: Fuse<S>,
        every: Duration,
        newest: Option<S::Item>,
        // From the first poll on.
        ticks: Option<Interval>,
    }
}

impl<S: Stream> Sample<S> {
    pub(super) fn new(source: S, every: Duration) -> Self {
        assert!(!every.is_zero(), "an interval is above zero");
        Self { source: source.fuse(), every, newest: None, ticks: None }
    }
}

impl<S: Stream> Stream for Sample<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        let every = *this.every;
        let ticks = this.ticks.get_or_insert_with(|| {
            let mut ticks = time::interval(every);
            // After a stall there is one item to give, not one for each interval that passed.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            // The first one is now.
            ticks.reset();
            ticks
        });
        for _ in 0..TAKEN_AT_ONCE_MAX {
            match this.source.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => *this.newest = Some(item),
                Poll::Ready(None) => return Poll::Ready(this.newest.take()),
                Poll::Pending => {
                    while ticks.poll_tick(cx).is_ready() {
                        if let Some(newest) = this.newest.take() {
                            return Poll::Ready(Some(newest));
                        }
                    }
                    return Poll::Pending;
                }
            }
        }
        // Whoever always has an item does not hold up the clock.
        if ticks.poll_tick(cx).is_ready() {
            return Poll::Ready(this.newest.take());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
