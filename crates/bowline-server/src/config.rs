//! Configuration over HTTP: documents, their versions, their schemas, and who runs them.

mod traffic;
mod watch;

use axum::{
    Json,
    extract::{
        FromRequestParts, Path, Query, State,
        rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bowline_config::{Author, Document, Draft, Error, ExpectSchema, Status, Version};
use bowline_model::{Code, ConfigKey, InstanceId};
use bowline_provider_remote::wire::{self, NO_SCHEMA, encode_config_error, schema_tag};
use bytes::Bytes;
use serde::Deserialize;

use crate::{actor, api::Shared, error::ApiError, watch::WATCH_CONTENT_TYPE};

/// The media type of a schema.
const SCHEMA_CONTENT_TYPE: &str = "application/schema+json";
/// The most versions that are told at once: more than are kept.
const HISTORY_MAX: usize = 1000;

/// The author of a request's changes.
pub(crate) struct By(Author);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let acting = actor::current();
        Ok(Self(Author::new(actor::name(&acting.actor)).unwrap_or_else(|_| Author::anonymous())))
    }
}

/// The document a request is about.
type Key = Result<Path<(String, String)>, PathRejection>;

fn key_of(path: Key) -> Result<ConfigKey, ApiError> {
    let Path((namespace, name)) = path?;
    Ok(ConfigKey::new(&format!("{namespace}/{name}"))?)
}

/// The document a request changes: not one that the control plane alone writes, whoever asks.
fn own_key_of(path: Key) -> Result<ConfigKey, ApiError> {
    let key = key_of(path)?;
    if key.is_reserved() && key.namespace() != ConfigKey::RESERVED_NAMESPACE {
        let detail = format!(
            "`{key}` is compiled by the control plane, which alone writes it: change bowline.toml, {} or {}",
            ConfigKey::routes(),
            ConfigKey::traffic()
        );
        return Err(ApiError::new(Code::PermissionDenied, detail).with_reason("compiled"));
    }
    Ok(key)
}

/// What the body asks for breaks a bound: the body could be read, and makes no sense.
fn of_body(error: Error) -> ApiError {
    match error {
        Error::Invalid { .. } => ApiError::of(Code::Unprocessable, &error),
        error => error.into(),
    }
}

fn absent(key: &ConfigKey, what: &str) -> ApiError {
    let members = encode_config_error(&Error::NoDocument { key: key.clone() });
    ApiError::new(Code::NotFound, format!("there is no {what} `{key}`")).with(members)
}

/// What `GET /v1/config` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Only documents of this namespace.
    namespace: Option<String>,
}

/// Every document with its current version, sorted by key.
#[utoipa::path(get, path = "/v1/config", tag = "configuration", params(ListQuery),
    responses((status = 200, body = wire::ConfigList)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<wire::ConfigList>, ApiError> {
    let Query(ListQuery { namespace }) = query?;
    Ok(Json(wire::ConfigList { documents: shared.config.list(namespace.as_deref()).await? }))
}

/// What `GET /v1/config/{namespace}/{name}` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetQuery {
    /// This version instead of the current one.
    version: Option<u64>,
    /// Instead of one version, the current one and each that follows, one JSON object a line.
    #[serde(default)]
    watch: bool,
}

/// A document: its current version, an earlier one, or from now on.
///
/// With `watch=true` the answer is newline-delimited JSON that does not end. The first line is the
/// current version, or that there is none; versions that follow each other quickly may be left
/// out, the last one never is. Whoever resumes begins with the state again.
#[utoipa::path(get, path = "/v1/config/{namespace}/{name}", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key"), GetQuery),
    responses(
        (status = 200, description = "a version: `number`, `document` (`format`, `text`), `author`, `origin`, `comment`, `at_unix_ms`, `restores`; with `watch=true` ConfigEvent objects, one a line", body = Object),
        (status = 404, description = "no such document, or version")))]
pub(crate) async fn get(
    State(shared): State<Shared>,
    key: Key,
    query: Result<Query<GetQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let key = key_of(key)?;
    let Query(GetQuery { version, watch }) = query?;
    if !watch {
        let found = match version {
            None => shared.config.get_config(&key).await?.ok_or_else(|| absent(&key, "document"))?,
            Some(number) => {
                let found = shared.config.get_version(&key, number).await?;
                found.ok_or(Error::NoVersion { key, number })?
            }
        };
        return Ok(Json(found).into_response());
    }
    if version.is_some() {
        return Err(ApiError::new(Code::InvalidArgument, "`version` does not go with `watch=true`"));
    }
    let body = watch::body(shared.config.watch_config(&key).await?, shared.drain.clone()).await?;
    let body = axum::body::Body::new(body);
    Ok(([("content-type", WATCH_CONTENT_TYPE), ("cache-control", "no-store")], body).into_response())
}

