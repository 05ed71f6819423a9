//! `bowline messages`: topics and their groups, what is in them, and what could not be processed.

mod shown;

use std::process::ExitCode;

use anyhow::bail;
use bowline_provider_remote::wire::{DeadMessage, StoredMessage, Topic, TopicGroup, WhichDead};
use bowline_runtime::time;

use crate::{
    api,
    args::{self, MessagesCommand, Output},
    duration, style, table, when,
};

/// How many characters of an id, a payload or a failure a list shows.
const CELL_CHARS_MAX: usize = 60;

/// `bowline messages …`.
pub(crate) async fn run(command: MessagesCommand) -> anyhow::Result<ExitCode> {
    match command {
        MessagesCommand::Topics(args) => topics(args).await,
        MessagesCommand::List(args) if args.dead => list_dead(args).await,
        MessagesCommand::List(args) => list(args).await,
        MessagesCommand::Show(args) => show(args).await,
        MessagesCommand::Redrive(args) => redrive(args).await,
        MessagesCommand::Purge(args) => purge(args).await,
    }
}

async fn topics(args: args::MessageTopics) -> anyhow::Result<ExitCode> {
    let args::MessageTopics { topic, query } = args;
    let mut list = api::answered(&query, api::client(&query).await?.topics().await)?;
    if let Some(topic) = &topic {
        let known: Vec<String> = list.topics.iter().map(|known| known.name.clone()).collect();
        list.topics.retain(|known| known.name == *topic);
        if list.topics.is_empty() && known.is_empty() {
            bail!("there is no topic `{topic}`, nor any other");
        }
        if list.topics.is_empty() {
            bail!("there is no topic `{topic}`: there are {}", known.join(", "));
        }
    }
    match query.output {
        Output::Json => api::print_json(&list)?,
        Output::Text if list.topics.is_empty() => style::line("there are no topics yet"),
        Output::Text => print(&topic_lines(&list.topics, time::unix_millis_now())),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(lines: &[String]) {
    for line in lines {
        style::line(line);
    }
}

fn topic_lines(topics: &[Topic], now_unix_ms: u64) -> Vec<String> {
    let mut rows = Vec::new();
    for topic in topics {
        let count = topic.next.saturating_sub(topic.first);
        let mut of_topic = vec![topic.name.clone(), count.to_string(), size(topic.bytes), topic.dead.to_string()];
        if topic.groups.is_empty() {
            of_topic.extend(["-", "-", "-", "-"].map(ToOwned::to_owned));
            rows.push(of_topic);
            continue;
        }
        for group in &topic.groups {
            rows.push(of_topic.iter().cloned().chain(group_cells(group, now_unix_ms)).collect());
            of_topic = vec![String::new(); 4];
        }
    }
    table::lines(&["TOPIC", "MESSAGES", "BYTES", "DEAD", "GROUP", "LAG", "IN WORK", "OLDEST"], &rows)
}

/// `512 B`, `1.5 KiB`, `200.0 MiB`.
fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
    let (mut value, mut unit) = (bytes as f64 / 1024.0, "KiB");
    for next in ["MiB", "GiB", "TiB"] {
        if value >= 1024.0 {
            (value, unit) = (value / 1024.0, next);
        }
    }
    format!("{value:.1} {unit}")
}

fn group_cells(group: &TopicGroup, now_unix_ms: u64) -> [String; 4] {
    let TopicGroup { name, consumers: _, lag, leased, oldest_unix_ms } = group;
    let age = |oldest: i64| {
        let age = now_unix_ms.saturating_sub(u64::try_from(oldest).unwrap_or_default());
        duration::short(age.saturating_mul(1_000_000))
    };
    [name.clone(), lag.to_string(), leased.to_string(), oldest_unix_ms.map_or_else(|| "-".to_owned(), age)]
}

async fn list(args: args::MessageList) -> anyhow::Result<ExitCode> {
    let args::MessageList { topic, dead: _, from, limit, query } = args;
    let page = api::answered(&query, api::client(&query).await?.messages(&topic, from, limit).await)?;
    let (last, is_full) = (page.messages.last().map(|last| last.position), page.messages.len() == limit);
    match query.output {
        Output::Json => api::print_json(&page)?,
        Output::Text if page.messages.is_empty() => style::line("there are no messages from there on"),
        Output::Text => {
            let rows: Vec<Vec<String>> = page.messages.iter().map(row).collect();
            print(&table::lines(&["POSITION", "PUBLISHED", "KEY", "BYTES", "PAYLOAD"], &rows));
            print(&hint(last, is_full || page.more));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_dead(args: args::MessageList) -> anyhow::Result<ExitCode> {
    let args::MessageList { topic, dead: _, from, limit, query } = args;
    let page = api::answered(&query, api::client(&query).await?.dead_letters(&topic, from, limit).await)?;
    let (last, is_full) = (page.letters.last().map(|last| last.position), page.letters.len() == limit);
    match query.output {
        Output::Json => api::print_json(&page)?,
        Output::Text if page.letters.is_empty() => style::line("there are no dead letters from there on"),
        Output::Text => {
            let rows: Vec<Vec<String>> = page.letters.iter().map(dead_row).collect();
            print(&table::lines(&["POSITION", "DIED", "GROUP", "TRIES", "PAYLOAD", "FAILURE"], &rows));
            print(&hint(last, is_full || page.more));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a list that was cut goes on.
fn hint(last: Option<u64>, is_cut: bool) -> Vec<String> {
    let last = last.filter(|_| is_cut);
    last.map(|last| format!("there may be more: add --from {}, or --limit", last + 1)).into_iter().collect()
}

fn row(message: &StoredMessage) -> Vec<String> {
    vec![
        message.position.to_string(),
        when_utc(message.published_unix_ms),
        cell(message.key.as_deref().unwrap_or("-")),
        message.payload.len().to_string(),
        cell(&shown::summary(&message.payload)),
    ]
}

fn dead_row(letter: &DeadMessage) -> Vec<String> {
    vec![
        letter.position.to_string(),
        when_utc(letter.died_unix_ms),
        letter.group.clone(),
        letter.attempts.to_string(),
        cell(&shown::summary(&letter.message.payload)),
        cell(&letter.failure),
    ]
}

fn when_utc(unix_ms: i64) -> String {
    when::utc(u64::try_from(unix_ms).unwrap_or_default())
}

/// As much of a text as a column has place for, in one line.
fn cell(text: &str) -> String {
    let text = style::plain(text);
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

async fn show(args: args::MessageShow) -> anyhow::Result<ExitCode> {
    let args::MessageShow { topic, position, dead, query } = args;
    let client = api::client(&query).await?;
    if dead {
        let page = api::answered(&query, client.dead_letters(&topic, position, 1).await)?;
        let Some(letter) = page.letters.into_iter().find(|letter| letter.position == position) else {
            bail!(
                "`{topic}` has no dead letter {position}: bowline messages list {topic} --dead shows those there are"
            );
        };
        match query.output {
            Output::Json => api::print_json(&letter)?,
            Output::Text => print(&shown::letter(&topic, &letter)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let page = api::answered(&query, client.messages(&topic, position, 1).await)?;
    let Some(message) = page.messages.into_iter().find(|message| message.position == position) else {
        bail!("there is no message at {position} of `{topic}`: bowline messages list {topic} shows those there are");
    };
    match query.output {
        Output::Json => api::print_json(&message)?,
        Output::Text => print(&shown::message(&topic, &message)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn redrive(args: args::MessageRedrive) -> anyhow::Result<ExitCode> {
    let args::MessageRedrive { topic, which, query } = args;
    let counted = api::answered(&query, api::client(&query).await?.redrive(&topic, which_of(&which)).await)?;
    if let (Some(position), 0) = (which.position, counted.count) {
        bail!(
            "`{topic}` has no dead letter {position}, or its group is gone: bowline messages list {topic} --dead shows those there are"
        );
    }
    match query.output {
        Output::Json => api::print_json(&counted)?,
        Output::Text => style::line(&format!("{} given back", letters(counted.count))),
    }
    Ok(ExitCode::SUCCESS)
}

async fn purge(args: args::MessagePurge) -> anyhow::Result<ExitCode> {
    let args::MessagePurge { topic, which, query, .. } = args;
    let counted = api::answered(&query, api::client(&query).await?.purge(&topic, which_of(&which)).await)?;
    if let (Some(position), 0) = (which.position, counted.count) {
        bail!("`{topic}` has no dead letter {position}: bowline messages list {topic} --dead shows those there are");
    }
    match query.output {
        Output::Json => api::print_json(&counted)?,
        Output::Text => style::line(&format!("{} deleted", letters(counted.count))),
    }
    Ok(ExitCode::SUCCESS)
}

fn which_of(which: &args::WhichDead) -> WhichDead {
    which.position.map_or(WhichDead::All, WhichDead::At)
}

fn letters(count: usize) -> String {
    match count {
        1 => "1 dead letter".to_owned(),
        count => format!("{count} dead letters"),
    }
}

#[cfg(test)]
mod tests;
