//! One call: its attempts, and whether there is another.

use std::{mem, time::Duration};

use bowline_balance::Member as Entry;
use bowline_resilience::{
    breaker::{self, OwnedPermit},
    deadline::{Deadline, TIMEOUT_HEADER},
    retry,
};
use bowline_runtime::{
    rand,
    time::{self, Instant},
};
use bowline_telemetry::{Span, names, propagation};
use bowline_transport::{Body, Kind, Pool, send_parts};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};
use http_body_util::BodyExt as _;

use crate::{
    body::ResponseBody,
    error::{Error, REASON_CONNECT},
    member::Member,
    metrics::Outcome,
    mirror::Mirror,
    pick::{Picked, Tried},
    upstream::{Plan, Upstream},
};

/// The longest body that is read up front so that it can be sent again.
pub(crate) const REPLAYED_BYTES_MAX: u64 = 64 * 1024;

/// The time of a call whose policy gives it more than can be counted.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_hours(24);

const TIMEOUT: HeaderName = HeaderName::from_static(TIMEOUT_HEADER);

/// One call under way.
pub(crate) struct Call<'a> {
    upstream: &'a Upstream,
    plan: Plan,
    head: Parts,
    body: Body,
    span: &'a mut Span,
    /// Whether the request may reach an instance twice.
    is_repeatable: bool,
    attempt: u32,
    /// Those that failed, oldest first. Allocates at the first failure only.
    tried: Vec<Tried>,
}

type Answer<P> = Result<Response<ResponseBody<P>>, Error>;

impl<'a> Call<'a> {
    pub(crate) fn new(upstream: &'a Upstream, plan: Plan, request: Request<Body>, span: &'a mut Span) -> Self {
        let (mut head, body) = request.into_parts();
        if let Some(context) = span.passed_on() {
            propagation::inject(context, &mut head.headers);
        }
        let has_key = head.headers.contains_key("idempotency-key");
        let is_repeatable = retry::is_idempotent(head.method.as_str(), has_key);
        Self { upstream, plan, head, body, span, is_repeatable, attempt: 0, tried: Vec::new() }
    }

    /// Attempts until there is an answer to keep, or no hope.
    pub(crate) async fn run<P: Pool>(&mut self, pool: &P) -> Answer<P> {
        let mirror = self.plan.mirror.take();
        if self.plan.attempts_max > 1 || mirror.is_some() {
            self.read_body().await?;
        }
        if let Some(mirror) = mirror {
            self.copy(pool, &mirror);
        }
        // Kept whole while we wait, as it is what the caller gets if there is nobody to ask then.
        let mut last: Option<Answer<P>> = None;
        loop {
            let now = time::now();
            // The failure before says more than that there is no time, or nobody, left to ask.
            if self.is_too_late(now) {
                return last.unwrap_or_else(|| Err(self.timed_out()));
            }
            let picked = match self.upstream.pick(now, &self.tried) {
                Ok(picked) => picked,
                Err(error) => return last.unwrap_or(Err(error)),
            };
            drop(last.take());
            self.attempt += 1;
            let has_next = self.attempt < self.plan.attempts_max;
            let again = if has_next { self.body.as_replayable() } else { None };
            let Picked { member, permit } = picked;
            let (answer, outcome) = self.attempt(pool, &member, permit, now).await;
            // Neither the caller's nor the instance's doing: it did not get beyond our own line.
            let is_in_line = is_pool_full(&answer) || self.body.is_in_line();
            if !has_next || !self.is_worth_another(&answer, outcome, is_in_line) {
                return answer;
            }
            if let Some(again) = again {
                self.body = again;
            } else if (outcome != Outcome::Connect && !is_pool_full(&answer)) || answer.is_ok() {
                // The body is on its way, and cannot be had again: only where nobody was reached it is whole.
                return answer;
            }
            self.tried.push(Tried { member, is_unreachable: outcome == Outcome::Connect });
            let Some(wait) = self.wait_before_next(outcome == Outcome::Connect || is_in_line) else { return answer };
            if !wait.is_zero() {
                time::sleep(wait).await;
            }
            last = Some(answer);
        }
    }

