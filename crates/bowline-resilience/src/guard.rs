//! All patterns around one call, by its policy, in an order that is fixed:
//!
//! ```text
//! fallback → deadline → bulkhead → retry (budget) → hedge (budget) → breaker → time of one attempt → the call
//! ```
//!
//! Why in this order:
//!
//! - the **fallback** is outermost, so that it answers in the place of refusals too;
//! - the **deadline** bounds all that is waited for: a place, a backoff, an attempt. An attempt that it cuts off is a
//!   failure to the breaker, and not one that was cancelled;
//! - the **bulkhead** counts calls, not attempts: a call that waits for its next attempt still holds what it holds;
//! - **retries** are outside of the breaker, so that each attempt asks it and is counted. Its refusal is not tried
//!   again: it would only be refused again;
//! - **hedged** attempts are each asked of the breaker and counted by it, as retries are;
//! - the **time of one attempt** is innermost, so that what it cuts off can be tried again.
//!
//! **Cost**: breaker, bulkhead and deadline around a call that is ready at once take no lock, no timer and no allocation;
//! a timer is armed when the call is first found pending.

use std::{error, fmt, pin::pin, sync::Arc};

use bowline_model::{
    Code,
    policy::{Backoff, CallPolicy, FallbackPolicy, RetryPolicy},
};
use bowline_runtime::{
    rand,
    time::{self, Duration, Instant},
};

use crate::{
    Breaker, Bulkhead, Deadline, Hedge,
    breaker::{self, Outcome, Rejected},
    bulkhead,
    outcome::Verdict,
    retry::{self, Budget},
};

/// All patterns of a [`CallPolicy`] around the calls of one callee; shared by all cores.
///
/// What the policy says of instances (`balance`, `outlier`) and of statuses (`outcome`, `retry.on`) is not for here: the
/// caller judges its results.
#[derive(Debug)]
pub struct Guard {
    timeout: Duration,
    bulkhead: Option<Bulkhead>,
    retry: Option<Retry>,
    hedge: Option<Hedge>,
    breaker: Option<Arc<Breaker>>,
    fallback: Option<FallbackPolicy>,
}

#[derive(Debug)]
struct Retry {
    attempts_max: u32,
    backoff: Backoff,
    budget: Budget,
    per_try_timeout: Option<Duration>,
}

/// Why a call has no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The call itself failed, its last attempt so.
    Failed(E),
    /// There was no time left, or one attempt took too long and there was no further.
    DeadlineExceeded,
    /// Too many calls are under way.
    Bulkhead(bulkhead::Refused),
    /// The callee is left alone for a while.
    Breaker(Rejected),
}

/// What is particular to one call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its caller's deadline; the earlier of it and the policy's counts.
    pub deadline: Option<Deadline>,
    /// Whether it may be made twice: else it is neither tried again nor hedged.
    pub is_repeatable: bool,
}

impl Default for Call {
    /// One that may be made twice.
    fn default() -> Self {
        Self { deadline: None, is_repeatable: true }
    }
}

/// What came of an attempt.
struct Attempted<T, E> {
    verdict: Verdict,
    result: Result<T, Error<E>>,
    ended: Instant,
}

impl Guard {
    /// The patterns that the policy has, with nothing counted yet.
    pub fn new(policy: &CallPolicy) -> Self {
        let CallPolicy { timeout, retry, breaker, balance: _, outcome: _, outlier: _, hedge, bulkhead, fallback } =
            policy;
        Self {
            timeout: *timeout,
            bulkhead: bulkhead.as_ref().map(Bulkhead::new),
            retry: retry.as_ref().map(Retry::new),
            hedge: hedge.as_ref().map(Hedge::new),
            breaker: breaker.as_ref().map(|breaker| Arc::new(Breaker::new(breaker))),
            fallback: fallback.clone(),
        }
    }

    /// The breaker, for listings and orders.
    pub fn breaker(&self) -> Option<&Arc<Breaker>> {
        self.breaker.as_ref()
    }

    /// The bulkhead, for listings.
    pub fn bulkhead(&self) -> Option<&Bulkhead> {
        self.bulkhead.as_ref()
    }

