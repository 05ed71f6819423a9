//! `bowline token`: who may ask the API, and for what.

use std::{io::Write as _, process::ExitCode};

use bowline_provider_remote::wire;
use bowline_runtime::time;

use crate::{
    api,
    args::{self, Output, TokenCommand},
    style, table, when,
};

/// Makes, lists or revokes.
pub(crate) async fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Create(args) => create(args).await?,
        TokenCommand::List(args) => list(args).await?,
        TokenCommand::Revoke(args) => revoke(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: args::TokenCreate) -> anyhow::Result<()> {
    let args::TokenCreate { name, role, expires, query } = args;
    let new = wire::NewToken { name, role, expires_in: expires };
    let created = api::answered(&query, api::client(&query).await?.create_token(&new).await)?;
    match query.output {
        Output::Json => api::print_json(&created)?,
        Output::Text => {
            // Alone on standard output, so that it can be taken into a variable.
            style::line(&style::plain(created.token.expose()));
            let about = &created.about;
            let said = format!("token {} for {} ({}): it is shown this once", about.id, about.name, about.role);
            let _closed = writeln!(std::io::stderr(), "{}", style::plain(&said));
        }
    }
    Ok(())
}

async fn list(args: args::TokenList) -> anyhow::Result<()> {
    let args::TokenList { query } = args;
    let list = api::answered(&query, api::client(&query).await?.tokens().await)?;
    match query.output {
        Output::Json => api::print_json(&list)?,
        Output::Text => {
            let now = time::unix_millis_now();
            let rows: Vec<Vec<String>> = list.tokens.iter().map(|token| row(token, now)).collect();
            for line in table::lines(&["ID", "NAME", "ROLE", "CREATED", "BY", "EXPIRES"], &rows) {
                style::line(&line);
            }
        }
    }
    Ok(())
}

fn row(token: &wire::Token, now: u64) -> Vec<String> {
    let wire::Token { id, name, role, created_unix_ms, created_by, expires_unix_ms } = token;
    let expires = match expires_unix_ms {
        None => "-".to_owned(),
        Some(end) if *end <= now => "expired".to_owned(),
        Some(end) => when::utc(*end),
    };
    vec![id.clone(), name.clone(), role.to_string(), when::utc(*created_unix_ms), created_by.clone(), expires]
}

async fn revoke(args: args::TokenRevoke) -> anyhow::Result<()> {
    let args::TokenRevoke { id, query } = args;
    api::answered(&query, api::client(&query).await?.revoke_token(&id).await)?;
    match query.output {
        Output::Json => api::print_json(&serde_json::json!({ "revoked": id }))?,
        Output::Text => style::line(&style::plain(&format!("revoked {id}"))),
    }
    Ok(())
}
