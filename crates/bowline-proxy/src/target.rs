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
    if is_valid && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(host)
    } else {
        Err(Refusal::Host("it is no host name, or its port no number"))
    }
}

/// Refuses paths that a server behind us may resolve to another one than we matched.
///
/// Those are empty segments (`//`), segments that are `.` or `..` (also percent-encoded, also with
/// parameters as in `..;x`), and backslashes. An empty last segment (`/orders/`) is none of these.
fn check_path(path: &str) -> Result<(), Refusal> {
    let mut previous = 0;
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'/' if previous == b'/' => return Err(Refusal::Path("it has an empty segment")),
            b'\\' => return Err(Refusal::Path("it has a backslash")),
            b'.' | b'%' if previous == b'/' && is_dots(&path[at..]) => {
                return Err(Refusal::Path("it has a `.` or `..` segment"));
            }
            _ => previous = byte,
        }
    }
    Ok(())
}

/// Whether the first segment of `rest` is one or two dots.
fn is_dots(rest: &str) -> bool {
    let mut rest = rest.as_bytes();
    for dots in 0.. {
        rest = match rest {
            [] | [b'/' | b';', ..] => return (1..=2).contains(&dots),
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
    }
    false
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
        for good in ["/", "/a/", "/.well-known/x", "/...", "/a.b/c..d", "/%2f", "/%2ea", "/a;..", "/a%2e", "/..%2e"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in ["//", "/a//b", "/a//", "/.", "/a/./b", "/..", "/a/../b", "/a/..;x/b", "/a/%2e", "/%2E%2e/a"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        for bad in ["/.%2e/", "/a/%2e./b", r"/a\b", "/.;"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