/// Publishes a document as the next version, once it fits its schema.
///
/// Answered when it would survive a power loss. How a service is split whose rollout is under way, nobody else changes;
/// where traffic is changed by two at once, one of them is told so, also one who expects no version. 409 has the members `expected`, `base` (the version
/// the change is based on, while it is kept) and `current`; 422 has `violations` (`path`, `rule`,
/// `detail` of each) where the document breaks its schema, `syntax` (`line`, `column`, `reason`)
/// where it is not well-formed, `schema_fault` where the schema that comes with it is none.
#[utoipa::path(put, path = "/v1/config/{namespace}/{name}", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key")),
    request_body = wire::Publication,
    responses(
        (status = 200, description = "the new version", body = Object),
        (status = 400, description = "it changes the split of a service whose rollout is under way"),
        (status = 409, description = "another version than the expected one is current"),
        (status = 422, description = "the document breaks a rule"),
        (status = 507, description = "there are as many documents as there may be")))]
pub(crate) async fn set(
    State(shared): State<Shared>,
    key: Key,
    By(author): By,
    body: Result<Json<wire::Publication>, JsonRejection>,
) -> Result<Json<Version>, ApiError> {
    let key = own_key_of(key)?;
    let Json(publication) = body?;
    let (draft, schema) = draft_of(&shared, &key, publication, author).await?;
    let published = match schema {
        None => shared.config.set_config(&key, draft).await,
        Some(schema) => shared.config.set_config_with_schema(&key, draft, &schema).await,
    };
    published.map(Json).map_err(of_body)
}

/// Says whether a document would be published, and as which version; nothing is published or recorded.
///
/// It demands what publishing demands, and refuses as that does. A server that does not know it answers 404, and
/// publishes nothing either.
#[utoipa::path(post, path = "/v1/config/{namespace}/{name}/check", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key")),
    request_body = wire::Publication,
    responses(
        (status = 200, description = "it would be published", body = wire::ConfigCheck),
        (status = 400, description = "it has a `schema`; it changes the split of a service whose rollout is under way"),
        (status = 409, description = "another version than the expected one is current"),
        (status = 422, description = "the document breaks a rule"),
        (status = 507, description = "there are as many documents as there may be")))]
pub(crate) async fn check(
    State(shared): State<Shared>,
    key: Key,
    By(author): By,
    body: Result<Json<wire::Publication>, JsonRejection>,
) -> Result<Json<wire::ConfigCheck>, ApiError> {
    let key = own_key_of(key)?;
    let Json(publication) = body?;
    if publication.schema.is_some() {
        return Err(ApiError::new(Code::InvalidArgument, "a document is checked without a `schema` of its own"));
    }
    let (draft, _) = draft_of(&shared, &key, publication, author).await?;
    let number = shared.config.check_config(&key, draft).await.map_err(of_body)?;
    Ok(Json(wire::ConfigCheck { number }))
}

/// What is to be published, and the schema that comes with it; of traffic, of the version that was looked at.
async fn draft_of(
    shared: &Shared,
    key: &ConfigKey,
    publication: wire::Publication,
    author: Author,
) -> Result<(Draft, Option<String>), ApiError> {
    let (mut draft, schema) = publication.into_draft(author);
    if *key == ConfigKey::traffic() {
        draft.expect = Some(check_traffic(shared, draft.expect, Some(&draft.document)).await?);
    }
    Ok((draft, schema))
}

/// Checks that traffic may become that, or be deleted; the number of the version that it is then to be changed from, so
/// that nothing else is changed than what was looked at.
async fn check_traffic(shared: &Shared, expect: Option<u64>, next: Option<&Document>) -> Result<u64, ApiError> {
    let key = ConfigKey::traffic();
    let current = shared.config.get_config(&key).await?;
    traffic::check(shared, current.as_ref(), next).await?;
    let number = current.as_ref().map_or(0, |version| version.number);
    match expect {
        // It may be there a moment later.
        Some(expected) if expected > number => {
            Err(Error::Conflict { key, expected, base: None, current: current.map(Box::new) }.into())
        }
        expected => Ok(expected.unwrap_or(number)),
    }
}

