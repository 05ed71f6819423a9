//! How often somebody may ask: the port, and the limit that is kept here.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    time::Duration,
};

use bowline_model::{
    Code,
    gateway::{LimitBy, LimitPolicy},
};
use bowline_proxy::{Refusal, whole_seconds};
use bowline_resilience::rate::{Decision, KEYS_MAX, Limit, Limiter};
use bowline_runtime::{metric::Registry, time};
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
    limiter: Limiter,
    /// The name that clients see, as a structured string.
    name: String,
    announced: HeaderValue,
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
        let limit = Limit::from(policy);
        let help = "Callers whose count was forgotten before its time: too many at once.";
        let forgotten = metrics.counter("bowline_limit_keys_forgotten_total", help, &[("limit", name)]);
        let name = structured(name);
        let (quota, window) = quota(limit);
        let announced = HeaderValue::try_from(format!("{name};q={quota};w={window}"));
        Ok(Self {
            policy: policy.clone(),
            header,
            limiter: Limiter::new(limit, KEYS_MAX).forgotten_in(forgotten),
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

/// A limit as a quota in a window: the window is the time in which a whole burst is there again, in
/// seconds and at least one, the quota what is let through in it in the long run.
///
/// A caller that paused may have its burst on top of that; the draft has no word for it.
fn quota(limit: Limit) -> (u64, u64) {
    let refill = limit.interval().saturating_mul(limit.burst());
    let window = whole_seconds(refill).max(1);
    let quota = Duration::from_secs(window).as_nanos() / limit.interval().as_nanos().max(1);
    (u64::try_from(quota).unwrap_or(u64::MAX).max(1), window)
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
        self.limiter.check(&self.key(caller), time::now())
    }

    fn peek(&self, caller: &Caller<'_>) -> Decision {
        self.limiter.peek(&self.key(caller), time::now())
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
    use bowline_model::units::Rate;

    use super::*;

    fn limit(by: &str, rate: &str, burst: u32) -> LocalLimit {
        let policy = LimitPolicy { by: LimitBy::parse(by).unwrap(), rate: Rate::parse(rate).unwrap(), burst };
        LocalLimit::new("a \"b\"", &policy, &Registry::default()).unwrap()
    }

    #[test]
    fn quotas_and_windows() {
        let check = |rate, burst, expected: (u64, u64)| {
            let LocalLimit { limiter, .. } = limit("address", rate, burst);
            assert_eq!(quota(limiter.limit()), expected, "{rate}, burst {burst}");
        };
        check("100/s", 200, (200, 2));
        check("100/s", 250, (300, 3));
        check("100/s", 1, (100, 1));
        check("10/m", 5, (5, 30));
        check("1/d", 1, (1, 86_400));
        check("1000000/s", 1_000_000, (1_000_000, 1));
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
