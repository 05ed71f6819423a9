//! Why a system could not be started.

use std::{io, path::PathBuf, time::Duration};

use bowline_model::{Code, InstanceId, ServiceName, units::format_duration};

use crate::event::Exit;

/// Why a system could not be started.
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
        format_duration(Duration::from_secs(.waited.as_secs()))
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
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Build { .. } | Self::Folder { .. } | Self::Keeper { .. } | Self::Run { .. } => {
                Code::FailedPrecondition
            }
            Self::NeverHealthy { .. } => Code::DeadlineExceeded,
            Self::Leftovers { .. } => Code::Unavailable,
        }
    }

    /// Whether the same start may succeed without anything being repaired.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Leftovers { .. })
    }

    /// The last lines of the process at fault, oldest first.
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Build { lines, .. } | Self::NeverHealthy { lines, .. } => lines,
            Self::Folder { .. } | Self::Keeper { .. } | Self::Run { .. } | Self::Leftovers { .. } => &[],
        }
    }
}

fn join(services: &[ServiceName]) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}
