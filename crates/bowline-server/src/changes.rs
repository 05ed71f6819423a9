//! What happened to the system, as one line of time: what somebody changed, by the audit, and what followed by itself:
//! rollouts, alerts, the health of instances.

mod audited;
mod course;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use bowline_model::{Code, ServiceName, units};
use bowline_provider_remote::wire::{self, SystemChange, SystemChangeKind};
use bowline_runtime::time;
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

/// The most changes of one answer.
const LIMIT_MAX: usize = 1000;
/// How many changes an answer has where nothing else is asked for.
const LIMIT_DEFAULT: usize = 100;

/// What `GET /v1/changes` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangesQuery {
    /// Only what happened then or later: milliseconds since 1970, or how long ago, as `1h`.
    since: Option<String>,
    /// Only what happened then or before; in the same words.
    until: Option<String>,
    /// At most so many, 1 to 1000; 100 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only changes of that kind.
    kind: Option<SystemChangeKind>,
    /// Only what concerns that service, or happened to something of its name.
    #[param(value_type = Option<String>)]
    service: Option<ServiceName>,
}

/// What is asked for: a time, both ends included, how much of it, and about what.
#[derive(Debug)]
struct Asked {
    since_ms: u64,
    until_ms: u64,
    limit: usize,
    kind: Option<SystemChangeKind>,
    service: Option<ServiceName>,
}

impl Asked {
    fn has(&self, at_unix_ms: u64) -> bool {
        (self.since_ms..=self.until_ms).contains(&at_unix_ms)
    }

    /// Whether changes of some of those kinds are asked for.
    fn has_kind(&self, kinds: &[SystemChangeKind]) -> bool {
        self.kind.is_none_or(|kind| kinds.contains(&kind))
    }

    /// Whether it is about what is asked for, whenever it was.
    fn is_about(&self, change: &SystemChange) -> bool {
        let is_of = |name: &ServiceName| change.service.as_ref() == Some(name) || change.subject == name.as_str();
        self.has_kind(&[change.kind]) && self.service.as_ref().is_none_or(is_of)
    }
}

/// What happened to the system, the newest first: changes of configuration, routes, schemas, tokens, silences, faults
/// and orders to breakers, and what was done with dead letters, groups and sagas, with who did it; rollouts, alerts, instances and their health.
///
/// Of each, what is kept: alerts since the start of the server, the last 100 changes of health of each service, the last
/// 20 rollouts. Join tokens are told of where somebody ordered them: those that Bowline makes for what it runs and for
/// `bowline call`, and more of what was changed, are in `/v1/audit`.
#[utoipa::path(get, path = "/v1/changes", tag = "access", params(ChangesQuery),
    responses((status = 200, body = wire::ChangeList), (status = 400, description = "a parameter cannot be read")))]
pub(crate) async fn changes(
    State(shared): State<Shared>,
    query: Result<Query<ChangesQuery>, QueryRejection>,
) -> Result<Json<wire::ChangeList>, ApiError> {
    let Query(ChangesQuery { since, until, limit, kind, service }) = query?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::new(Code::InvalidArgument, format!("limit {limit}: it is 1 to {LIMIT_MAX}")));
    }
    let since_ms = since.map_or(Ok(0), |text| moment("since", &text))?;
    let until_ms = until.map_or(Ok(u64::MAX), |text| moment("until", &text))?;
    // One more of each tells whether there are more in all.
    let asked = Asked { since_ms, until_ms, limit: limit + 1, kind, service };
    let mut changes = course::of_rollouts(&shared, &asked).await?;
    changes.extend(course::of_alerts(&shared.alerts, &asked));
    changes.extend(course::of_health(&shared.standing, &asked));
    // What follows from a change stands above it, also where both are of one millisecond.
    changes.extend(audited::changes(&shared, &asked).await?);
    changes.sort_by_key(|change| std::cmp::Reverse(change.at_unix_ms));
    let more = changes.len() > limit;
    changes.truncate(limit);
    Ok(Json(wire::ChangeList { changes, more }))
}

/// A time, as it is written.
fn moment(name: &str, text: &str) -> Result<u64, ApiError> {
    if let Ok(unix_ms) = text.parse() {
        return Ok(unix_ms);
    }
    let ago = units::parse_duration(text).map_err(|_| {
        let detail = format!("{name} `{text}`: write milliseconds since 1970, or how long ago: `1h`");
        ApiError::new(Code::InvalidArgument, detail)
    })?;
    Ok(time::unix_millis_now().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}

/// The newest of them that are asked for; of those of one millisecond, later ones come first.
fn newest(changes: impl IntoIterator<Item = SystemChange>, asked: &Asked) -> Vec<SystemChange> {
    let is_asked = |change: &SystemChange| asked.has(change.at_unix_ms) && asked.is_about(change);
    let mut found: Vec<_> = changes.into_iter().filter(is_asked).collect();
    found.sort_by_key(|change| std::cmp::Reverse(change.at_unix_ms));
    found.truncate(asked.limit);
    found
}
