//! Asking a running Bowline, and saying so when there is none.

use anyhow::Context as _;
use bowline_provider_remote::Client;
use serde::Serialize;

use crate::{args, style};

/// A client of the Bowline that the flags name.
pub(crate) fn client(query: &args::Query) -> Client {
    Client::new(query.api.0)
}

/// The answer, or an error that says what to do.
pub(crate) fn answered<T>(query: &args::Query, answer: Result<T, bowline_transport::ClientError>) -> anyhow::Result<T> {
    use bowline_transport::ClientError;
    match answer {
        Ok(value) => Ok(value),
        Err(ClientError::Answer { problem, .. }) => Err(anyhow::anyhow!("{}", problem.detail)),
        Err(error @ ClientError::Transport { .. }) => {
            let what_to_do = format!(
                "no Bowline answers at {}: start one with `bowline up`, or name its API with --api",
                query.api.0
            );
            Err(error).context(what_to_do)
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints a value for programs.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    style::line(&serde_json::to_string_pretty(value)?);
    Ok(())
}
