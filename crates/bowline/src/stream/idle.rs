//! Silence of a source, told by an error.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_runtime::time::{self, Sleep};
use futures_util::stream::{Fuse, Stream, StreamExt as _};
use pin_project_lite::pin_project;

/// No item came for so long; see [`Flow::idle_timeout`](super::Flow::idle_timeout).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no item came for {after:?}")]
#[non_exhaustive]
pub struct Idle {
    /// For how long.
    pub after: Duration,
}

pin_project! {
    /// See [`Flow::idle_timeout`](super::Flow::idle_timeout).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct IdleTimeout<S: Stream> {
        #[pin]
        source: Fuse<S>,
        after: Duration,
        // From when it first had nothing, while it was asked for more: what the reader takes for itself is no silence.
        #[pin]
        silence: Option<Sleep>,
        is_told: bool,
    }
}

impl<S: Stream> IdleTimeout<S> {
    pub(super) fn new(source: S, after: Duration) -> Self {
        Self { source: source.fuse(), after, silence: None, is_told: false }
    }
}

impl<S: Stream> Stream for IdleTimeout<S> {
    type Item = Result<S::Item, Idle>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if let Poll::Ready(item) = this.source.poll_next(cx) {
            this.silence.set(None);
            *this.is_told = false;
            return Poll::Ready(item.map(Ok));
        }
        if *this.is_told {
            return Poll::Pending;
        }
        if this.silence.is_none() {
            this.silence.set(Some(time::sleep(*this.after)));
        }
        ready!(this.silence.as_mut().as_pin_mut().expect("it was just set").poll(cx));
        this.silence.set(None);
        *this.is_told = true;
        Poll::Ready(Some(Err(Idle { after: *this.after })))
    }
}
