//! How services and instances are, on the wire.

use bowline_model::{InstanceId, ServiceName};
use serde::{Deserialize, Serialize};

/// How a service's own instances are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OwnHealth {
    /// All that count take requests.
    AllHealthy,
    /// Some take requests, some do not.
    SomeUnhealthy,
    /// There are some, and none takes requests.
    NoneHealthy,
    /// There is none.
    NoInstance,
}

/// How a service is for who calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RolledHealth {
    /// Nothing is known against it.
    Healthy,
    /// Some instance is unhealthy, or something that it calls is.
    Degraded,
    /// It answers nobody.
    Unhealthy,
}

/// The health of an instance as its history tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It was not registered yet.
    Unknown,
    /// It takes requests.
    Healthy,
    /// It fails its checks.
    Unhealthy,
    /// It finishes what it has.
    Draining,
    /// It is no longer registered.
    Gone,
}

/// `GET /v1/health`: every service, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthList {
    /// The services that are declared or have an instance.
    pub services: Vec<ServiceHealth>,
}

/// The health of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceHealth {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ServiceName,
    /// By its own instances.
    pub own: OwnHealth,
    /// By these and by what it calls and waits for.
    pub rolled_up: RolledHealth,
    /// A way to each unhealthy service that it needs: from the one it calls to the one at fault; at most 16.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<String>>))]
    pub because: Vec<Vec<ServiceName>>,
    /// Its instances that take requests.
    pub healthy: usize,
    /// Those that fail their checks.
    pub unhealthy: usize,
    /// Those that finish what they have.
    pub draining: usize,
}

/// `GET /v1/health/{service}`: one service with its instances and their history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceHealthDetail {
    /// The service.
    pub service: ServiceHealth,
    /// Its instances, sorted by id; those that are probed and not registered yet among them.
    pub instances: Vec<InstanceHealth>,
    /// The last 100 changes of its instances' health at most, newest first.
    pub transitions: Vec<HealthTransition>,
}

/// The health of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceHealth {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: InstanceId,
    /// How it is.
    pub health: HealthState,
    /// Since when, in milliseconds since 1970; absent where it was not registered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<u64>,
    /// Its last probe; absent where this Bowline does not probe it, or has not since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe: Option<HealthProbe>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthProbe {
    /// When it began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Why it failed; absent: it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A change of an instance's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthTransition {
    /// When it was seen, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Whose.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub instance: InstanceId,
    /// What it was.
    pub from: HealthState,
    /// What it became.
    pub to: HealthState,
    /// How long it had been `from`, in milliseconds; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// Why, for people; absent where nobody told: the instance was registered so by somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The probe that decided it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<HealthProbe>,
}

impl OwnHealth {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllHealthy => "all healthy",
            Self::SomeUnhealthy => "some unhealthy",
            Self::NoneHealthy => "none healthy",
            Self::NoInstance => "no instance",
        }
    }
}

impl RolledHealth {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl HealthState {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

impl From<bowline_model::Health> for HealthState {
    fn from(health: bowline_model::Health) -> Self {
        match health {
            bowline_model::Health::Healthy => Self::Healthy,
            bowline_model::Health::Unhealthy => Self::Unhealthy,
            bowline_model::Health::Draining => Self::Draining,
        }
    }
}
