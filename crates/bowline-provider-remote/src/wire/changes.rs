//! What happened to a system, on the wire: `GET /v1/changes`.

use bowline_model::ServiceName;
use serde::{Deserialize, Serialize};

/// `GET /v1/changes`: what happened, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeList {
    /// The changes.
    pub changes: Vec<SystemChange>,
    /// Whether there are older ones: ask again with `until`, the last one's time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemChange {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Of what kind it is.
    pub kind: SystemChangeKind,
    /// What it happened to: the key of a document, an instance, a service, an alert.
    pub subject: String,
    /// What happened, for people.
    pub what: String,
    /// Who did it; absent where nobody did, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The service that it concerns, where it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub service: Option<ServiceName>,
    /// Where this API says more: `/v1/config/shop/order/history`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// The kinds of what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SystemChangeKind {
    /// A document of configuration.
    Config,
    /// The gateway's routes.
    Routes,
    /// What documents are held against.
    Schema,
    /// A rollout.
    Deployment,
    /// An alert that fires, or is over.
    Alert,
    /// The health of an instance.
    Health,
    /// A fault that is injected, or ended.
    Fault,
    /// An order to breakers, given or ended.
    Breaker,
    /// A token, for the API or to join the mesh.
    Token,
    /// A silence.
    Silence,
    /// Dead letters that were given back or deleted, a group that was moved or removed, a saga that was tried again.
    Message,
    /// An instance that came or went.
    Instance,
}
