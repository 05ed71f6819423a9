//! What a request shows of who sends it: a token in `Authorization`, or a session of the console, by the cookie that
//! a browser adds and the proof that the page adds.

use axum::http::{HeaderMap, HeaderName, header};
use bowline_model::Code;

use crate::{error::ApiError, secret};

/// How the cookie of a session begins; behind it stands the port, since cookies know none.
const COOKIE: &str = "bowline_session_";
/// The header of the console's own requests: the proof of its session, or [`NO_PROOF`].
pub(super) const CONSOLE_HEADER: HeaderName = HeaderName::from_static("x-bowline-console");
/// What the page says in the header while it has no session.
const NO_PROOF: &str = "1";
/// Another server on this host may have set cookies of the same name; so many are looked at.
const COOKIES_MAX: usize = 4;

/// What nobody has looked at yet; of a token and a session, the token counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    Bearer(&'a str),
    Session(ShownSession<'a>),
    Nothing,
}

/// Cookies of sessions, and what proves that the page they are of sends them along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownSession<'a> {
    pub(super) ids: Vec<&'a str>,
    pub(super) proof: Option<&'a str>,
}

/// What these headers show to the API that listens on that port.
pub(super) fn shown(headers: &HeaderMap, port: u16) -> Result<Shown<'_>, ApiError> {
    if let Some(token) = bearer(headers)? {
        return Ok(Shown::Bearer(token));
    }
    Ok(session(headers, port).map_or(Shown::Nothing, Shown::Session))
}

/// The token in `Authorization`.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("more than one Authorization header"));
    }
    let text = value.to_str().unwrap_or("");
    match text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
        Some((_, token)) => Ok(Some(token)),
        None => Err(invalid("write `Authorization: Bearer TOKEN`")),
    }
}

/// The session that is shown, whatever `Authorization` says.
pub(super) fn session(headers: &HeaderMap, port: u16) -> Option<ShownSession<'_>> {
    let ids = cookies(headers, &cookie_name(port));
    let proof = console(headers).filter(|said| *said != NO_PROOF);
    (!ids.is_empty()).then_some(ShownSession { ids, proof })
}

/// What the cookie of a session is called where the API listens on that port.
pub(super) fn cookie_name(port: u16) -> String {
    format!("{COOKIE}{port}")
}

/// What the console's own page says in its header; none where it did not send this.
pub(super) fn console(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(CONSOLE_HEADER).iter();
    let (said, other) = (values.next()?.to_str().ok()?, values.next());
    (other.is_none() && (said == NO_PROOF || secret::is_half(said))).then_some(said)
}

/// The values of the cookies of that name. Cookies of others on this host stand beside them, and need not be text.
fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let values = pairs.filter_map(|pair| pair.trim_ascii_start().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.map(|value| str::from_utf8(value.trim_ascii_end()).unwrap_or("")).take(COOKIES_MAX).collect()
}

/// What whoever shows something that is no credential is told.
pub(super) fn invalid(detail: &str) -> ApiError {
    ApiError::new(Code::Unauthenticated, detail).with_reason("token_invalid")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(cookies: &[&'static str], expect: &[&str]) {
        let headers = headers(&cookies.iter().map(|value| (header::COOKIE, *value)).collect::<Vec<_>>());
        let found = session(&headers, 7117).map(|session| session.ids).unwrap_or_default();
        assert_eq!(found, expect, "{cookies:?}");
    }

    #[test]
    fn the_cookie_of_the_port_is_found_among_others() {
        check(&["bowline_session_7117=a"], &["a"]);
        check(&["x=y; bowline_session_7117=a"], &["a"]);
        check(&["bowline_session_7117=a;theme=dark"], &["a"]);
        check(&["z=ü; bowline_session_7117=a"], &["a"]);
        check(&["x=y", "bowline_session_7117=a"], &["a"]);
        check(&["bowline_session_7118=b; bowline_session_7117=a"], &["a"]);
        check(&["bowline_session_7117="], &[""]);
        for none in
            ["", "bowline_session_7117", "Bowline_session_7117=a", "bowline_session=a", "bowline_session_71170=a"]
        {
            check(&[none], &[]);
        }
    }

    #[test]
    fn cookies_of_one_name_are_all_looked_at_but_not_many() {
        check(&["bowline_session_7117=a; bowline_session_7117=b"], &["a", "b"]);
        check(&["bowline_session_7117=a"; 9], &["a"; COOKIES_MAX]);
    }

    #[test]
    fn authorization_counts_before_the_cookie() {
        let with = |value| headers(&[(header::COOKIE, "bowline_session_1=a"), (header::AUTHORIZATION, value)]);
        assert_eq!(shown(&with("Bearer b"), 1).unwrap(), Shown::Bearer("b"));
        assert!(shown(&with("Basic b"), 1).is_err(), "also one that is none");
        let twice = headers(&[(header::AUTHORIZATION, "Bearer a"), (header::AUTHORIZATION, "Bearer a")]);
        assert!(shown(&twice, 1).unwrap_err().detail().contains("more than one"));
        assert_eq!(shown(&HeaderMap::new(), 1).unwrap(), Shown::Nothing);
    }

    #[test]
    fn the_page_says_one_thing_in_its_header() {
        let proof = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let said = |values: &[&'static str]| {
            let headers = headers(&values.iter().map(|value| (CONSOLE_HEADER, *value)).collect::<Vec<_>>());
            console(&headers).map(ToOwned::to_owned)
        };
        assert_eq!(said(&[proof]).as_deref(), Some(proof));
        assert_eq!(said(&["1"]).as_deref(), Some("1"));
        for none in [&[][..], &[""], &["yes"], &["1", "1"], &["1", proof], &["ü"]] {
            assert_eq!(said(none), None, "{none:?}");
        }
        let of = |said| {
            let headers = headers(&[(header::COOKIE, "bowline_session_1=a"), (CONSOLE_HEADER, said)]);
            session(&headers, 1).unwrap().proof.map(ToOwned::to_owned)
        };
        assert_eq!((of(proof).as_deref(), of("1")), (Some(proof), None));
    }
}
