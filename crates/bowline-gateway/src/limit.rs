//! How often somebody may ask: the port, and the limit that is kept here.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    time::Duration,
};

use bowline_model::{
    Code,
    gateway::{LimitBy, LimitPolicy, Quota},
};
use bowline_proxy::{Refusal, whole_seconds};
use bowline_resilience::rate::{Decision, KEYS_MAX, Limit, Limiter, SlidingLimit, SlidingLimiter};
use bowline_runtime::{
    metric::{Counter, Registry},
    time::{self, Instant},
};
use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};

use crate::{auth::Identity, error::PolicyError};

/// The headers of draft-ietf-httpapi-ratelimit-headers-10.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Says how often somebody may ask: the second link of a gateway's chain.
///
/// One is shared by all workers.
pub trait RateLimiter: fmt::Debug + Send + Sync + 'static {
    /// Its policy.
    fn policy(&self) -> &LimitPolicy;

    /// Asks for one request now, and counts it where it is let through.
    fn check(&self, caller: &Caller<'_>) -> Decision;

    /// What [`RateLimiter::check`] would say; nothing is counted.
    fn peek(&self, caller: &Caller<'_>) -> Decision;

    /// Says to a client what it may still ask; told with every answer, refusals included.
    ///
    /// Both are lists that may have other members: of the listener beside those of the route.
    fn describe(&self, decision: &Decision) -> [(HeaderName, HeaderValue); 2];
}

/// Who asks, as far as a limit counts.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The client's address; `None` over a Unix socket.
    pub client: Option<IpAddr>,
    /// Who it is; `None` where nobody was asked to tell.
    pub identity: Option<&'a Identity>,
    /// The headers of the request.
    pub headers: &'a HeaderMap,
}

/// A limit whose counts are kept in this process, for at most [`KEYS_MAX`] callers.
pub(crate) struct LocalLimit {
    policy: LimitPolicy,
    header: Option<HeaderName>,
    counts: Counts,
    /// The name that clients see, as a structured string.
    name: String,
    announced: HeaderValue,
}

/// What is counted of each caller.
enum Counts {
    Pace(Limiter),
    Window(SlidingLimiter),
}

impl Counts {
    fn new(quota: Quota, forgotten: Counter) -> Self {
        match quota {
            Quota::Pace { rate, burst } => {
                let limit = Limit::new(rate.interval(), burst);
                Self::Pace(Limiter::new(limit, KEYS_MAX).forgotten_in(forgotten))
            }
            Quota::Window(window) => {
                let limit = SlidingLimit::from(window);
                Self::Window(SlidingLimiter::new(limit, KEYS_MAX).forgotten_in(forgotten))
            }
        }
    }

    fn check(&self, key: &[u8], now: Instant) -> Decision {
        match self {
            Self::Pace(limiter) => limiter.check(key, now),
            Self::Window(limiter) => limiter.check(key, now),
        }
    }

    fn peek(&self, key: &[u8], now: Instant) -> Decision {
        match self {
            Self::Pace(limiter) => limiter.peek(key, now),
            Self::Window(limiter) => limiter.peek(key, now),
        }
    }
}

impl LocalLimit {
    /// `name` is what clients, and metrics, call it.
    pub(crate) fn new(name: &str, policy: &LimitPolicy, metrics: &Registry) -> Result<Self, PolicyError> {
        let header = match &policy.by {
            LimitBy::Header(header) => Some(
                HeaderName::from_bytes(header.as_bytes())
                    .map_err(|_| PolicyError::Header { header: header.clone() })?,
            ),
            LimitBy::Address | LimitBy::Subject => None,
        };
        let help = "Callers whose count was forgotten before its time: too many at once.";
        let forgotten = metrics.counter("bowline_limit_keys_forgotten_total", help, &[("limit", name)]);
        let name = structured(name);
        let (quota, window) = quota(policy.quota);
        let announced = HeaderValue::try_from(format!("{name};q={quota};w={window}"));
        Ok(Self {
            policy: policy.clone(),
            header,
            counts: Counts::new(policy.quota, forgotten),
            announced: announced.expect("a structured string and numbers are visible ASCII"),
            name,
        })
    }

