//! What can go wrong at the authority.

use std::{io, path::PathBuf};

use bowline_identity::Error as IdentityError;
use bowline_model::Code;
use bowline_store::Error as StoreError;

/// Why the authority cannot be opened, or issues nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store has a root, and the key that opens it is gone.
    #[error(
        "the key of the certificate authority, {}, is missing: bring it back from a backup, or name it with --ca-key; without it this authority cannot sign, and only a new data folder gets a new one",
        path.display()
    )]
    NoKey {
        /// Where the key should be.
        path: PathBuf,
    },
    /// The key is another one.
    #[error(
        "the key in {} is not the one that the certificate authority in the store is sealed by: use the file that belongs to this data folder",
        path.display()
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// The file of the key is not used.
    #[error("the key of the certificate authority, {}, is not used: {rule}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The file of the key cannot be read or written.
    #[error("the key of the certificate authority, {}, cannot be read or written", path.display())]
    KeyFileIo {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What the store has of the authority is damaged.
    #[error("the certificate authority in the store is damaged: {rule}")]
    Damaged {
        /// What is wrong.
        rule: String,
    },
    /// The system's cryptography fails.
    #[error("the certificate authority cannot sign: the system's cryptography fails")]
    Cryptography,
    /// Whoever asks does not get what it asks for.
    #[error("{detail}")]
    Refused {
        /// What kind of refusal it is.
        code: Code,
        /// Why, for people.
        detail: String,
    },
    /// The store fails.
    #[error("the store of the certificate authority fails")]
    Store(#[source] StoreError),
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::NoKey { .. } | Self::WrongKey { .. } | Self::KeyFile { .. } | Self::KeyFileIo { .. } => {
                Code::FailedPrecondition
            }
            Self::Damaged { .. } | Self::Cryptography => Code::Internal,
            Self::Refused { code, .. } => *code,
            Self::Store(error) => error.code(),
        }
    }

    /// Whether the same may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => *code == Code::Unavailable,
            Self::Cryptography => true,
            Self::Store(error) => error.retryable(),
            Self::NoKey { .. }
            | Self::WrongKey { .. }
            | Self::KeyFile { .. }
            | Self::KeyFileIo { .. }
            | Self::Damaged { .. } => false,
        }
    }

    pub(super) fn refused(code: Code, detail: impl Into<String>) -> Self {
        Self::Refused { code, detail: detail.into() }
    }

    pub(super) fn damaged(rule: impl Into<String>) -> Self {
        Self::Damaged { rule: rule.into() }
    }

    /// As whoever asked for a certificate sees it.
    pub(super) fn into_identity(self) -> IdentityError {
        match self {
            Self::Refused { code, detail } => IdentityError::Refused { code, detail },
            Self::Cryptography => IdentityError::Cryptography,
            other => IdentityError::Unavailable(std::sync::Arc::new(other)),
        }
    }
}
