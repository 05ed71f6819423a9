//! The patterns as layers of tower, each around any service: feature `tower`.
//!
//! ```text
//! ServiceBuilder::new()
//!     .layer(layer::of(Fallback::new(|_error| Ok(answer))))
//!     .layer(layer::of(Timeout::new(Duration::from_secs(2))))
//!     .layer(layer::of(bulkhead))
//!     .layer(layer::of(Retrying::new(&policy.retry, judge)))
//!     .layer(layer::of(Breaking::new(breaker, judge)))
//!     .service(client)
//! ```
//!
//! That is the order of [`crate::guard`], outermost first; it says why. What a [`Timeout`] cuts off, the layers inside of
//! it are told of: to a breaker it is a failure, and to what finds a limit a call that was dropped. What is dropped
//! otherwise was cancelled, and says nothing. Behind a [`Retrying`] each try is a call of its own to a [`Hedging`], also
//! to its budget; [`crate::Guard`] counts once a call. Every layer is ready when its service is, and asks
//! its pattern when it is called: a place that was taken while getting ready would be lost to one who never calls. What a
//! layer refuses is [`Error::Refused`] with the pattern's own error; what its service fails with is [`Error::Inner`].
//!
//! Each call of a layer is one boxed future. [`crate::Guard`] allocates nothing.

mod timeout;

use std::{
    convert::Infallible,
    error, fmt,
    future::ready,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bowline_model::{
    Code,
    policy::{Backoff, Priority, RetryPolicy},
};
use bowline_runtime::{
    rand,
    time::{self, Duration},
};
use tower_service::Service;

use self::timeout::Watched;
pub use self::timeout::{DeadlineExceeded, Timeout};
use crate::{
    Breaker, Bulkhead, Deadline, Hedge, Shedder,
    breaker::{Outcome, Rejected},
    bulkhead,
    outcome::Verdict,
    rate::Limiter,
    retry::{self, Budget},
    shed,
};

/// A future of a layer's call.
pub type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// A pattern as a layer.
pub fn of<P: Clone>(pattern: P) -> Layer<P> {
    Layer(pattern)
}

/// See [`of`]. Services that one layer makes share its pattern.
#[derive(Debug, Clone)]
pub struct Layer<P>(P);

impl<P: Clone, S> tower_layer::Layer<S> for Layer<P> {
    type Service = Guarded<P, S>;

    fn layer(&self, inner: S) -> Guarded<P, S> {
        Guarded { pattern: self.0.clone(), inner }
    }
}

/// A service with a pattern around it.
#[derive(Debug, Clone)]
pub struct Guarded<P, S> {
    pattern: P,
    inner: S,
}

/// What a layer fails with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<R, E> {
    /// The pattern refused, or gave up.
    Refused(R),
    /// The service failed.
    Inner(E),
}

impl<R: fmt::Display, E> fmt::Display for Error<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Inner(_) => f.write_str("the service failed"),
        }
    }
}

impl<R, E> error::Error for Error<R, E>
where
    R: error::Error + 'static,
    E: error::Error + 'static,
{
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Refused(refused) => refused.source(),
            Self::Inner(error) => Some(error),
        }
    }
}

impl<P, S: Clone> Guarded<P, S> {
    /// The service that is ready; another takes its place.
    fn take_ready(&mut self) -> S {
        let other = self.inner.clone();
        mem::replace(&mut self.inner, other)
    }
}

// === impl Breaking ===

/// Asks a breaker before each call, and tells it how the call went.
#[derive(Debug, Clone)]
pub struct Breaking<J> {
    breaker: Arc<Breaker>,
    judge: J,
}

impl<J> Breaking<J> {
    /// With `judge(&result)` for a [`Verdict`].
    pub fn new(breaker: Arc<Breaker>, judge: J) -> Self {
        Self { breaker, judge }
    }
}

