//! What a proxy does to headers: takes away those meant for one hop, says for whom it forwards.
//!
//! Sources: RFC 9110 section 7.6 (hop-by-hop), RFC 7239 (`Forwarded`).

use std::{fmt::Write as _, net::IpAddr};

use bowline_model::gateway::is_own_header;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers meant for one hop, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What else names the client or the target to one service or another.
const FORWARDED_ALIKE: [&str; 6] =
    ["x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "x-original-url", "x-rewrite-url"];

/// What must not come behind a body, beside what is meant for one hop.
const NEVER_TRAILERS: [HeaderName; 17] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("x-trace-id"),
];

/// The most bytes of a `Forwarded` or `X-Forwarded-For` header we pass on; a longer one begins anew with us.
pub const FORWARDED_BYTES_MAX: usize = 4 * 1024;

const GROWS: &str = "a text grows as it is written to";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Takes away the headers meant for one hop, those that `Connection` names among them.
///
/// `TE: trailers` stays, since gRPC demands it; `Content-Length`, `Host` and the authorization
/// are never taken for hop-by-hop, whatever `Connection` claims.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove_named(headers);
    let wants_trailers = headers.get_all(header::TE).iter().any(names_trailers);
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether `trailers` is among what a `TE` header lists.
fn names_trailers(te: &HeaderValue) -> bool {
    te.as_bytes().split(|byte| *byte == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Takes away what `Connection` names.
fn remove_named(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            // The usual two name no header; they cost no allocation.
            let name = name.trim_ascii();
            if name.eq_ignore_ascii_case(b"close") || name.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            named.extend(HeaderName::from_bytes(name));
        }
    }
    for name in named {
        if ![header::CONTENT_LENGTH, header::HOST, header::AUTHORIZATION].contains(&name) {
            headers.remove(name);
        }
    }
}

/// Who asked, and how: what is said in `Forwarded` and `X-Forwarded-*`.
#[derive(Debug, Clone, Copy)]
pub struct Forwarded<'a> {
    /// The client's address; `None` over a Unix socket.
    pub client: Option<IpAddr>,
    /// The host the client named.
    pub host: Option<&'a str>,
    /// `http` or `https`.
    pub proto: &'a str,
}

/// Says for whom a request is forwarded: appends to `Forwarded` and `X-Forwarded-For`, sets
/// `X-Forwarded-Host` and `X-Forwarded-Proto` where they are absent.
///
/// Where the peer is not trusted, take away what it said with [`remove_forwarded`] first.
pub fn add_forwarded(headers: &mut HeaderMap, forwarded: &Forwarded<'_>) {
    let mut text = String::with_capacity(96);
    // A listener of both families names its IPv4 clients by mapped addresses, which no list of addresses has.
    let client = forwarded.client.map(|ip| ip.to_canonical());
    match client {
        Some(IpAddr::V4(ip)) => write!(text, "for={ip}"),
        Some(IpAddr::V6(ip)) => write!(text, "for=\"[{ip}]\""),
        None => write!(text, "for=unknown"),
    }
    .expect(GROWS);
    let host = forwarded.host.filter(|host| !host.contains(['"', '\\']));
    if let Some(host) = host {
        write!(text, ";host=\"{host}\"").expect(GROWS);
    }
    write!(text, ";proto={}", forwarded.proto).expect(GROWS);
    append(headers, &header::FORWARDED, &text);
    if let Some(ip) = client {
        text.clear();
        write!(text, "{ip}").expect(GROWS);
        append(headers, &X_FORWARDED_FOR, &text);
    }
    if let Some(host) = host {
        set_default(headers, X_FORWARDED_HOST, host);
    }
    set_default(headers, X_FORWARDED_PROTO, forwarded.proto);
}