    /// Makes a call that may be made twice; every `Err` is a failure. `make` gets the attempt's number, from 1.
    ///
    /// # Errors
    /// [`Error`].
    ///
    /// # Cancel safety
    /// Dropping the future drops what is under way; places and permits are given back, and nothing is counted.
    #[inline]
    pub async fn call<T, E, F>(&self, make: impl FnMut(u32) -> F) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let judge = |result: &Result<T, E>| if result.is_ok() { Verdict::Good } else { Verdict::Bad };
        self.call_as(Call::default(), judge, make).await
    }

    /// As [`Guard::call`], of one that the caller knows more of: `judge` says what a result is taken for. What is bad is
    /// tried again and counted as a failure; what is ignored is neither.
    ///
    /// # Errors
    /// [`Error`].
    ///
    /// # Cancel safety
    /// As [`Guard::call`].
    #[inline]
    pub async fn call_as<T, E, F>(
        &self,
        call: Call,
        judge: impl Fn(&Result<T, E>) -> Verdict,
        make: impl FnMut(u32) -> F,
    ) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let now = time::now();
        let deadline = Deadline::after(now, self.timeout);
        let deadline = call.deadline.map_or(deadline, |theirs| theirs.earliest(deadline));
        let place = match &self.bulkhead {
            None => None,
            Some(bulkhead) => match bulkhead.try_acquire(now) {
                place @ Some(_) => place,
                None => Some(bulkhead.acquire_by(deadline, now).await.map_err(Error::Bulkhead)?),
            },
        };
        let (result, ended) = self.attempts(Call { deadline: Some(deadline), ..call }, now, judge, make).await;
        if let Some(place) = place {
            place.record(result.as_ref().is_err_and(Error::is_overload), ended);
        }
        result
    }

    /// As [`Guard::call_as`]; where the policy has a fallback, `answer` is given in the place of an error.
    ///
    /// # Errors
    /// [`Error`], where the policy has no fallback.
    ///
    /// # Cancel safety
    /// As [`Guard::call`].
    pub async fn call_or<T, E, F>(
        &self,
        call: Call,
        judge: impl Fn(&Result<T, E>) -> Verdict,
        make: impl FnMut(u32) -> F,
        answer: impl FnOnce(&FallbackPolicy, Error<E>) -> T,
    ) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let result = self.call_as(call, judge, make).await;
        match (&self.fallback, result) {
            (Some(policy), Err(error)) => Ok(answer(policy, error)),
            (_, result) => result,
        }
    }

    /// Attempts until one counts, and when the last ended.
    #[inline]
    async fn attempts<T, E, F>(
        &self,
        call: Call,
        mut now: Instant,
        judge: impl Fn(&Result<T, E>) -> Verdict,
        mut make: impl FnMut(u32) -> F,
    ) -> (Result<T, Error<E>>, Instant)
    where
        F: Future<Output = Result<T, E>>,
    {
        let deadline = call.deadline.expect("every call has one");
        let retry = self.retry.as_ref().filter(|_| call.is_repeatable);
        let hedge = self.hedge.as_ref().filter(|_| call.is_repeatable);
        if let Some(retry) = retry {
            retry.budget.deposit(now);
        }
        let mut attempt = 0;
        let mut number = 0;
        loop {
            attempt += 1;
            let mut begin = |now| {
                number += 1;
                self.begin(now, number, &mut make)
            };
            let until = self.until(deadline, now);
            let Attempted { verdict, result, ended } = match hedge {
                None => run(begin(now), until, &judge).await,
                // Several futures take room: only who hedges pays for it.
                Some(hedge) => {
                    let make = |sent| run(begin(if sent == 1 { now } else { time::now() }), until, &judge);
                    Box::pin(hedge.call(now, make, |attempted| attempted.verdict != Verdict::Bad)).await
                }
            };
            let Some(retry) = retry.filter(|_| verdict == Verdict::Bad) else { return (result, ended) };
            let Some(wait) = retry.wait(attempt, deadline, ended) else { return (result, ended) };
            pin!(time::sleep(wait)).await;
            now = time::now();
        }
    }

    /// Asks the breaker, and makes the future of one attempt where it lets it through.
    #[inline]
    fn begin<F>(&self, now: Instant, number: u32, make: impl FnOnce(u32) -> F) -> Result<Begun<'_, F>, Rejected> {
        let permit = self.breaker.as_ref().map(|breaker| breaker.acquire(now)).transpose()?;
        Ok(Begun { permit, future: make(number) })
    }

    /// Until when an attempt that begins now may take.
    #[inline]
    fn until(&self, deadline: Deadline, now: Instant) -> Deadline {
        let per_try = self.retry.as_ref().and_then(|retry| retry.per_try_timeout);
        per_try.map_or(deadline, |timeout| deadline.earliest(Deadline::after(now, timeout)))
    }
}

