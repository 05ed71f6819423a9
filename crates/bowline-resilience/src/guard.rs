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
//!   again: it would only be refused again. Where it refuses a further attempt, the failure before is told;
//! - **hedged** attempts are each asked of the breaker and counted by it, as retries are;
//! - the **time of one attempt** is innermost, so that what it cuts off can be tried again.
//!
//! **Cost**: breaker, bulkhead and deadline around a call that is ready at once take no lock, no timer and no allocation.
//! Where nothing is measured (no `slow_call`, no range for the bulkhead, no hedging) such a call reads the coarse clock
//! alone, which lags by 10 ms at most: enough to tell the breaker in which bucket of its window the call is. When a call
//! is first found pending the clock is read, its deadline is counted from there, and the timer is armed.

use std::{error, fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll};

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
    clock: Clock,
}

/// What tells when a call began.
#[derive(Debug)]
struct Clock {
    /// Something is measured from there.
    is_exact: bool,
    /// Both clocks at one moment.
    anchor: Instant,
    anchor_coarse: u64,
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
        let is_measured = bulkhead.as_ref().is_some_and(|it| it.calls_max.min < it.calls_max.max)
            || breaker.as_ref().is_some_and(|it| it.slow_call.is_some())
            || hedge.is_some();
        Self {
            clock: Clock::new(is_measured),
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
    pub fn call<T, E, F>(&self, make: impl FnMut(u32) -> F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let judge = |result: &Result<T, E>| if result.is_ok() { Verdict::Good } else { Verdict::Bad };
        self.call_as(Call::default(), judge, make)
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
        mut make: impl FnMut(u32) -> F,
    ) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut now = self.clock.now();
        let mut deadline = self.clock.is_exact.then(|| self.deadline(call, now));
        let mut place = None;
        if let Some(bulkhead) = &self.bulkhead {
            place = bulkhead.try_acquire(now);
            if place.is_none() {
                place = Some(self.wait(bulkhead, call, &mut deadline).await.map_err(Error::Bulkhead)?);
                // What is waited here is no time of the callee's.
                now = time::now();
            }
        }
        let retry = self.retry.as_ref().filter(|_| call.is_repeatable);
        let hedge = self.hedge.as_ref().filter(|_| call.is_repeatable);
        if let Some(retry) = retry {
            retry.budget.deposit(now);
        }
        if let Some(hedge) = hedge {
            hedge.deposit(now);
        }
        let (mut attempt, mut number, mut last) = (0, 0, None);
        let Attempted { verdict, result, ended } = loop {
            attempt += 1;
            let made = match hedge {
                None => match self.permit(now) {
                    Err(rejected) => Attempted::rejected(rejected, now),
                    Ok(permit) => {
                        let mut future = pin!(make(attempt));
                        let (result, ended) = match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
                            Poll::Ready(result) => (Some(result), self.clock.again(now)),
                            Poll::Pending => {
                                let now = self.clock.exact(now);
                                let deadline = *deadline.get_or_insert_with(|| self.deadline(call, now));
                                (self.until(deadline, now).within_pending(future).await, time::now())
                            }
                        };
                        ended_with(permit, result, ended, &judge)
                    }
                },
                Some(hedge) => {
                    let until = self.until(*deadline.get_or_insert_with(|| self.deadline(call, now)), now);
                    let mut begin = |sent| {
                        number += 1;
                        let now = if sent == 1 { now } else { time::now() };
                        run(self.begin(now, number, &mut make), now, until, &judge)
                    };
                    // Several futures take room: only who hedges pays for it.
                    Box::pin(hedge.race(&mut begin, is_worth_keeping)).await
                }
            };
            // The failure before says more than that the breaker, which it may have opened, is open.
            if matches!(made.result, Err(Error::Breaker(_))) {
                break last.unwrap_or(made);
            }
            let Some(retry) = retry.filter(|_| made.verdict == Verdict::Bad) else { break made };
            let deadline = *deadline.get_or_insert_with(|| self.deadline(call, time::now()));
            let Some(wait) = retry.wait(attempt, deadline, made.ended) else { break made };
            last = Some(made);
            pin!(time::sleep(wait)).await;
            now = time::now();
        };
        if let Some(place) = place {
            leave(place, verdict, attempt, matches!(result, Err(Error::DeadlineExceeded)), ended);
        }
        result
    }

    /// Waits for a place; the call's deadline is counted from here at the latest.
    #[cold]
    fn wait<'a>(
        &self,
        bulkhead: &'a Bulkhead,
        call: Call,
        deadline: &mut Option<Deadline>,
    ) -> impl Future<Output = Result<bulkhead::Permit<'a>, bulkhead::Refused>> + use<'a> {
        let now = time::now();
        bulkhead.acquire_by(*deadline.get_or_insert_with(|| self.deadline(call, now)), now)
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

    /// Asks the breaker, where there is one.
    #[inline]
    fn permit(&self, now: Instant) -> Result<Option<breaker::Permit<'_>>, Rejected> {
        self.breaker.as_ref().map(|breaker| breaker.acquire(now)).transpose()
    }

    /// Asks the breaker, and makes the future of one attempt where it lets it through.
    #[inline]
    fn begin<F>(&self, now: Instant, number: u32, make: impl FnOnce(u32) -> F) -> Result<Begun<'_, F>, Rejected> {
        Ok(Begun { permit: self.permit(now)?, future: make(number) })
    }

    /// The earlier of the caller's deadline and the policy's.
    fn deadline(&self, call: Call, now: Instant) -> Deadline {
        let ours = Deadline::after(now, self.timeout);
        call.deadline.map_or(ours, |theirs| theirs.earliest(ours))
    }

    /// Until when an attempt that begins now may take.
    fn until(&self, deadline: Deadline, now: Instant) -> Deadline {
        let per_try = self.retry.as_ref().and_then(|retry| retry.per_try_timeout);
        per_try.map_or(deadline, |timeout| deadline.earliest(Deadline::after(now, timeout)))
    }
}

