//! Reads where a request is addressed to, and refuses what two parsers could read differently.

use http::{
    HeaderMap, Version,
    header::{HOST, HeaderValue},
    request::Parts,
};

/// Why a request's target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request names its host wrongly: {0}")]
    Host(&'static str),
    #[error("the request's path is ambiguous: {0}")]
    Path(&'static str),
}

/// The host and the path that routing sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Host and port as sent; empty where HTTP/1.0 names none.
    pub(crate) authority: &'a str,
    /// The host without its port.
    pub(crate) host: &'a str,
    /// The path as sent, without the query.
    pub(crate) path: &'a str,
}

impl<'a> Target<'a> {
    /// Reads the target of a request.
    ///
    /// HTTP/1.1 has exactly one `Host`; an absolute URI wins over it (RFC 9112 3.2.2). HTTP/2 has
    /// `:authority`, or else `Host`, and where it has both they are equal (RFC 9113 8.3.1).
    pub(crate) fn read(parts: &'a Parts) -> Result<Self, Refusal> {
        let header = host_header(&parts.headers)?;
        let uri = parts.uri.authority().map(http::uri::Authority::as_str);
        let authority = match (uri, header) {
            (Some(uri), Some(header)) if parts.version >= Version::HTTP_2 && !uri.eq_ignore_ascii_case(header) => {
                return Err(Refusal::Host("`:authority` and `Host` differ"));
            }
            (_, None) if parts.version == Version::HTTP_11 => return Err(Refusal::Host("`Host` is missing")),
            (Some(authority), _) | (None, Some(authority)) => authority,
            (None, None) if parts.version == Version::HTTP_10 => "",
            (None, None) => return Err(Refusal::Host("`:authority` is missing")),
        };
        let path = parts.uri.path();
        check_path(path)?;
        let host = if authority.is_empty() && header.is_none() { "" } else { host_of(authority)? };
        Ok(Self { authority, host, path })
    }

    /// Host and port as a `Host` header: the request's own where it says the same.
    pub(crate) fn to_header(self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(HOST) {
            Some(value) if value == self.authority => value.clone(),
            _ => HeaderValue::from_str(self.authority).expect("an authority is visible ASCII"),
        }
    }
}

fn host_header(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(HOST).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::Host("there is more than one `Host`"));
    }
    first.map(HeaderValue::to_str).transpose().map_err(|_| Refusal::Host("`Host` is not text"))
}

/// The longest host name; DNS has no longer ones.
pub(crate) const HOST_MAX: usize = 255;

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_of(authority: &str) -> Result<&str, Refusal> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_ip = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'[' | b']' | b':' | b'.');
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => (&authority[..colon], &authority[colon + 1..]),
        _ => (authority, ""),
    };
    let is_valid = if host.starts_with('[') {
        host.len() > 2 && host.find(']') == Some(host.len() - 1) && host.bytes().all(is_ip)
    } else {
        !host.is_empty() && host.bytes().all(is_name)
    };
    if host.len() > HOST_MAX {
        return Err(Refusal::Host("it is too long"));
    }
    if is_valid && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(host)
    } else {
        Err(Refusal::Host("it is no host name, or its port no number"))
    }
}

/// Refuses paths that a server behind us may resolve to another one than we matched.
///
/// Those are empty segments (`//`, also with parameters: `/;x`), segments that are `.` or `..` (also
/// with parameters: `/..;x`), backslashes, and `%` that encodes nothing, or what need not or must not
/// be encoded: a letter, a digit or one of `-._~` (RFC 3986 6.2.2.2 has both spellings mean the same),
/// a slash, a backslash, a NUL. An empty last segment (`/orders/`) is none of these.
pub(crate) fn check_path(path: &str) -> Result<(), Refusal> {
    let bytes = path.as_bytes();
    let mut previous = 0;
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'/' | b';' if previous == b'/' => return Err(Refusal::Path("it has an empty segment")),
            b'.' if previous == b'/' && is_dots(&bytes[at..]) => {
                return Err(Refusal::Path("it has a `.` or `..` segment"));
            }
            b'\\' => return Err(Refusal::Path("it has a backslash")),
            b'%' => check_encoded(decode(&bytes[at + 1..]))?,
            _ => {}
        }
        previous = byte;
    }
    Ok(())
}

/// Refuses the percent-encoding of what reads differently with and without it.
fn check_encoded(byte: Option<u8>) -> Result<(), Refusal> {
    match byte {
        None => Err(Refusal::Path("it has a `%` that encodes nothing")),
        Some(b'/' | b'\\' | 0) => Err(Refusal::Path("it encodes a slash, a backslash or a NUL")),
        Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
            Err(Refusal::Path("it encodes a letter, a digit or one of `-._~`, which are written as they are"))
        }
        Some(_) => Ok(()),
    }
}

