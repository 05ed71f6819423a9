//! Sagas on the wire: between a service and its server, and between that and tools.

use bowline_model::ServiceName;
use serde::{Deserialize, Serialize};

/// `GET /v1/sagas`, of all services, and `GET /-/bowline/sagas`, of one: which are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub struct SagasQuery {
    /// Of that service alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Of that definition alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At that phase alone: `acting`, `undoing`, `stuck`, `done`, `compensated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// At most so many of a service; 100 if nothing is said, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl SagasQuery {
    /// A path that asks with it.
    pub fn on(&self, target: &str) -> String {
        let Self { service, name, phase, limit } = self.clone();
        let pairs = [
            service.map(|value| ("service", value)),
            name.map(|value| ("name", value)),
            phase.map(|value| ("phase", value)),
            limit.map(|value| ("limit", value.to_string())),
        ];
        crate::path(target, pairs.into_iter().flatten())
    }
}

/// Sagas, the youngest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SagaList {
    /// What was found.
    pub sagas: Vec<Saga>,
    /// Services that did not say what they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub missing: Vec<ServiceName>,
}

/// One saga. Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Saga {
    /// Whose it is; absent where that one says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub service: Option<ServiceName>,
    /// Its id.
    pub id: String,
    /// Its definition.
    pub name: String,
    /// `acting`, `undoing`, `stuck`, `done` or `compensated`.
    pub phase: String,
    /// The step that is done or undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How many tries of that failed.
    pub attempts: u32,
    /// When it is tried next.
    pub due_ms: i64,
    /// When it began.
    pub begun_ms: i64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// Why it is, or was, undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The trace in which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// What happened, the last of it.
    pub history: Vec<SagaEvent>,
}

/// Something that happened to a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SagaEvent {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// To which step.
    pub step: String,
    /// `acted`, `failed`, `refused`, `gave_up`, `undone`, `not_undone`.
    pub what: String,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// `POST /v1/sagas/{service}/{id}/retry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SagaRetried {
    /// False where it has ended, or somebody works on it now.
    pub is_tried: bool,
}