struct Begun<'a, F> {
    permit: Option<breaker::Permit<'a>>,
    future: F,
}

/// Runs one attempt of several.
async fn run<T, E, F>(
    begun: Result<Begun<'_, F>, Rejected>,
    now: Instant,
    until: Deadline,
    judge: &impl Fn(&Result<T, E>) -> Verdict,
) -> Attempted<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    match begun {
        Ok(Begun { permit, future }) => {
            let result = until.within(future).await;
            ended_with(permit, result, time::now(), judge)
        }
        Err(rejected) => Attempted::rejected(rejected, now),
    }
}

impl<T, E> Attempted<T, E> {
    /// The breaker refused it: nothing was sent.
    fn rejected(rejected: Rejected, now: Instant) -> Self {
        Self { verdict: Verdict::Ignored, result: Err(Error::Breaker(rejected)), ended: now }
    }
}

/// Whether it ends the race of a hedged call: what the breaker refused was not sent, and does not win against what was.
fn is_worth_keeping<T, E>(attempted: &Attempted<T, E>) -> bool {
    attempted.verdict != Verdict::Bad && !matches!(attempted.result, Err(Error::Breaker(_)))
}

/// Gives a call's place back. What fails says nothing of how long work takes, nor does what waited for another attempt.
#[inline]
fn leave(place: bulkhead::Permit<'_>, verdict: Verdict, attempts: u32, is_late: bool, ended: Instant) {
    if is_late {
        place.record(true, ended);
    } else if verdict == Verdict::Good && attempts == 1 {
        place.record(false, ended);
    }
}

/// Tells the breaker how an attempt went; without a result its time was over.
#[inline]
fn ended_with<T, E>(
    permit: Option<breaker::Permit<'_>>,
    result: Option<Result<T, E>>,
    ended: Instant,
    judge: &impl Fn(&Result<T, E>) -> Verdict,
) -> Attempted<T, E> {
    let verdict = result.as_ref().map_or(Verdict::Bad, judge);
    if let Some(permit) = permit {
        match verdict {
            Verdict::Good => permit.record(Outcome::Success, ended),
            Verdict::Bad => permit.record(Outcome::Failure, ended),
            Verdict::Ignored => drop(permit),
        }
    }
    let result = result.map_or(Err(Error::DeadlineExceeded), |result| result.map_err(Error::Failed));
    Attempted { verdict, result, ended }
}

impl Clock {
    fn new(is_exact: bool) -> Self {
        Self { is_exact, anchor: time::now(), anchor_coarse: time::coarse() }
    }

    /// Now, as exactly as it is needed.
    #[inline]
    fn now(&self) -> Instant {
        if self.is_exact {
            time::now()
        } else {
            self.anchor + Duration::from_millis(time::coarse().saturating_sub(self.anchor_coarse))
        }
    }

    /// The same a moment later, after what was ready at once.
    #[inline]
    fn again(&self, before: Instant) -> Instant {
        if self.is_exact { time::now() } else { before }
    }

    /// Exactly when that was; of what was not read exactly, now.
    fn exact(&self, read: Instant) -> Instant {
        if self.is_exact { read } else { time::now() }
    }
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
