//! `Deployment(S)`: how a release of a service takes the place of the one before.

pub mod condition;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::condition::{Condition, Figures};
use crate::{name::ServiceName, problem::Position, units::Share};

/// The longest a step may bake.
pub const BAKE_MAX: Duration = Duration::from_hours(24);

/// How releases of one service are rolled out: `[deploy.X]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Whose releases.
    pub service: ServiceName,
    /// Where it is declared.
    pub position: Position,
    /// How it is done.
    pub plan: Plan,
}

/// How one release takes the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In which way.
    pub strategy: Strategy,
    /// The shares of requests that the new release gets, one after the other, before it gets all: each above the
    /// one before, above 0 % and below 100 %. Of a canary alone.
    pub steps: Vec<Share>,
    /// How long each step is watched before the next: above zero, at most [`BAKE_MAX`].
    #[serde(with = "crate::units::duration")]
    pub bake: Duration,
    /// What ends it, and brings the release before back; absent: nothing that is measured does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_when: Option<Condition>,
}

impl Default for Plan {
    /// Rolling, watched for a minute at each step, aborted above 5 % of errors.
    fn default() -> Self {
        let abort_when = Condition::parse("error_rate > 5%").ok();
        Self { strategy: Strategy::default(), steps: Vec::new(), bake: Duration::from_mins(1), abort_when }
    }
}

/// In which way a release takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Instance by instance: a new one starts, bakes, and one of the old ones stops.
    #[default]
    Rolling,
    /// All new instances start and get no requests, then all requests at once; the old ones stop after the bake.
    BlueGreen,
    /// All new instances start and get a share of requests that grows by steps.
    Canary,
}

impl Strategy {
    /// The ways there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 3] =
        [("rolling", Self::Rolling), ("blue-green", Self::BlueGreen), ("canary", Self::Canary)];
}

/// A release of a service: what runs as one version of it. What it does not say is as the service says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its name; valid by [`is_version`](crate::mesh::is_version).
    pub version: String,
    /// A shell command that makes it ready to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// A shell command that runs one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Added to, and over, the service's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}
