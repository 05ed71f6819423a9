//! Requests that a page of another origin makes a browser send (CSRF).
//!
//! A browser adds the cookie of a session to what any page of this host asks here, whatever its port, and on
//! loopback nobody needs a cookie at all. So what comes from a browser, or by the cookie, and changes something
//! must say that the console's own page sent it: by a header that no page of another origin can add unless the
//! server agrees, which it never does, and by what the browser itself tells of the page.

use axum::http::{HeaderMap, HeaderName, Method, Uri, header, request::Parts, uri::Authority};
use bowline_model::Code;

use crate::error::ApiError;

/// The header of the console's own requests; its value is `1`.
const CONSOLE_HEADER: HeaderName = HeaderName::from_static("x-bowline-console");
/// What a browser says of the page that asks.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what changes something for a page that is not the console's own. `is_question`: it changes nothing,
/// whatever its method; whoever is known by the cookie shows the header all the same.
pub(super) fn check(parts: &Parts, by_cookie: bool, is_question: bool) -> Result<(), ApiError> {
    let Parts { method, uri, headers, .. } = parts;
    let is_browser = headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE);
    if [Method::GET, Method::HEAD].contains(method) || !(by_cookie || (is_browser && !is_question)) {
        return Ok(());
    }
    let refuse = |what: &str| {
        let detail = format!("{what}: only this server's own console changes something from within a browser");
        Err(ApiError::new(Code::PermissionDenied, detail).with_reason("csrf"))
    };
    if !texts(headers, &CONSOLE_HEADER).eq(["1"]) {
        return refuse(&format!("there is no `{CONSOLE_HEADER}: 1`"));
    }
    if let Some(site) = texts(headers, &FETCH_SITE).find(|site| *site != "same-origin") {
        return refuse(&format!("`{FETCH_SITE}` is `{site}`"));
    }
    let own = own_authority(uri, headers);
    match texts(headers, &header::ORIGIN).find(|origin| !is_of(origin, own)) {
        Some(origin) => refuse(&format!("the origin `{origin}` is not this server's")),
        None => Ok(()),
    }
}

/// What the browser asked; HTTP/2 names it in the target.
fn own_authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.authority().map(Authority::as_str).or_else(|| texts(headers, &header::HOST).next())
}

/// Whether that is where the origin is. By what scheme it was asked is not known behind a proxy.
fn is_of(origin: &str, own: Option<&str>) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.zip(own).is_some_and(|(authority, own)| authority.eq_ignore_ascii_case(own))
}

/// Every header of that name; what is no text is nobody's word.
fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or(""))
}
