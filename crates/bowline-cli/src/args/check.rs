//! The command line of `bowline check`.

use std::{path::PathBuf, time::Duration};

use bowline_model::{Secret, check::Rule};
use clap::ValueEnum;

use super::{Api, Output, Query, duration, secret};

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The folder that holds bowline.toml, or the file itself
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The profile of the file to prove: its section [profile.NAME] [default: none]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Also holds what is declared against what a running Bowline saw
    #[arg(long)]
    pub(crate) observed: bool,
    /// How far back what was seen is looked at
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration, requires = "observed")]
    pub(crate) since: Duration,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,
    /// Prints the page of a rule instead: what it says, an example, why, and what to do
    #[arg(long, value_name = "RULE", value_parser = rule, conflicts_with_all = ["dir", "profile", "observed", "output"])]
    pub(crate) explain: Option<&'static Rule>,
    /// The running Bowline to ask what was seen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117", env = "BOWLINE_API")]
    api: Api,
    /// The token to show it [default: on this machine, the root token of its data folder]
    #[arg(long, value_name = "TOKEN", env = "BOWLINE_TOKEN", hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,
}

impl Check {
    /// Whom to ask what was seen.
    pub(crate) fn query(&self) -> Query {
        Query { api: self.api, token: self.token.clone(), output: Output::Json }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code hosts and editors: SARIF 2.1.0
    Sarif,
    /// A picture: a flowchart of Mermaid
    Mermaid,
}

fn rule(text: &str) -> Result<&'static Rule, String> {
    Rule::find(&text.to_ascii_uppercase()).ok_or_else(|| {
        let known: Vec<&str> = Rule::all().map(|rule| rule.id).collect();
        format!("there is no such rule; there are {}", known.join(", "))
    })
}