/// The byte that two hexadecimal digits stand for.
fn decode(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Whether the first segment of `rest` is one or two dots.
fn is_dots(rest: &[u8]) -> bool {
    let rest = rest.strip_prefix(b".").unwrap_or(rest);
    let rest = rest.strip_prefix(b".").unwrap_or(rest);
    matches!(rest, [] | [b'/' | b';', ..])
}

/// The bytes of a segment with what is percent-encoded in it decoded.
pub(crate) fn decoded(segment: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *segment.get(at)?;
        at += 1;
        match decode(&segment[at..]) {
            Some(decoded) if byte == b'%' => {
                at += 2;
                Some(decoded)
            }
            _ => Some(byte),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: Version, uri: &str, hosts: &[&str], expected: Result<(&str, &str), &str>) {
        let mut request = http::Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let read = Target::read(&parts).map(|target| (target.host, target.path));
        match (&read, expected) {
            (Ok(read), Ok(expected)) => assert_eq!(*read, expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            _ => panic!("{uri} with {hosts:?}: {read:?}, not {expected:?}"),
        }
    }

    #[test]
    fn hosts() {
        let h1 = |hosts: &[&str], expected: Result<&'static str, &'static str>| {
            check(Version::HTTP_11, "/a?b//c", hosts, expected.map(|host| (host, "/a")));
        };
        h1(&["Shop.localhost:8080"], Ok("Shop.localhost"));
        h1(&["[::1]:80"], Ok("[::1]"));
        h1(&["[::1]"], Ok("[::1]"));
        h1(&["127.0.0.1:"], Ok("127.0.0.1"));
        h1(&[], Err("missing"));
        h1(&["a", "a"], Err("more than one"));
        let longest = "a".repeat(255);
        check(Version::HTTP_11, "/a", &[&format!("{longest}:80")], Ok((&longest, "/a")));
        for long in [longest + "a", "a.".repeat(30_000)] {
            check(Version::HTTP_11, "/a", &[&long], Err("too long"));
        }
        for bad in ["", ":80", "a b", "user@a", "a/b", "a:x", "a:123456", "[::1", "[]", "::1", "[a]b", "a,b", "é"] {
            h1(&[bad], Err("host"));
        }
    }

    #[test]
    fn versions() {
        check(Version::HTTP_10, "/", &[], Ok(("", "/")));
        check(Version::HTTP_10, "/", &["a"], Ok(("a", "/")));
        check(Version::HTTP_10, "/", &[""], Err("no host name"));
        check(Version::HTTP_11, "http://real/x", &["other"], Ok(("real", "/x")));
        check(Version::HTTP_11, "http://real/x", &[], Err("missing"));
        check(Version::HTTP_2, "http://real/x", &[], Ok(("real", "/x")));
        check(Version::HTTP_2, "http://real/x", &["REAL"], Ok(("real", "/x")));
        check(Version::HTTP_2, "http://real/x", &["other"], Err("differ"));
        check(Version::HTTP_2, "/x", &["real"], Ok(("real", "/x")));
        check(Version::HTTP_2, "/x", &[], Err("missing"));
    }

    #[test]
    fn ambiguous_paths() {
        for good in ["/", "/a/", "/.well-known/x", "/...", "/a.b/c..d", "/a;..", "/a;x=1/b;y", "/a;/b", "/..a/.b"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for good in ["/a%20b", "/caf%C3%A9", "/a%40b%3a%3B", "/%25", "/%252f", "*"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in ["//", "/a//b", "/a//", "/;x/a", "/a/;/b", "/a/;x", "/.", "/a/./b", "/..", "/a/../b", "/a/..;x/b"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        for bad in ["/.;", r"/a\b", "/a/%2e", "/%2E%2e/a", "/.%2e/", "/a/%2e./b", "/..%2e", "/%2ea", "/a%2e"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_encoded_is_no_second_spelling() {
        for bad in
            ["%2f", "%2F", "..%2fadmin", "a%2f..%2fadmin", "%5c", "..%5Cadmin", "a%00", "%", "%4", "%zz", "%u002f"]
        {
            assert!(check_path(&format!("/{bad}")).is_err(), "{bad}");
            assert!(check_path(&format!("/a/{bad}/b")).is_err(), "{bad}");
        }
        for byte in 0..=u8::MAX {
            let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let is_refused = is_unreserved || b"/\\\0".contains(&byte);
            assert_eq!(check_path(&format!("/x%{byte:02x}")).is_err(), is_refused, "{byte:02x}");
            assert_eq!(check_path(&format!("/x%{byte:02X}")).is_err(), is_refused, "{byte:02X}");
            assert_eq!(decoded(format!("x%{byte:02x}%").as_bytes()).collect::<Vec<_>>(), [b'x', byte, b'%']);
        }
    }
}
