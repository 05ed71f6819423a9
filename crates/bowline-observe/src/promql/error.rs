//! What can be wrong with an expression, and what can go wrong with its evaluation.

use std::fmt;

use bowline_model::Code;

use crate::{labels::Labels, promql::expr::Kind, source::SourceError};

/// A place in an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Position {
    /// The place of a byte of a text; past its end, or within a character, the one before it.
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A text that is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// Where it stops being one.
    pub position: Position,
    /// What was met there and what was expected.
    pub message: String,
}

impl ParseError {
    /// Its kind.
    #[expect(clippy::unused_self, reason = "every error answers it")]
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }

    /// Whether the same text may be an expression later.
    #[expect(clippy::unused_self, reason = "every error answers it")]
    pub fn retryable(&self) -> bool {
        false
    }
}

/// Why an expression has no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The times or the step of the query make no sense.
    #[error("{rule}")]
    InvalidTime {
        /// What they must be.
        rule: &'static str,
    },
    /// The query has too many steps.
    #[error("the query has more than {steps_max} steps: make the step longer or the time shorter")]
    TooManySteps {
        /// How many were allowed.
        steps_max: usize,
    },
    /// A range query of something that has no value at each step.
    #[error("a range query needs a scalar or an instant vector, this expression is a {kind}")]
    NotForRange {
        /// What it is.
        kind: Kind,
    },
    /// The query would take too much memory.
    #[error("the query holds more than {samples_max} samples in memory: narrow its selectors or its time")]
    TooManySamples {
        /// How many were allowed.
        samples_max: usize,
    },
    /// The answer would be too long.
    #[error("the query gives more than {series_max} series: narrow it or aggregate")]
    TooManySeries {
        /// How many were allowed.
        series_max: usize,
    },
    /// Two series of a result have the same labels, as after the names of two metrics were dropped.
    #[error("vector cannot contain metrics with the same labelset: {labels}")]
    DuplicateLabels {
        /// Those labels.
        labels: Labels,
    },
    /// The series of two vectors cannot be paired.
    #[error("{rule}: {labels}")]
    Matching {
        /// What is wrong.
        rule: &'static str,
        /// The labels of one series, or those that were matched.
        labels: Labels,
    },
    /// An argument has a value that the function cannot take.
    #[error("{rule}")]
    InvalidArgument {
        /// Which one, and what it must be.
        rule: String,
    },
    /// The samples could not be read.
    #[error("cannot read the samples of a selector")]
    Source {
        /// The cause.
        #[from]
        source: SourceError,
    },
    /// The deadline passed.
    #[error("the query took longer than it may")]
    Timeout,
    /// The caller went away.
    #[error("the query was cancelled")]
    Cancelled,
}

impl Error {
    /// Its kind: in Prometheus' API `InvalidArgument` is `bad_data`, `DeadlineExceeded` is `timeout`,
    /// `Cancelled` is `canceled`, everything else is `execution`.
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidTime { .. } | Self::TooManySteps { .. } | Self::NotForRange { .. } => Code::InvalidArgument,
            Self::TooManySamples { .. }
            | Self::TooManySeries { .. }
            | Self::DuplicateLabels { .. }
            | Self::Matching { .. }
            | Self::InvalidArgument { .. }
            | Self::Source { source: SourceError::TooManySamples { .. } | SourceError::TooManySeries { .. } } => {
                Code::Unprocessable
            }
            Self::Source { source: SourceError::Closed } => Code::Unavailable,
            Self::Timeout => Code::DeadlineExceeded,
            Self::Cancelled => Code::Cancelled,
        }
    }

    /// Whether the same query may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Timeout)
    }
}