    /// Reads a small body of known length, so that it can be sent again, and with the head.
    async fn read_body(&mut self) -> Result<(), Error> {
        let is_small = self.body.len_hint().is_some_and(|length| length <= REPLAYED_BYTES_MAX);
        if !is_small || self.body.as_replayable().is_some() {
            return Ok(());
        }
        let collected = time::timeout_at(self.plan.deadline, mem::take(&mut self.body).collect()).await;
        let collected = collected.map_err(|_| self.starved())?;
        let failed = |source| self.failed(bowline_transport::Error::request_body(source));
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
            self.write_timeout(self.plan.deadline, now);
            mirror.copy(pool, &self.head, &self.body, self.plan.deadline, now);
        }
    }

    /// One attempt, with all that has to be remembered of it.
    async fn attempt<P: Pool>(
        &mut self,
        pool: &P,
        member: &Entry<Member>,
        permit: Option<OwnedPermit>,
        started: Instant,
    ) -> (Answer<P>, Outcome) {
        let deadline = self.attempt_deadline(started);
        let mut in_flight = member.begin(started);
        self.write_timeout(deadline, started);
        let is_streamed = self.body.is_stream();
        let sending = send_parts(pool, Member::endpoint_of(member), &self.head, &mut self.body);
        let sent = time::timeout_at(deadline, sending).await.ok();
        let now = time::now();
        let is_verified = member.state.endpoint.tls.is_some();
        // Neither the caller's own body nor our own line is the instance's slowness.
        let is_ours = self.body.is_starved() || self.body.is_in_line();
        let outcome = if is_ours { Outcome::Caller } else { outcome(sent.as_ref(), is_verified) };
        let elapsed = now.saturating_duration_since(started);
        // A body that streams takes the time that its sender takes: that is not the instance's slowness.
        let is_senders_time = is_streamed && outcome == Outcome::Ok && elapsed >= self.plan.patience;
        let verdict = if is_senders_time { None } else { self.verdict(outcome, elapsed) };
        member.state.record(permit, verdict, now);
        if outcome != Outcome::Caller {
            in_flight.record(now, outcome == Outcome::Ok);
        }
        member.state.attempts.count(outcome);
        self.note(member, outcome, elapsed);
        let answer = match sent {
            Some(Ok(response)) => Ok(response.map(|body| ResponseBody::new(body, in_flight, is_verified))),
            Some(Err(source)) => Err(self.failed(source)),
            None if self.body.is_starved() => Err(self.starved()),
            None => Err(self.timed_out()),
        };
        (answer, outcome)
    }

    /// What the breaker is told; nothing where the instance is not to blame, or was given too little
    /// time to tell.
    fn verdict(&self, outcome: Outcome, elapsed: Duration) -> Option<breaker::Outcome> {
        match outcome {
            Outcome::Ok => Some(breaker::Outcome::Success),
            Outcome::Timeout if elapsed < self.plan.patience => None,
            Outcome::Caller => None,
            Outcome::ServerError | Outcome::Connect | Outcome::Refused | Outcome::Reset | Outcome::Timeout => {
                Some(breaker::Outcome::Failure)
            }
        }
    }

    fn attempt_deadline(&self, started: Instant) -> Instant {
        let per_try = self.plan.per_try_timeout.and_then(|timeout| started.checked_add(timeout));
        per_try.map_or(self.plan.deadline, |per_try| per_try.min(self.plan.deadline))
    }

    /// Whether what is left of the call's time is not worth an attempt: below a millisecond.
    fn is_too_late(&self, now: Instant) -> bool {
        Deadline::at(self.plan.deadline).encode(now) == 0
    }

    fn timed_out(&self) -> Error {
        Error::Timeout { service: self.upstream.service().clone() }
    }

    /// The time is over, and the caller's own body is what was waited for.
    fn starved(&self) -> Error {
        self.failed(bowline_transport::Error::request_body("body did not come in time"))
    }

    fn failed(&self, source: bowline_transport::Error) -> Error {
        Error::Transport { service: self.upstream.service().clone(), source }
    }

    /// Tells the instance how long we wait.
    fn write_timeout(&mut self, deadline: Instant, now: Instant) {
        let millis = Deadline::at(deadline).encode(now).max(1);
        self.head.headers.insert(TIMEOUT, decimal(millis));
    }

    /// Whether another attempt may do better, and may be made.
    fn is_worth_another<P: Pool>(&self, answer: &Answer<P>, outcome: Outcome, is_in_line: bool) -> bool {
        match outcome {
            Outcome::Ok => false,
            // Nothing was sent; behind another instance's line there may be room.
            Outcome::Caller => is_in_line && self.has_other(),
            Outcome::Connect | Outcome::Refused => true,
            Outcome::Timeout => self.is_repeatable,
            Outcome::Reset => self.is_repeatable && is_reset(answer),
            Outcome::ServerError => self.is_repeatable && answer.as_ref().is_ok_and(|a| is_transient(a.status())),
        }
    }

    /// Whether there is an instance that was not tried, beside the one that is tried now.
    fn has_other(&self) -> bool {
        self.upstream.eligible_count() > self.tried.len() + 1
    }

    /// How long to wait for the next attempt; `None` when there is no time or no budget for it: what was not sent
    /// needs none.
    fn wait_before_next(&self, is_unsent: bool) -> Option<Duration> {
        let has_other = self.upstream.eligible_count() > self.tried.len();
        let wait = if is_unsent && has_other {
            Duration::ZERO
        } else {
            retry::backoff(&self.plan.backoff, self.attempt, rand::unit())
        };
        let now = time::now();
        if now + wait >= self.plan.deadline {
            return None;
        }
        if !is_unsent && !self.upstream.withdraw(now) {
            self.upstream.metrics.retries_refused.increment();
            return None;
        }
        self.upstream.metrics.retries.increment();
        Some(wait)
    }

    /// Notes the attempt on the span.
    fn note(&mut self, member: &Entry<Member>, outcome: Outcome, elapsed: Duration) {
        let attempt = i64::from(self.attempt);
        self.span.event_with(names::EVENT_ATTEMPT, || {
            vec![
                (names::BOWLINE_ATTEMPT.into(), attempt.into()),
                (names::BOWLINE_INSTANCE.into(), member.instance.id.as_str().to_owned().into()),
                (names::BOWLINE_ADDRESS.into(), member.instance.address.to_string().into()),
                (names::BOWLINE_OUTCOME.into(), outcome.as_str().into()),
                (names::BOWLINE_DURATION_NANOS.into(), i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX).into()),
            ]
        });
        self.span.set_with(names::BOWLINE_INSTANCE, || member.instance.id.as_str().to_owned());
        if self.plan.is_split {
            self.span.set_with(names::BOWLINE_VERSION, || member.instance.version.clone());
        }
    }

    /// Notes the end of the call on the span.
    pub(crate) fn conclude<P: Pool>(&mut self, answer: &Answer<P>) {
        self.span.set(names::BOWLINE_ATTEMPTS, i64::from(self.attempt));
        if let Err(error) = answer {
            self.span.set(names::BOWLINE_REASON, error.reason());
        }
    }
}

