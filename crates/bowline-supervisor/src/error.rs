//! Why a system could not be started, or a release of it not be scaled.

use std::{io, path::PathBuf, time::Duration};

use bowline_model::{Code, InstanceId, ServiceName, system::REPLICAS_MAX, units::rounded};

use crate::event::Exit;

/// Why a system could not be started, or a release of it not be scaled.
///
/// The text names what failed; [`Error::lines`] has the last words of the process at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A build command failed.
    #[error("the build of {} failed: `{command}` {exit}", join(services))]
    Build {
        /// The services that declare this command.
        services: Vec<ServiceName>,
        /// The command as it was run.
        command: String,
        /// How it ended.
        exit: Exit,
        /// Its last lines, at most 40.
        lines: Vec<String>,
    },
    /// A service's health check never succeeded.
    #[error(
        "service {service} did not become healthy within {}: instance {instance}, check {check}: {failure}",
        rounded(Duration::from_secs(.waited.as_secs()))
    )]
    NeverHealthy {
        /// The service.
        service: ServiceName,
        /// The instance that was not healthy.
        instance: InstanceId,
        /// The URL that was checked.
        check: String,
        /// What the last check or start failed of.
        failure: String,
        /// How long it had.
        waited: Duration,
        /// The last lines of its processes, at most 20.
        lines: Vec<String>,
    },
    /// The process of an instance ends, again and again, before it is healthy.
    #[error("instance {instance} of service {service} ended {crashes} times before it was healthy: {failure}")]
    Ends {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceId,
        /// How often in a row.
        crashes: u32,
        /// How it ended last.
        failure: String,
        /// The last lines of its last process, at most 20.
        lines: Vec<String>,
    },
    /// The command of an instance cannot be run.
    #[error(
        "instance {instance} of service {service} cannot be started, what it runs is not there or may not be run: {failure}"
    )]
    NoCommand {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceId,
        /// What its shell, or the system, answered.
        failure: String,
        /// The last lines of its shell, at most 20.
        lines: Vec<String>,
    },
    /// A release that a rollout promoted does not start.
    #[error(
        "release {version} of service {service} was promoted by a rollout and does not start (what the file declares takes its place again when `build`, `run`, `env` or `version` of the service change in bowline.toml)"
    )]
    Promoted {
        /// The service.
        service: ServiceName,
        /// The release.
        version: String,
        /// Why it does not.
        source: Box<Self>,
    },
    /// A folder that instances need cannot be made.
    #[error("cannot create the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The keeper's executable cannot be started.
    #[error("cannot start the keeper {}", keeper.display())]
    Keeper {
        /// The executable.
        keeper: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file that names the last run cannot be read or written.
    #[error("cannot tell what an earlier run left behind by {}", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The registrations that an earlier run left behind cannot be removed.
    #[error("cannot remove the registrations of an earlier run")]
    Leftovers {
        /// What the registry said, last.
        source: bowline_registry::Error,
    },
    /// No service has that name.
    #[error("there is no service {service}")]
    NoService {
        /// The name.
        service: ServiceName,
    },
    /// The service runs elsewhere.
    #[error("service {service} has no `run`, so it is not run here")]
    NotRun {
        /// The service.
        service: ServiceName,
    },
    /// More instances were asked for than a release may have.
    #[error("{count} instances of service {service} are more than {REPLICAS_MAX}")]
    TooMany {
        /// The service.
        service: ServiceName,
        /// How many.
        count: u32,
    },
    /// Another release of that name runs.
    #[error("another release {version} of service {service} runs, with another command or environment")]
    OtherRelease {
        /// The service.
        service: ServiceName,
        /// The name.
        version: String,
    },
    /// An instance that was to end did not.
    #[error("instance {instance} did not end within {}", rounded(*waited))]
    NotEnded {
        /// The instance.
        instance: InstanceId,
        /// How long it had.
        waited: Duration,
    },
    /// The whole system is being stopped, or was.
    #[error("the system is being stopped")]
    Stopping,
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Promoted { source, .. } => source.code(),
            Self::Build { .. }
            | Self::Folder { .. }
            | Self::Keeper { .. }
            | Self::Run { .. }
            | Self::NotRun { .. }
            | Self::Ends { .. }
            | Self::NoCommand { .. }
            | Self::OtherRelease { .. } => Code::FailedPrecondition,
            Self::NeverHealthy { .. } | Self::NotEnded { .. } => Code::DeadlineExceeded,
            Self::Leftovers { .. } | Self::Stopping => Code::Unavailable,
            Self::NoService { .. } => Code::NotFound,
            Self::TooMany { .. } => Code::InvalidArgument,
        }
    }

    /// Whether the same may succeed without anything being repaired.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Promoted { source, .. } => source.retryable(),
            _ => matches!(self, Self::Leftovers { .. } | Self::NotEnded { .. }),
        }
    }

    /// This error, as that of a promoted release if it is one's.
    pub(crate) fn of_promoted(self, promoted: Option<(ServiceName, String)>) -> Self {
        match promoted {
            Some((service, version)) => Self::Promoted { service, version, source: Box::new(self) },
            None => self,
        }
    }

    /// The last lines of the process at fault, oldest first.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Build { lines, .. }
            | Self::NeverHealthy { lines, .. }
            | Self::Ends { lines, .. }
            | Self::NoCommand { lines, .. } => lines,
            Self::Promoted { source, .. } => source.lines(),
            _ => &[],
        }
    }
}

fn join(services: &[ServiceName]) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}
