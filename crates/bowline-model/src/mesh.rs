//! The mesh as data: who a workload is, what it may do, and how its traffic is steered.
//!
//! The control plane compiles one [`Snapshot`] for each workload out of the system and the [`Traffic`]
//! document; the data plane acts by it. Certificates say who is who by [`SpiffeId`]s.

mod breakers;
mod traffic;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    breakers::{
        BREAKER_ORDERS_MAX, BREAKERS_PATH, BREAKERS_TOLD_MAX, BreakerCommand, BreakerOrder, BreakerStatus,
        BreakerTransition, CallBreakers, Caller, OwnBreakers, TRANSITIONS_TOLD_MAX,
    },
    traffic::{
        FAULT_DELAY_MAX, FAULTS_MAX, Fault, InvalidTraffic, Mirror, Steering, Traffic, VERSION_RULE, VERSIONS_MAX,
        is_version,
    },
};
use crate::{name::ServiceName, policy::CallPolicy, route::PathPattern, system::Enforce};

/// The format of a [`Snapshot`] that this release writes and reads.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// The shortest and the longest life of a certificate.
pub const CERTIFICATE_TTL_RANGE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24 * 30));

/// The domain below which the sidecar's HTTP proxy finds services: `http://payment.mesh`.
pub const MESH_DOMAIN: &str = "mesh";

/// What a system's mesh demands: the table `[mesh]` of `bowline.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshPolicy {
    /// Whether traffic without a certificate is taken.
    pub mode: Mode,
    /// Whether what is not allowed is refused: as written, else as
    /// [`BoundaryPolicy::enforce`](crate::system::BoundaryPolicy::enforce) says.
    pub authorization: Authorization,
    /// How long a workload's certificate lives: [`CERTIFICATE_TTL_RANGE`].
    pub certificate_ttl: Duration,
}

impl Default for MeshPolicy {
    /// Strict, enforced, certificates of an hour.
    fn default() -> Self {
        let certificate_ttl = Duration::from_hours(1);
        Self { mode: Mode::default(), authorization: Authorization::default(), certificate_ttl }
    }
}

/// Whether traffic without a certificate is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Mutual TLS everywhere.
    #[default]
    Strict,
    /// For the time of a migration: sidecars take plain requests too, from callers that nobody knows, and
    /// calls go plain to instances that are not in the mesh.
    Permissive,
}

impl Mode {
    /// The modes there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 2] = [("strict", Self::Strict), ("permissive", Self::Permissive)];

    /// Its name in `bowline.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Permissive => "permissive",
        }
    }
}

/// Whether what is not allowed is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authorization {
    /// It is.
    #[default]
    Enforce,
    /// It is counted and noted, and passes.
    DryRun,
    /// Nobody asks: whoever has an identity of the system may call everything but what is the platform's.
    Off,
}

impl Authorization {
    /// The ways there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 3] =
        [("enforce", Self::Enforce), ("dry-run", Self::DryRun), ("off", Self::Off)];

    /// Its name in `bowline.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::DryRun => "dry-run",
            Self::Off => "off",
        }
    }
}

impl From<Enforce> for Authorization {
    /// What a system demands of its mesh by what it demands of boundaries.
    fn from(enforce: Enforce) -> Self {
        match enforce {
            Enforce::Deny => Self::Enforce,
            Enforce::Warn => Self::DryRun,
            Enforce::Off => Self::Off,
        }
    }
}

/// How strict a mesh is with whoever calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshDemands {
    /// As [`MeshPolicy::mode`].
    pub mode: Mode,
    /// As [`MeshPolicy::authorization`].
    pub authorization: Authorization,
}

/// Somebody who has an identity within one system. As text: `service/order`, `gateway`, `bowline`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Workload {
    /// An instance of this service.
    Service(ServiceName),
    /// A gateway.
    Gateway,
    /// Bowline itself, which checks and collects.
    Platform,
}

/// A text that is no [`Workload`] or no [`SpiffeId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}")]
pub struct InvalidIdentity {
    /// The text that was given, cut to 128 characters.
    pub text: String,
    /// What it should have been.
    pub what: &'static str,
}

