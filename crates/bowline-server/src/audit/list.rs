//! The audit over HTTP.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use bowline_model::Code;
use bowline_provider_remote::wire::{self, AuditClass};
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

/// The most entries of one list.
const LIMIT_MAX: usize = 1000;
/// How many entries a list has where nothing else is asked for.
const LIMIT_DEFAULT: usize = 50;

/// What `GET /v1/audit` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    /// Only entries of this class: `registry`, `messages`, `other` or `refused`.
    #[param(value_type = Option<String>)]
    class: Option<AuditClass>,
    /// Only entries older than the one of this id.
    before: Option<String>,
    /// At most so many, 1 to 1000; 50 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Who changed what, newest first.
///
/// The newest 10,000 changes are kept, beside them 5000 of the registry, 2000 of messages and 1000 refusals.
#[utoipa::path(get, path = "/v1/audit", tag = "access", params(AuditQuery), responses((status = 200, body = wire::AuditList)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<wire::AuditList>, ApiError> {
    let Query(AuditQuery { class, before, limit }) = query?;
    let invalid = |detail: String| ApiError::new(Code::InvalidArgument, detail);
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(invalid(format!("limit {limit}: it is 1 to {LIMIT_MAX}")));
    }
    let id = |text: String| {
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_id.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
        id.ok_or_else(|| invalid("before: 16 hexadecimal digits, the id of an entry".to_owned()))
    };
    let before = before.map(id).transpose()?;
    let found = shared.audit.entries(class, before, limit).await;
    let (entries, more) = found.map_err(|error| ApiError::of(error.code(), &error))?;
    let entries = entries.into_iter().map(|(id, class, record)| record.into_wire(id, class)).collect();
    Ok(Json(wire::AuditList { entries, more }))
}