    /// What is counted together with this request.
    fn key(&self, caller: &Caller<'_>) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        match (&self.policy.by, caller.identity, &self.header) {
            (LimitBy::Subject, Some(identity), _) => {
                // A provider's name has no NUL, so that no two callers share a key.
                key.push(b's');
                key.extend_from_slice(identity.provider().as_bytes());
                key.push(0);
                key.extend_from_slice(identity.subject().as_bytes());
            }
            (LimitBy::Header(_), _, Some(header)) if caller.headers.contains_key(header) => {
                key.push(b'h');
                for value in caller.headers.get_all(header) {
                    key.extend_from_slice(value.as_bytes());
                    key.push(0);
                }
            }
            _ => write_address(caller.client, &mut key),
        }
        key
    }
}

/// An address as it is counted: of IPv6 its /64, as one client has as many addresses as it likes there.
fn write_address(client: Option<IpAddr>, key: &mut Vec<u8>) {
    match client.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => {
            key.push(b'4');
            key.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            key.push(b'6');
            key.extend_from_slice(&ip.octets()[..8]);
        }
        None => key.push(b'u'),
    }
}

/// A limit as a quota in a window of whole seconds, at least one.
///
/// Of a pace, the window is the time in which a whole burst is there again, and the quota what is let through in it in
/// the long run. A caller that paused may have its burst on top of that; the draft has no word for it.
fn quota(quota: Quota) -> (u64, u64) {
    match quota {
        Quota::Pace { rate, burst } => {
            let window = whole_seconds(rate.interval().saturating_mul(burst)).max(1);
            let quota = Duration::from_secs(window).as_nanos() / rate.interval().as_nanos().max(1);
            (u64::try_from(quota).unwrap_or(u64::MAX).max(1), window)
        }
        // What is no whole number of seconds is told as if it were longer: who goes by that asks too seldom.
        Quota::Window(window) => (u64::from(window.count()), whole_seconds(window.length()).max(1)),
    }
}

/// A text as a string of structured fields (RFC 9651, 3.3.3); what it cannot hold is left out.
fn structured(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}

impl RateLimiter for LocalLimit {
    fn policy(&self) -> &LimitPolicy {
        &self.policy
    }

    fn check(&self, caller: &Caller<'_>) -> Decision {
        self.counts.check(&self.key(caller), time::now())
    }

    fn peek(&self, caller: &Caller<'_>) -> Decision {
        self.counts.peek(&self.key(caller), time::now())
    }

    fn describe(&self, decision: &Decision) -> [(HeaderName, HeaderValue); 2] {
        let mut state = String::with_capacity(self.name.len() + 32);
        let (remaining, reset) = (decision.remaining, whole_seconds(decision.reset_after));
        write!(state, "{};r={remaining};t={reset}", self.name).expect("a text grows as it is written to");
        let state = HeaderValue::try_from(state).expect("a structured string and numbers are visible ASCII");
        [(RATE_LIMIT_POLICY, self.announced.clone()), (RATE_LIMIT, state)]
    }
}

/// Refuses a request that is one too many.
pub(crate) fn refuse(limiter: &dyn RateLimiter, decision: &Decision) -> Refusal {
    let policy = limiter.policy();
    let seconds = whole_seconds(decision.retry_after).max(1);
    let detail = format!("more than {policy} was asked: come again in {seconds} s");
    let mut refusal = Refusal::new(Code::RateLimited, "rate_limited", detail);
    refusal.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    refusal
}

