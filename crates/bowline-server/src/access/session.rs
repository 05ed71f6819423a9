//! Sessions of the console: a token that a browser keeps in a cookie, out of reach of scripts.
//!
//! The cookie holds the token itself, so a session is what the token is: it has its role, acts as its holder, and
//! ends with it. Nothing is kept of a session here.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bowline_model::Code;
use bowline_provider_remote::wire::{self, Role, SessionBy};
use bowline_runtime::time::Duration;

use super::{
    Access, Record,
    credential::{self, By, COOKIE, Credential},
};
use crate::{actor, api::Shared, error::ApiError};

/// How long a browser keeps the cookie.
const COOKIE_LIFE: Duration = Duration::from_hours(12);
/// No cache keeps who somebody is.
const NO_STORE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

/// Signs a browser in: the token goes into a cookie.
#[utoipa::path(post, path = "/v1/session", tag = "access", request_body = wire::NewSession,
    responses(
        (status = 200, description = "signed in; the cookie `bowline_session` holds the token for 12 hours",
            body = wire::OpenedSession),
        (status = 401, description = "that is no token, or none any more"),
        (status = 403, description = "a browser sent it, and not from the console's own page")))]
pub(crate) async fn open(
    State(shared): State<Shared>,
    body: Result<Json<wire::NewSession>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(wire::NewSession { token }) = body?;
    let record = match shared.access.valid(token.expose()).await {
        Ok(record) => record,
        Err(error) => {
            shared.access.refused(&actor::current(), &error).await;
            return Err(error);
        }
    };
    let opened = wire::OpenedSession { name: record.name, role: record.role, expires_unix_ms: record.expires_unix_ms };
    Ok(([NO_STORE], [(header::SET_COOKIE, cookie(token.expose(), COOKIE_LIFE))], Json(opened)))
}

/// Signs a browser out: its cookie ends. The token does not.
#[utoipa::path(delete, path = "/v1/session", tag = "access",
    responses((status = 204, description = "signed out"),
        (status = 403, description = "a browser sent it, and not from the console's own page")))]
pub(crate) async fn close() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [NO_STORE], [(header::SET_COOKIE, no_cookie())])
}

/// Says who asks, and what they may do; never 401.
///
/// A cookie whose token has ended is taken back, so that who asks is then whoever they are without it.
#[utoipa::path(get, path = "/v1/session", tag = "access", responses((status = 200, body = wire::Session)))]
pub(crate) async fn show(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, ApiError> {
    let access = &*shared.access;
    let standing = Standing::of(access, &headers).await?;
    let (name, role, by) = match &standing {
        Standing::Known(record, by) => (Some(record.name.clone()), Some(record.role), Some(*by)),
        // All that is not guarded.
        Standing::Nobody { .. } if access.is_loopback() => (None, Some(Role::Editor), Some(SessionBy::Loopback)),
        Standing::Nobody { .. } | Standing::Refused => (None, None, None),
    };
    let system = shared.standing.system().filter(|_| role.is_some()).map(ToString::to_string);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let session = wire::Session { signed_in: name.is_some(), name, role, by, system, version };
    let mut response = ([NO_STORE], Json(session)).into_response();
    if let Standing::Nobody { is_cookie_over: true } = standing {
        response.headers_mut().insert(header::SET_COOKIE, no_cookie());
    }
    Ok(response)
}

/// Who a request comes from, as the next one without another credential will be judged.
enum Standing {
    Known(Record, SessionBy),
    /// Nobody in particular, at the latest once the cookie is gone.
    Nobody {
        is_cookie_over: bool,
    },
    /// Whoever shows something that is no credential, and goes on to show it.
    Refused,
}

impl Standing {
    async fn of(access: &Access, headers: &HeaderMap) -> Result<Self, ApiError> {
        let Credential { token, by } = match credential::shown(headers) {
            Ok(Some(shown)) => shown,
            Ok(None) => return Ok(Self::Nobody { is_cookie_over: false }),
            Err(_) => return Ok(Self::Refused),
        };
        match (access.valid(token).await, by) {
            (Ok(record), By::Bearer) => Ok(Self::Known(record, SessionBy::Bearer)),
            (Ok(record), By::Cookie) => Ok(Self::Known(record, SessionBy::Cookie)),
            (Err(error), _) if error.code() != Code::Unauthenticated => Err(error),
            (Err(_), By::Bearer) => Ok(Self::Refused),
            (Err(_), By::Cookie) => Ok(Self::Nobody { is_cookie_over: true }),
        }
    }
}

/// The cookie, for scripts out of reach and sent with nothing that a page of another site asks.
fn cookie(token: &str, life: Duration) -> HeaderValue {
    let text = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}", life.as_secs());
    let mut value = HeaderValue::from_str(&text).expect("a token that was found is letters, digits and `_`");
    value.set_sensitive(true);
    value
}

/// What makes a browser forget it.
fn no_cookie() -> HeaderValue {
    cookie("", Duration::ZERO)
}
