//! What the proxy does to the headers of what it passes on.
//!
//! Most requests carry nothing that has to be taken away, so their names are looked at once, and
//! only what was seen is acted upon.

use bowline_model::gateway::is_own_header;
use bowline_resilience::shed;
use bowline_telemetry::{SpanContext, TraceId, names, propagation};
use bowline_transport::{forward, problem};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, HOST, UPGRADE},
};

use crate::{client::Client, error::Error};

/// The most headers that are added to a request on its way: four here, and the caller's trace and time.
const ADDED_MAX: usize = 6;

const TRACE_ID: HeaderName = HeaderName::from_static(problem::TRACE_ID_HEADER);
const CALLER: HeaderName = HeaderName::from_static(names::CALLER_HEADER);
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Which kinds of headers there are.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing seen, independent of the others")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `Connection`, which may name others.
    connection: bool,
    /// Others meant for one hop.
    hop: bool,
    /// An offer to upgrade.
    upgrade: bool,
    /// Bowline's own.
    pub(crate) internal: bool,
    /// About clients before the one that we see.
    pub(crate) forwarded: bool,
    /// `tracestate`.
    state: bool,
    /// The context of a trace, in any of its forms; once it was read, whether it could be.
    trace: bool,
    /// `Expect`.
    pub(crate) expect: bool,
}

impl Seen {
    pub(crate) fn look(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => seen.connection = true,
                "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" => seen.hop = true,
                "upgrade" => (seen.hop, seen.upgrade) = (true, true),
                "expect" => seen.expect = true,
                "traceparent" | "b3" => seen.trace = true,
                "tracestate" => seen.state = true,
                // The other names that matter begin so: `forwarded`, `true-client-ip`, `x-…`, `x_…`.
                other if other.starts_with(['f', 't', 'x']) => {
                    seen.internal |= is_own_header(other);
                    seen.forwarded |= forward::is_forwarded(other);
                    seen.trace |= other.starts_with("x-b3-");
                }
                _ => {}
            }
        }
        seen
    }

    /// Reads the span that the request goes on from; a context that is malformed counts as absent.
    pub(crate) fn read_trace(&mut self, headers: &HeaderMap) -> Option<SpanContext> {
        let parent = if self.trace { propagation::extract(headers) } else { None };
        self.trace = parent.is_some();
        parent
    }
}

/// Refuses what would make the connection another protocol's.
///
/// Other upgrades than WebSocket's (`h2c`, `TLS/1.0`) are offers that a server may ignore; a
/// WebSocket client waits for it in vain, and is told.
pub(crate) fn check_upgrade(headers: &HeaderMap, seen: Seen) -> Result<(), Error> {
    let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    if seen.upgrade && headers.get_all(UPGRADE).iter().any(is_websocket) { Err(Error::Upgrade) } else { Ok(()) }
}

/// Takes away what filters do not see, as [`prepare_request`] does; whether the request may be served is
/// as [`check_upgrade`] says.
pub(crate) fn strip(headers: &mut HeaderMap) -> Result<(), Error> {
    let seen = Seen::look(headers);
    let upgrade = check_upgrade(headers, seen);
    remove_outsiders(headers, seen, |_| false);
    upgrade
}

/// Takes away what is meant for one hop, and what only Bowline itself says, unless it is kept.
fn remove_outsiders(headers: &mut HeaderMap, seen: Seen, is_kept: impl Fn(&str) -> bool) {
    remove_hop_by_hop(headers, seen);
    if seen.internal {
        remove_internal(headers, is_kept);
    }
}

/// Makes the headers of a request fit for the next hop.
///
/// `host` is whom the client asked for; empty where an HTTP/1.0 client does not say.
pub(crate) fn prepare_request(headers: &mut HeaderMap, host: HeaderValue, client: &Client, seen: Seen) {
    remove_outsiders(headers, seen, |name| client.trust.keeps(name));
    // Whose trace it continues is not known, so what it says of the trace is worth nothing (W3C
    // Trace Context 3.3.1.1).
    if seen.state && !seen.trace {
        headers.remove(TRACESTATE);
    }
    headers.reserve(ADDED_MAX);
    client.add_forwarded(headers, &host, seen);
    if let Some(caller) = &client.caller {
        headers.insert(CALLER, caller.clone());
    }
    if !host.is_empty() && headers.get(HOST) != Some(&host) {
        headers.insert(HOST, host);
    }
}

/// Makes the headers of a response fit for the client.
///
/// What says that Bowline refused a request is Bowline's: a service cannot claim it, but a sidecar before it,
/// which showed its certificate and took away what the service claims, can. That it turned a request away untouched a
/// service may say of itself: it is asked less.
pub(crate) fn prepare_response(headers: &mut HeaderMap, is_of_sidecar: bool) {
    let is_shed = headers.get(names::REASON_HEADER).is_some_and(|reason| reason == shed::REASON);
    let keeps_reason = is_of_sidecar || is_shed;
    remove_outsiders(headers, Seen::look(headers), |name| keeps_reason && name == names::REASON_HEADER);
}

/// Whether a response says which trace it belongs to.
pub(crate) fn has_trace_id(headers: &HeaderMap) -> bool {
    headers.contains_key(TRACE_ID)
}

/// Takes away what is meant for one hop; mostly that is a `Connection` that names nothing else.
fn remove_hop_by_hop(headers: &mut HeaderMap, seen: Seen) {
    let is_plain = |value: &HeaderValue| matches!(value.as_bytes(), b"keep-alive" | b"close" | b"Keep-Alive");
    if seen.hop || (seen.connection && !headers.get_all(CONNECTION).iter().all(is_plain)) {
        forward::remove_hop_by_hop(headers);
    } else if seen.connection {
        headers.remove(CONNECTION);
    }
}

