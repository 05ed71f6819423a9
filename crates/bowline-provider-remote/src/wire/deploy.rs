//! Rollouts of releases, on the wire.

use std::{collections::BTreeMap, fmt, time::Duration};

use bowline_model::{
    ServiceName,
    deploy::{Condition, Strategy},
    units::{self, Share},
};
use serde::{Deserialize, Serialize};

/// `POST /v1/deployments/{service}`: a release that is to take the place of the one in force. What it does not say is
/// as the service says, and how it is rolled out as `[deploy.X]` says.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewDeployment {
    /// Its name; absent: the one that follows the release in force, as `v2` follows `v1`, and that none of the last 20
    /// rollouts had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// A shell command that makes it ready to run; absent: none is run for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// A shell command that runs one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Added to, and over, the service's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// How many instances; absent: as many as the release in force has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// `rolling`, `blue-green` or `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "canary"))]
    pub strategy: Option<Strategy>,
    /// Of a canary: the shares of requests that it gets one after the other, `["5%", "25%"]`; each above the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub steps: Vec<Share>,
    /// How long each step is watched: `"2m"`.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "2m"))]
    pub bake: Option<Duration>,
    /// What ends it: `"error_rate > 1% or p99 > 400ms"`; `"off"`: nothing that is measured does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "error_rate > 1%"))]
    pub abort_when: Option<String>,
    /// How many requests the new release has had at a step before it is judged, 1 to 1000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u32>,
}

impl fmt::Debug for NewDeployment {
    /// Without the values of variables, which may be nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, build, run, env, replicas, strategy, steps, bake, abort_when, min_requests } = self;
        let mut shown = f.debug_struct("NewDeployment");
        shown.field("version", version).field("build", build).field("run", run).field("env", &env.keys());
        shown.field("replicas", replicas).field("strategy", strategy).field("steps", steps);
        shown.field("bake", bake).field("abort_when", abort_when).field("min_requests", min_requests).finish()
    }
}

/// `GET /v1/deployments`: the rollout of each service that is under way, or was the last, by the service's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentList {
    /// One a service.
    pub deployments: Vec<Deployment>,
}

/// `GET /v1/deployments/{service}`: how the releases of one service stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceDeployments {
    /// The service.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub service: ServiceName,
    /// The release in force; while one is rolled out, the one before. Empty: the service says no version.
    pub version: String,
    /// The rollout under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Those that ended, the newest first; the last 20 at most.
    pub history: Vec<Deployment>,
}

/// A rollout: one release on its way into the place of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployment {
    /// Grows from each rollout of the service to the next.
    pub id: u64,
    /// The service.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub service: ServiceName,
    /// The release before.
    pub from: String,
    /// The new one.
    pub to: String,
    /// How many instances the new one is to have.
    pub replicas: u32,
    /// `rolling`, `blue-green` or `canary`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub strategy: Strategy,
    /// How long each step is watched.
    #[serde(with = "units::duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bake: Duration,
    /// What ends it; absent: nothing that is measured does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub abort_when: Option<Condition>,
    /// How many requests the new one has had at a step before it is judged.
    pub min_requests: u32,
    /// What it is doing: `preparing`, `starting`, `shifting`, `baking`, `retiring`, `paused`, `promoting`,
    /// `rolling back`, `promoted` or `rolled back`.
    pub phase: String,
    /// Whether it is still under way.
    pub is_live: bool,
    /// At which step it is; 0: before the first.
    pub step: u32,
    /// Of how many.
    pub step_count: u32,
    /// The most requests that the new release gets at each of them, those that are still ahead too.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub steps: Vec<Share>,
    /// The most requests that the new release gets now.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub share: Share,
    /// When it began, in milliseconds since 1970.
    pub begun_unix_ms: u64,
    /// Why it goes back, or went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it waits for, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What was measured last of the new release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<DeploymentFigures>,
    /// The last 64 transitions at most, the oldest first.
    pub transitions: Vec<DeploymentTransition>,
}

/// What was measured of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentFigures {
    /// How many requests it had in what was looked at.
    pub requests: f64,
    /// The share of them that failed, from 0 to 1.
    pub error_ratio: f64,
    /// How long they took, in nanoseconds by the quantile: those that `abort_when` asks for.
    pub quantiles_nanos: BTreeMap<String, u64>,
}

/// One change of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentTransition {
    /// Counts from 1.
    pub number: u32,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What it came to, as [`Deployment::phase`].
    pub phase: String,
    /// At which step; 0: before the first.
    pub step: u32,
    /// The most requests that the new release gets from then on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub share: Share,
    /// What made it so, where that is not plain; of a step that was good what was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl NewDeployment {
    /// Whether it says nothing of how it is rolled out.
    pub fn is_as_declared(&self) -> bool {
        let Self { version: _, build: _, run: _, env: _, replicas: _, strategy, steps, bake, abort_when, min_requests } =
            self;
        let has_plan = strategy.is_some() || bake.is_some() || abort_when.is_some() || min_requests.is_some();
        !has_plan && steps.is_empty()
    }
}
