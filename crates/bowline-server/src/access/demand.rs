//! The middleware that finds out who asks, and refuses whom it must.

use std::net::SocketAddr;

use axum::{
    extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse, Response},
};
use bowline_model::Code;

use super::{
    Access,
    credential::{self, By},
    forgery, rules,
};
use crate::{
    actor::{self, Acting, Holder},
    api::Shared,
    error::ApiError,
};

/// Where a request comes from; an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From(pub(crate) Option<SocketAddr>);

/// Lets the request act as whoever sends it, if they may.
pub(crate) async fn demand(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let first = first_parameter(&mut parts).await;
    let peer = parts.extensions.get::<From>().and_then(|from| from.0);
    let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
    let judged = judge(&shared.access, &parts, first.as_deref()).await;
    let request = Request::from_parts(parts, body);
    match judged {
        Ok(holder) => actor::scope(Acting::new(holder, peer, &method, &path), next.run(request)).await,
        Err(Refusal { holder, error }) => {
            shared.access.refused(&Acting::new(holder, peer, &method, &path), &error).await;
            error.into_response()
        }
    }
}

/// Lets whoever has that role send spans elsewhere than to the API, as `POST /v1/spans` takes them; on loopback
/// everybody. Nobody is known there by the console's cookie.
///
/// # Errors
/// What to tell whom it refuses, who is counted and recorded.
pub(crate) async fn demand_spans(
    access: &Access,
    parts: &Parts,
    peer: Option<SocketAddr>,
    is_loopback: bool,
) -> Result<(), ApiError> {
    let demand = rules::demand("POST", Some("/v1/spans"), None);
    match judge_by(access, credential::bearer(&parts.headers), demand, is_loopback).await {
        Ok(_) => Ok(()),
        Err(Refusal { holder, error }) => {
            let acting = Acting::new(holder, peer, parts.method.as_str(), parts.uri.path());
            access.refused(&acting, &error).await;
            Err(error)
        }
    }
}

/// Why a request is refused, and who it was as far as it is known.
struct Refusal {
    holder: Option<Holder>,
    error: ApiError,
}

async fn judge(access: &Access, parts: &Parts, first: Option<&str>) -> Result<Option<Holder>, Refusal> {
    let template = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let demand = rules::demand(parts.method.as_str(), template, first);
    let shown = credential::shown(&parts.headers);
    let by_cookie = matches!(&shown, Ok(Some(shown)) if shown.by == By::Cookie);
    forgery::check(parts, by_cookie, demand.is_question()).map_err(|error| Refusal { holder: None, error })?;
    let token = shown.map(|shown| shown.map(|shown| shown.token));
    judge_by(access, token, demand, access.is_loopback()).await
}

async fn judge_by(
    access: &Access,
    token: Result<Option<&str>, ApiError>,
    demand: rules::Demand,
    is_loopback: bool,
) -> Result<Option<Holder>, Refusal> {
    let rules::Demand { least, on_loopback } = demand;
    let Some(least) = least else { return Ok(None) };
    // A credential that is none is told, also where none is needed: whoever sends one relies on it.
    let holder = access.identify(token).await.map_err(|error| Refusal { holder: None, error })?;
    match holder {
        Some(holder) if holder.role >= least => Ok(Some(holder)),
        Some(holder) => {
            let detail = format!(
                "the token `{}` has the role {}, this needs {least}: ask an administrator for another one",
                holder.name, holder.role
            );
            let error = ApiError::new(Code::PermissionDenied, detail).with_reason("role");
            Err(Refusal { holder: Some(holder), error })
        }
        None if on_loopback || !is_loopback => {
            let detail = format!("this needs a token of the role {least}: send `Authorization: Bearer TOKEN`");
            let error = ApiError::new(Code::Unauthenticated, detail).with_reason("token_missing");
            Err(Refusal { holder: None, error })
        }
        None => Ok(None),
    }
}

/// The first parameter of the path that matched, decoded as handlers see it.
async fn first_parameter(parts: &mut Parts) -> Option<String> {
    // A parameter that cannot be decoded is refused by the handler, which does nothing.
    let parameters = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    parameters.iter().next().map(|(_, value)| value.to_owned())
}
