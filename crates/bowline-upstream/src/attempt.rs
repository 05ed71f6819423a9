//! One attempt: a request on its way to one instance, and all that has to be remembered of it.

use std::{sync::Arc, time::Duration};

use bowline_balance::Member as Entry;
use bowline_model::policy::GrpcCode;
use bowline_resilience::{
    breaker,
    deadline::{Deadline, GRPC_TIMEOUT_HEADER, TIMEOUT_HEADER},
    outcome::Verdict,
    retry::{self, Pushback},
    shed,
};
use bowline_runtime::time::{self, Instant};
use bowline_telemetry::names;
use bowline_transport::{Body, Kind, Pool, send_parts};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};

use crate::{
    active::Plan,
    body::ResponseBody,
    error::{Error, REASON_CONNECT},
    member::Member,
    metrics::Outcome,
    pick::Picked,
    upstream::Upstream,
};

const TIMEOUT: HeaderName = HeaderName::from_static(TIMEOUT_HEADER);
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static(GRPC_TIMEOUT_HEADER);

pub(crate) type Answer<P> = Result<Response<ResponseBody<P>>, Error>;

/// An attempt that is about to be made.
pub(crate) struct Attempt<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) plan: &'a Plan,
    pub(crate) picked: Picked,
    pub(crate) started: Instant,
}

/// What came of an attempt.
pub(crate) struct Made<P: Pool> {
    pub(crate) member: Arc<Entry<Member>>,
    pub(crate) answer: Answer<P>,
    pub(crate) outcome: Outcome,
    pub(crate) elapsed: Duration,
    /// Whether it did not get beyond our own line: neither the caller's nor the instance's doing.
    pub(crate) is_in_line: bool,
    /// Whether it is an answer that the policy tries again.
    pub(crate) is_retried: bool,
    /// When the instance says it is to be asked again.
    pub(crate) pushback: Option<Said>,
}

/// When an instance says it is to be asked again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    pub(crate) pushback: Pushback,
    /// Whether it speaks of who calls, not of itself: another instance would say the same.
    pub(crate) speaks_of_caller: bool,
}

impl Attempt<'_> {
    /// Sends the request and waits for the head of the answer.
    ///
    /// # Cancel safety
    /// Dropping the future gives back the permit and the place in the load; the attempt counts as nothing.
    pub(crate) async fn make<P: Pool>(self, pool: &P, head: &mut Parts, body: &mut Body) -> Made<P> {
        let Self { upstream, plan, picked: Picked { member, permit }, started } = self;
        let deadline = plan.attempt_deadline(started);
        let mut in_flight = member.begin(started);
        write_timeout(&mut head.headers, deadline, started);
        let is_streamed = body.is_stream();
        let sending = send_parts(pool, Member::endpoint_of(&member), head, body);
        let sent = time::timeout_at(deadline, sending).await.ok();
        let now = time::now();
        let is_verified = member.state.endpoint.tls.is_some();
        // Neither the caller's own body nor our own line is the instance's slowness.
        let is_ours = body.is_starved() || body.is_in_line();
        let head_of_answer = sent.as_ref().and_then(|sent| sent.as_ref().ok());
        let judged = head_of_answer.map(|answer| upstream.judge(answer));
        let outcome = if is_ours { Outcome::Caller } else { outcome(sent.as_ref(), judged, is_verified) };
        let elapsed = now.saturating_duration_since(started);
        // A body that streams takes the time that its sender takes: that is not the instance's slowness.
        let is_senders_time = is_streamed && outcome == Outcome::Ok && elapsed >= plan.patience;
        let is_shed = head_of_answer.is_some_and(says_shed);
        let is_ignored = is_senders_time || is_shed || judged.is_some_and(|judged| judged.verdict == Verdict::Ignored);
        let verdict = if is_ignored { None } else { verdict(outcome, elapsed, plan.patience) };
        plan.record(&member, permit, verdict, now);
        if let Some(verdict) = verdict {
            upstream.detect(&member, verdict == breaker::Outcome::Success, now);
        }
        match outcome {
            Outcome::Caller => {}
            // What is ignored says nothing of how long the instance takes either.
            Outcome::Ok if is_ignored => in_flight.ignore(),
            _ => in_flight.record(now, outcome == Outcome::Ok),
        }
        member.state.attempts.count(outcome);
        let pushback = head_of_answer.and_then(pushback);
        let answer = match sent {
            Some(Ok(response)) => Ok(response.map(|body| ResponseBody::new(body, in_flight, is_verified))),
            Some(Err(source)) => Err(upstream.failed(source)),
            None if body.is_starved() => Err(upstream.starved()),
            None => Err(upstream.timed_out()),
        };
        let is_in_line = is_pool_full(&answer) || body.is_in_line();
        let is_retried = judged.is_some_and(|judged| judged.is_retried);
        Made { member, answer, outcome, elapsed, is_in_line, is_retried, pushback }
    }
}

/// What the policy says of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) is_retried: bool,
}

impl Upstream {
    pub(crate) fn timed_out(&self) -> Error {
        Error::Timeout { service: self.service().clone() }
    }

    /// The time is over, and the caller's own body is what was waited for.
    pub(crate) fn starved(&self) -> Error {
        self.failed(bowline_transport::Error::request_body("body did not come in time"))
    }

    pub(crate) fn failed(&self, source: bowline_transport::Error) -> Error {
        Error::Transport { service: self.service().clone(), source }
    }
}