impl<S, Q, J> Service<Q> for Guarded<Breaking<J>, S>
where
    S: Service<Q, Future: Send + 'static, Response: Send + 'static, Error: Send + 'static>,
    J: Fn(&Result<S::Response, S::Error>) -> Verdict + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = Error<Rejected, S::Error>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let permit = match self.pattern.breaker.acquire_owned(time::now()) {
            Ok(permit) => Watched::new(permit),
            Err(rejected) => return Box::pin(ready(Err(Error::Refused(rejected)))),
        };
        let (answer, judge) = (self.inner.call(request), self.pattern.judge.clone());
        Box::pin(async move {
            let result = answer.await;
            let permit = permit.into_inner();
            match judge(&result) {
                Verdict::Good => permit.record(Outcome::Success, time::now()),
                Verdict::Bad => permit.record(Outcome::Failure, time::now()),
                Verdict::Ignored => drop(permit),
            }
            result.map_err(Error::Inner)
        })
    }
}

// === impl Bulkhead ===

impl<S, Q> Service<Q> for Guarded<Bulkhead, S>
where
    S: Service<Q, Future: Send, Error: Send> + Clone + Send + 'static,
    Q: Send + 'static,
{
    type Response = S::Response;
    type Error = Error<bulkhead::Refused, S::Error>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let (mut inner, bulkhead) = (self.take_ready(), self.pattern.clone());
        Box::pin(async move {
            let place = bulkhead.acquire_owned(None, time::now()).await.map_err(Error::Refused)?;
            let place = Watched::new(place);
            // What fails says nothing of how long work takes: its place is given back without a word.
            let answer = inner.call(request).await.map_err(Error::Inner)?;
            place.into_inner().record(false, time::now());
            Ok(answer)
        })
    }
}

// === impl Limiting ===

/// Limits calls at an even pace, by a key of the request.
#[derive(Debug, Clone)]
pub struct Limiting<K> {
    limiter: Arc<Limiter>,
    key: K,
}

/// There were too many calls of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there were too many calls")]
pub struct RateLimited {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl RateLimited {
    /// Always [`Code::RateLimited`].
    pub fn code(self) -> Code {
        Code::RateLimited
    }

    /// Yes, later.
    pub fn retryable(self) -> bool {
        true
    }
}

impl<K> Limiting<K> {
    /// With `key(&request)` for a `&[u8]`.
    pub fn new(limiter: Arc<Limiter>, key: K) -> Self {
        Self { limiter, key }
    }
}

impl<S, Q, K> Service<Q> for Guarded<Limiting<K>, S>
where
    S: Service<Q, Future: Send + 'static, Response: Send + 'static, Error: Send + 'static>,
    K: Fn(&Q) -> &[u8],
{
    type Response = S::Response;
    type Error = Error<RateLimited, S::Error>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let decision = self.pattern.limiter.check((self.pattern.key)(&request), time::now());
        if !decision.is_allowed {
            return Box::pin(ready(Err(Error::Refused(RateLimited { retry_after: decision.retry_after }))));
        }
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map_err(Error::Inner) })
    }
}

// === impl Shedding ===

/// Turns requests away at the door where there are too many, by the priority and the deadline that each tells.
#[derive(Debug, Clone)]
pub struct Shedding<D> {
    shedder: Shedder,
    door: D,
}

impl<D> Shedding<D> {
    /// With `door(&request)` for its [`Priority`] and its [`Deadline`], if it has one.
    pub fn new(shedder: Shedder, door: D) -> Self {
        Self { shedder, door }
    }
}

impl<S, Q, D> Service<Q> for Guarded<Shedding<D>, S>
where
    S: Service<Q, Future: Send, Error: Send> + Clone + Send + 'static,
    Q: Send + 'static,
    D: Fn(&Q) -> (Priority, Option<Deadline>),
{
    type Response = S::Response;
    type Error = Error<shed::Refused, S::Error>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let (priority, deadline) = (self.pattern.door)(&request);
        let (mut inner, shedder) = (self.take_ready(), self.pattern.shedder.clone());
        Box::pin(async move {
            let place = shedder.admit(priority, deadline, time::now()).await.map_err(Error::Refused)?;
            let place = Watched::new(place);
            let answer = inner.call(request).await;
            let now = time::now();
            let is_late = deadline.is_some_and(|deadline| deadline.is_past(now));
            if is_late || answer.is_ok() {
                place.into_inner().record(is_late, now);
            }
            answer.map_err(Error::Inner)
        })
    }
}