/// What `DELETE /v1/config/{namespace}/{name}` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteQuery {
    /// Only if this version is the current one.
    expect: Option<u64>,
}

/// Deletes a document; no body. Its history and its schema stay, and a rollback brings it back.
#[utoipa::path(delete, path = "/v1/config/{namespace}/{name}", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key"), DeleteQuery),
    responses(
        (status = 204, description = "it is gone"),
        (status = 400, description = "it changes the split of a service whose rollout is under way"),
        (status = 404, description = "there is none"),
        (status = 409, description = "another version than the expected one is current")))]
pub(crate) async fn delete(
    State(shared): State<Shared>,
    key: Key,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let key = own_key_of(key)?;
    let Query(DeleteQuery { mut expect }) = query?;
    if key == ConfigKey::traffic() {
        expect = Some(check_traffic(&shared, expect, None).await?);
    }
    if shared.config.delete_config(&key, expect).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(absent(&key, "document"))
}

/// What `GET /v1/config/{namespace}/{name}/history` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// Only versions with a smaller number.
    before: Option<u64>,
    /// At most so many, 1 to 1000; 100 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The versions that are kept, newest first and without their documents; also of a document that
/// was deleted.
#[utoipa::path(get, path = "/v1/config/{namespace}/{name}/history", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key"), HistoryQuery),
    responses((status = 200, body = wire::ConfigHistory)))]
pub(crate) async fn history(
    State(shared): State<Shared>,
    key: Key,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<wire::ConfigHistory>, ApiError> {
    let key = key_of(key)?;
    let Query(HistoryQuery { before, limit }) = query?;
    let limit = limit.unwrap_or(bowline_config::VERSIONS_MAX);
    if !(1..=HISTORY_MAX).contains(&limit) {
        return Err(ApiError::new(Code::InvalidArgument, format!("limit {limit}: it is 1 to {HISTORY_MAX}")));
    }
    Ok(Json(wire::ConfigHistory { versions: shared.config.history(&key, before, limit).await? }))
}

/// Publishes the document of an earlier version again, as a new version; 409 as where a document is published.
#[utoipa::path(post, path = "/v1/config/{namespace}/{name}/rollback", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key")),
    request_body = wire::Rollback,
    responses(
        (status = 200, description = "the new version", body = Object),
        (status = 400, description = "it changes the split of a service whose rollout is under way"),
        (status = 404, description = "that version is not kept"),
        (status = 409, description = "another version than the expected one is current"),
        (status = 422, description = "it is the current one, or breaks today's schema")))]
pub(crate) async fn rollback(
    State(shared): State<Shared>,
    key: Key,
    By(author): By,
    body: Result<Json<wire::Rollback>, JsonRejection>,
) -> Result<Json<Version>, ApiError> {
    let key = own_key_of(key)?;
    let Json(wire::Rollback { to, mut expect }) = body?;
    if key == ConfigKey::traffic()
        && let Some(version) = shared.config.get_version(&key, to).await?
    {
        expect = Some(check_traffic(&shared, expect, Some(&version.document)).await?);
    }
    shared.config.rollback(&key, to, expect, author).await.map(Json).map_err(of_body)
}

/// The JSON Schema that a document is held against, as it was written; its tag is in `etag`.
#[utoipa::path(get, path = "/v1/config/{namespace}/{name}/schema", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key")),
    responses(
        (status = 200, description = "the schema", content_type = "application/schema+json", body = Object),
        (status = 404, description = "there is none")))]
pub(crate) async fn schema(State(shared): State<Shared>, key: Key) -> Result<Response, ApiError> {
    let key = key_of(key)?;
    let schema = shared.config.get_schema(&key).await?.ok_or_else(|| absent(&key, "schema of"))?;
    let tag = [(header::ETAG, format!("\"{}\"", schema_tag(&schema)))];
    Ok(([("content-type", SCHEMA_CONTENT_TYPE), ("cache-control", "no-store")], tag, schema).into_response())
}

/// What a change of a schema understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchemaQuery {
    /// Only if the schema is the one that was read with this `etag`, without its quotes; `none`: only if there is none.
    expect: Option<String>,
}

