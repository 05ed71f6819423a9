//! `bowline key`: API keys of a gateway's clients. Nobody is asked: a key is known by its hash alone.

use std::process::ExitCode;

use crate::{
    api,
    args::{self, Output},
    style,
};

/// Makes a key, and the line for `bowline.toml`.
pub(crate) fn new(args: &args::KeyNew) -> anyhow::Result<ExitCode> {
    let args::KeyNew { subject, output } = args;
    let (key, hash) = bowline_server::secret::new_api_key()?;
    match output {
        Output::Json => {
            let made = serde_json::json!({ "subject": subject, "key": key.expose(), "hash": hash.to_string() });
            api::print_json(&made)?;
        }
        Output::Text => {
            style::line(&format!("the key, shown this once:    {}", key.expose()));
            style::line(&format!("for `keys` in bowline.toml:  {}", entry(subject, &hash.to_string())));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An element of `keys`, in TOML.
fn entry(subject: &str, hash: &str) -> String {
    let subject = subject.replace('\\', r"\\").replace('"', "\\\"");
    format!(r#"{{ subject = "{subject}", hash = "{hash}" }}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_toml() {
        assert_eq!(entry("acme", "sha256:00"), r#"{ subject = "acme", hash = "sha256:00" }"#);
        assert_eq!(entry(r#"a"\b"#, "x"), r#"{ subject = "a\"\\b", hash = "x" }"#);
    }
}
