//! What can go wrong with a cache, and with what it stands on.

use std::{fmt, sync::Arc};

use bowline_model::Code;

/// Why a cache has no answer. Cheap to clone: all who waited for one load get the same.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loader failed.
    #[error("the cache `{cache}` could not load what it does not have")]
    Load {
        /// Which cache.
        cache: Arc<str>,
        /// What the loader said.
        #[source]
        source: Failure,
    },
    /// The key has a name that no key may have.
    #[error("the cache `{cache}` was asked for a key that none is")]
    Key {
        /// Which cache.
        cache: Arc<str>,
        /// The rule it breaks.
        #[source]
        source: PortError,
    },
    /// Who asked had no more time; what it waited for goes on.
    #[error("the time of who asked the cache `{cache}` was over before there was an answer")]
    Late {
        /// Which cache.
        cache: Arc<str>,
    },
    /// A bound on concurrent use is reached.
    #[error("the cache `{cache}` is too busy: there are {max} {what} at a time at most")]
    TooBusy {
        /// Which cache.
        cache: Arc<str>,
        /// What there are too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// It is invalid here, and the other processes could not be told.
    #[error("the other processes of the cache `{cache}` could not be told what is invalid")]
    Tell {
        /// Which cache.
        cache: Arc<str>,
        /// What the feed said.
        #[source]
        source: PortError,
    },
}

impl Error {
    /// What kind of failure it is; that of the loader where it failed.
    pub fn code(&self) -> Code {
        match self {
            Self::Load { source, .. } => source.code(),
            Self::Late { .. } => Code::DeadlineExceeded,
            Self::TooBusy { .. } => Code::Unavailable,
            Self::Key { source, .. } | Self::Tell { source, .. } => source.code(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Load { source, .. } => source.retryable(),
            Self::Late { .. } | Self::TooBusy { .. } => true,
            Self::Key { source, .. } | Self::Tell { source, .. } => source.retryable(),
        }
    }
}

/// Why a loader has no value; shared by all who waited for it.
#[derive(Debug, Clone)]
pub struct Failure {
    code: Code,
    is_retryable: bool,
    source: Arc<dyn std::error::Error + Send + Sync>,
}

impl Failure {
    /// A failure of that kind; it may be retried where that kind usually may.
    pub fn new(code: Code, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let is_retryable = may_pass(code) || code == Code::Cancelled;
        Self { code, is_retryable, source: Arc::from(source.into()) }
    }

    /// The same, which may be retried or not.
    pub fn with_retryable(self, is_retryable: bool) -> Self {
        Self { is_retryable, ..self }
    }

    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Whether the same load may succeed later.
    pub fn retryable(&self) -> bool {
        self.is_retryable
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// Why a feed of invalidations or a level below memory refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// A name, a key, a value or a time breaks a limit.
    #[error("{what}: {rule}")]
    Invalid {
        /// The part at fault.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// What is told through this feed is another's to tell.
    #[error("what `{feed}` tells is another's to tell")]
    NotOurs {
        /// The name of the feed.
        feed: String,
    },
    /// There are too many of something.
    #[error("there are too many {what}, at most {max}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// It cannot be reached, does not answer in time, or says what makes no sense.
    #[error("it cannot be used now")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Who was asked refuses, for a reason of its own.
    #[error("it refused: {detail}")]
    Refused {
        /// What kind of failure it is.
        code: Code,
        /// What it says.
        detail: String,
    },
}

impl PortError {
    /// It cannot be used now, and why.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(Arc::from(source.into()))
    }

    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::NotOurs { .. } => Code::FailedPrecondition,
            Self::TooMany { .. } | Self::Unavailable(_) => Code::Unavailable,
            Self::Refused { code, .. } => *code,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::TooMany { .. } | Self::Unavailable(_) => true,
            Self::Refused { code, .. } => may_pass(*code),
            Self::Invalid { .. } | Self::NotOurs { .. } => false,
        }
    }
}

/// Whether what failed so may go well later.
fn may_pass(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::BadGateway | Code::RateLimited)
}
