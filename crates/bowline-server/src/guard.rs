//! What every request passes first: foreign `Host` and `Origin` are refused, and it gets a trace id. And what every
//! answer leaves with: it is what it says it is, so that no browser takes somebody's data for a page; it is for this
//! origin alone; and no cache keeps it that it does not say so to.
//!
//! A page in a browser can make its own host name resolve to 127.0.0.1 and then read answers from
//! here (DNS rebinding). Such a request still carries the page's name in `Host` or `Origin`.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bowline_model::Code;
use bowline_telemetry::{TraceId, propagation};
use bowline_transport::server::is_loopback_name;

use crate::error::{ApiError, TRACE_ID};

/// Whose pages may load an answer: a browser tells nothing of it to others.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The middleware: names the request, then judges it.
pub(crate) async fn guard(State(is_loopback): State<bool>, request: Request, next: Next) -> Response {
    let trace_id = propagation::extract(request.headers()).map_or_else(TraceId::generate, |context| context.trace_id);
    let trace_id = trace_id.to_string();
    let id_header = HeaderValue::from_str(&trace_id).expect("hexadecimal digits are a header value");
    let mut response = TRACE_ID
        .scope(trace_id, async {
            match check(request.headers(), request.uri(), is_loopback) {
                Ok(()) => next.run(request).await,
                Err(error) => error.into_response(),
            }
        })
        .await;
    let headers = response.headers_mut();
    headers.insert("x-trace-id", id_header);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Beyond loopback the server has whatever name it is reached by; there, a credential is demanded that
/// no page of another site has.
pub(crate) fn check(headers: &HeaderMap, uri: &Uri, is_loopback: bool) -> Result<(), ApiError> {
    let refuse = |what: &str, name: &str| {
        let detail = format!("{what} `{name}` is not this server's: ask for localhost or 127.0.0.1");
        Err(ApiError::new(Code::PermissionDenied, detail))
    };
    let mut hosts = headers.get_all(header::HOST).iter().map(text);
    let (host, other) = (hosts.next(), hosts.next());
    if other.is_some() {
        return Err(ApiError::new(Code::InvalidArgument, "more than one Host header"));
    }
    // HTTP/2 names the host in the target, and so may HTTP/1.1: where both do, both have to be ours.
    let in_target = uri.authority().map(http::uri::Authority::as_str);
    if host.is_none() && in_target.is_none() {
        return Err(ApiError::new(Code::InvalidArgument, "no Host header"));
    }
    let named = || host.into_iter().chain(in_target);
    for host in named() {
        if is_loopback && !is_loopback_name(host) {
            return refuse("host", host);
        }
    }
    for origin in headers.get_all(header::ORIGIN).iter().map(text) {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let is_own = |authority: &str| named().any(|host| host.eq_ignore_ascii_case(authority));
        if !authority.is_some_and(|authority| is_loopback_name(authority) || is_own(authority)) {
            return refuse("origin", origin);
        }
    }
    Ok(())
}

/// A header as text; what is none is nobody's name.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("")
}
