//! `/v1/session`: browsers sign in to the console with a token, and out.
//!
//! Neither the cookie nor what the page keeps is the token: the cookie reaches whatever else listens on this host.
//! The session has its token's role, acts as its holder, and ends with it.

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
    credential::{self, Shown},
    sessions::{Found, Opened, Refused},
};
use crate::{actor, api::Shared, error::ApiError};

/// No cache keeps who somebody is.
const NO_STORE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

/// Signs a browser in with a token.
///
/// The session lasts 12 hours, or until its token ends. Its cookie identifies together with `proof` alone, which the
/// page sends in `x-bowline-console`. A session that the request shows ends by it.
#[utoipa::path(post, path = "/v1/session", tag = "access", request_body = wire::NewSession,
    responses(
        (status = 200, description = "signed in; the cookie is `bowline_session_PORT`", body = wire::OpenedSession),
        (status = 401, description = "that is no token, or none any more"),
        (status = 403, description = "a browser sent it, and not from the console's own page"),
        (status = 507, description = "the store is full")))]
pub(crate) async fn open(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Result<Json<wire::NewSession>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(wire::NewSession { token }) = body?;
    let access = &*shared.access;
    let record = match access.valid(token.expose()).await {
        Ok(record) => record,
        Err(error) => {
            access.refused(&actor::current(), &error).await;
            return Err(error);
        }
    };
    let before = own_session(access, &headers).await?;
    let Opened { id, proof, ends_unix_ms, life } = access.begin_session(&record, before).await?;
    let opened = wire::OpenedSession { name: record.name, role: record.role, expires_unix_ms: ends_unix_ms, proof };
    Ok(([NO_STORE], [(header::SET_COOKIE, cookie(access, id.expose(), life))], Json(opened)))
}

/// Signs a browser out: its session ends. The token does not.
#[utoipa::path(delete, path = "/v1/session", tag = "access",
    responses((status = 204, description = "signed out"),
        (status = 403, description = "a browser sent it, and not from the console's own page")))]
pub(crate) async fn close(State(shared): State<Shared>, headers: HeaderMap) -> Result<impl IntoResponse, ApiError> {
    let access = &*shared.access;
    if let Some(key) = own_session(access, &headers).await? {
        access.end_session(key).await?;
    }
    Ok((StatusCode::NO_CONTENT, [NO_STORE], [(header::SET_COOKIE, no_cookie(access))]))
}

/// Says who asks, and what they may do; never 401. What they show that does not identify them is in `why`.
///
/// The cookie of a session that has ended is taken back.
#[utoipa::path(get, path = "/v1/session", tag = "access", responses((status = 200, body = wire::Session)))]
pub(crate) async fn show(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, ApiError> {
    let access = &*shared.access;
    let mut is_over = false;
    let (known, why, may_more) = match Standing::of(access, &headers).await {
        Ok(Standing::Known(record, by)) => (Some((record, by)), None, false),
        Ok(Standing::Nobody(refused)) => {
            is_over = refused.is_some_and(Refused::is_over);
            (None, refused.map(|refused| refused.told().to_owned()), access.is_loopback())
        }
        // Whoever shows something that is no credential, and goes on to show it.
        Err(error) if error.code() == Code::Unauthenticated => (None, Some(error.detail().to_owned()), false),
        Err(error) => return Err(error),
    };
    let (name, role, by) = match known {
        Some((record, by)) => (Some(record.name), Some(record.role), Some(by)),
        // All that is not guarded.
        None if may_more => (None, Some(Role::Editor), Some(SessionBy::Loopback)),
        None => (None, None, None),
    };
    let system = shared.standing.system().filter(|_| role.is_some()).map(ToString::to_string);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let session = wire::Session { signed_in: name.is_some(), name, role, by, why, system, version };
    let mut response = ([NO_STORE], Json(session)).into_response();
    if is_over {
        response.headers_mut().insert(header::SET_COOKIE, no_cookie(access));
    }
    Ok(response)
}

/// Who a request comes from.
#[derive(Debug)]
pub(super) enum Standing {
    Known(Record, SessionBy),
    /// Nobody in particular, also with a cookie that is refused, and why: a browser adds it, whoever set it.
    Nobody(Option<Refused>),
}

impl Standing {
    /// # Errors
    /// Where `Authorization` holds no credential: whoever sends that relies on it.
    pub(super) async fn of(access: &Access, headers: &HeaderMap) -> Result<Self, ApiError> {
        match credential::shown(headers, access.port())? {
            Shown::Nothing => Ok(Self::Nobody(None)),
            Shown::Bearer(token) => Self::of_token(access, Some(token)).await,
            Shown::Session(shown) => Ok(match access.session(&shown).await? {
                Found::Valid { token, .. } => Self::Known(token, SessionBy::Cookie),
                Found::Refused(refused) => Self::Nobody(Some(refused)),
            }),
        }
    }

    /// Of whoever shows that token, or nothing.
    pub(super) async fn of_token(access: &Access, token: Option<&str>) -> Result<Self, ApiError> {
        let Some(token) = token else { return Ok(Self::Nobody(None)) };
        access.valid(token).await.map(|record| Self::Known(record, SessionBy::Bearer))
    }
}

/// The key of the session that a request shows, where it is one.
async fn own_session(access: &Access, headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(shown) = credential::session(headers, access.port()) else { return Ok(None) };
    Ok(match access.session(&shown).await? {
        Found::Valid { key, .. } => Some(key),
        Found::Refused(_) => None,
    })
}

/// The cookie, for scripts out of reach and sent with nothing that a page of another site asks.
fn cookie(access: &Access, id: &str, life: Duration) -> HeaderValue {
    let name = credential::cookie_name(access.port());
    let text = format!("{name}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}", life.as_secs());
    let mut value = HeaderValue::from_str(&text).expect("an id is hexadecimal digits");
    value.set_sensitive(true);
    value
}

/// What makes a browser forget it.
fn no_cookie(access: &Access) -> HeaderValue {
    cookie(access, "", Duration::ZERO)
}
