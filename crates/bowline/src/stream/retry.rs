//! A stream that is made anew when it breaks.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bowline_model::policy::RetryPolicy;
use bowline_resilience::retry::backoff;
use bowline_runtime::{
    rand,
    time::{self, Sleep},
};
use bowline_transport::Kind;
use bowline_upstream::Error as Unanswered;
use futures_util::stream::Stream;
use pin_project_lite::pin_project;

/// An error that says whether the same again may do better.
pub trait Retryable {
    /// Whether it may.
    fn retryable(&self) -> bool;
}

impl Retryable for crate::client::Error {
    fn retryable(&self) -> bool {
        let breaks_off = |kind| matches!(kind, Kind::Body | Kind::Reset);
        match self {
            // What was not read of an answer may be read of the next.
            Self::Call { source: Unanswered::Transport { source, .. }, .. } if breaks_off(source.kind()) => true,
            _ => self.retryable(),
        }
    }
}

impl Retryable for super::Idle {
    fn retryable(&self) -> bool {
        true
    }
}

impl Retryable for crate::messages::Error {
    fn retryable(&self) -> bool {
        self.retryable()
    }
}

pin_project! {
    /// See [`retry`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Retry<M, S> {
        policy: RetryPolicy,
        make: M,
        #[pin]
        current: Option<S>,
        #[pin]
        wait: Option<Sleep>,
        // In a row that gave no item; one that gave some is the first of the next row.
        attempts: u32,
        is_over: bool,
    }
}

/// The items of a stream that is made anew, after a wait, when it ends with an error that is retryable.
///
/// Waits are those of the policy's back-off, with its jitter. When `attempts_max` streams in a row broke without an
/// item, the last that gave one counted as the first of them, or when an error is not retryable, it is the last item.
/// The policy's budget and the limit of one attempt are not applied: how long a stream may be silent,
/// [`Flow::idle_timeout`] says, whose error is retryable. So is that of an answer that breaks off.
///
/// Items that one stream gave and the next gives again are given again: have `make` go on where the last one ended.
/// Holds none.
///
/// [`Flow::idle_timeout`]: super::Flow::idle_timeout
pub fn retry<M, S, T, E>(policy: RetryPolicy, make: M) -> Retry<M, S>
where
    M: FnMut() -> S,
    S: Stream<Item = Result<T, E>>,
    E: Retryable,
{
    Retry { policy, make, current: None, wait: None, attempts: 0, is_over: false }
}

impl<M, S, T, E> Stream for Retry<M, S>
where
    M: FnMut() -> S,
    S: Stream<Item = Result<T, E>>,
    E: Retryable,
{
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if *this.is_over {
                return Poll::Ready(None);
            }
            if let Some(wait) = this.wait.as_mut().as_pin_mut() {
                ready!(wait.poll(cx));
                this.wait.set(None);
            }
            if this.current.is_none() {
                *this.attempts += 1;
                this.current.set(Some((this.make)()));
            }
            let current = this.current.as_mut().as_pin_mut().expect("it was just made");
            match ready!(current.poll_next(cx)) {
                Some(Err(error)) => {
                    this.current.set(None);
                    if !error.retryable() || *this.attempts >= this.policy.attempts_max {
                        *this.is_over = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    let wait = backoff(&this.policy.backoff, *this.attempts, rand::unit());
                    this.wait.set(Some(time::sleep(wait)));
                }
                Some(item) => {
                    *this.attempts = 1;
                    return Poll::Ready(Some(item));
                }
                None => {
                    this.current.set(None);
                    *this.is_over = true;
                }
            }
        }
    }
}
