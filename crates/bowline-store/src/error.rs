//! What can go wrong in a store.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bowline_model::Code;

use crate::port::{LeaseId, Revision};

/// Why a store refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key, a value, a lifetime or a transaction breaks a limit.
    #[error("{what}: {rule}")]
    Invalid {
        /// The part at fault.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A comparison failed; nothing was changed.
    #[error("the key `{key}` is not in the state the transaction expects")]
    Conflict {
        /// The key compared.
        key: String,
        /// The revision that last modified it; none if it is missing.
        current: Option<Revision>,
    },
    /// The lease is unknown: never granted, expired or revoked.
    #[error("there is no lease {0}")]
    NoLease(LeaseId),
    /// The revision asked for is no longer kept: list, and watch from the list's revision.
    #[error("the history begins after revision {oldest}")]
    Compacted {
        /// The oldest revision that can be watched from.
        oldest: Revision,
    },
    /// The revision asked for is not yet there: another store, or one restored from the past.
    #[error("the store is at revision {current} only")]
    Future {
        /// The store's revision.
        current: Revision,
    },
    /// The watcher was so slow that events it had not read were dropped: watch anew from the
    /// revision last seen, and list if that is compacted.
    #[error("the watch fell behind")]
    Lagged {
        /// The oldest revision that can be watched from.
        oldest: Revision,
    },
    /// A bound on concurrent use is reached.
    #[error("there are too many {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
    },
    /// The disk, or the store's own bound, is full; reads go on.
    #[error("the store is full")]
    Full,
    /// Reading or writing failed; a write may or may not have happened, reads go on.
    #[error("the store's file cannot be used")]
    Io(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Another process holds the file.
    #[error("`{}` is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a format that this release does not know.
    #[error("`{}` has format {found}, this release reads up to format {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The latest one known.
        known: u64,
    },
    /// The file is damaged.
    #[error("`{}` is damaged: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store cannot be reached now.
    #[error("the store is unavailable")]
    Unavailable {
        /// When to try again, if it is known.
        retry_after: Option<Duration>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Conflict { .. } => Code::Conflict,
            Self::NoLease(_) => Code::NotFound,
            Self::Compacted { .. } | Self::Future { .. } => Code::OutOfRange,
            Self::Lagged { .. } | Self::TooMany { .. } | Self::Unavailable { .. } | Self::Closed => Code::Unavailable,
            Self::Full => Code::InsufficientStorage,
            Self::Io(_) | Self::Corrupt { .. } => Code::Internal,
            Self::InUse { .. } | Self::Format { .. } => Code::FailedPrecondition,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Lagged { .. } | Self::TooMany { .. } | Self::Full | Self::Unavailable { .. })
    }
}
