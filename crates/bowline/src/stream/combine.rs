//! The newest of several streams together.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::stream::{Fuse, Stream, StreamExt as _};
use pin_project_lite::pin_project;

use super::{TAKEN_AT_ONCE_MAX, TooMany};

pin_project! {
    /// See [`Flow::combine_latest`](super::Flow::combine_latest).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct CombineLatest<A: Stream, B: Stream> {
        #[pin]
        one: Fuse<A>,
        #[pin]
        other: Fuse<B>,
        newest: (Option<A::Item>, Option<B::Item>),
        // Whose turn it is to be asked first, so that neither side starves.
        is_others_turn: bool,
    }
}

impl<A: Stream, B: Stream> CombineLatest<A, B> {
    pub(super) fn new(one: A, other: B) -> Self {
        Self { one: one.fuse(), other: other.fuse(), newest: (None, None), is_others_turn: false }
    }
}

impl<A: Stream, B: Stream> Stream for CombineLatest<A, B>
where
    A::Item: Clone,
    B::Item: Clone,
{
    type Item = (A::Item, B::Item);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        for _ in 0..TAKEN_AT_ONCE_MAX {
            let mut is_pending = false;
            let mut has_newer = false;
            for _ in 0..2 {
                *this.is_others_turn = !*this.is_others_turn;
                let polled = if *this.is_others_turn {
                    this.one.as_mut().poll_next(cx).map(|item| item.map(|item| this.newest.0 = Some(item)))
                } else {
                    this.other.as_mut().poll_next(cx).map(|item| item.map(|item| this.newest.1 = Some(item)))
                };
                match polled {
                    Poll::Ready(Some(())) => {
                        has_newer = true;
                        break;
                    }
                    Poll::Ready(None) => {}
                    Poll::Pending => is_pending = true,
                }
            }
            match &*this.newest {
                (Some(one), Some(other)) if has_newer => return Poll::Ready(Some((one.clone(), other.clone()))),
                // A side that ended without an item: there will be no pair, whatever the other one has.
                (None, _) if this.one.is_done() => return Poll::Ready(None),
                (_, None) if this.other.is_done() => return Poll::Ready(None),
                _ if has_newer => {}
                _ if is_pending => return Poll::Pending,
                _ => return Poll::Ready(None),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// See [`combine_all`].
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct CombineAll<S: Stream> {
    streams: Vec<Pin<Box<Fuse<S>>>>,
    newest: Vec<Option<S::Item>>,
    /// Who is asked first.
    turn: usize,
}

impl<S: Stream> Unpin for CombineAll<S> {}

/// As [`Flow::combine_latest`](super::Flow::combine_latest), of streams of one kind: the newest of each, in their
/// order. Without streams it ends at once. Holds one a stream.
///
/// # Errors
/// When they are more than [`STREAMS_MAX`](super::STREAMS_MAX).
pub fn combine_all<S: Stream>(streams: Vec<S>) -> Result<CombineAll<S>, TooMany>
where
    S::Item: Clone,
{
    TooMany::check(streams.len())?;
    let newest = streams.iter().map(|_| None).collect();
    Ok(CombineAll { streams: streams.into_iter().map(|it| Box::pin(it.fuse())).collect(), newest, turn: 0 })
}

impl<S: Stream> CombineAll<S> {
    /// Asks each for an item, until one has one; pending when one is and none has any.
    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut is_pending = false;
        for _ in 0..self.streams.len() {
            let at = self.turn;
            self.turn = (at + 1) % self.streams.len();
            match self.streams[at].as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    self.newest[at] = Some(item);
                    return Poll::Ready(true);
                }
                // There will be nothing to show: the others need not be asked.
                Poll::Ready(None) if self.newest[at].is_none() => return Poll::Ready(false),
                Poll::Ready(None) => {}
                Poll::Pending => is_pending = true,
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(false) }
    }
}

impl<S: Stream> Stream for CombineAll<S>
where
    S::Item: Clone,
{
    type Item = Vec<S::Item>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        for _ in 0..TAKEN_AT_ONCE_MAX {
            match this.poll_any(cx) {
                Poll::Ready(true) => {
                    if let Some(all) = this.newest.iter().cloned().collect() {
                        return Poll::Ready(Some(all));
                    }
                }
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
