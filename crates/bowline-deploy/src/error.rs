//! What can go wrong with rollouts.

use std::sync::Arc;

use bowline_model::{Code, ServiceName};

/// Why a rollout could not be begun, changed or read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system has no such service.
    #[error("there is no service `{service}`")]
    NoService {
        /// The name asked for.
        service: ServiceName,
    },
    /// There is no rollout of the service under way.
    #[error("there is no rollout of `{service}` under way")]
    NoRollout {
        /// Whose.
        service: ServiceName,
    },
    /// The rollout that an order is meant for is not the one under way.
    #[error("rollout {id} of `{service}` is not under way{}", under_way(*live))]
    NotUnderWay {
        /// Whose.
        service: ServiceName,
        /// The rollout that is meant.
        id: u64,
        /// The one that is under way instead.
        live: Option<u64>,
    },
    /// A part of what was asked for breaks a rule.
    #[error("{what}: {rule}")]
    Invalid {
        /// The part at fault.
        what: &'static str,
        /// The rule it breaks.
        rule: String,
    },
    /// The service is not in the state that a rollout needs.
    #[error("`{service}` cannot be rolled out: {rule}")]
    Unfit {
        /// Whose.
        service: ServiceName,
        /// What it lacks, and what to do.
        rule: String,
    },
    /// A rollout of the service is under way; there is at most one.
    #[error(
        "{version} of `{service}` is being rolled out: wait for its end, or end it with `bowline deploy promote {service}` or `bowline deploy abort {service}`"
    )]
    Busy {
        /// Whose.
        service: ServiceName,
        /// The version on its way.
        version: String,
    },
    /// The rollout is too far, or not far enough, for what was ordered.
    #[error("the rollout of `{service}` cannot be {ordered}: it is {phase}")]
    Refused {
        /// Whose.
        service: ServiceName,
        /// What was ordered: `paused`, `promoted` …
        ordered: &'static str,
        /// What it is doing: `promoting`, `rolling back` …
        phase: &'static str,
    },
    /// What is kept cannot be read: it is damaged, or a later release wrote it.
    #[error("what the store holds as `{key}` cannot be read by this release of Bowline")]
    Unreadable {
        /// The store's key.
        key: Arc<str>,
    },
    /// Somebody else changed the rollout meanwhile: two processes run the same system.
    #[error("the rollout of `{service}` was changed by somebody else")]
    Conflict {
        /// Whose.
        service: ServiceName,
    },
    /// Nothing runs releases here, or no more.
    #[error("no rollouts are run here")]
    Stopped,
    /// The store failed.
    #[error("the rollout could not be kept")]
    Store(#[source] bowline_store::Error),
}

fn under_way(live: Option<u64>) -> String {
    let told = |id| format!(": rollout {id} is; look at it before you order anything of it");
    live.map_or_else(String::new, told)
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::NoService { .. } | Self::NoRollout { .. } => Code::NotFound,
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Unfit { .. } | Self::Refused { .. } | Self::Stopped => Code::FailedPrecondition,
            Self::Busy { .. } => Code::AlreadyExists,
            Self::Conflict { .. } | Self::NotUnderWay { .. } => Code::Conflict,
            Self::Unreadable { .. } => Code::Internal,
            Self::Store(error) => error.code(),
        }
    }

    /// Whether the same call may succeed later, with nobody's help.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable(),
            Self::Busy { .. } => true,
            _ => false,
        }
    }
}