/// Takes away what a peer that is not trusted said about others: every header that [`is_forwarded`].
pub fn remove_forwarded(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers.keys().filter(|name| is_forwarded(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

/// Whether a header says who asked, or for what, before the peer that sent it; `name` is in lower case.
///
/// Where the peer is not trusted, a service must not see them. `_` counts as `-`, as it does to
/// services behind CGI and its kin.
pub fn is_forwarded(name: &str) -> bool {
    if name == "forwarded" {
        return true;
    }
    let is_candidate = name.starts_with("x-") || name.starts_with("x_") || name.starts_with("true");
    is_candidate
        && (begins_alike(name, "x-forwarded-")
            || FORWARDED_ALIKE.iter().any(|other| name.len() == other.len() && begins_alike(name, other)))
}

/// Whether a name begins with another, where `_` counts as `-`.
fn begins_alike(name: &str, prefix: &str) -> bool {
    let alike = |(a, b): (u8, u8)| a == b || (a == b'_' && b == b'-');
    name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(alike)
}

/// Whether a field may come behind a body (RFC 9110, section 6.5.1): nothing that frames, routes,
/// authenticates, or that a proxy answers for, since some merge trailers into the headers.
pub fn is_trailer(name: &HeaderName) -> bool {
    !HOP_BY_HOP.contains(name)
        && !NEVER_TRAILERS.contains(name)
        && !is_forwarded(name.as_str())
        && !is_own_header(name.as_str())
}

/// The trailers without those that [`is_trailer`] refuses.
pub(crate) fn without_refused(mut trailers: HeaderMap) -> HeaderMap {
    let refused: Vec<HeaderName> = trailers.keys().filter(|name| !is_trailer(name)).cloned().collect();
    for name in refused {
        trailers.remove(name);
    }
    trailers
}

/// Adds an element to a list header, so that it stays one header.
fn append(headers: &mut HeaderMap, name: &HeaderName, element: &str) {
    let mut list = String::new();
    for value in headers.get_all(name) {
        if let Ok(text) = value.to_str()
            && list.len() + text.len() <= FORWARDED_BYTES_MAX
        {
            list.push_str(text);
            list.push_str(", ");
        }
    }
    list.push_str(element);
    if let Ok(value) = HeaderValue::try_from(list) {
        headers.insert(name, value);
    }
}

fn set_default(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let http::header::Entry::Vacant(entry) = headers.entry(name)
        && let Ok(value) = HeaderValue::from_str(value)
    {
        entry.insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_is_meant_for_one_hop_does_not_pass() {
        let mut map = headers(&[
            ("connection", "close, X-Secret ,host"),
            ("connection", "x-other, content-length"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("host", "a"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("proxy-connection", "close"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut map);
        let left = [("host", "a"), ("content-length", "3"), ("accept", "*/*"), ("te", "trailers")];
        assert_eq!(map, headers(&left));
    }

    #[test]
    fn te_trailers_passes() {
        let mut map = headers(&[("te", "Trailers"), ("connection", "te")]);
        remove_hop_by_hop(&mut map);
        assert!(map.is_empty(), "the connection names it: {map:?}");
        let mut map = headers(&[("te", "trailers")]);
        remove_hop_by_hop(&mut map);
        assert_eq!(map["te"], "trailers");
    }

    #[test]
    fn te_trailers_passes_out_of_a_list() {
        let mut map = headers(&[("te", "gzip;q=0.5"), ("te", "deflate , Trailers")]);
        remove_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("te", "trailers")]));
        let mut map = headers(&[("te", "gzip, trailers;q=1")]);
        remove_hop_by_hop(&mut map);
        assert!(map.is_empty());
    }

    #[test]
    fn all_that_strangers_say_of_others_is_removed() {
        let said = [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x_forwarded_ssl",
            "x-forwarded_scheme",
            "x-real-ip",
            "x_real_ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "true-client-ip",
            "true_client_ip",
            "x-original-url",
            "x-rewrite-url",
        ];
        let stays = ["x-real-ip-address", "x-forwarded", "x-request-id", "accept", "true"];
        let all = said.into_iter().chain(stays).map(|name| (name, "1")).collect::<Vec<_>>();
        let mut map = headers(&all);
        remove_forwarded(&mut map);
        assert_eq!(map, headers(&stays.map(|name| (name, "1"))));
    }

    #[test]
    fn a_mapped_address_is_written_as_what_it_is() {
        let mut map = HeaderMap::new();
        let client = Some("::ffff:192.0.2.1".parse().unwrap());
        add_forwarded(&mut map, &Forwarded { client, host: None, proto: "http" });
        assert_eq!(
            (&map["forwarded"], &map["x-forwarded-for"]),
            (&HeaderValue::from_static("for=192.0.2.1;proto=http"), &HeaderValue::from_static("192.0.2.1"),)
        );
    }

    #[test]
    fn trailers_neither_frame_nor_route_nor_authenticate() {
        for name in ["grpc-status", "x-sum", "digest", "server-timing"] {
            assert!(is_trailer(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "transfer-encoding",
            "content-length",
            "host",
            "te",
            "trailer",
            "connection",
            "authorization",
            "cookie",
            "set-cookie",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-real-ip",
            "x-bowline-timeout-ms",
            "x_bowline_timeout_ms",
        ] {
            assert!(!is_trailer(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn forwarded_names_the_client() {
        let mut map = HeaderMap::new();
        let v4 = Forwarded { client: Some([192, 0, 2, 1].into()), host: Some("a.test:8080"), proto: "http" };
        add_forwarded(&mut map, &v4);
        assert_eq!(map["forwarded"], "for=192.0.2.1;host=\"a.test:8080\";proto=http");
        assert_eq!(map["x-forwarded-for"], "192.0.2.1");
        let v6 = Forwarded { client: Some("2001:db8::1".parse().unwrap()), host: Some("b.test"), proto: "https" };
        add_forwarded(&mut map, &v6);
        assert_eq!(
            map["forwarded"],
            "for=192.0.2.1;host=\"a.test:8080\";proto=http, for=\"[2001:db8::1]\";host=\"b.test\";proto=https"
        );
        assert_eq!(map["x-forwarded-for"], "192.0.2.1, 2001:db8::1");
        assert_eq!(map["x-forwarded-host"], "a.test:8080");
        assert_eq!(map["x-forwarded-proto"], "http");
        remove_forwarded(&mut map);
        assert!(map.is_empty());
    }

    #[test]
    fn a_host_cannot_forge_an_element() {
        let mut map = HeaderMap::new();
        let evil = Forwarded { client: None, host: Some("a\";for=1.2.3.4;host=\"b"), proto: "http" };
        add_forwarded(&mut map, &evil);
        assert_eq!(map["forwarded"], "for=unknown;proto=http");
        assert!(!map.contains_key("x-forwarded-for"));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut map = HeaderMap::new();
        let one = Forwarded { client: Some([192, 0, 2, 1].into()), host: None, proto: "http" };
        for _ in 0..1000 {
            add_forwarded(&mut map, &one);
        }
        assert!(map["forwarded"].len() <= FORWARDED_BYTES_MAX + 64);
    }
}
