//! The time of a call, and how the layers inside of it learn that it was over.
//!
//! A future whose time is over is dropped, and so is one that nobody wants any more; to a breaker the first is a failure,
//! and the second says nothing. While a [`Timeout`] drops a future, this thread says so, and what the future holds of
//! permits ([`Watched`]) is given back with that. What was handed to another task is not dropped here, and not told.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bowline_model::Code;
use bowline_runtime::time::{self, Duration, Instant};
use tower_service::Service;

use super::{BoxFuture, Error, Guarded};
use crate::{
    Deadline,
    breaker::{self, Outcome},
    bulkhead, shed,
};

thread_local! {
    /// Whether this thread is just dropping what took too long.
    static IS_CUTTING: Cell<bool> = const { Cell::new(false) };
}

/// Bounds the time of a call.
#[derive(Debug, Clone, Copy)]
pub struct Timeout(Duration);

/// The call took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call was not answered in time")]
pub struct DeadlineExceeded;

#[expect(clippy::unused_self, reason = "every error answers these")]
impl DeadlineExceeded {
    /// Always [`Code::DeadlineExceeded`].
    pub fn code(self) -> Code {
        Code::DeadlineExceeded
    }

    /// No: there is no time left.
    pub fn retryable(self) -> bool {
        false
    }
}

impl Timeout {
    /// At most that long.
    pub fn new(timeout: Duration) -> Self {
        Self(timeout)
    }
}

impl<S, Q> Service<Q> for Guarded<Timeout, S>
where
    S: Service<Q, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = Error<DeadlineExceeded, S::Error>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let deadline = Deadline::after(time::now(), self.pattern.0);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = pin!(Some(answer));
            let inner = answer.as_mut().as_pin_mut().expect("it is there until it is cut off");
            let Some(result) = deadline.within(inner).await else {
                cut_off(answer);
                return Err(Error::Refused(DeadlineExceeded));
            };
            result.map_err(Error::Inner)
        })
    }
}

/// Drops what took too long.
fn cut_off<F>(mut future: Pin<&mut Option<F>>) {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IS_CUTTING.set(self.0);
        }
    }
    let _restore = Restore(IS_CUTTING.replace(true));
    future.set(None);
}

/// What is told that a call took too long.
pub(super) trait Permit {
    /// Gives it back with that.
    fn time_over(self, now: Instant);
}

impl Permit for breaker::OwnedPermit {
    fn time_over(self, now: Instant) {
        self.record(Outcome::Failure, now);
    }
}

impl Permit for bulkhead::OwnedPermit {
    fn time_over(self, now: Instant) {
        self.record(true, now);
    }
}

impl Permit for shed::Permit {
    fn time_over(self, now: Instant) {
        self.record(true, now);
    }
}

/// A permit that is told when it is dropped since the call took too long.
pub(super) struct Watched<P: Permit>(Option<P>);

impl<P: Permit> Watched<P> {
    pub(super) fn new(permit: P) -> Self {
        Self(Some(permit))
    }

    pub(super) fn into_inner(mut self) -> P {
        self.0.take().expect("it is there until it is taken")
    }
}

impl<P: Permit> Drop for Watched<P> {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take().filter(|_| IS_CUTTING.get()) {
            permit.time_over(time::now());
        }
    }
}
