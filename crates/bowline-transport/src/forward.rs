//! What a proxy does to headers: takes away those meant for one hop, says for whom it forwards.
//!
//! Sources: RFC 9110 section 7.6 (hop-by-hop), RFC 7239 (`Forwarded`).

use std::{fmt::Write as _, net::IpAddr};

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
    let wants_trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
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
    match forwarded.client {
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
    if let Some(ip) = forwarded.client {
        text.clear();
        write!(text, "{ip}").expect(GROWS);
        append(headers, &X_FORWARDED_FOR, &text);
    }
    if let Some(host) = host {
        set_default(headers, X_FORWARDED_HOST, host);
    }
    set_default(headers, X_FORWARDED_PROTO, forwarded.proto);
}

/// Takes away what a peer that is not trusted said about others.
pub fn remove_forwarded(headers: &mut HeaderMap) {
    for name in [&header::FORWARDED, &X_FORWARDED_FOR, &X_FORWARDED_HOST, &X_FORWARDED_PROTO] {
        headers.remove(name);
    }
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
        assert_eq!(map, headers(&[("host", "a"), ("content-length", "3"), ("accept", "*/*")]));
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