// === impl Retrying ===

/// Tries what failed again, within a budget. Requests are cloned: for those that may be made twice only.
#[derive(Debug, Clone)]
pub struct Retrying<J> {
    attempts_max: u32,
    backoff: Backoff,
    budget: Arc<Budget>,
    judge: J,
}

impl<J> Retrying<J> {
    /// With `judge(&result)` for a [`Verdict`]: what is bad is tried again. `per_try_timeout` is another layer's.
    pub fn new(policy: &RetryPolicy, judge: J) -> Self {
        let budget = Arc::new(Budget::new(policy));
        Self { attempts_max: policy.attempts_max, backoff: policy.backoff, budget, judge }
    }
}

impl<S, Q, J> Service<Q> for Guarded<Retrying<J>, S>
where
    S: Service<Q, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
    Q: Clone + Send + 'static,
    J: Fn(&Result<S::Response, S::Error>) -> Verdict + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = Error<Infallible, S::Error>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let mut inner = self.take_ready();
        let Retrying { attempts_max, backoff, budget, judge } = self.pattern.clone();
        budget.deposit(time::now());
        Box::pin(async move {
            let mut attempt = 1;
            loop {
                let result = inner.call(request.clone()).await;
                let is_last = judge(&result) != Verdict::Bad || attempt >= attempts_max;
                if is_last || !budget.try_withdraw(time::now()) {
                    return result.map_err(Error::Inner);
                }
                time::sleep(retry::backoff(&backoff, attempt, rand::unit())).await;
                std::future::poll_fn(|cx| inner.poll_ready(cx)).await.map_err(Error::Inner)?;
                attempt += 1;
            }
        })
    }
}

// === impl Hedging ===

/// Sends what is not answered in time once more. Requests are cloned: for those that may be made twice only.
#[derive(Debug, Clone)]
pub struct Hedging<J> {
    hedge: Arc<Hedge>,
    judge: J,
}

impl<J> Hedging<J> {
    /// With `judge(&result)` for a [`Verdict`]: the first that is not bad counts.
    pub fn new(hedge: Arc<Hedge>, judge: J) -> Self {
        Self { hedge, judge }
    }
}

impl<S, Q, J> Service<Q> for Guarded<Hedging<J>, S>
where
    S: Service<Q, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
    Q: Clone + Send + 'static,
    J: Fn(&Result<S::Response, S::Error>) -> Verdict + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = Error<Infallible, S::Error>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let mut first = Some(self.take_ready());
        let (others, Hedging { hedge, judge }) = (self.inner.clone(), self.pattern.clone());
        Box::pin(async move {
            let make = move |_| {
                let is_ready = first.is_some();
                let mut inner = first.take().unwrap_or_else(|| others.clone());
                let request = request.clone();
                async move {
                    if !is_ready {
                        std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
                    }
                    inner.call(request).await
                }
            };
            let is_good = move |result: &Result<_, _>| judge(result) != Verdict::Bad;
            let result = hedge.call(time::now(), make, is_good).await;
            result.map_err(Error::Inner)
        })
    }
}

// === impl Fallback ===

/// Answers in the place of what failed.
#[derive(Debug, Clone)]
pub struct Fallback<A>(A);

impl<A> Fallback<A> {
    /// With `answer(error)` for another result.
    pub fn new(answer: A) -> Self {
        Self(answer)
    }
}

impl<S, Q, A> Service<Q> for Guarded<Fallback<A>, S>
where
    S: Service<Q, Future: Send + 'static, Response: 'static, Error: 'static>,
    A: FnOnce(S::Error) -> Result<S::Response, S::Error> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let (answer, fallback) = (self.inner.call(request), self.pattern.0.clone());
        Box::pin(crate::fallback::call(answer, fallback))
    }
}
