//! What all instances of a release share.

use bowline_model::{
    ServiceName, System,
    monitor::MetricsPath,
    system::{Bind, Check, Service},
};

use crate::{
    Settings,
    environment::{self, Environment},
};

/// What all instances of a release share.
pub(crate) struct Template {
    pub(crate) service: ServiceName,
    /// The release; empty when not told.
    pub(crate) version: String,
    /// Where it listens beside a companion.
    pub(crate) bind: Bind,
    /// The shell command, expanded.
    pub(crate) command: String,
    pub(crate) check: Check,
    /// Where it shows its metrics.
    pub(crate) metrics: MetricsPath,
    pub(crate) environment: Environment,
    /// The variables that the service sets itself.
    pub(crate) declared: Vec<String>,
}

impl std::fmt::Debug for Template {
    /// Without the environment, which may hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Template {
    /// The template of a release, told as a service; none when it runs elsewhere.
    pub(crate) fn of(system: &System, release: &Service, settings: &Settings) -> Option<Self> {
        let placeholders = settings.placeholders();
        Some(Self {
            service: release.name.clone(),
            version: release.version.clone(),
            bind: release.bind,
            command: placeholders.in_command(release.run.as_ref()?),
            check: release.check.clone(),
            metrics: release.metrics.clone(),
            environment: environment::of_service(system, release, settings, placeholders),
            declared: release.env.keys().cloned().collect(),
        })
    }

    /// Whether it starts the same processes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.command == other.command && self.environment == other.environment
    }

    /// Whether it is of this release.
    pub(crate) fn is_of(&self, service: &ServiceName, version: &str) -> bool {
        self.service == *service && self.version == version
    }
}
