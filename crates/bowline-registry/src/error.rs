//! What can go wrong in a registry.

use std::sync::Arc;

use bowline_model::{Code, instance::InvalidInstance};
use bowline_store::Revision;

/// Why a registry refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The instance breaks a bound.
    #[error("the instance is not valid")]
    InvalidInstance(#[source] InvalidInstance),
    /// Something else in the request breaks a bound.
    #[error("{what}: {rule}")]
    Invalid {
        /// The part at fault.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The revision asked for is no longer kept: discover, and watch from its revision.
    #[error("the history begins after revision {oldest}")]
    Compacted {
        /// The oldest revision that can be watched from.
        oldest: Revision,
    },
    /// The revision asked for belongs to another history: discover, and watch from its revision.
    #[error("the revision is not of this registry's history")]
    OtherHistory,
    /// The watcher was too slow: watch anew from the revision last seen.
    #[error("the watch fell behind")]
    Lagged,
    /// The registry holds as many instances as it may.
    #[error("the registry is full")]
    Full,
    /// The registry cannot be reached, or is not ready yet.
    #[error("the registry is unavailable")]
    Unavailable(#[source] Option<Arc<dyn std::error::Error + Send + Sync>>),
    /// The store failed.
    #[error("the registry's store failed")]
    Store(#[source] bowline_store::Error),
    /// A remote registry refused, for a reason of its own.
    #[error("the registry refused: {detail}")]
    Refused {
        /// What kind of failure it is.
        code: Code,
        /// What the registry says.
        detail: String,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidInstance(_) => Code::Unprocessable,
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Compacted { .. } | Self::OtherHistory => Code::OutOfRange,
            Self::Lagged | Self::Unavailable(_) => Code::Unavailable,
            Self::Full => Code::InsufficientStorage,
            Self::Store(error) => error.code(),
            Self::Refused { code, .. } => *code,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Lagged | Self::Unavailable(_) | Self::Full => true,
            Self::Store(error) => error.retryable(),
            Self::Refused { code, .. } => matches!(code, Code::Unavailable | Code::DeadlineExceeded),
            Self::InvalidInstance(_) | Self::Invalid { .. } | Self::Compacted { .. } | Self::OtherHistory => false,
        }
    }
}
