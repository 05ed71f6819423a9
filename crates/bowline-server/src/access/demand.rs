//! The middleware that finds out who asks, and refuses whom it must.

use std::net::SocketAddr;

use axum::{
    extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse, Response},
};
use bowline_model::Code;

use super::{Access, credential, forgery, rules, session::Standing};
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
        Err(refusal) => {
            let Refusal { holder, error } = *refusal;
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
    let standing = match credential::bearer(&parts.headers) {
        Ok(token) => Standing::of_token(access, token).await,
        Err(error) => Err(error),
    };
    match decide(standing, demand, is_loopback) {
        Ok(_) => Ok(()),
        Err(refusal) => {
            let Refusal { holder, error } = *refusal;
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

impl Refusal {
    fn of_nobody(error: ApiError) -> Box<Self> {
        Box::new(Self { holder: None, error })
    }
}

async fn judge(access: &Access, parts: &Parts, first: Option<&str>) -> Result<Option<Holder>, Box<Refusal>> {
    let template = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let demand = rules::demand(parts.method.as_str(), template, first);
    forgery::check(parts, template, demand.is_question()).map_err(Refusal::of_nobody)?;
    if demand.least.is_none() {
        return Ok(None);
    }
    decide(Standing::of(access, &parts.headers).await, demand, access.is_loopback())
}

/// Who it is, where they may.
fn decide(
    standing: Result<Standing, ApiError>,
    demand: rules::Demand,
    is_loopback: bool,
) -> Result<Option<Holder>, Box<Refusal>> {
    let rules::Demand { least, on_loopback } = demand;
    let Some(least) = least else { return Ok(None) };
    // A credential that is none is told, also where none is needed: whoever sends one relies on it.
    match standing.map_err(Refusal::of_nobody)? {
        Standing::Known(record, _) if record.role >= least => Ok(Some(record.into_holder())),
        Standing::Known(record, _) => {
            let detail = format!(
                "the token `{}` has the role {}, this needs {least}: ask an administrator for another one",
                record.name, record.role
            );
            let error = ApiError::new(Code::PermissionDenied, detail).with_reason("role");
            Err(Box::new(Refusal { holder: Some(record.into_holder()), error }))
        }
        // Whoever was somebody does not become anonymous without noticing.
        Standing::Nobody(Some(refused)) if refused.is_of_holder() => {
            Err(Refusal::of_nobody(credential::invalid(refused.told())))
        }
        Standing::Nobody(refused) if on_loopback || !is_loopback => {
            let detail = format!("this needs a token of the role {least}: send `Authorization: Bearer TOKEN`");
            let why = refused.map(|refused| format!("; {}", refused.told())).unwrap_or_default();
            let error = ApiError::new(Code::Unauthenticated, detail + &why).with_reason("token_missing");
            Err(Refusal::of_nobody(error))
        }
        Standing::Nobody(_) => Ok(None),
    }
}

/// The first parameter of the path that matched, decoded as handlers see it.
async fn first_parameter(parts: &mut Parts) -> Option<String> {
    // A parameter that cannot be decoded is refused by the handler, which does nothing.
    let parameters = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    parameters.iter().next().map(|(_, value)| value.to_owned())
}