/// Tells the instance how long we wait; in gRPC's words, too, where it is called in them.
pub(crate) fn write_timeout(headers: &mut HeaderMap, deadline: Instant, now: Instant) {
    let deadline = Deadline::at(deadline);
    if is_grpc(headers) {
        let text = deadline.encode_grpc(now).to_string();
        headers.insert(GRPC_TIMEOUT, HeaderValue::try_from(text).expect("digits and a unit are a header's value"));
    }
    headers.insert(TIMEOUT, decimal(deadline.encode(now).max(1)));
}

/// What the breaker is told; nothing where the instance is not to blame, or was given too little time to tell.
fn verdict(outcome: Outcome, elapsed: Duration, patience: Duration) -> Option<breaker::Outcome> {
    match outcome {
        Outcome::Ok => Some(breaker::Outcome::Success),
        Outcome::Timeout if elapsed < patience => None,
        // Who is overloaded is not broken: its breaker would turn a slope into a cliff.
        Outcome::Caller | Outcome::Superseded | Outcome::Shed => None,
        Outcome::ServerError | Outcome::Connect | Outcome::Refused | Outcome::Reset | Outcome::Timeout => {
            Some(breaker::Outcome::Failure)
        }
    }
}

/// What came of an attempt.
///
/// A sidecar that could not reach its application has shown it nothing: that is a connection that was not
/// made, one hop further on. Only who is verified is believed that, since a sidecar takes away what its
/// application says in Bowline's name.
fn outcome<B>(
    sent: Option<&Result<Response<B>, bowline_transport::Error>>,
    judged: Option<Judged>,
    is_verified: bool,
) -> Outcome {
    match (sent, judged) {
        (Some(Ok(response)), _) if is_verified && says_unreached(response) => Outcome::Connect,
        (Some(Ok(response)), _) if says_shed(response) && response.status() == StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Shed
        }
        (Some(Ok(_)), Some(judged)) if judged.verdict == Verdict::Bad => Outcome::ServerError,
        (Some(Ok(_)), _) => Outcome::Ok,
        (Some(Err(error)), _) => Outcome::of_error(error),
        (None, _) => Outcome::Timeout,
    }
}

/// Whether it was turned away by who has more than it can do, at once or when its time was over. Anybody is believed
/// that: who claims it is asked elsewhere.
fn says_shed<B>(response: &Response<B>) -> bool {
    response.headers().get(names::REASON_HEADER).is_some_and(|reason| reason == shed::REASON)
}

fn says_unreached<B>(response: &Response<B>) -> bool {
    let reason = || response.headers().get(names::REASON_HEADER);
    matches!(response.status(), StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE)
        && reason().is_some_and(|reason| reason == REASON_CONNECT)
}

/// Whether our own line to the instance was as long as may be.
pub(crate) fn is_pool_full<B>(answer: &Result<Response<B>, Error>) -> bool {
    matches!(answer, Err(Error::Transport { source, .. }) if source.kind() == Kind::PoolFull)
}

/// Whether there was no answer, rather than a malformed one.
pub(crate) fn is_reset<B>(answer: &Result<Response<B>, Error>) -> bool {
    matches!(answer, Err(Error::Transport { source, .. }) if source.retryable())
}

/// The code of an answer in gRPC whose head is all there is of it; one that comes behind a body is not waited for.
pub(crate) fn grpc_code(headers: &HeaderMap) -> Option<GrpcCode> {
    let status = headers.get("grpc-status").filter(|_| is_grpc(headers))?;
    let number = status.to_str().ok().and_then(|text| text.parse().ok());
    // What cannot be read is unknown, as gRPC has it.
    GrpcCode::of(number.unwrap_or(u32::MAX))
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn pushback<B>(answer: &Response<B>) -> Option<Said> {
    let headers = answer.headers();
    if let Some(value) = headers.get("grpc-retry-pushback-ms") {
        return Some(Said { pushback: retry::grpc_pushback(value.as_bytes()), speaks_of_caller: true });
    }
    let pushback = retry::retry_after(headers.get(header::RETRY_AFTER)?.as_bytes(), time::wall())?;
    Some(Said { pushback, speaks_of_caller: answer.status() == StatusCode::TOO_MANY_REQUESTS })
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
            let verdict = if status >= 500 { Verdict::Bad } else { Verdict::Good };
            let judged = Some(Judged { verdict, is_retried: false });
            outcome(Some(&Ok(response.body(()).unwrap())), judged, is_verified)
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

    #[test]
    fn a_caller_in_grpc_is_told_the_time_in_its_words_too() {
        let now = time::now();
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static("10S"));
        write_timeout(&mut headers, now + Duration::from_millis(1500), now);
        assert_eq!((&headers[TIMEOUT], &headers["grpc-timeout"]), (&"1500".parse().unwrap(), &"10S".parse().unwrap()));
        headers.insert("content-type", HeaderValue::from_static("application/grpc+proto"));
        write_timeout(&mut headers, now + Duration::from_millis(1500), now);
        assert_eq!(headers["grpc-timeout"], "1500000u");
    }

    #[test]
    fn a_code_of_grpc_is_read_of_answers_in_grpc_alone() {
        let code = |kind: &str, status: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", kind.parse().unwrap());
            headers.insert("grpc-status", status.parse().unwrap());
            grpc_code(&headers)
        };
        assert_eq!(code("application/grpc", "14"), Some(GrpcCode::Unavailable));
        assert_eq!(code("application/grpc-web", "0"), None);
        assert_eq!(code("application/grpc", "x"), Some(GrpcCode::Unknown));
        assert_eq!(code("application/json", "14"), None);
    }
}
