//! Rules and alerts: as Prometheus shows them, and what is Bowline's own of them.

use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    response::IntoResponse,
};
use bowline_model::Code;
use bowline_observe::alerts::{ActiveView, GroupView, NewSilence, Silence, SilenceState, Transition, ledger};
use bowline_runtime::time;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{api::Shared, error::ApiError, prometheus::Success};

/// The groups of rules, each rule with its alerts.
#[utoipa::path(get, path = "/api/v1/rules", tag = "prometheus", responses((status = 200, description = "as Prometheus answers")))]
pub(crate) async fn rules(State(shared): State<Shared>) -> impl IntoResponse {
    #[derive(Serialize)]
    struct Groups {
        groups: Vec<GroupView>,
    }
    Success::new(Groups { groups: shared.alerts.rules() })
}

/// The alerts that are pending or fire.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "prometheus", responses((status = 200, description = "as Prometheus answers")))]
pub(crate) async fn alerts(State(shared): State<Shared>) -> impl IntoResponse {
    #[derive(Serialize)]
    struct Alerts {
        alerts: Vec<ActiveView>,
    }
    Success::new(Alerts { alerts: shared.alerts.alerts() })
}

/// What became of alerts lately, the newest first: `{"transitions": […]}`.
#[utoipa::path(get, path = "/v1/alerts/history", tag = "alerts", responses((status = 200, body = Value)))]
pub(crate) async fn history(State(shared): State<Shared>) -> Json<Value> {
    let transitions: Vec<Transition> = shared.alerts.history();
    Json(json!({ "transitions": transitions }))
}

/// Who was told what, or was not, and why, the newest first: `{"notifications": […]}`.
#[utoipa::path(get, path = "/v1/alerts/notifications", tag = "alerts", responses((status = 200, body = Value)))]
pub(crate) async fn notifications(State(shared): State<Shared>) -> Json<Value> {
    let entries: Vec<ledger::Entry> = shared.alerts.ledger();
    Json(json!({ "notifications": entries }))
}

/// The silences, those that ended lately included: `{"silences": […]}`.
#[utoipa::path(get, path = "/v1/alerts/silences", tag = "alerts", responses((status = 200, body = Value)))]
pub(crate) async fn silences(State(shared): State<Shared>) -> Json<Value> {
    let silences: Vec<StoodSilence> = shared.alerts.silences().into_iter().map(StoodSilence::now).collect();
    Json(json!({ "silences": silences }))
}

/// A silence, and where it stands.
#[derive(Serialize)]
struct StoodSilence {
    #[serde(flatten)]
    silence: Silence,
    state: SilenceState,
}

impl StoodSilence {
    fn now(silence: Silence) -> Self {
        let now_ms = i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX);
        Self { state: silence.state(now_ms), silence }
    }
}

/// Silences alerts for a while: `{"matchers": ["service=\"order\""], "endsAt": "2026-…", "createdBy": "ada", "comment": "…"}`.
#[utoipa::path(post, path = "/v1/alerts/silences", tag = "alerts", request_body = Value,
    responses((status = 200, body = Value), (status = 400, description = "it cannot be like that")))]
pub(crate) async fn silence(
    State(shared): State<Shared>,
    silence: Result<Json<NewSilence>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(silence) = silence?;
    Ok(Json(StoodSilence::now(shared.alerts.silence(silence).await?)))
}

/// Ends a silence now.
#[utoipa::path(delete, path = "/v1/alerts/silences/{id}", tag = "alerts", params(("id" = String, Path)),
    responses((status = 200, body = Value), (status = 404, description = "there is no such silence")))]
pub(crate) async fn expire(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Path(id) = id?;
    Ok(Json(StoodSilence::now(shared.alerts.expire(&id).await?)))
}

/// Sends a notification that says that it is a test, and answers what came back: `{"status": 200, "text": "ok"}`.
#[utoipa::path(post, path = "/v1/alerts/receivers/{name}/test", tag = "alerts", params(("name" = String, Path)),
    responses((status = 200, body = Value), (status = 404, description = "there is no such receiver"), (status = 503, description = "nobody answered")))]
pub(crate) async fn test(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    match shared.alerts.test(&name).await? {
        Ok(answer) => Ok(Json(json!({ "status": answer.status, "text": answer.text }))),
        Err(error) => Err(ApiError::new(Code::Unavailable, format!("the receiver `{name}` was not reached: {error}"))),
    }
}

impl From<bowline_observe::alerts::Error> for ApiError {
    fn from(error: bowline_observe::alerts::Error) -> Self {
        Self::of(error.code(), &error)
    }
}
