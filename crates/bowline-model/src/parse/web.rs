//! Words of HTTP: paths, URLs, origins, names and values of headers.

use std::net::Ipv6Addr;

use super::value::{Value, in_ticks};
use crate::{
    gateway::{is_header_name, is_own_header},
    route::HostPattern,
};

/// What to write for a header's name.
pub(super) const HEADER_NAME_RULE: &str = "use letters, digits and -: `x-canary`";

/// The longest URL or path, in bytes.
const LENGTH_MAX: usize = 1024;

/// Headers by which a hop keeps a message apart from the next one, and says whom it is for: no rule may
/// change them (RFC 9110, 7.6.1; RFC 9112, 6).
const HOP_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A path as it is requested, so with a query if need be; `rule` is told where it has no slash.
pub(super) fn path(text: &str, rule: &'static str) -> Result<String, &'static str> {
    if !text.starts_with('/') {
        return Err(rule);
    }
    if text.len() > LENGTH_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err("write at most 1024 visible ASCII characters without #, others percent-encoded");
    }
    Ok(text.to_owned())
}

/// A URL of HTTP with a host, and nothing before it.
pub(super) fn url(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "write a URL with a host: \"https://host.example/path\"";
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(RULE)?;
    if text.len() > LENGTH_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err("write at most 1024 visible ASCII characters without #, others percent-encoded");
    }
    if is_authority(authority_of(rest)) { Ok(text.to_owned()) } else { Err(RULE) }
}

/// Whether a URL has a name or a password before its host.
pub(super) fn has_password(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| authority_of(rest).contains('@'))
}

/// What is before the path of a URL, its scheme taken off.
fn authority_of(rest: &str) -> &str {
    &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]
}

/// An origin as a browser sends it, lower case (RFC 6454, 6.2).
pub(super) fn origin(text: &str) -> Result<String, &'static str> {
    const RULE: &str =
        "write scheme and host without a path: \"https://shop.example\"; or \"*\" alone for every origin";
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or(RULE)?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || !is_authority(authority) {
        return Err(RULE);
    }
    if matches!((scheme, authority.rsplit_once(':')), ("https", Some((_, "443"))) | ("http", Some((_, "80")))) {
        return Err("leave the usual port out, as browsers do");
    }
    Ok(lower)
}

/// A host, with a port if need be.
fn is_authority(text: &str) -> bool {
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        let is_end = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().is_ok() && is_end;
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    matches!(HostPattern::parse(host), Ok(HostPattern::Exact(_))) && port.is_none_or(is_port)
}

/// A host and a port: `127.0.0.1:9100`.
pub(super) fn host_and_port(text: &str) -> Result<String, &'static str> {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    if has_port && is_authority(text) {
        Ok(text.to_owned())
    } else {
        Err("write a host and a port: \"127.0.0.1:9100\"")
    }
}

/// The value of a header.
pub(super) fn header_value(text: &str) -> Result<String, &'static str> {
    let is_visible = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if text.trim() == text && is_visible {
        Ok(text.to_owned())
    } else {
        Err("write visible ASCII characters without blanks around them")
    }
}

/// The name of any header, lower case.
pub(super) fn header_name(text: &str) -> Result<String, &'static str> {
    if is_header_name(text) { Ok(text.to_ascii_lowercase()) } else { Err(HEADER_NAME_RULE) }
}

/// The name of a header that a rule of the file may be about, lower case.
pub(super) fn own_header(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    own_name(text).map_or_else(|(message, help)| value.refuse(message, help), Some)
}

/// The same, of a key.
pub(super) fn own_header_key(entry: Value<'_>) -> Option<String> {
    own_name(entry.key()).map_err(|(message, help)| entry.fault_key(message, help)).ok()
}

fn own_name(text: &str) -> Result<String, (String, &'static str)> {
    let name = header_name(text).map_err(|rule| (format!("{} is not the name of a header", in_ticks(text)), rule))?;
    if HOP_HEADERS.contains(&name.as_str()) {
        return Err((
            format!("the header {} is the gateway's own", in_ticks(&name)),
            "leave it to the gateway: remove it here",
        ));
    }
    if is_own_header(&name) {
        return Err((
            format!("the header {} is set by Bowline itself", in_ticks(&name)),
            "use a name that does not begin with `x-bowline-`",
        ));
    }
    Ok(name)
}
