//! What a rollout needs of others: who runs releases, who steers requests, who measures.

use std::{collections::BTreeMap, time::Duration};

use bowline_model::{
    ServiceName,
    deploy::{Condition, Figures, Release},
    mesh::Steering,
};
use bowline_runtime::BoxFuture;

/// Why a port could not do what it was asked for; a sentence for people, without its full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Runs the releases of services.
pub trait Fleet: Send + Sync {
    /// Sees to it that `count` instances of a release run, and no more: builds it when it is new, starts what is
    /// missing, drains what is too much; 0 ends it. What runs already is left alone.
    ///
    /// Returns when all of them are registered as healthy and those too many have ended.
    ///
    /// # Errors
    /// Why they do not run: a build that failed, a process that ends, a check that never succeeds in time. What
    /// was started meanwhile runs on, until it is scaled again.
    ///
    /// # Cancel safety
    /// It may have begun; asking again goes on.
    fn scale<'a>(
        &'a self,
        service: &'a ServiceName,
        release: &'a Release,
        count: u32,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Steers requests between the versions of a service, beside operators who do it by hand.
pub trait Steer: Send + Sync {
    /// How requests to a service are steered, as is published.
    ///
    /// # Errors
    /// Why nobody can tell.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    fn published<'a>(&'a self, service: &'a ServiceName) -> BoxFuture<'a, Result<Steering, Failure>>;

    /// Gives each version its weight, of 1000, for a rollout of the service; empty: its split ends, and versions are
    /// not looked at any more.
    ///
    /// Returns when all who call the service act by it, or have had a few seconds to. A split that is not the rollout's
    /// own stays: where that ends, nothing is to be done then.
    ///
    /// # Errors
    /// Why it could not be published, also that somebody else splits the requests; nothing is changed then.
    ///
    /// # Cancel safety
    /// It may be published; asking again is harmless.
    fn split<'a>(
        &'a self,
        service: &'a ServiceName,
        rollout: u64,
        weights: &'a BTreeMap<String, u32>,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// What is asked about a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whose release.
    pub service: ServiceName,
    /// Which.
    pub version: String,
    /// How far back it is looked; its last requests may not be counted yet.
    pub window: Duration,
    /// How far back where those are fewer than `min_requests`: to the step's beginning.
    pub since: Duration,
    /// How many requests a verdict takes.
    pub min_requests: u32,
    /// What would end it.
    pub condition: Condition,
}

/// What was measured of a release, and whether it is good enough.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The condition does not hold.
    Good(Figures),
    /// It holds: by what, as text.
    Bad(Figures, String),
    /// It had fewer requests since the step began than a verdict takes.
    Few(Figures),
    /// Nothing can be said of it: why.
    Unknown(String),
}

/// Measures releases.
pub trait Judge: Send + Sync {
    /// Measures a release now.
    fn judge<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Verdict>;
}