struct Begun<'a, F> {
    permit: Option<breaker::Permit<'a>>,
    future: F,
}

/// Runs one attempt, and tells the breaker how it went.
#[inline]
async fn run<T, E, F>(
    begun: Result<Begun<'_, F>, Rejected>,
    until: Deadline,
    judge: &impl Fn(&Result<T, E>) -> Verdict,
) -> Attempted<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let Begun { permit, future } = match begun {
        Ok(begun) => begun,
        Err(rejected) => {
            let result = Err(Error::Breaker(rejected));
            return Attempted { verdict: Verdict::Ignored, result, ended: time::now() };
        }
    };
    let result = until.within(future).await;
    let ended = time::now();
    let verdict = result.as_ref().map_or(Verdict::Bad, judge);
    let outcome = match verdict {
        Verdict::Good => Some(Outcome::Success),
        Verdict::Bad => Some(Outcome::Failure),
        Verdict::Ignored => None,
    };
    if let (Some(permit), Some(outcome)) = (permit, outcome) {
        permit.record(outcome, ended);
    }
    let result = result.map_or(Err(Error::DeadlineExceeded), |result| result.map_err(Error::Failed));
    Attempted { verdict, result, ended }
}

impl Retry {
    fn new(policy: &RetryPolicy) -> Self {
        Self {
            attempts_max: policy.attempts_max,
            backoff: policy.backoff,
            budget: Budget::new(policy),
            per_try_timeout: policy.per_try_timeout,
        }
    }

    /// How long to wait before the attempt after that one; `None` where there is none.
    fn wait(&self, attempt: u32, deadline: Deadline, now: Instant) -> Option<Duration> {
        let wait = retry::backoff(&self.backoff, attempt, rand::unit());
        let is_worth_it = attempt < self.attempts_max && wait < deadline.remaining(now);
        (is_worth_it && self.budget.try_withdraw(now)).then_some(wait)
    }
}

impl<E> Error<E> {
    /// Of what the patterns say; `None` where the call itself failed.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Failed(_) => None,
            Self::DeadlineExceeded => Some(Code::DeadlineExceeded),
            Self::Bulkhead(refused) => Some(refused.code()),
            Self::Breaker(rejected) => Some(rejected.code()),
        }
    }

    /// Whether it is worth trying again, elsewhere or later; `None` where the call itself failed.
    pub fn retryable(&self) -> Option<bool> {
        match self {
            Self::Failed(_) => None,
            Self::DeadlineExceeded => Some(false),
            Self::Bulkhead(refused) => Some(refused.retryable()),
            Self::Breaker(rejected) => Some(rejected.retryable()),
        }
    }

    /// Whether it says that the callee has too much to do.
    fn is_overload(&self) -> bool {
        matches!(self, Self::DeadlineExceeded)
    }
}

impl<E> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "the call failed",
            Self::DeadlineExceeded => "the call was not answered in time",
            Self::Bulkhead(_) => "the call found no place",
            Self::Breaker(_) => "the callee is left alone for a while",
        })
    }
}

impl<E: error::Error + 'static> error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::DeadlineExceeded => None,
            Self::Bulkhead(refused) => Some(refused),
            Self::Breaker(rejected) => Some(rejected),
        }
    }
}
