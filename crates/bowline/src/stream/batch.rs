//! Items together: so many, so heavy, or as many as came within a time.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_runtime::time::{self, Sleep};
use futures_util::stream::{Fuse, Stream, StreamExt as _};
use pin_project_lite::pin_project;

use super::TAKEN_AT_ONCE_MAX;

pin_project! {
    /// See [`Flow::batch`](super::Flow::batch) and [`Flow::batch_by`](super::Flow::batch_by).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Batch<S: Stream, W> {
        #[pin]
        source: Fuse<S>,
        weigh: W,
        max: usize,
        within: Duration,
        items: Vec<S::Item>,
        weight: usize,
        // What did not fit in, and its weight.
        left_over: Option<(S::Item, usize)>,
        // Since the first item.
        #[pin]
        patience: Option<Sleep>,
    }
}

impl<S: Stream, W> Batch<S, W> {
    pub(super) fn new(source: S, weigh: W, max: usize, within: Duration) -> Self {
        let (source, items) = (source.fuse(), Vec::new());
        Self { source, weigh, max: max.max(1), within, items, weight: 0, left_over: None, patience: None }
    }

    /// What is there, if anything is.
    fn finish(self: Pin<&mut Self>) -> Option<Vec<S::Item>> {
        let mut this = self.project();
        this.patience.set(None);
        *this.weight = 0;
        let items = mem::take(this.items);
        if items.is_empty() { None } else { Some(items) }
    }

    /// Whether the first item is there for so long that the batch goes as it is.
    fn poll_patience(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().patience.as_pin_mut().map_or(Poll::Pending, |patience| patience.poll(cx))
    }

    /// Adds an item, or leaves it over; whether the batch is full.
    fn add(self: Pin<&mut Self>, item: S::Item, weight: usize) -> bool {
        let mut this = self.project();
        if this.items.is_empty() {
            this.patience.set(Some(time::sleep(*this.within)));
        } else if weight > *this.max - *this.weight {
            *this.left_over = Some((item, weight));
            return true;
        }
        this.items.push(item);
        *this.weight = this.weight.saturating_add(weight);
        *this.weight >= *this.max
    }
}

impl<S: Stream, W: FnMut(&S::Item) -> usize> Stream for Batch<S, W> {
    type Item = Vec<S::Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        for _ in 0..TAKEN_AT_ONCE_MAX {
            let this = self.as_mut().project();
            let (item, weight) = match this.left_over.take() {
                Some(left_over) => left_over,
                None => match this.source.poll_next(cx) {
                    Poll::Ready(Some(item)) => {
                        let weight = (this.weigh)(&item).max(1);
                        (item, weight)
                    }
                    Poll::Ready(None) => return Poll::Ready(self.finish()),
                    Poll::Pending => return self.as_mut().poll_patience(cx).map(|()| self.finish()),
                },
            };
            if self.as_mut().add(item, weight) {
                return Poll::Ready(self.finish());
            }
        }
        // A source that always has an item holds up neither the clock nor its thread.
        if self.as_mut().poll_patience(cx).is_ready() {
            return Poll::Ready(self.finish());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
