//! The last item before a pause.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_runtime::time::{self, Sleep};
use futures_util::stream::{Fuse, Stream, StreamExt as _};
use pin_project_lite::pin_project;

use super::TAKEN_AT_ONCE_MAX;

pin_project! {
    /// See [`Flow::debounce`](super::Flow::debounce).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Debounce<S: Stream> {
        #[pin]
        source: Fuse<S>,
        quiet: Duration,
        last: Option<S::Item>,
        #[pin]
        pause: Option<Sleep>,
    }
}

impl<S: Stream> Debounce<S> {
    pub(super) fn new(source: S, quiet: Duration) -> Self {
        Self { source: source.fuse(), quiet, last: None, pause: None }
    }
}

impl<S: Stream> Stream for Debounce<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        // First the pause: what it ended is out, though another item is there by now.
        if let Some(pause) = this.pause.as_mut().as_pin_mut()
            && pause.poll(cx).is_ready()
        {
            this.pause.set(None);
            return Poll::Ready(this.last.take());
        }
        for _ in 0..TAKEN_AT_ONCE_MAX {
            match this.source.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => *this.last = Some(item),
                Poll::Ready(None) => {
                    this.pause.set(None);
                    return Poll::Ready(this.last.take());
                }
                Poll::Pending => return Poll::Pending,
            }
            this.pause.set(Some(time::sleep(*this.quiet)));
            let pause = this.pause.as_mut().as_pin_mut().expect("it was just set");
            if pause.poll(cx).is_ready() {
                this.pause.set(None);
                return Poll::Ready(this.last.take());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
