//! What can go wrong with outbox, inbox and sagas.

use bowline_model::Code;

/// Why something could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database refused or failed; after a failed commit it may or may not have happened.
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
    /// A message breaks a limit of the message bus.
    #[error("the message cannot be published")]
    Message(#[from] bowline_messaging::Error),
    /// A name, an id or a definition breaks a rule.
    #[error("{what}: {rule}")]
    Invalid {
        /// The part at fault.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// No definition of that name was given.
    #[error("there is no definition of a saga `{name}`, give it to `Sagas::builder`")]
    NoDefinition {
        /// Its name.
        name: String,
    },
    /// There is no such saga, or no longer.
    #[error("there is no saga `{id}`")]
    NoSaga {
        /// Its id.
        id: String,
    },
    /// The id is taken by a saga of another definition.
    #[error("`{id}` is a saga of `{name}`: an id is used once")]
    Taken {
        /// The id.
        id: String,
        /// The definition of the one that has it.
        name: String,
    },
    /// What a saga works on cannot be written or read as its type.
    #[error("the data of a saga is not what its definition says")]
    Data(#[source] serde_json::Error),
    /// The tables were made by a later release.
    #[error("the tables of this database have format {found}, this release knows {known}: start a later one")]
    Format {
        /// Theirs.
        found: i64,
        /// Ours.
        known: i64,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Sql(error) if is_passing(error) => Code::Unavailable,
            Self::Sql(_) => Code::Internal,
            Self::Message(error) => error.code(),
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::NoSaga { .. } => Code::NotFound,
            Self::Taken { .. } => Code::Conflict,
            Self::NoDefinition { .. } | Self::Data(_) | Self::Format { .. } => Code::FailedPrecondition,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Sql(error) => is_passing(error),
            Self::Message(error) => error.retryable(),
            _ => false,
        }
    }
}

/// Whether the database, and not the statement, is to blame.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
        #[cfg(feature = "sqlite")]
        error if <sqlx::Sqlite as crate::db::sealed::Statements>::is_busy(error) => true,
        #[cfg(feature = "postgres")]
        error if <sqlx::Postgres as crate::db::sealed::Statements>::is_busy(error) => true,
        _ => false,
    }
}