impl fmt::Debug for LocalLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLimit").field("name", &self.name).field("policy", &self.policy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::{gateway::Window, units::Rate};

    use super::*;

    fn limit(by: &str, rate: &str, burst: u32) -> LocalLimit {
        made(by, Quota::Pace { rate: Rate::parse(rate).unwrap(), burst })
    }

    fn made(by: &str, quota: Quota) -> LocalLimit {
        let policy = LimitPolicy { by: LimitBy::parse(by).unwrap(), quota };
        LocalLimit::new("a \"b\"", &policy, &Registry::default()).unwrap()
    }

    fn window(text: &str) -> Quota {
        Quota::Window(Window::parse(text).unwrap())
    }

    #[test]
    fn quotas_and_windows() {
        let check = |rate, burst, expected: (u64, u64)| {
            let pace = Quota::Pace { rate: Rate::parse(rate).unwrap(), burst };
            assert_eq!(quota(pace), expected, "{rate}, burst {burst}");
        };
        check("100/s", 200, (200, 2));
        check("100/s", 250, (300, 3));
        check("100/s", 1, (100, 1));
        check("10/m", 5, (5, 30));
        check("1/d", 1, (1, 86_400));
        check("1000000/s", 1_000_000, (1_000_000, 1));
        for (text, expected) in [("100 in 1m", (100, 60)), ("5 in 1500ms", (5, 2)), ("5 in 1ms", (5, 1))] {
            assert_eq!(quota(window(text)), expected, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn headers_say_what_is_left() {
        let limit = limit("address", "1/s", 2);
        let headers = HeaderMap::new();
        let caller = Caller { client: None, identity: None, headers: &headers };
        let said = |decision| limit.describe(&decision).map(|(_, value)| value.to_str().unwrap().to_owned());
        assert_eq!(said(limit.peek(&caller)), [r#""a \"b\"";q=2;w=2"#, r#""a \"b\"";r=2;t=0"#]);
        assert_eq!(said(limit.check(&caller))[1], r#""a \"b\"";r=1;t=1"#);
        assert_eq!(said(limit.check(&caller))[1], r#""a \"b\"";r=0;t=2"#);
        let refused = limit.check(&caller);
        let refusal = refuse(&limit, &refused);
        assert!(!refused.is_allowed);
        assert_eq!((refusal.code, &refusal.headers["retry-after"]), (Code::RateLimited, &HeaderValue::from(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_lets_no_burst_through_on_top_and_says_when_there_is_room() {
        let limit = made("address", window("10 in 1m"));
        let headers = HeaderMap::new();
        let caller = Caller { client: None, identity: None, headers: &headers };
        let said = |decision| limit.describe(&decision).map(|(_, value)| value.to_str().unwrap().to_owned());
        let wait = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        assert_eq!(said(limit.peek(&caller))[0], r#""a \"b\"";q=10;w=60"#);
        // Five at once, and five half a window later; a pace of as many with that burst would let five more through.
        for _ in 0..5 {
            assert!(limit.check(&caller).is_allowed);
        }
        wait(30).await;
        for left in (0..5).rev() {
            let decision = limit.check(&caller);
            assert!(decision.is_allowed && decision.remaining == left, "{decision:?}");
        }
        let refused = limit.check(&caller);
        let refusal = refuse(&limit, &refused);
        assert!(!refused.is_allowed);
        assert_eq!(refusal.detail, "more than 10 in 1m, by address was asked: come again in 36 s");
        assert_eq!(refusal.headers["retry-after"], HeaderValue::from(36));
        assert_eq!(said(refused)[1], r#""a \"b\"";r=0;t=66"#);
        wait(35).await;
        assert!(!limit.check(&caller).is_allowed);
        wait(1).await;
        assert_eq!(limit.peek(&caller).remaining, 5, "what was let through first has left the window");
        assert!(limit.check(&caller).is_allowed);
    }

    #[test]
    fn what_is_counted_together() {
        let key = |by: &str, client: Option<&str>, subject: Option<&str>, tenants: &[&'static str]| {
            let identity = subject.map(|subject| Identity::new("p", subject).unwrap());
            let mut headers = HeaderMap::new();
            for tenant in tenants {
                headers.append("x-tenant", HeaderValue::from_static(tenant));
            }
            let client = client.map(|ip| ip.parse().unwrap());
            limit(by, "1/s", 1).key(&Caller { client, identity: identity.as_ref(), headers: &headers })
        };
        let address = |client| key("address", Some(client), Some("ada"), &["a"]);
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1:2:3"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        let subject = |subject| key("subject", Some("192.0.2.1"), subject, &[]);
        assert_ne!(subject(Some("ada")), subject(Some("bob")));
        assert_eq!(subject(None), address("192.0.2.1"), "nobody is counted by address");
        let tenant = |tenants| key("header:x-tenant", Some("192.0.2.1"), None, tenants);
        assert_ne!(tenant(&["a"]), tenant(&["b"]));
        assert_ne!(tenant(&["a", "b"]), tenant(&["ab"]));
        assert_eq!(tenant(&[]), address("192.0.2.1"));
        assert_eq!(key("address", None, None, &[]), b"u");
    }
}