/// Says which trace a response belongs to.
pub(crate) fn add_trace_id(headers: &mut HeaderMap, trace_id: TraceId) {
    let mut text = [0; 32];
    let mut rest = trace_id.get();
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(rest & 0xf) as usize];
        rest >>= 4;
    }
    headers.insert(TRACE_ID, HeaderValue::from_bytes(&text).expect("hex digits are a header value"));
}

fn remove_internal(headers: &mut HeaderMap, is_kept: impl Fn(&str) -> bool) {
    let is_outsiders = |name: &&HeaderName| is_own_header(name.as_str()) && !is_kept(name.as_str());
    let internal: Vec<HeaderName> = headers.keys().filter(is_outsiders).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bowline_transport::server::Peer;

    use super::*;
    use crate::client::Trust;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn client(is_proxy: bool) -> Client {
        let peer = Peer { remote: Some(([192, 0, 2, 1], 5).into()), ..Peer::default() };
        Client::new(peer, 0, Rc::default(), None, Trust::Stranger { is_proxy })
    }

    fn prepared(client: &Client, host: &'static str, pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = map(pairs);
        let mut seen = Seen::look(&headers);
        seen.read_trace(&headers);
        prepare_request(&mut headers, HeaderValue::from_static(host), client, seen);
        headers
    }

    const FORWARDED: [(&str, &str); 5] = [
        ("host", "a.test:80"),
        ("forwarded", "for=192.0.2.1;host=\"a.test:80\";proto=http"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "a.test:80"),
        ("x-forwarded-proto", "http"),
    ];

    #[test]
    fn a_trace_id_is_written_as_the_tracer_writes_it() {
        let trace_id = TraceId::generate();
        let mut headers = HeaderMap::new();
        add_trace_id(&mut headers, trace_id);
        assert_eq!(headers["x-trace-id"], trace_id.to_string());
    }

    #[test]
    fn what_outsiders_may_not_say_is_taken_away() {
        let said = [
            "x-bowline-timeout-ms",
            "x-bowline-reason",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-prefix",
            "x_forwarded_for",
            "x_bowline_reason",
            "x-bowline_subject",
            "x_bowline-subject",
            "x-real-ip",
            "x-original-url",
            "true-client-ip",
            "tracestate",
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        for one in said {
            assert_eq!(prepared(&client(false), "a.test:80", &[(one, "1")]), map(&FORWARDED), "{one}");
        }
        assert_eq!(prepared(&client(false), "a.test:80", &said.map(|name| (name, "1"))), map(&FORWARDED));
        for connection in ["keep-alive", "close", "x-hop", "close, X-Hop"] {
            let headers = prepared(&client(false), "a.test:80", &[("connection", connection), ("x-hop", "1")]);
            assert_eq!(headers.contains_key("x-hop"), !connection.to_ascii_lowercase().contains("x-hop"));
            assert!(!headers.contains_key("connection"));
        }
    }

    #[test]
    fn each_host_is_said_as_it_is() {
        let client = client(false);
        for host in ["a.test", "a.test", "b.test", "a.test"] {
            assert_eq!(prepared(&client, host, &[])["x-forwarded-host"], host);
        }
        let nobody = prepared(&client, "", &[("x-forwarded-host", "forged")]);
        assert!(!nobody.contains_key("x-forwarded-host") && !nobody.contains_key("host"), "{nobody:?}");
    }

    #[test]
    fn a_trusted_peer_is_passed_on() {
        let client = client(true);
        let said = prepared(&client, "a", &[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")]);
        assert_eq!(said["x-forwarded-for"], "10.0.0.1, 192.0.2.1");
        assert_eq!(said["x-forwarded-proto"], "https");
        assert_eq!(prepared(&client, "a", &[])["x-forwarded-for"], "192.0.2.1");
    }

    #[test]
    fn a_trace_is_seen_in_any_form() {
        for name in ["traceparent", "b3", "x-b3-traceid"] {
            assert!(Seen::look(&map(&[(name, "1")])).trace, "{name}");
        }
    }

    #[test]
    fn the_state_of_a_trace_passes_only_with_the_trace() {
        let parent = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let state = ("tracestate", "vendor=1");
        assert_eq!(prepared(&client(false), "a", &[parent, state])["tracestate"], "vendor=1");
        for unread in [&[state][..], &[("traceparent", "1"), state], &[parent, parent, state], &[("b3", "0"), state]] {
            assert!(!prepared(&client(false), "a", unread).contains_key("tracestate"), "{unread:?}");
        }
    }

    #[test]
    fn an_answer_says_nothing_in_our_name() {
        let said =
            [("x-bowline-reason", "breaker_open"), ("x-bowline-x", "1"), ("x_bowline-reason", "1"), ("x-kept", "1")];
        let mut headers = map(&said);
        prepare_response(&mut headers, false);
        assert_eq!(headers, map(&[("x-kept", "1")]));
        let mut headers = map(&said);
        prepare_response(&mut headers, true);
        assert_eq!(headers, map(&[("x-bowline-reason", "breaker_open"), ("x-kept", "1")]), "of a sidecar");
        let mut headers = map(&[("x-bowline-reason", "shed"), ("x-bowline-x", "1")]);
        prepare_response(&mut headers, false);
        assert_eq!(headers, map(&[("x-bowline-reason", "shed")]), "anybody may turn a request away");
    }
}
