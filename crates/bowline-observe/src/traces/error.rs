//! What can go wrong in the trace store.

use std::{io, path::PathBuf};

use bowline_model::Code;

use crate::traces::settings::BYTES_MAX_MIN;

/// The trace store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cap on disk is too small to hold the segments.
    #[error("the trace store's bytes_max is {bytes_max}, it must be at least {BYTES_MAX_MIN}")]
    CapTooSmall {
        /// The cap asked for.
        bytes_max: u64,
    },
    /// Another process, or another store of this one, has the folder open.
    #[error("the trace store in {} is open already", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// A file was written by another release, in a format that this one does not know.
    #[error(
        "{} has format version {found} of the trace store, this release reads version {known}: run the release \
         that wrote it, or move the folder away and begin anew",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The operating system refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The disk did not take what was written; it may be there or not after a power loss.
    #[error("the trace store could not be synced")]
    NotSynced,
    /// The store was closed, or its writer is gone with its runtime.
    #[error("the trace store is closed")]
    Closed,
}

impl Error {
    /// Its kind.
    pub fn code(&self) -> Code {
        match self {
            Self::CapTooSmall { .. } => Code::InvalidArgument,
            Self::Locked { .. } | Self::Version { .. } => Code::FailedPrecondition,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Code::InsufficientStorage,
            Self::Io { .. } | Self::NotSynced => Code::Internal,
            Self::Closed => Code::Unavailable,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Io { .. } | Self::NotSynced)
    }

    /// Names the operation and the file of an I/O error.
    pub(crate) fn io(operation: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }
}