impl InvalidIdentity {
    fn new(text: &str, what: &'static str) -> Self {
        Self { text: text.chars().take(128).collect(), what }
    }
}

impl Workload {
    /// The service it is an instance of, if it is one.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service(service) => Some(service),
            Self::Gateway | Self::Platform => None,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service/{service}"),
            Self::Gateway => f.write_str("gateway"),
            Self::Platform => f.write_str("bowline"),
        }
    }
}

impl FromStr for Workload {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let invalid = || InvalidIdentity::new(text, "workload: write service/NAME, gateway or bowline");
        match text {
            "gateway" => Ok(Self::Gateway),
            "bowline" => Ok(Self::Platform),
            _ => {
                let service = text.strip_prefix("service/").ok_or_else(invalid)?;
                ServiceName::new(service).map(Self::Service).map_err(|_| invalid())
            }
        }
    }
}

impl TryFrom<String> for Workload {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, InvalidIdentity> {
        text.parse()
    }
}

impl From<Workload> for String {
    fn from(workload: Workload) -> Self {
        workload.to_string()
    }
}

/// A workload's name in its certificate: `spiffe://shop/service/order`. The system is the trust domain.
///
/// Source: SPIFFE-ID, 2; X509-SVID, 2.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    /// The trust domain.
    pub system: ServiceName,
    /// Who it is in there.
    pub workload: Workload,
}

impl SpiffeId {
    /// The id of that workload.
    pub fn new(system: ServiceName, workload: Workload) -> Self {
        Self { system, workload }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}", self.system, self.workload)
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let invalid = || InvalidIdentity::new(text, "SPIFFE id: write spiffe://SYSTEM/service/NAME");
        let (system, workload) =
            text.strip_prefix("spiffe://").and_then(|it| it.split_once('/')).ok_or_else(invalid)?;
        let system = ServiceName::new(system).map_err(|_| invalid())?;
        Ok(Self { system, workload: workload.parse().map_err(|_| invalid())? })
    }
}

/// What one workload acts by, and all of the mesh that it may see. Immutable; replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// [`SNAPSHOT_FORMAT`].
    pub format: u32,
    /// The system it is in.
    pub system: ServiceName,
    /// Whose it is.
    pub workload: Workload,
    /// As [`MeshPolicy::mode`]; none: the system has no mesh, and nothing below is in force but how calls are steered.
    pub mode: Option<Mode>,
    /// As [`MeshPolicy::authorization`].
    pub authorization: Authorization,
    /// Who may ask it for what; whoever is in no rule may not.
    pub inbound: Vec<Rule>,
    /// Whom it calls; nobody else.
    pub outbound: Vec<Outbound>,
    /// What is done to requests that reach it.
    pub faults: Vec<Fault>,
}

impl Snapshot {
    /// What its workload demands of callers; none where the system has no mesh.
    pub fn demands(&self) -> Option<MeshDemands> {
        let authorization = self.authorization;
        self.mode.map(|mode| MeshDemands { mode, authorization })
    }
}

/// Who may ask for what. A request passes that one rule allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What spans, logs and answers call it: `order calls payment`, `route orders`, `platform`.
    pub name: String,
    /// Whom it allows.
    pub caller: Workload,
    /// What for; empty: everything but what is the platform's.
    pub operations: Vec<Pattern>,
}

/// Requests that look like this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Any of these methods; empty: every method.
    pub methods: Vec<String>,
    /// The path.
    pub path: PathPattern,
}

/// A declared call, or a backend of the gateway's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbound {
    /// Who is called.
    pub target: ServiceName,
    /// Time, failure and choice; the gateway's are its routes'.
    pub policy: CallPolicy,
    /// How its traffic is steered.
    #[serde(default, skip_serializing_if = "Steering::is_empty")]
    pub steering: Steering,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_their_text() {
        for text in ["spiffe://shop/service/order", "spiffe://shop/gateway", "spiffe://shop/bowline"] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "spiffe://shop",
            "spiffe://shop/",
            "spiffe://shop/order",
            "spiffe://shop/service/",
            "spiffe://shop/service/order/x",
            "spiffe://Shop/service/order",
            "https://shop/service/order",
            "spiffe://shop/service/order?x",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
