//! What can go wrong in the series store.

use std::{io, path::PathBuf};

use bowline_disk::LockFailure;
use bowline_model::Code;

use crate::series::settings::BYTES_MAX_MIN;

/// The series store cannot be opened, written, or take a series.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cap on disk is too small.
    #[error("the series store's bytes_max is {bytes_max}, it must be at least {BYTES_MAX_MIN}")]
    CapTooSmall {
        /// The cap asked for.
        bytes_max: u64,
    },
    /// Another process, or another store of this one, has the folder open.
    #[error("the series store in {} is open already", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// A file was written by another release, in a format that this one does not know.
    #[error(
        "{} has format version {found} of the series store, this release reads version {known}: run the release \
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
    /// Something has to be written that no deletion makes room for.
    #[error("{bytes} bytes do not fit under the series store's bytes_max")]
    NoRoom {
        /// How much was to be written.
        bytes: u64,
    },
    /// Too many series take samples, or their labels take too much memory.
    #[error("the series store takes samples of {series_max} series already, or their labels are too long")]
    TooManySeries {
        /// How many it takes.
        series_max: usize,
    },
    /// These labels cannot be those of a series.
    #[error("not the labels of a series: {rule}")]
    InvalidLabels {
        /// What is wrong with them.
        rule: &'static str,
    },
    /// The store was closed.
    #[error("the series store is closed")]
    Closed,
}

impl Error {
    /// Its kind.
    pub fn code(&self) -> Code {
        match self {
            Self::CapTooSmall { .. } | Self::InvalidLabels { .. } => Code::InvalidArgument,
            Self::Locked { .. } | Self::Version { .. } => Code::FailedPrecondition,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Code::InsufficientStorage,
            Self::NoRoom { .. } => Code::InsufficientStorage,
            Self::Io { .. } => Code::Internal,
            Self::TooManySeries { .. } | Self::Closed => Code::Unavailable,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Io { .. } | Self::NoRoom { .. } | Self::TooManySeries { .. })
    }

    /// Names the operation and the file of an I/O error.
    pub(crate) fn io(operation: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }

    pub(crate) fn lock(dir: &std::path::Path) -> impl FnOnce(LockFailure) -> Self {
        move |failure| match failure {
            LockFailure::Locked => Self::Locked { dir: dir.to_owned() },
            LockFailure::Io { path, source } => Self::Io { operation: "lock", path, source },
        }
    }
}
