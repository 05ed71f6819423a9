//! What can go wrong with an identity.

use std::{io, path::PathBuf, sync::Arc};

use bowline_model::Code;

/// Why there is no certificate, or why one is not believed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system gives no key, or no signature.
    #[error("no key can be made: the system's cryptography fails")]
    Cryptography,
    /// A certificate, a request for one or a key is not what it has to be.
    #[error("{what} is not used: {rule}")]
    Invalid {
        /// The thing at fault.
        what: &'static str,
        /// The rule it breaks.
        rule: String,
    },
    /// The issuer says no.
    #[error("{detail}")]
    Refused {
        /// What kind of refusal it is.
        code: Code,
        /// Why, for people.
        detail: String,
    },
    /// The issuer cannot be asked now.
    #[error("the issuer of certificates cannot be reached")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The identity that was kept on disk cannot be taken up.
    #[error("the identity in `{}` is not used: {rule}", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        rule: String,
    },
    /// A file cannot be read or written.
    #[error("`{}` cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Cryptography => Code::Internal,
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Refused { code, .. } => *code,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Kept { .. } | Self::Io { .. } => Code::FailedPrecondition,
        }
    }

    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Cryptography => true,
            Self::Refused { code, .. } => matches!(
                code,
                Code::Unavailable
                    | Code::RateLimited
                    | Code::Internal
                    | Code::DeadlineExceeded
                    | Code::InsufficientStorage
                    | Code::Conflict
                    | Code::BadGateway
            ),
            Self::Invalid { .. } | Self::Kept { .. } | Self::Io { .. } => false,
        }
    }

    /// A certificate that is not used.
    pub(crate) fn certificate(rule: impl Into<String>) -> Self {
        Self::Invalid { what: "the certificate", rule: rule.into() }
    }
}
