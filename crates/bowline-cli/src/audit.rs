//! `bowline audit`: who changed what.

use std::process::ExitCode;

use bowline_provider_remote::{
    AuditQuery,
    wire::{AuditActor, AuditChange, AuditClass, AuditEntry, ChangeKind},
};

use crate::{
    api,
    args::{self, Output},
    style, table, when,
};

/// Lists, newest first.
pub(crate) async fn run(args: args::Audit) -> anyhow::Result<ExitCode> {
    let args::Audit { kind, before, limit, query } = args;
    let wanted = AuditQuery { class: kind, before, limit: Some(limit) };
    let list = api::answered(&query, api::client(&query).await?.audit(&wanted).await)?;
    match query.output {
        Output::Json => api::print_json(&list)?,
        Output::Text if list.entries.is_empty() => style::line("nothing was recorded"),
        Output::Text => {
            let rows: Vec<Vec<String>> = list.entries.iter().map(row).collect();
            for line in table::lines(&["WHEN", "WHO", "WHAT", "CHANGED"], &rows) {
                style::line(&line);
            }
            if let Some(last) = list.entries.last().filter(|_| list.more) {
                style::line(&style::plain(&format!("there is more: add --before {}, or --limit", last.id)));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &AuditEntry) -> Vec<String> {
    let what = entry.operation.clone().unwrap_or_else(|| "-".to_owned());
    vec![when::utc(entry.at_unix_ms), who(&entry.actor), what, changed(entry)]
}

fn who(actor: &AuditActor) -> String {
    match actor {
        AuditActor::Bowline => "bowline".to_owned(),
        AuditActor::Anonymous { address: None } => "anonymous".to_owned(),
        AuditActor::Anonymous { address: Some(address) } => format!("anonymous {address}"),
        AuditActor::Token { id, name, role, address: _ } if name == id => format!("{name} ({role})"),
        AuditActor::Token { id, name, role, address: _ } => format!("{name} ({role} {id})"),
    }
}

fn changed(entry: &AuditEntry) -> String {
    if entry.class == AuditClass::Refused {
        return "refused".to_owned();
    }
    let change = |AuditChange { change, key }: &AuditChange| match change {
        ChangeKind::Put => format!("+{key}"),
        ChangeKind::Delete => format!("-{key}"),
    };
    let mut changes: Vec<String> = entry.changes.iter().map(change).collect();
    if entry.changes_omitted > 0 {
        changes.push(format!("and {} more", entry.changes_omitted));
    }
    changes.join(" ")
}

#[cfg(test)]
mod tests {
    use bowline_provider_remote::wire::Role;

    use super::*;

    #[test]
    fn an_entry_is_one_row() {
        let change = |change, key: &str| AuditChange { change, key: key.to_owned() };
        let entry = AuditEntry {
            id: "0000000000000001".to_owned(),
            class: AuditClass::Other,
            at_unix_ms: 1_767_323_045_000,
            actor: AuditActor::Token {
                id: "ab12".to_owned(),
                name: "ci".to_owned(),
                role: Role::Editor,
                address: Some("127.0.0.1:1".to_owned()),
            },
            operation: Some("PUT /v1/config/shop/order".to_owned()),
            changes: vec![change(ChangeKind::Put, "a"), change(ChangeKind::Delete, "b")],
            changes_omitted: 3,
        };
        let cells = ["2026-01-02 03:04:05Z", "ci (editor ab12)", "PUT /v1/config/shop/order", "+a -b and 3 more"];
        assert_eq!(row(&entry), cells);
        let refused = AuditEntry { class: AuditClass::Refused, actor: AuditActor::Bowline, ..entry };
        assert_eq!(row(&refused)[1..], ["bowline", "PUT /v1/config/shop/order", "refused"]);
    }
}
