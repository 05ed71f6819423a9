//! Requests that a page of another origin makes a browser send (CSRF).
//!
//! On loopback nobody needs a credential, and any page can make a browser ask there. So what a browser says that a
//! page of another origin asks is refused, questions too, whose answers that page could not read: some cost, and
//! their time tells something. And what comes from a browser and changes something must say that the console's own
//! page sent it: by a header that no page of another origin can add unless the server agrees, which it never does,
//! and by what the browser itself tells of the page.

use axum::http::{HeaderMap, HeaderName, Method, Uri, header, request::Parts, uri::Authority};
use bowline_model::Code;

use super::credential::{self, CONSOLE_HEADER};
use crate::{console, error::ApiError};

/// What a browser says of the page that asks.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// It is the own page, or somebody wrote the address.
const OWN_SITES: [&str; 2] = ["same-origin", "none"];
/// What answers the same to everybody, whatever page makes their browser ask; so do the console's files.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// Refuses what a page that is not the console's own asks or changes. `template`: the path that it matched.
/// `is_question`: it changes nothing, whatever its method.
pub(super) fn check(parts: &Parts, template: Option<&str>, is_question: bool) -> Result<(), ApiError> {
    let Parts { method, uri, headers, .. } = parts;
    let is_for_all = template.is_some_and(|path| PROBES.contains(&path) || console::PATHS.contains(&path));
    if let Some(site) = texts(headers, &FETCH_SITE).find(|site| !is_for_all && !OWN_SITES.contains(site)) {
        let detail =
            format!("`{FETCH_SITE}` is `{site}`: from within a browser, only this server's own console asks here");
        return Err(ApiError::new(Code::PermissionDenied, detail).with_reason("csrf"));
    }
    let is_browser = headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE);
    if [Method::GET, Method::HEAD].contains(method) || is_question || !is_browser {
        return Ok(());
    }
    let refuse = |what: &str| {
        let detail = format!("{what}: only this server's own console changes something from within a browser");
        Err(ApiError::new(Code::PermissionDenied, detail).with_reason("csrf"))
    };
    if credential::console(headers).is_none() {
        return refuse(&format!("there is no one `{CONSOLE_HEADER}` with `1` or the proof of a session"));
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