impl Outcome {
    /// What came of sending; nothing in time is `None`.
    pub(crate) fn of(sent: Option<Result<StatusCode, &bowline_transport::Error>>) -> Self {
        match sent {
            None => Self::Timeout,
            Some(Ok(status)) if status.is_server_error() => Self::ServerError,
            Some(Ok(_)) => Self::Ok,
            Some(Err(error)) if error.is_connect() => Self::Connect,
            Some(Err(error)) => match error.kind() {
                // Those that wait are our own: the instance is not to blame.
                Kind::RequestBody | Kind::Unsupported | Kind::PoolFull => Self::Caller,
                Kind::Refused => Self::Refused,
                _ => Self::Reset,
            },
        }
    }
}

/// What came of an attempt.
///
/// A sidecar that could not reach its application has shown it nothing: that is a connection that was not
/// made, one hop further on. Only who is verified is believed that, since a sidecar takes away what its
/// application says in Bowline's name.
fn outcome<B>(sent: Option<&Result<Response<B>, bowline_transport::Error>>, is_verified: bool) -> Outcome {
    match sent {
        Some(Ok(response)) if is_verified && says_unreached(response) => Outcome::Connect,
        sent => Outcome::of(status_of(sent)),
    }
}

fn says_unreached<B>(response: &Response<B>) -> bool {
    let reason = || response.headers().get(names::REASON_HEADER);
    matches!(response.status(), StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE)
        && reason().is_some_and(|reason| reason == REASON_CONNECT)
}

/// Whether our own line to the instance was as long as may be.
fn is_pool_full<B>(answer: &Result<Response<B>, Error>) -> bool {
    matches!(answer, Err(Error::Transport { source, .. }) if source.kind() == Kind::PoolFull)
}

fn status_of<B, E>(sent: Option<&Result<Response<B>, E>>) -> Option<Result<StatusCode, &E>> {
    sent.map(|sent| sent.as_ref().map(Response::status))
}

/// A number as a header's value, with one allocation (`HeaderValue::from` takes two).
fn decimal(mut number: u64) -> HeaderValue {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            return HeaderValue::from_bytes(&digits[start..]).expect("digits are a header's value");
        }
    }
}

/// Answers that another instance may not give.
fn is_transient(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// Whether there was no answer, rather than a malformed one.
fn is_reset<P: Pool>(answer: &Answer<P>) -> bool {
    matches!(answer, Err(Error::Transport { source, .. }) if source.retryable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 1, 10, 999, 86_400_000, u64::MAX] {
            assert_eq!(decimal(number), number.to_string());
        }
    }

    #[test]
    fn a_sidecar_that_reached_nobody_is_a_connection_that_was_not_made() {
        let of = |status: u16, reason: Option<&str>, is_verified| {
            let mut response = Response::builder().status(status);
            if let Some(reason) = reason {
                response = response.header(names::REASON_HEADER, reason);
            }
            outcome(Some(&Ok(response.body(()).unwrap())), is_verified)
        };
        for status in [502, 503] {
            assert_eq!(of(status, Some("upstream_connect"), true), Outcome::Connect);
            assert_eq!(of(status, Some("upstream_connect"), false), Outcome::ServerError, "anybody may say so");
            for reason in [None, Some("upstream_reset"), Some("fault"), Some("timeout")] {
                assert_eq!(of(status, reason, true), Outcome::ServerError, "{reason:?}");
            }
        }
        assert_eq!(of(500, Some("upstream_connect"), true), Outcome::ServerError);
        assert_eq!(of(200, Some("upstream_connect"), true), Outcome::Ok);
    }
}
