//! What a request shows of who sends it: a token in `Authorization`, or in the console's cookie.

use axum::http::{HeaderMap, header};
use bowline_model::Code;

use crate::error::ApiError;

/// The cookie that holds the token of a session of the console.
pub(super) const COOKIE: &str = "bowline_session";

/// A token that nobody has looked at yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credential<'a> {
    pub(super) token: &'a str,
    pub(super) by: By,
}

/// Where the token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Bearer,
    /// A browser adds it by itself, whatever page makes it ask.
    Cookie,
}

/// What these headers show; of both, `Authorization` counts.
pub(super) fn shown(headers: &HeaderMap) -> Result<Option<Credential<'_>>, ApiError> {
    if let Some(token) = bearer(headers)? {
        return Ok(Some(Credential { token, by: By::Bearer }));
    }
    Ok(cookie(headers)?.map(|token| Credential { token, by: By::Cookie }))
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

/// The token in the console's cookie. Cookies of others on this host stand beside it, and need not be text.
fn cookie(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values =
        pairs.filter_map(|pair| pair.trim_ascii_start().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="));
    let first = values.next();
    // One of them may have been set by another server on this host: neither is trusted.
    if values.next().is_some() {
        let detail = format!("more than one cookie `{COOKIE}`: delete the cookies of this host, then sign in again");
        return Err(invalid(&detail));
    }
    Ok(first.map(|value| str::from_utf8(value.trim_ascii_end()).unwrap_or("")))
}

/// What whoever shows something that is no credential is told.
pub(super) fn invalid(detail: &str) -> ApiError {
    ApiError::new(Code::Unauthenticated, detail).with_reason("token_invalid")
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn of(pairs: &[(HeaderName, &'static str)]) -> Result<Option<(String, By)>, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let shown = shown(&headers).map_err(|error| error.detail().to_owned())?;
        Ok(shown.map(|shown| (shown.token.to_owned(), shown.by)))
    }

    fn cookies(values: &[&'static str]) -> Result<Option<(String, By)>, String> {
        of(&values.iter().map(|value| (header::COOKIE, *value)).collect::<Vec<_>>())
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let found = Ok(Some(("a".to_owned(), By::Cookie)));
        for good in
            ["bowline_session=a", "x=y; bowline_session=a", "bowline_session=a;theme=dark", "z=ü; bowline_session=a"]
        {
            assert_eq!(cookies(&[good]), found, "{good}");
        }
        assert_eq!(cookies(&["x=y", "bowline_session=a"]), found);
        for none in ["", "bowline_session", "Bowline_session=a", "xbowline_session=a", "bowline_session2=a", "=a"] {
            assert_eq!(cookies(&[none]), Ok(None), "{none}");
        }
        for (odd, token) in [("bowline_session=", ""), ("bowline_session=ü", "ü")] {
            assert_eq!(cookies(&[odd]), Ok(Some((token.to_owned(), By::Cookie))), "it is looked at, and is none");
        }
    }

    #[test]
    fn two_of_one_kind_are_neither() {
        for two in [&["bowline_session=a; bowline_session=a"][..], &["bowline_session=a", "bowline_session=b"]] {
            assert!(cookies(two).unwrap_err().contains("delete the cookies"));
        }
        let twice = [(header::AUTHORIZATION, "Bearer a"), (header::AUTHORIZATION, "Bearer a")];
        assert!(of(&twice).unwrap_err().contains("more than one"));
    }

    #[test]
    fn authorization_counts_before_the_cookie() {
        let with = |value| of(&[(header::COOKIE, "bowline_session=a"), (header::AUTHORIZATION, value)]);
        assert_eq!(with("Bearer b"), Ok(Some(("b".to_owned(), By::Bearer))));
        assert!(with("Basic b").is_err(), "also one that is none");
    }
}
