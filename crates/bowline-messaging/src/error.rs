//! What can go wrong with messages.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bowline_model::Code;

use crate::delivery::Position;

/// Why a message bus refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name, a message or a setting breaks a limit.
    #[error("{what}: {rule}")]
    Invalid {
        /// The part at fault.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// Nobody has declared that topic.
    #[error("there is no topic `{topic}`")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// The topic has no such group.
    #[error("the topic `{topic}` has no group `{group}`")]
    NoGroup {
        /// The topic.
        topic: String,
        /// The name of the group.
        group: String,
    },
    /// There is no such message, or no longer.
    #[error("there is no message at {position} of `{topic}`")]
    NoMessage {
        /// The topic.
        topic: String,
        /// Where it would be.
        position: Position,
    },
    /// The lease of the message ended before: somebody else may have it.
    #[error("the lease of the message at {position} ended")]
    LeaseLost {
        /// Where it is.
        position: Position,
    },
    /// The topic's bound or the disk is full; reads and deliveries go on.
    #[error("the topic `{topic}` is full{}", held(by.as_deref()))]
    Full {
        /// The topic.
        topic: String,
        /// The group that is furthest behind, if it is what keeps messages from being deleted.
        by: Option<String>,
    },
    /// A bound on concurrent use is reached.
    #[error("there are too many {what}, at most {max}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// Reading or writing failed; a write may or may not have happened.
    #[error("the log of messages cannot be used")]
    Io(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Another process holds the folder.
    #[error("`{}` is in use by another process", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A file was written by another release.
    #[error("`{}` has format {found}, this release reads format {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A file is damaged where it was durable.
    #[error("`{}` is damaged at byte {offset}; restore it, or move the topic's folder away to begin it anew", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// The message bus cannot be reached now.
    #[error("the message bus is unavailable")]
    Unavailable {
        /// When to try again, if it is known.
        retry_after: Option<Duration>,
    },
    /// A remote server refused, for a reason of its own.
    #[error("the server refused: {detail}")]
    Refused {
        /// What kind of failure it is.
        code: Code,
        /// What the server says.
        detail: String,
    },
    /// The message bus was closed.
    #[error("the message bus is closed")]
    Closed,
}

fn held(by: Option<&str>) -> String {
    let hint = |by| format!(": the group `{by}` has not processed its oldest messages");
    by.map(hint).unwrap_or_default()
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::NoTopic { .. } | Self::NoGroup { .. } | Self::NoMessage { .. } => Code::NotFound,
            Self::LeaseLost { .. } => Code::Conflict,
            Self::Full { .. } => Code::InsufficientStorage,
            Self::TooMany { .. } | Self::Unavailable { .. } | Self::Closed => Code::Unavailable,
            Self::Io(_) | Self::Corrupt { .. } => Code::Internal,
            Self::InUse { .. } | Self::Format { .. } => Code::FailedPrecondition,
            Self::Refused { code, .. } => *code,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::TooMany { .. } | Self::Unavailable { .. } | Self::Io(_) => true,
            Self::Refused { code, .. } => {
                matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::BadGateway | Code::RateLimited)
            }
            _ => false,
        }
    }
}
