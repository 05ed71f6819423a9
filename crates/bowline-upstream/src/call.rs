//! One call: its attempts, and whether there is another.

use std::{mem, time::Duration};

use bowline_balance::Member as Entry;
use bowline_model::policy::Repeat;
use bowline_resilience::{
    deadline::Deadline,
    retry::{self, Pushback},
};
use bowline_runtime::{
    rand,
    time::{self, Instant},
};
use bowline_telemetry::{Span, names, propagation};
use bowline_transport::{Body, Pool};
use http::request::Parts;
use http_body_util::BodyExt as _;

use crate::{
    active::Plan,
    attempt::{Answer, Attempt, Made, Said, is_pool_full, is_reset, write_timeout},
    error::Error,
    member::Member,
    metrics::Outcome,
    mirror::Mirror,
    pick::{Picked, Tried, Wish},
    upstream::Upstream,
};

/// The longest body that is read up front so that it can be sent again.
pub(crate) const REPLAYED_BYTES_MAX: u64 = 64 * 1024;

/// The time of a call whose policy gives it more than can be counted.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// One call under way.
pub(crate) struct Call<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) plan: Plan,
    pub(crate) head: Parts,
    pub(crate) body: Body,
    span: &'a mut Span,
    /// Whether the request may reach an instance twice.
    is_repeatable: bool,
    /// Attempts that were begun.
    pub(crate) attempt: u32,
    /// Those that failed, oldest first. Allocates at the first failure only.
    pub(crate) tried: Vec<Tried>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(upstream: &'a Upstream, plan: Plan, head: Parts, body: Body, span: &'a mut Span) -> Self {
        let mut head = head;
        if let Some(context) = span.passed_on() {
            propagation::inject(context, &mut head.headers);
        }
        let has_key = head.headers.contains_key("idempotency-key");
        let is_repeatable = plan.repeat == Repeat::All || retry::is_idempotent(head.method.as_str(), has_key);
        Self { upstream, plan, head, body, span, is_repeatable, attempt: 0, tried: Vec::new() }
    }

    /// Attempts until there is an answer to keep, or no hope.
    pub(crate) async fn run<P: Pool>(&mut self, pool: &P) -> Answer<P> {
        let mirror = self.plan.mirror.take();
        let is_hedged = self.plan.hedge.is_some() && self.is_repeatable;
        if self.plan.attempts_max > 1 || mirror.is_some() || is_hedged {
            self.read_body().await?;
        }
        if let Some(mirror) = mirror {
            self.copy(pool, &mirror);
        }
        // Kept whole while we wait, as it is what the caller gets if there is nobody to ask then.
        let mut last: Option<Answer<P>> = None;
        let mut tries = 0;
        loop {
            let now = time::now();
            // The failure before says more than that there is no time, or nobody, left to ask.
            if self.is_too_late(now) {
                return last.unwrap_or_else(|| Err(self.upstream.timed_out()));
            }
            let picked = match self.upstream.pick(now, &self.wish()) {
                Ok(picked) => picked,
                Err(error) => return last.unwrap_or(Err(error)),
            };
            drop(last.take());
            tries += 1;
            let has_next = tries < self.plan.attempts_max;
            let again = if has_next { self.body.as_replayable() } else { None };
            let made = if is_hedged && self.body.as_replayable().is_some() {
                self.race(pool, picked, now).await
            } else {
                self.attempt(pool, picked, now).await
            };
            if !has_next || !self.is_worth_another(&made) {
                return made.answer;
            }
            let is_unreached = made.outcome == Outcome::Connect;
            if let Some(again) = again {
                self.body = again;
            } else if (!is_unreached && !is_pool_full(&made.answer)) || made.answer.is_ok() {
                // The body is on its way, and cannot be had again: only where nobody was reached it is whole.
                return made.answer;
            }
            let Made { member, answer, is_in_line, pushback, .. } = made;
            self.tried.push(Tried { member, is_unreachable: is_unreached });
            let Some(wait) = self.wait_before_next(tries, is_unreached || is_in_line, pushback) else { return answer };
            if !wait.is_zero() {
                time::sleep(wait).await;
            }
            last = Some(answer);
        }
    }

    /// Whom it asks next.
    pub(crate) fn wish(&self) -> Wish<'_> {
        Wish { tried: &self.tried, key: self.plan.key, guard: self.plan.guard.as_deref(), is_another: false }
    }

    /// Reads a small body of known length, so that it can be sent again, and with the head.
    async fn read_body(&mut self) -> Result<(), Error> {
        let is_small = self.body.len_hint().is_some_and(|length| length <= REPLAYED_BYTES_MAX);
        if !is_small || self.body.as_replayable().is_some() {
            return Ok(());
        }
        let collected = time::timeout_at(self.plan.deadline, mem::take(&mut self.body).collect()).await;
        let collected = collected.map_err(|_| self.upstream.starved())?;
        let failed = |source| self.upstream.failed(bowline_transport::Error::request_body(source));
        let collected = collected.map_err(failed)?;
        // Trailers come behind a stream only; it can be sent once.
        let has_trailers = collected.trailers().is_some();
        self.body = if has_trailers { Body::stream(collected) } else { Body::full(collected.to_bytes()) };
        Ok(())
    }

    /// Sends a copy of the request to the mirrored version.
    fn copy<P: Pool>(&mut self, pool: &P, mirror: &Mirror) {
        let now = time::now();
        if !self.is_too_late(now) {
            write_timeout(&mut self.head.headers, self.plan.deadline, now);
            mirror.copy(pool, &self.head, &self.body, self.plan.deadline, now);
        }
    }

    /// One attempt, noted on the span.
    async fn attempt<P: Pool>(&mut self, pool: &P, picked: Picked, started: Instant) -> Made<P> {
        self.attempt += 1;
        let attempt = Attempt { upstream: self.upstream, plan: &self.plan, picked, started };
        let made = attempt.make(pool, &mut self.head, &mut self.body).await;
        self.note(self.attempt, &made);
        made
    }

    /// Whether what is left of the call's time is not worth an attempt: below a millisecond.
    pub(crate) fn is_too_late(&self, now: Instant) -> bool {
        Deadline::at(self.plan.deadline).encode(now) == 0
    }

    /// Whether another attempt may do better, and may be made.
    pub(crate) fn is_worth_another<P: Pool>(&self, made: &Made<P>) -> bool {
        match made.outcome {
            // Nothing was sent; behind another instance's line there may be room.
            Outcome::Caller => made.is_in_line && self.has_other(),
            Outcome::Connect | Outcome::Refused => true,
            // Who says so may have handed on what another said.
            Outcome::Timeout | Outcome::Shed => self.is_repeatable,
            Outcome::Reset => self.is_repeatable && is_reset(&made.answer),
            Outcome::Ok | Outcome::ServerError => self.is_repeatable && made.is_retried,
            Outcome::Superseded => false,
        }
    }

    /// Whether there is an instance that was not tried, beside the one that is tried now.
    fn has_other(&self) -> bool {
        self.upstream.eligible_count() > self.tried.len() + 1
    }

    /// How long to wait for the next attempt; `None` when there is no time or no budget for it: what was not sent
    /// needs none.
    ///
    /// An instance that says when it is to be asked again is heeded: by gRPC's word and that of a 429, which speak of
    /// the caller, always; by another, which speaks of the instance, where there is no other to ask.
    fn wait_before_next(&self, tries: u32, is_unsent: bool, pushback: Option<Said>) -> Option<Duration> {
        let has_other = self.upstream.eligible_count() > self.tried.len();
        let mut wait = if is_unsent && has_other {
            Duration::ZERO
        } else {
            retry::backoff(&self.plan.backoff, tries, rand::unit())
        };
        match pushback.filter(|said| said.speaks_of_caller || !has_other).map(|said| said.pushback) {
            Some(Pushback::Never) => return None,
            Some(Pushback::After(least)) => wait = wait.max(least),
            None => {}
        }
        let now = time::now();
        if now.checked_add(wait).is_none_or(|then| then >= self.plan.deadline) {
            return None;
        }
        if !is_unsent && !self.upstream.withdraw(now) {
            self.upstream.metrics.retries_refused.increment();
            return None;
        }
        self.upstream.metrics.retries.increment();
        Some(wait)
    }

    /// Notes an attempt on the span.
    pub(crate) fn note<P: Pool>(&mut self, number: u32, made: &Made<P>) {
        let Made { member, outcome, elapsed, .. } = made;
        self.note_outcome(number, member, *outcome, *elapsed);
        self.span.set_with(names::BOWLINE_INSTANCE, || member.instance.id.as_str().to_owned());
        if self.plan.is_split {
            self.span.set_with(names::BOWLINE_VERSION, || member.instance.version.clone());
        }
    }

    /// Notes what came of an attempt on the span.
    pub(crate) fn note_outcome(&mut self, number: u32, member: &Entry<Member>, outcome: Outcome, elapsed: Duration) {
        self.span.event_with(names::EVENT_ATTEMPT, || {
            vec![
                (names::BOWLINE_ATTEMPT.into(), i64::from(number).into()),
                (names::BOWLINE_INSTANCE.into(), member.instance.id.as_str().to_owned().into()),
                (names::BOWLINE_ADDRESS.into(), member.instance.address.to_string().into()),
                (names::BOWLINE_OUTCOME.into(), outcome.as_str().into()),
                (names::BOWLINE_DURATION_NANOS.into(), i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX).into()),
            ]
        });
    }

    /// Notes the end of the call on the span.
    pub(crate) fn conclude<P: Pool>(&mut self, answer: &Answer<P>) {
        self.span.set(names::BOWLINE_ATTEMPTS, i64::from(self.attempt));
        if let Err(error) = answer {
            self.span.set(names::BOWLINE_REASON, error.reason());
        }
    }
}
