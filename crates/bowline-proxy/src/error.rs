//! Why a request is answered by us, and the one function that makes the answer.

use std::error::Error as StdError;

use bowline_model::{Code, mesh::MESH_DOMAIN};
use bowline_telemetry::TraceId;
use bowline_transport::{Kind, Side, problem::Problem};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, PROXY_AUTHENTICATE, RETRY_AFTER},
};

use crate::{
    body::TooLarge,
    filter::{self, whole_seconds},
    matcher::Miss,
    target::Refusal,
};

/// Why a request is answered by us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Target(#[from] Refusal),
    #[error("no route has this host and path")]
    NoRoute,
    #[error("this path takes other methods")]
    Method { allow: String },
    #[error("tunnels are not offered: have the client ask for `http://` addresses without CONNECT")]
    Connect,
    #[error("upgrading a connection is not offered")]
    Upgrade,
    #[error("this proxy demands credentials of its own in `Proxy-Authorization`: those in HTTP_PROXY")]
    ProxyAuth,
    #[error("{0}")]
    ProxyForm(&'static str),
    #[error("this port serves only the application beside it: processes of the same user")]
    NotAdmitted,
    #[error("{}", undeclared(host))]
    Egress { host: String },
    #[error("the body exceeds the {body_max} bytes that are allowed here")]
    BodyTooLarge { body_max: u64 },
    #[error("the route's backends all have a weight of 0")]
    NoBackend,
    #[error("{}", .0.detail)]
    Refused(Box<filter::Refusal>),
    #[error("a policy of this gateway came to no decision")]
    Undecided,
    #[error(transparent)]
    Upstream(bowline_upstream::Error),
}

impl Error {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Target(_) | Self::Connect | Self::Upgrade | Self::ProxyForm(_) => Code::InvalidArgument,
            Self::ProxyAuth => Code::Unauthenticated,
            Self::NotAdmitted | Self::Egress { .. } => Code::PermissionDenied,
            Self::NoRoute => Code::NotFound,
            Self::Method { .. } => Code::MethodNotAllowed,
            Self::BodyTooLarge { .. } => Code::PayloadTooLarge,
            Self::NoBackend | Self::Undecided => Code::Unavailable,
            Self::Refused(refusal) => refusal.code,
            Self::Upstream(error) => error.code(),
        }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            // The code has the status of an origin.
            Self::ProxyAuth => StatusCode::PROXY_AUTHENTICATION_REQUIRED.as_u16(),
            _ => self.code().http_status(),
        }
    }

    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Target(Refusal::Host(_)) => "bad_host",
            Self::Target(Refusal::Path(_)) => "bad_path",
            Self::NoRoute => "no_route",
            Self::Method { .. } => "method_not_allowed",
            Self::Connect => "connect_unsupported",
            Self::Upgrade => "upgrade_unsupported",
            Self::ProxyAuth => "proxy_credentials",
            Self::ProxyForm(_) => "proxy_form",
            Self::NotAdmitted => "not_admitted",
            Self::Egress { .. } => "egress_not_declared",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::NoBackend => "no_backend",
            Self::Undecided => "undecided",
            Self::Refused(refusal) => refusal.reason,
            Self::Upstream(error) => error.reason(),
        }
    }

    pub(crate) fn side(&self) -> Side {
        match self {
            Self::NoBackend | Self::Undecided => Side::Internal,
            // A client cannot be blamed for what ends with a 5xx.
            Self::Refused(refusal) if refusal.code.http_status() >= 500 => Side::Internal,
            Self::Upstream(error) => error.side(),
            _ => Side::Downstream,
        }
    }
}

impl From<Miss> for Error {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::NoRoute => Self::NoRoute,
            Miss::Method { allow } => Self::Method { allow },
        }
    }
}

impl From<bowline_upstream::Error> for Error {
    /// A body that we cut off is our refusal, however deep in the call it came to light.
    fn from(error: bowline_upstream::Error) -> Self {
        match too_large(&error) {
            Some(TooLarge { body_max }) => Self::BodyTooLarge { body_max: *body_max },
            None => Self::Upstream(error),
        }
    }
}

fn too_large<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TooLarge> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(too_large) = current.downcast_ref() {
            return Some(too_large);
        }
        cause = current.source();
    }
    None
}

impl From<Error> for filter::Refusal {
    /// What the client is told of it, for who asks without sending a request.
    fn from(error: Error) -> Self {
        let (code, reason, detail) = (error.code(), error.reason(), error.to_string());
        match error {
            Error::Refused(refusal) => *refusal,
            _ => Self::new(code, reason, detail),
        }
    }
}

/// What is counted, and said, of an answer that broke off after its head was passed on.
pub(crate) fn broken(error: &bowline_transport::Error) -> (Code, &'static str) {
    match error.kind() {
        Kind::RequestBody if too_large(error).is_some() => (Code::PayloadTooLarge, "body_too_large"),
        Kind::RequestBody => (error.code(), "request_body"),
        _ => (error.code(), "upstream_reset"),
    }
}

/// What is to be done where a host is asked for that no call leads to.
fn undeclared(host: &str) -> String {
    let service = host.strip_suffix(&format!(".{MESH_DOMAIN}")).unwrap_or(host);
    format!(
        "this service declares no call to `{host}`: add `[service.NAME.calls.{service}]` to bowline.toml, \
         or name hosts outside the mesh in NO_PROXY"
    )
}

/// Answers an error: the only place where one becomes a response.
///
/// The client is told the error itself; its causes go to the log.
pub(crate) fn rescue(error: &Error, trace_id: TraceId) -> Response<Bytes> {
    let problem = Problem { status: error.status(), ..Problem::new(error.code(), error.to_string()) };
    let problem = problem.with_reason(error.reason());
    let mut response = problem.with_trace_id(trace_id.to_string()).to_response();
    let headers = response.headers_mut();
    match error {
        Error::Method { allow } => {
            headers.extend(HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)));
        }
        Error::Upstream(bowline_upstream::Error::BreakerOpen { retry_after: Some(after), .. }) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*after).min(3600)));
        }
        Error::ProxyAuth => {
            headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"bowline\""));
        }
        Error::Refused(refusal) => headers.extend(refusal.headers.clone()),
        _ => {}
    }
    response
}
