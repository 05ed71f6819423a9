//! Work in lanes: one at a time of each key, several keys at once.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::stream::{Fuse, FuturesUnordered, Stream, StreamExt as _};
use pin_project_lite::pin_project;

pin_project! {
    /// See [`Flow::by_key`](super::Flow::by_key).
    #[must_use = "streams do nothing unless polled"]
    pub struct ByKey<S: Stream, K, G, F, Fut> {
        #[pin]
        source: Fuse<S>,
        key: G,
        count: usize,
        f: F,
        // Those that are worked on, and those that wait for them.
        held: usize,
        // What waits, of each key that is worked on.
        lanes: BTreeMap<K, VecDeque<S::Item>>,
        working: FuturesUnordered<InLane<K, Fut>>,
    }
}

pin_project! {
    /// Work, and whose lane it is in.
    struct InLane<K, Fut> {
        key: Option<K>,
        #[pin]
        work: Fut,
    }
}

impl<K, Fut: Future> Future for InLane<K, Fut> {
    type Output = (K, Fut::Output);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let output = ready!(this.work.poll(cx));
        Poll::Ready((this.key.take().expect("it is not polled after its end"), output))
    }
}

impl<S: Stream, K, G, F, Fut> ByKey<S, K, G, F, Fut> {
    pub(super) fn new(source: S, key: G, count: usize, f: F) -> Self {
        let (lanes, working) = (BTreeMap::new(), FuturesUnordered::new());
        Self { source: source.fuse(), key, count, f, held: 0, lanes, working }
    }
}

impl<S, K, G, F, Fut> Stream for ByKey<S, K, G, F, Fut>
where
    S: Stream,
    K: Ord + Clone,
    G: FnMut(&S::Item) -> K,
    F: FnMut(S::Item) -> Fut,
    Fut: Future,
{
    type Item = Fut::Output;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Fut::Output>> {
        let mut this = self.project();
        while *this.held < *this.count {
            let Poll::Ready(Some(item)) = this.source.as_mut().poll_next(cx) else { break };
            *this.held += 1;
            let key = (this.key)(&item);
            if let Some(lane) = this.lanes.get_mut(&key) {
                lane.push_back(item);
            } else {
                this.lanes.insert(key.clone(), VecDeque::new());
                this.working.push(InLane { key: Some(key), work: (this.f)(item) });
            }
        }
        match this.working.poll_next_unpin(cx) {
            Poll::Ready(Some((key, output))) => {
                *this.held -= 1;
                match this.lanes.get_mut(&key).and_then(VecDeque::pop_front) {
                    Some(next) => this.working.push(InLane { key: Some(key), work: (this.f)(next) }),
                    None => drop(this.lanes.remove(&key)),
                }
                Poll::Ready(Some(output))
            }
            Poll::Ready(None) if this.source.is_done() => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: Stream, K, G, F, Fut> fmt::Debug for ByKey<S, K, G, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByKey").field("count", &self.count).field("held", &self.held).finish_non_exhaustive()
    }
}
