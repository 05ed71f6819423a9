//! The declared system, on the wire: `GET /v1/system`.

use bowline_model::{ServiceName, deploy::Plan, policy::CallPolicy, system::CallMode};
use serde::{Deserialize, Serialize};

/// `GET /v1/system`: what the system's file declares, without what is nobody's business (commands, environments).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeclaredSystem {
    /// Its name; absent where this Bowline was told of no system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub name: Option<ServiceName>,
    /// Whether it has a mesh.
    pub is_meshed: bool,
    /// Its services, in the order of the file.
    pub services: Vec<DeclaredService>,
    /// Its routes, in the order of the file. What the gateway serves by now is the document `bowline/routes`.
    pub routes: Vec<DeclaredRoute>,
}

/// A service as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeclaredService {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ServiceName,
    /// How many instances Bowline runs of it.
    pub replicas: u32,
    /// Whether Bowline runs it; else it runs elsewhere and registers itself.
    pub is_run: bool,
    /// The release that it is, where it says one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Other releases that are declared beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// What it owns.
    pub boundary: DeclaredBoundary,
    /// Whom it calls.
    pub calls: Vec<DeclaredCall>,
    /// Whether its instances are reached through sidecars.
    pub is_meshed: bool,
    /// Where its one instance listens for what is not HTTP: `mqtt 127.0.0.1:1883`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,
    /// How its releases are rolled out, where they can be: `strategy`, `steps`, `bake`, `abort_when` (absent: nothing
    /// that is measured ends a rollout) and `min_requests`, as `[deploy.X]` says, else by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub rollout: Option<Plan>,
}

/// What a service owns, and no other service does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeclaredBoundary {
    /// Operations: `GET /orders/{id}`.
    pub api: Vec<String>,
    /// Databases and tables: `sqlite:order.db`.
    pub data: Vec<String>,
    /// Topics, caches and other state: `topic:order.placed`.
    pub state: Vec<String>,
}

/// A call as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeclaredCall {
    /// The service called.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub service: ServiceName,
    /// `sync`: the caller waits; `async`: it does not; `message`: through topics.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub mode: CallMode,
    /// Time, failure and choice: `timeout`, `retry`, `breaker`, `balance`, in the words of `bowline.toml`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub policy: CallPolicy,
    /// What it is called for, of what it offers; empty: all of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// Through which topics messages pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

/// A route as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeclaredRoute {
    /// Its name.
    pub name: String,
    /// Hosts it answers for; empty: every host.
    pub hosts: Vec<String>,
    /// Paths it answers for, each with its methods where it says some: `GET|HEAD /orders/**`; empty: every path.
    pub matches: Vec<String>,
    /// The services that answer.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub services: Vec<ServiceName>,
    /// Who may come in, by the name of a way to tell; absent: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub auth: Option<ServiceName>,
}