/// The schema that is expected to be there; whoever changes it meanwhile is found out by the store.
async fn expected_schema(shared: &Shared, key: &ConfigKey, query: SchemaQuery) -> Result<ExpectSchema, ApiError> {
    let Some(expect) = query.expect else { return Ok(ExpectSchema::Any) };
    let is_tag = expect.len() == 32 && expect.bytes().all(|byte| byte.is_ascii_hexdigit());
    match shared.config.get_schema(key).await? {
        _ if expect == NO_SCHEMA => Ok(ExpectSchema::Missing),
        Some(schema) if schema_tag(&schema) == expect => Ok(ExpectSchema::Is(schema)),
        _ if is_tag => Err(Error::SchemaConflict { key: key.clone() }.into()),
        _ => {
            let detail = "expect: it is the `etag` with which the schema was read, without quotes, or `none`";
            Err(ApiError::new(Code::InvalidArgument, detail))
        }
    }
}

/// Replaces the schema; the current document has to fit it.
///
/// The body is the schema itself, of at most 256 KiB. References lead to its own `$defs` only.
/// 422 has `violations` where the current document breaks it, `schema_fault` where it is none.
#[utoipa::path(put, path = "/v1/config/{namespace}/{name}/schema", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key"), SchemaQuery),
    request_body(content = Object, content_type = "application/schema+json"),
    responses(
        (status = 204, description = "it is set"),
        (status = 409, description = "the schema is not the expected one"),
        (status = 415, description = "the body is not called application/schema+json or application/json"),
        (status = 422, description = "it is no schema, or the current document breaks it")))]
pub(crate) async fn set_schema(
    State(shared): State<Shared>,
    key: Key,
    query: Result<Query<SchemaQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, ApiError> {
    let key = own_key_of(key)?;
    let Query(query) = query?;
    let called = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = called.split(';').next().unwrap_or_default().trim();
    if ![SCHEMA_CONTENT_TYPE, "application/json"].iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
        let detail = format!("content-type `{called}`: send {SCHEMA_CONTENT_TYPE} or application/json");
        return Err(ApiError::new(Code::UnsupportedMediaType, detail));
    }
    let body = body?;
    let schema = std::str::from_utf8(&body)
        .map_err(|error| ApiError::new(Code::InvalidArgument, format!("the schema is not UTF-8: {error}")))?;
    let expect = expected_schema(&shared, &key, query).await?;
    shared.config.set_schema(&key, Some(schema), expect).await.map_err(of_body)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes the schema; no body. From then on a document may hold anything.
#[utoipa::path(delete, path = "/v1/config/{namespace}/{name}/schema", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key"), SchemaQuery),
    responses((status = 204, description = "there is none now"),
        (status = 409, description = "the schema is not the expected one")))]
pub(crate) async fn delete_schema(
    State(shared): State<Shared>,
    key: Key,
    query: Result<Query<SchemaQuery>, QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let key = own_key_of(key)?;
    let expect = expected_schema(&shared, &key, query?.0).await?;
    shared.config.set_schema(&key, None, expect).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who runs which version of a document, and who refused one, and why.
#[utoipa::path(get, path = "/v1/config/{namespace}/{name}/status", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key")),
    responses((status = 200, description = "`key`, `current` (a version without its document, or null) and `instances` (`instance`, `service`, `version`, `outcome`: `applied` or `refused` with `reason`, `runs`, `at_unix_ms`)", body = Object)))]
pub(crate) async fn status(State(shared): State<Shared>, key: Key) -> Result<Json<Status>, ApiError> {
    Ok(Json(shared.config.status(&key_of(key)?).await?))
}

/// Takes what an instance makes of a version. It is to be said again within its `ttl`.
#[utoipa::path(put, path = "/v1/config/{namespace}/{name}/status/{instance}", tag = "configuration",
    params(("namespace" = String, Path, description = "of the key"), ("name" = String, Path, description = "of the key"),
        ("instance" = String, Path, description = "whose it is")),
    request_body = wire::ConfigAck,
    responses(
        (status = 204, description = "taken"),
        (status = 404, description = "that version was never published"),
        (status = 422, description = "a field breaks its rule")))]
pub(crate) async fn acknowledge(
    State(shared): State<Shared>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    body: Result<Json<wire::ConfigAck>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Path((namespace, name, instance)) = path?;
    let key = key_of(Ok(Path((namespace, name))))?;
    let instance = InstanceId::new(&instance)?;
    let Json(ack) = body?;
    let (ack, ttl) = ack.into_ack(instance).map_err(|rule| ApiError::new(Code::Unprocessable, rule))?;
    shared.config.acknowledge(&key, ack, ttl).await.map_err(of_body)?;
    Ok(StatusCode::NO_CONTENT)
}
