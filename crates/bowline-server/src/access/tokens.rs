//! Tokens over HTTP: made, listed, revoked.

use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{StatusCode, header},
    response::IntoResponse,
};
use bowline_model::Code;
use bowline_provider_remote::wire;
use bowline_runtime::time::Duration;

use super::ROOT_ID;
use crate::{api::Shared, error::ApiError, secret};

/// The longest name of a token.
const NAME_MAX: usize = 64;
/// The shortest and the longest life of a token that ends by itself.
const LIFE_RANGE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24 * 3650));

/// Makes a token.
///
/// The answer is the only one that holds it: what is kept is a hash.
#[utoipa::path(post, path = "/v1/tokens", tag = "access", request_body = wire::NewToken,
    responses(
        (status = 201, description = "made; this is the only answer that holds it", body = wire::CreatedToken),
        (status = 401, description = "no token, or a bad one"), (status = 403, description = "not an administrator's"),
        (status = 422, description = "a field breaks its rule")))]
pub(crate) async fn create(
    State(shared): State<Shared>,
    body: Result<Json<wire::NewToken>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(new) = body?;
    check(&new)?;
    let (record, token) = shared.access.create(new).await?;
    let created = wire::CreatedToken { about: record.into_wire(), token };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(created)))
}

fn check(new: &wire::NewToken) -> Result<(), ApiError> {
    let wire::NewToken { name, role: _, expires_in } = new;
    let invalid = |detail: &str| Err(ApiError::new(Code::Unprocessable, detail));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
        return invalid("name: it has 1 to 64 of a-z A-Z 0-9 - _ . : @");
    }
    let (min, max) = LIFE_RANGE;
    if expires_in.is_some_and(|life| !(min..=max).contains(&life)) {
        return invalid("expires_in: it is 1m to 3650d");
    }
    Ok(())
}

/// Every token, without its secret.
#[utoipa::path(get, path = "/v1/tokens", tag = "access",
    responses((status = 200, body = wire::TokenList), (status = 401, description = "no token, or a bad one"),
        (status = 403, description = "not an administrator's")))]
pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<wire::TokenList>, ApiError> {
    let records = shared.access.records().await.map_err(|error| ApiError::of(error.code(), &error))?;
    Ok(Json(wire::TokenList { tokens: records.into_iter().map(super::Record::into_wire).collect() }))
}

/// Ends a token at once; no body.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "access",
    params(("id" = String, Path, description = "the token's id")),
    responses(
        (status = 204, description = "it is gone"),
        (status = 400, description = "the root token cannot be revoked, or it is a token and no id"),
        (status = 401, description = "no token, or a bad one"), (status = 403, description = "not an administrator's"),
        (status = 404, description = "no token has that id")))]
pub(crate) async fn revoke(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let Path(id) = id?;
    if id == ROOT_ID {
        let detail = "the root token is not revoked: delete root.token in the data folder and restart Bowline, which makes a new one";
        return Err(ApiError::new(Code::FailedPrecondition, detail));
    }
    if let Some(its_id) = secret::token_id(&id) {
        let detail = format!("this is a token, which is told to nobody: give its id, `{its_id}`");
        return Err(ApiError::new(Code::InvalidArgument, detail));
    }
    let is_gone = secret::is_token_id(&id)
        && shared.access.revoke(&id).await.map_err(|error| ApiError::of(error.code(), &error))?;
    if !is_gone {
        let shown: String = id.chars().take(64).collect();
        let detail = format!("no token has the id `{shown}`: GET /v1/tokens lists those there are");
        return Err(ApiError::new(Code::NotFound, detail));
    }
    Ok(StatusCode::NO_CONTENT)
}
