//! The console at `/ui/`: its page and what the page loads. They are files of the release and hold no data, so they
//! are open to whoever passes the guard; what the page shows, it asks the API for.

use axum::{
    Router,
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use bowline_console::{Asset, CONTENT_SECURITY_POLICY, Content};
use bowline_model::Code;

use crate::{api::Shared, error::ApiError};

/// Where it is, as the router writes it.
pub(crate) const PATHS: [&str; 4] = ["/", "/ui", HOME, "/ui/{*path}"];
/// Where the page begins.
const HOME: &str = "/ui/";
/// Where its files are, below [`HOME`].
const ASSETS: &str = "assets/";

/// What each answer carries: the page is framed by nobody, loads nothing from elsewhere, and tells nobody where it
/// was. A file is asked for again each time, and sent again where it is another one: releases change them.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-cache"),
    (header::VARY, "accept-encoding"),
];

/// The routes of [`PATHS`].
pub(crate) fn routes() -> Router<Shared> {
    let [root, bare, home, below] = PATHS;
    Router::new()
        .route(root, get(async || Redirect::temporary(HOME)))
        .route(bare, get(async || Redirect::temporary(HOME)))
        .route(home, get(async |headers: HeaderMap| answer(bowline_console::page(), &headers)))
        .route(below, get(file_or_page))
}

/// A file below `assets/`; anything else is a place within the page, which finds it itself.
async fn file_or_page(path: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Result<Response, ApiError> {
    let Path(path) = path?;
    let Some(name) = path.strip_prefix(ASSETS) else { return Ok(answer(bowline_console::page(), &headers)) };
    let Some(asset) = bowline_console::asset(name) else {
        let detail = "the console has no such file: reload the page, which may be of another release of Bowline";
        return Err(ApiError::new(Code::NotFound, detail));
    };
    Ok(answer(asset, &headers))
}

/// The file as the client takes it; nothing but its tag where the client has it already.
fn answer(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let gzip = if accepts_gzip(headers) { asset.gzip() } else { None };
    let Content { bytes, etag } = gzip.unwrap_or_else(|| asset.plain());
    let tag = [(header::ETAG, &**etag)];
    if is_kept(headers, etag) {
        return (StatusCode::NOT_MODIFIED, HEADERS, tag).into_response();
    }
    let mut response = (HEADERS, tag, [(header::CONTENT_TYPE, asset.content_type())], bytes.clone()).into_response();
    if gzip.is_some() {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Whether the client has the file under that tag (RFC 9110, 13.1.2).
fn is_kept(headers: &HeaderMap, etag: &str) -> bool {
    let mut tags = list(headers, &header::IF_NONE_MATCH);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether the client takes gzip (RFC 9110, 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let weight = |wanted: &str| {
        list(headers, &header::ACCEPT_ENCODING).find_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let is_wanted = parts.next()?.eq_ignore_ascii_case(wanted);
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
            is_wanted.then(|| weight.unwrap_or(0.0))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

/// The items of a header that is a list.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}
