//! Asking a running Bowline, and saying so when there is none.

use std::fmt::Write as _;

use anyhow::Context as _;
use bowline_model::Code;
use bowline_provider_remote::{Bearer, Client, RemoteConfig};
use serde::Serialize;

use crate::{args, credential, style};

/// A client of the Bowline that the flags name, with the credential there is.
pub(crate) async fn client(query: &args::Query) -> anyhow::Result<Client> {
    let client = Client::new(query.api.0);
    Ok(match bearer(query).await? {
        Some(bearer) => client.with_bearer(bearer),
        None => client,
    })
}

/// The configuration of the Bowline that the flags name, with the credential there is.
pub(crate) async fn config(query: &args::Query) -> anyhow::Result<RemoteConfig> {
    let config = RemoteConfig::new(query.api.0);
    Ok(match bearer(query).await? {
        Some(bearer) => config.with_bearer(bearer),
        None => config,
    })
}

async fn bearer(query: &args::Query) -> anyhow::Result<Option<Bearer>> {
    let Some(token) = credential::find(query).await? else { return Ok(None) };
    Bearer::new(&token).context("--token, or BOWLINE_TOKEN, cannot be used").map(Some)
}

/// The answer, or an error that says what to do.
pub(crate) fn answered<T>(query: &args::Query, answer: Result<T, bowline_transport::ClientError>) -> anyhow::Result<T> {
    use bowline_transport::ClientError;
    match answer {
        Ok(value) => Ok(value),
        Err(ClientError::Answer { problem, .. }) => Err(refused(problem.code, &problem.detail)),
        Err(error @ ClientError::Transport { .. }) => Err(error).context(nobody(query)),
        Err(error) => Err(error.into()),
    }
}

/// An error of the configuration that says what to do.
pub(crate) fn config_error(query: &args::Query, error: bowline_config::Error) -> anyhow::Error {
    use bowline_config::Error;
    match error {
        Error::Refused { code, detail } => refused(code, &detail),
        error @ Error::Unavailable(Some(_)) => anyhow::Error::new(error).context(nobody(query)),
        error => document_error(error),
    }
}

/// An error of a document, with each of the rules that it breaks.
pub(crate) fn document_error(error: bowline_config::Error) -> anyhow::Error {
    match error {
        bowline_config::Error::Rejected { violations } => {
            let lines: Vec<String> = violations.iter().map(|violation| format!("\n  {violation}")).collect();
            anyhow::anyhow!("the document breaks its rules:{}", lines.concat())
        }
        error => error.into(),
    }
}

fn refused(code: Code, detail: &str) -> anyhow::Error {
    if code == Code::Unauthenticated {
        let what_to_do = "give one with --token or BOWLINE_TOKEN; the server's data folder holds one in root.token";
        return anyhow::anyhow!("{detail}; {what_to_do}");
    }
    anyhow::anyhow!("{detail}")
}

fn nobody(query: &args::Query) -> String {
    format!("no Bowline answers at {}: start one with `bowline up`, or name its API with --api", query.api.0)
}

/// Prints a value for programs.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    style::line(&escaped(&serde_json::to_string_pretty(value)?));
    Ok(())
}

/// JSON without the control characters that JSON allows and terminals obey: DEL and C1.
pub(crate) fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // These stand in strings only, where the escaped form means the same.
            '\u{7f}'..='\u{9f}' => {
                let _infallible = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn json_holds_nothing_that_a_terminal_obeys() {
        let text = "\u{9b}2J\x1b[2J\x7fé";
        let json = super::escaped(&serde_json::to_string(text).unwrap());
        assert!(!json.chars().any(char::is_control), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
