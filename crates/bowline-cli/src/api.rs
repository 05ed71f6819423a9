//! Asking a running Bowline, and saying so when there is none.

use std::fmt::Write as _;

use anyhow::Context as _;
use bowline_model::Code;
use bowline_provider_remote::{Bearer, Client};
use serde::Serialize;

use crate::{args, credential, style};

/// A client of the Bowline that the flags name, with the credential there is.
pub(crate) async fn client(query: &args::Query) -> anyhow::Result<Client> {
    let client = Client::new(query.api.0);
    let Some(token) = credential::find(query).await? else { return Ok(client) };
    let bearer = Bearer::new(&token).context("--token, or BOWLINE_TOKEN, cannot be used")?;
    Ok(client.with_bearer(bearer))
}

/// The answer, or an error that says what to do.
pub(crate) fn answered<T>(query: &args::Query, answer: Result<T, bowline_transport::ClientError>) -> anyhow::Result<T> {
    use bowline_transport::ClientError;
    match answer {
        Ok(value) => Ok(value),
        Err(ClientError::Answer { problem, .. }) if problem.code == Code::Unauthenticated => {
            let what_to_do = "give one with --token or BOWLINE_TOKEN; the server's data folder holds one in root.token";
            Err(anyhow::anyhow!("{}; {what_to_do}", problem.detail))
        }
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
    style::line(&escaped(&serde_json::to_string_pretty(value)?));
    Ok(())
}

/// JSON without the control characters that JSON allows and terminals obey: DEL and C1.
fn escaped(json: &str) -> String {
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
