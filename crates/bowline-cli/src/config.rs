//! `bowline config` and `bowline routes`: documents of configuration, their versions, who runs which.
//!
//! The routes are a document like any other, under a key of Bowline's own.

use std::{io, path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use bowline_config::{
    Acknowledged, Author, ConfigManager as _, DOCUMENT_BYTES_MAX, Document, Draft, Error, ExpectSchema, Format, Origin,
    Outcome, SCHEMA_BYTES_MAX, Status, Summary, Version, VersionSummary, diff,
};
use bowline_model::ConfigKey;
use bowline_provider_remote::{RemoteConfig, wire::encode_config_error};
use bowline_runtime::{fs, time};

use crate::{
    api,
    args::{self, ConfigCommand, Output, Query, RoutesCommand},
    brought, duration,
    style::{self, Paint},
    table,
};

/// `bowline config …`.
pub(crate) async fn run(args: args::Config) -> anyhow::Result<ExitCode> {
    match args.command {
        ConfigCommand::List { namespace, query } => list(namespace.as_deref(), &query).await,
        ConfigCommand::Get { key, get } => Subject::config(key).get(get).await,
        ConfigCommand::Set { key, set } => Subject::config(key).set(set).await,
        ConfigCommand::History { key, history } => Subject::config(key).history(history).await,
        ConfigCommand::Diff { key, diff } => Subject::config(key).diff(diff).await,
        ConfigCommand::Rollback { key, rollback } => Subject::config(key).rollback(rollback).await,
        ConfigCommand::Watch { key, query } => Subject::config(key).watch(&query).await,
        ConfigCommand::Status { key, query } => Subject::config(key).status(&query).await,
        ConfigCommand::Delete { key, expect, query } => Subject::config(key).delete(expect, &query).await,
        ConfigCommand::Schema { key, file, remove, query } => {
            Subject::config(key).schema(file.as_deref(), remove, &query).await
        }
    }
}

/// `bowline routes …`.
pub(crate) async fn routes(args: args::Routes) -> anyhow::Result<ExitCode> {
    let routes = Subject(ConfigKey::routes());
    match args.command {
        RoutesCommand::Get(get) => routes.get(get).await,
        RoutesCommand::Set(set) => routes.set(set).await,
        RoutesCommand::History(history) => routes.history(history).await,
        RoutesCommand::Diff(diff) => routes.diff(diff).await,
        RoutesCommand::Rollback(rollback) => routes.rollback(rollback).await,
        RoutesCommand::Status(query) => routes.status(&query).await,
    }
}

/// The document that a command is about.
struct Subject(ConfigKey);

impl Subject {
    fn config(key: args::Key) -> Self {
        Self(key.key)
    }
}

// === reading ===

async fn list(namespace: Option<&str>, query: &Query) -> anyhow::Result<ExitCode> {
    let manager = api::config(query).await?;
    let found = answered(query, manager.list(namespace).await)?;
    match query.output {
        Output::Json => api::print_json(&found)?,
        Output::Text if found.is_empty() => style::line("there are no documents"),
        Output::Text => {
            print_table(&["KEY", "VERSION", "FORMAT", "SCHEMA", "AGO", "BY"], found.iter().map(list_row));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Subject {
    async fn get(&self, args: args::Get) -> anyhow::Result<ExitCode> {
        let args::Get { version, query } = args;
        let manager = api::config(&query).await?;
        let found = match version {
            Some(number) => self.version(&manager, &query, number).await?,
            None => self.current(&manager, &query).await?,
        };
        match query.output {
            Output::Json => api::print_json(&found)?,
            Output::Text => style::text(&found.document.text),
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn history(&self, args: args::History) -> anyhow::Result<ExitCode> {
        let args::History { limit, query } = args;
        let versions = answered(&query, api::config(&query).await?.history(&self.0, None, limit).await)?;
        match query.output {
            Output::Json => api::print_json(&versions)?,
            Output::Text if versions.is_empty() => return Err(self.absent()),
            Output::Text => print_table(&["VERSION", "AGO", "BY", "COMMENT"], versions.iter().map(history_row)),
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn diff(&self, args: args::Diff) -> anyhow::Result<ExitCode> {
        let args::Diff { from, to, file, query } = args;
        let manager = api::config(&query).await?;
        let to = match (to, &file) {
            (Some(number), _) => Some(self.version(&manager, &query, number).await?),
            (None, None) => Some(self.current(&manager, &query).await?),
            (None, Some(_)) => None,
        };
        let from = match (from, &to) {
            (Some(number), _) => self.version(&manager, &query, number).await?,
            (None, None) => self.current(&manager, &query).await?,
            (None, Some(to)) => self.before(&manager, &query, to.number).await?,
        };
        let (new_name, new_text) = match (to, file) {
            (Some(to), _) => (format!("{} version {}", self.0, to.number), to.document.text),
            (None, Some(file)) => (shown(&file), read(&file, DOCUMENT_BYTES_MAX)?),
            (None, None) => unreachable!("without a file there is a version"),
        };
        let old_name = format!("{} version {}", self.0, from.number);
        let told = diff(&from.document.text, &new_text, &old_name, &new_name);
        match query.output {
            Output::Json => api::print_json(&serde_json::json!({ "from": old_name, "to": new_name, "diff": told }))?,
            Output::Text if told.is_empty() => style::line("they are the same"),
            Output::Text => print_diff(&told),
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn watch(&self, query: &Query) -> anyhow::Result<ExitCode> {
        let mut watch = answered(query, api::config(query).await?.watch_config(&self.0).await)?;
        loop {
            let version = answered(query, watch.next().await)?;
            match (&version, query.output) {
                // One a line, for programs that read them as they come.
                (_, Output::Json) => {
                    style::line(&api::escaped(&serde_json::to_string(&version)?));
                }
                (None, Output::Text) => style::line(&format!("{} is not there", self.0)),
                (Some(version), Output::Text) => {
                    let by = author(&version.author, version.origin);
                    let head = format!("{} version {} by {by}", self.0, version.number);
                    style::line(&Paint::Bold.apply(style::plain(&head), style::is_coloured()));
                    version.document.text.lines().for_each(|line| style::line(&style::printable(line, false)));
                }
            }
        }
    }

    async fn status(&self, query: &Query) -> anyhow::Result<ExitCode> {
        let status = answered(query, api::config(query).await?.status(&self.0).await)?;
        if query.output == Output::Json {
            api::print_json(&status)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Status { key: _, current, instances } = status;
        match &current {
            None if instances.is_empty() => return Err(self.absent()),
            None => style::line(&format!("{} is deleted; who ran it keeps what it has", self.0)),
            Some(VersionSummary { number, author: by, origin, at_unix_ms, .. }) => {
                let (ago, by) = (ago(*at_unix_ms), author(by, *origin));
                style::line(&style::plain(&format!("{} is at version {number}, since {ago}, by {by}", self.0)));
            }
        }
        if instances.is_empty() {
            style::line("no instance has told what it runs");
        } else {
            let current = current.map(|current| current.number);
            let rows = instances.iter().map(|instance| status_row(instance, current));
            print_table(&["SERVICE", "INSTANCE", "RUNS", "STATE", "WHY"], rows);
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn current(&self, manager: &RemoteConfig, query: &Query) -> anyhow::Result<Version> {
        answered(query, manager.get_config(&self.0).await)?.ok_or_else(|| self.absent())
    }

    async fn version(&self, manager: &RemoteConfig, query: &Query, number: u64) -> anyhow::Result<Version> {
        let found = answered(query, manager.get_version(&self.0, number).await)?;
        found.with_context(|| format!("{} has no version {number}: `history` lists those that are kept", self.0))
    }

    /// The version before that one.
    async fn before(&self, manager: &RemoteConfig, query: &Query, number: u64) -> anyhow::Result<Version> {
        let earlier = answered(query, manager.history(&self.0, Some(number), 1).await)?;
        let Some(earlier) = earlier.first() else { bail!("{} has no version before {number}", self.0) };
        self.version(manager, query, earlier.number).await
    }

    fn absent(&self) -> anyhow::Error {
        anyhow::anyhow!("there is no document {}: `bowline config list` shows those there are", self.0)
    }
}

// === changing ===

impl Subject {
    async fn set(&self, args: args::Set) -> anyhow::Result<ExitCode> {
        let args::Set { file, format, expect, comment, dry_run, query } = args;
        let text = read(&file, DOCUMENT_BYTES_MAX)?;
        let manager = api::config(&query).await?;
        let format = match format.map(Into::into).or_else(|| format_of(&file, &self.0)) {
            Some(format) => format,
            // The name does not tell: it stays what it is.
            None => answered(&query, manager.get_config(&self.0).await)?
                .map_or(Format::Text, |current| current.document.format),
        };
        let document = Document { format, text };
        let draft = Draft { expect, comment, ..Draft::new(document.clone(), Author::anonymous()) };
        let error = if dry_run {
            match manager.check_config(&self.0, draft).await {
                Ok(number) => return self.would_be_published(number, &query),
                Err(error) => error,
            }
        } else {
            match manager.set_config(&self.0, draft).await {
                Ok(version) => return self.published(&version, &query),
                Err(error) => error,
            }
        };
        match (&error, query.output) {
            (Error::Conflict { .. }, Output::Text) => print_conflict(&error, &document),
            (Error::Conflict { .. }, Output::Json) => api::print_json(&encode_config_error(&error))?,
            (Error::Rejected { .. } | Error::Syntax { .. } | Error::Invalid { .. }, _) => {
                let told = format!("{} does not take {}", self.0, shown(&file));
                return Err(api::document_error(error).context(told));
            }
            _ => {}
        }
        answered(&query, Err(error))
    }

    async fn rollback(&self, args: args::Rollback) -> anyhow::Result<ExitCode> {
        let args::Rollback { to, query } = args;
        let manager = api::config(&query).await?;
        let (to, expect) = match to {
            Some(number) => (number, None),
            None => self.last_good(&manager, &query).await?,
        };
        let version = answered(&query, manager.rollback(&self.0, to, expect, Author::anonymous()).await)?;
        self.published(&version, &query)
    }

    /// The version before the current one, and which that is: it is another one where somebody publishes meanwhile.
    async fn last_good(&self, manager: &RemoteConfig, query: &Query) -> anyhow::Result<(u64, Option<u64>)> {
        if let Some(current) = answered(query, manager.get_config(&self.0).await)? {
            return Ok((self.before(manager, query, current.number).await?.number, Some(current.number)));
        }
        // A deletion is undone by what was there before it.
        let history = answered(query, manager.history(&self.0, None, 1).await)?;
        Ok((history.first().ok_or_else(|| self.absent())?.number, Some(0)))
    }

    fn would_be_published(&self, number: u64, query: &Query) -> anyhow::Result<ExitCode> {
        match query.output {
            Output::Json => api::print_json(&serde_json::json!({ "number": number, "dry_run": true }))?,
            Output::Text => style::line(&format!("{} would be at version {number}; nothing was published", self.0)),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn published(&self, version: &Version, query: &Query) -> anyhow::Result<ExitCode> {
        match (query.output, version.restores) {
            (Output::Json, _) => api::print_json(version)?,
            (Output::Text, Some(restored)) => {
                style::line(&format!(
                    "{} is at version {}, which says what version {restored} said",
                    self.0, version.number
                ));
            }
            (Output::Text, None) => {
                let is_routes = self.0 == ConfigKey::routes();
                let status = if is_routes { "routes status".to_owned() } else { format!("config status {}", self.0) };
                style::line(&format!("{} is at version {}; who runs it: bowline {status}", self.0, version.number));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn delete(&self, expect: Option<u64>, query: &Query) -> anyhow::Result<ExitCode> {
        if !answered(query, api::config(query).await?.delete_config(&self.0, expect).await)? {
            return Err(self.absent());
        }
        let told = format!("{} is deleted; who runs it keeps what it has, a rollback brings it back", self.0);
        self.changed(query, "deleted", &told)
    }

    async fn schema(&self, file: Option<&Path>, remove: bool, query: &Query) -> anyhow::Result<ExitCode> {
        let manager = api::config(query).await?;
        match file {
            Some(file) => {
                answered(
                    query,
                    manager.set_schema(&self.0, Some(&read(file, SCHEMA_BYTES_MAX)?), ExpectSchema::Any).await,
                )?;
                let told = format!("every version of {} has to fit {} from now on", self.0, shown(file));
                self.changed(query, "schema_set", &told)
            }
            None if remove => {
                answered(query, manager.set_schema(&self.0, None, ExpectSchema::Any).await)?;
                self.changed(query, "schema_removed", &format!("{} has no schema any more", self.0))
            }
            None => match answered(query, manager.get_schema(&self.0).await)? {
                Some(schema) => {
                    style::text(&schema);
                    Ok(ExitCode::SUCCESS)
                }
                None => bail!("{} has no schema", self.0),
            },
        }
    }

    /// Says what was done: to programs by its name, with the key.
    fn changed(&self, query: &Query, what: &str, told: &str) -> anyhow::Result<ExitCode> {
        match query.output {
            Output::Json => api::print_json(&serde_json::json!({ what: self.0 }))?,
            Output::Text => style::line(&style::plain(told)),
        }
        Ok(ExitCode::SUCCESS)
    }
}

// === helpers ===

/// The answer, or an error that says what to do.
fn answered<T>(query: &Query, answer: Result<T, Error>) -> anyhow::Result<T> {
    answer.map_err(|error| api::config_error(query, error))
}

/// What a file, or standard input, holds.
fn read(file: &Path, bytes_max: usize) -> anyhow::Result<String> {
    let text = if file == Path::new("-") {
        brought::read_text(io::stdin(), bytes_max)
    } else {
        fs::File::open(file).and_then(|opened| brought::read_text(opened, bytes_max))
    };
    text.with_context(|| format!("cannot read {}", shown(file)))
}

fn shown(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// Routes are TOML, whatever their file's name is.
fn format_of(file: &Path, key: &ConfigKey) -> Option<Format> {
    if *key == ConfigKey::routes() { Some(Format::Toml) } else { brought::format_of(file) }
}

impl From<args::Format> for Format {
    fn from(format: args::Format) -> Self {
        match format {
            args::Format::Toml => Self::Toml,
            args::Format::Json => Self::Json,
            args::Format::Text => Self::Text,
        }
    }
}

/// Time since then.
fn ago(at_unix_ms: u64) -> String {
    let now = time::unix_nanos(time::system());
    duration::short(now.saturating_sub(at_unix_ms.saturating_mul(1_000_000)))
}

fn author(author: &Author, origin: Origin) -> String {
    match origin {
        Origin::File => "bowline.toml".to_owned(),
        Origin::Api => author.to_string(),
    }
}

fn print_table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    for line in table::lines(head, &rows.collect::<Vec<_>>()) {
        style::line(&line);
    }
}

fn list_row(summary: &Summary) -> Vec<String> {
    let Summary { key, version, has_schema } = summary;
    vec![
        key.to_string(),
        version.number.to_string(),
        version.format.to_string(),
        if *has_schema { "yes" } else { "-" }.to_owned(),
        ago(version.at_unix_ms),
        author(&version.author, version.origin),
    ]
}

fn history_row(version: &VersionSummary) -> Vec<String> {
    let restores = version.restores.map(|restored| format!("restores {restored}"));
    let comment = Some(version.comment.clone()).filter(|comment| !comment.is_empty());
    let comment = restores.into_iter().chain(comment).collect::<Vec<_>>().join(": ");
    vec![version.number.to_string(), ago(version.at_unix_ms), author(&version.author, version.origin), comment]
}

pub(crate) fn status_row(instance: &Acknowledged, current: Option<u64>) -> Vec<String> {
    let ack = &instance.ack;
    let (state, why) = match &ack.outcome {
        Outcome::Applied if current.is_none() => ("deleted".to_owned(), String::new()),
        Outcome::Applied if Some(ack.version) == current => ("current".to_owned(), String::new()),
        Outcome::Applied => ("behind".to_owned(), String::new()),
        Outcome::Refused { reason } => (format!("refused {}", ack.version), reason.clone()),
    };
    let runs = ack.runs.map_or_else(|| "built in".to_owned(), |number| number.to_string());
    vec![ack.service.to_string(), ack.instance.to_string(), runs, state, why]
}

/// Shows both sides of a conflict: what others changed since the version that was expected, and
/// what the document would have changed of it.
fn print_conflict(error: &Error, yours: &Document) {
    let Error::Conflict { expected, base, current, .. } = error else { return };
    let base_text = base.as_ref().map_or("", |base| base.document.text.as_str());
    let base_name = format!("version {expected}");
    let (their_name, their_text) = match current {
        Some(theirs) => {
            let by = author(&theirs.author, theirs.origin);
            (format!("theirs: version {}, by {by}", theirs.number), theirs.document.text.as_str())
        }
        None => ("theirs: deleted".to_owned(), ""),
    };
    print_diff(&diff(base_text, their_text, &base_name, &their_name));
    print_diff(&diff(base_text, &yours.text, &base_name, "yours"));
}

fn print_diff(told: &str) {
    let coloured = style::is_coloured();
    for line in told.lines() {
        let paint = match line.as_bytes().first() {
            Some(b'+') => Paint::Green,
            Some(b'-') => Paint::Red,
            _ => Paint::Dim,
        };
        style::line(&paint.apply(style::printable(line, false), coloured));
    }
}
