//! What the proxy does to the headers of what it passes on.

use bowline_telemetry::TraceId;
use bowline_transport::{
    forward::{self, Forwarded},
    problem,
    server::Peer,
};
use http::{HeaderMap, HeaderName, HeaderValue, header::HOST};

use crate::error::Error;

/// Request headers that only Bowline itself says.
const INTERNAL_PREFIX: &str = "x-bowline-";

const TRACE_ID: HeaderName = HeaderName::from_static(problem::TRACE_ID_HEADER);
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What is known of a request beside its headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) peer: &'a Peer,
    /// Whether what the client says about clients before it is passed on.
    pub(crate) is_trusted: bool,
    /// Whether it brought the context of a trace along.
    pub(crate) has_parent: bool,
}

/// Refuses what would make the connection another protocol's.
///
/// Other upgrades than WebSocket's (`h2c`, `TLS/1.0`) are offers that a server may ignore; a
/// WebSocket client waits for it in vain, and is told.
pub(crate) fn check_upgrade(headers: &HeaderMap) -> Result<(), Error> {
    let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    if headers.get_all(http::header::UPGRADE).iter().any(is_websocket) { Err(Error::Upgrade) } else { Ok(()) }
}

/// Makes the headers of a request fit for the next hop; `authority` is whom the client asked for.
pub(crate) fn prepare_request(headers: &mut HeaderMap, authority: HeaderValue, origin: Origin<'_>) {
    forward::remove_hop_by_hop(headers);
    remove_internal(headers);
    if !origin.has_parent {
        headers.remove(TRACESTATE);
    }
    if !origin.is_trusted {
        forward::remove_forwarded(headers);
    }
    let host = authority.to_str().ok().filter(|host| !host.is_empty());
    let client = origin.peer.remote.map(|remote| remote.ip());
    forward::add_forwarded(headers, &Forwarded { client, host, proto: "http" });
    if host.is_some() {
        headers.insert(HOST, authority);
    }
}

/// Makes the headers of a response fit for the client.
pub(crate) fn prepare_response(headers: &mut HeaderMap) {
    forward::remove_hop_by_hop(headers);
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

fn remove_internal(headers: &mut HeaderMap) {
    let is_internal = |name: &&HeaderName| name.as_str().starts_with(INTERNAL_PREFIX);
    let internal: Vec<_> = headers.keys().filter(is_internal).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_written_as_the_tracer_writes_it() {
        let trace_id = TraceId::generate();
        let mut headers = HeaderMap::new();
        add_trace_id(&mut headers, trace_id);
        assert_eq!(headers["x-trace-id"], trace_id.to_string());
    }

    #[test]
    fn what_outsiders_may_not_say_is_taken_away() {
        let said = ["x-bowline-timeout-ms", "x-bowline-reason", "forwarded", "x-forwarded-for", "tracestate", "te"];
        let mut headers: HeaderMap =
            said.map(|name| (HeaderName::from_static(name), "1".parse().unwrap())).into_iter().collect();
        let peer = Peer { remote: Some(([192, 0, 2, 1], 5).into()), local: None };
        let origin = Origin { peer: &peer, is_trusted: false, has_parent: false };
        prepare_request(&mut headers, HeaderValue::from_static("a.test:80"), origin);
        let expected = [
            ("host", "a.test:80"),
            ("forwarded", "for=192.0.2.1;host=\"a.test:80\";proto=http"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "a.test:80"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(headers.len(), expected.len(), "{headers:?}");
        for (name, value) in expected {
            assert_eq!(headers[name], value);
        }
    }

    #[test]
    fn a_trusted_peer_is_passed_on() {
        let mut headers: HeaderMap =
            [(HeaderName::from_static("x-forwarded-for"), "10.0.0.1".parse().unwrap())].into_iter().collect();
        let peer = Peer { remote: Some(([192, 0, 2, 1], 5).into()), local: None };
        let origin = Origin { peer: &peer, is_trusted: true, has_parent: true };
        prepare_request(&mut headers, HeaderValue::from_static("a"), origin);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 192.0.2.1");
    }
}
