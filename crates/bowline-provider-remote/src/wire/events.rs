//! What changes, on the wire: `GET /v1/events`.

use serde::{Deserialize, Serialize};

/// `data` of the event `hello`, the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HelloEvent {
    /// The store's revision: what changes after it is told.
    pub revision: u64,
}

/// `data` of the event `changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangedEvent {
    /// Of what; whoever shows it asks anew.
    pub kinds: Vec<EventKind>,
}

/// What there is that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Which instances there are.
    Services,
    /// How instances are.
    Health,
    /// Documents of configuration, their schemas, and who runs which version.
    Config,
    /// The gateway's routes, and who serves by them.
    Routes,
    /// Alerts, silences, and who was told.
    Alerts,
    /// Rollouts.
    Deployments,
    /// Topics, groups, messages.
    Messages,
    /// Sagas, as far as their traces are kept.
    Sagas,
    /// Traces, and the service graph that is made of them.
    Traces,
    /// Samples.
    Metrics,
    /// The mesh: its certificates, and what its workloads act by.
    Mesh,
    /// How traffic is steered and disturbed.
    Faults,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Services,
        Self::Health,
        Self::Config,
        Self::Routes,
        Self::Alerts,
        Self::Deployments,
        Self::Messages,
        Self::Sagas,
        Self::Traces,
        Self::Metrics,
        Self::Mesh,
        Self::Faults,
    ];
}
