//! What can go wrong with configuration.

use std::sync::Arc;

use bowline_model::{Code, ConfigKey};

use crate::{Format, Version, Violation};

/// Why a manager of configuration refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A part of the request breaks a bound.
    #[error("{what}: {rule}")]
    Invalid {
        /// The part at fault.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The document is not well-formed, or no value of the type it is read as.
    #[error("line {line}, column {column} of the {format} document: {reason}")]
    Syntax {
        /// What it should be written in.
        format: Format,
        /// The line of the fault, from 1.
        line: usize,
        /// The column of the fault, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The document breaks its schema, or what else its key demands.
    #[error("the document breaks its rules: {}", told(violations))]
    Rejected {
        /// Each rule that is broken, at most [`VIOLATIONS_MAX`](crate::VIOLATIONS_MAX).
        violations: Vec<Violation>,
    },
    /// The schema itself cannot be used.
    #[error("the schema cannot be used: {reason}")]
    InvalidSchema {
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else was faster: the writer expected another version than the current one.
    #[error("{}", conflict(key, *expected, current.as_deref()))]
    Conflict {
        /// The key.
        key: ConfigKey,
        /// The version the writer based on; 0: none.
        expected: u64,
        /// That version, while it is kept.
        base: Option<Box<Version>>,
        /// The version there is.
        current: Option<Box<Version>>,
    },
    /// Somebody else was faster: the writer expected another schema than the one there is.
    #[error("the schema of `{key}` is another one by now: look at it, then change that one")]
    SchemaConflict {
        /// The key.
        key: ConfigKey,
    },
    /// There is no such document.
    #[error("there is no document `{key}`")]
    NoDocument {
        /// The key.
        key: ConfigKey,
    },
    /// There is no such version of a document, or no more.
    #[error("there is no version {number} of `{key}`, or it is no longer kept")]
    NoVersion {
        /// The key.
        key: ConfigKey,
        /// The version asked for.
        number: u64,
    },
    /// There are as many documents or acknowledgements as there may be.
    #[error("there are too many {what}")]
    Full {
        /// What there are too many of.
        what: &'static str,
    },
    /// What is kept cannot be read: it is damaged, or a later release wrote it.
    #[error("what is kept under `{entry}` cannot be read by this release")]
    Unreadable {
        /// The store's key.
        entry: String,
    },
    /// Nobody can answer now.
    #[error("the configuration is unavailable")]
    Unavailable(#[source] Option<Arc<dyn std::error::Error + Send + Sync>>),
    /// The store failed.
    #[error("the configuration's store failed")]
    Store(#[source] bowline_store::Error),
    /// A remote server refused, for a reason of its own.
    #[error("the server refused: {detail}")]
    Refused {
        /// What kind of failure it is.
        code: Code,
        /// What the server says.
        detail: String,
    },
}

fn told(violations: &[Violation]) -> String {
    let Some(first) = violations.first() else { return "none is named".to_owned() };
    match violations.len() - 1 {
        0 => first.to_string(),
        more => format!("{first}; and {more} more"),
    }
}

fn conflict(key: &ConfigKey, expected: u64, current: Option<&Version>) -> String {
    let is = match current {
        Some(version) => format!("`{key}` is at version {}", version.number),
        None => format!("there is no document `{key}`"),
    };
    match expected {
        0 => format!("{is}, the change expects none: look at it, then change that version"),
        _ => format!("{is}, the change is based on version {expected}: look at both, then change the current one"),
    }
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Syntax { .. } | Self::Rejected { .. } | Self::InvalidSchema { .. } => Code::Unprocessable,
            Self::Conflict { .. } | Self::SchemaConflict { .. } => Code::Conflict,
            Self::NoDocument { .. } | Self::NoVersion { .. } => Code::NotFound,
            Self::Full { .. } => Code::InsufficientStorage,
            Self::Unreadable { .. } => Code::Internal,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Store(error) => error.code(),
            Self::Refused { code, .. } => *code,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Full { .. } => true,
            Self::Store(error) => error.retryable(),
            Self::Refused { code, .. } => matches!(code, Code::Unavailable | Code::DeadlineExceeded),
            Self::Invalid { .. }
            | Self::Syntax { .. }
            | Self::Rejected { .. }
            | Self::InvalidSchema { .. }
            | Self::Conflict { .. }
            | Self::SchemaConflict { .. }
            | Self::NoDocument { .. }
            | Self::NoVersion { .. }
            | Self::Unreadable { .. } => false,
        }
    }
}
