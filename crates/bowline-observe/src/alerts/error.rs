//! What can go wrong with alerts.

use bowline_model::Code;

/// Why something about alerts was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What has to survive could not be kept.
    #[error("the state of alerts cannot be kept")]
    Keep {
        /// Why.
        #[source]
        source: bowline_store::Error,
    },
    /// What was kept could not be read.
    #[error("the state of alerts cannot be read")]
    Load {
        /// Why.
        #[source]
        source: bowline_store::Error,
    },
    /// A bound is reached.
    #[error("there are {max} {what}, and cannot be more")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A silence that makes no sense.
    #[error("a silence cannot be like that: {rule}")]
    InvalidSilence {
        /// The rule it breaks.
        rule: String,
    },
    /// There is no such silence.
    #[error("there is no silence `{id}`")]
    NoSilence {
        /// What was asked for.
        id: String,
    },
    /// There is no such receiver.
    #[error("there is no receiver `{name}`")]
    NoReceiver {
        /// What was asked for.
        name: String,
    },
    /// It was stopped.
    #[error("alerts are no longer evaluated here")]
    Stopped,
}

impl Error {
    /// Its kind.
    pub fn code(&self) -> Code {
        match self {
            Self::Keep { source } | Self::Load { source } => source.code(),
            Self::TooMany { .. } => Code::FailedPrecondition,
            Self::InvalidSilence { .. } => Code::InvalidArgument,
            Self::NoSilence { .. } | Self::NoReceiver { .. } => Code::NotFound,
            Self::Stopped => Code::Unavailable,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Keep { source } | Self::Load { source } => source.retryable(),
            _ => false,
        }
    }
}
