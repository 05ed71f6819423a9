//! The health of instances: how it is found out, and the words for it.
//!
//! Whoever probes an instance (under `bowline up` the supervisor) asks a [`HealthChecker`], runs the
//! answers through [`State::step`], registers the instance with the verdict, and tells each probe to a
//! [`ProbeWatcher`].

mod machine;

use std::{fmt, time::Duration};

use bowline_model::{Address, InstanceId, Protocol, ServiceName};
use bowline_runtime::BoxFuture;

pub use machine::{Effect, Event, State, Thresholds};

/// The longest text of a failure that is kept, in bytes.
pub const FAILURE_BYTES_MAX: usize = 512;

/// Finds out whether an instance takes requests.
pub trait HealthChecker: Send + Sync + 'static {
    /// Looks once. It answers within the target's timeout.
    ///
    /// # Errors
    /// A [`Failure`] when the instance does not take requests, or nobody knows.
    ///
    /// # Cancel safety
    /// Dropping the future ends the look.
    fn check(&self, target: &Target) -> BoxFuture<'_, Result<Well, Failure>>;
}

/// What an instance that takes requests says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Well {
    /// What it speaks.
    pub protocol: Protocol,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where the application listens, which may be behind a companion.
    pub address: Address,
    /// The path that answers 2xx when it takes requests.
    pub path: String,
    /// The longest a look may take.
    pub timeout: Duration,
}

/// Why a probe failed, for people: at most [`FAILURE_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

/// One probe and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Of which instance.
    pub instance: InstanceId,
    /// What that is a copy of.
    pub service: ServiceName,
    /// When it began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// How long it took.
    pub took: Duration,
    /// Absent: it succeeded.
    pub failure: Option<Failure>,
}

/// Who is told of every probe, and why instances leave. It never waits, and is told before the registry is
/// told what follows.
pub trait ProbeWatcher: Send + Sync + 'static {
    /// A probe has ended.
    fn probed(&self, probe: Probe);

    /// An instance will be deregistered, for that reason: a whole sentence without full stop.
    fn leaves(&self, instance: &InstanceId, why: &'static str);
}

/// A watcher that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWatcher;

impl ProbeWatcher for NoWatcher {
    fn probed(&self, _: Probe) {}

    fn leaves(&self, _: &InstanceId, _: &'static str) {}
}

impl Failure {
    /// The text, or its beginning.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(FAILURE_BYTES_MAX));
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_bounded() {
        assert_eq!(Failure::new("answered with status 503").as_str(), "answered with status 503");
        let long = Failure::new("é".repeat(400));
        assert_eq!(long.as_str(), "é".repeat(256));
        assert_eq!(Failure::new(format!("a{}", "é".repeat(400))).as_str().len(), 511, "whole characters");
    }
}
