//! What goes wrong with NATS, in the port's words.

use std::{error::Error as _, sync::Arc};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
};
use bowline_messaging::Error;

/// What NATS refused or failed at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    // The client's errors tell their causes themselves.
    #[error("cannot connect to NATS at {servers}: {reason}")]
    Connect { servers: String, reason: String },
    #[error("cannot use the file of credentials `{}`", path.display())]
    Credentials {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "JetStream cannot be used at {servers}: {reason}; is `nats-server` started with `-js`, and may this account use it?"
    )]
    NoJetStream { servers: String, reason: String },
    #[error("NATS failed to {what}: {reason}")]
    Call { what: &'static str, reason: String },
    #[error("what is kept in NATS at `{subject}` cannot be read: it was not written by this release of Bowline")]
    Damaged { subject: String },
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Io(Arc::new(failure))
    }
}

/// A call that failed: it may or may not have happened.
pub(crate) fn failed(what: &'static str, error: impl std::fmt::Display) -> Error {
    Failure::Call { what, reason: error.to_string() }.into()
}

/// Whether a stream is at its bound.
pub(crate) fn is_full(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::Other
        && server_error(error).is_some_and(|error| {
            error.error_code() == ErrorCode::STREAM_STORE_FAILED && error.to_string().contains("maximum bytes")
        })
}

fn server_error(error: &PublishError) -> Option<&jetstream::Error> {
    error.source()?.downcast_ref()
}
