//! What a system's file brings along into the store: its routes and its documents of configuration.
//!
//! The file speaks first, and again whenever what it says has changed, or nothing is there any more;
//! what was published through the API since then stays otherwise, also over a restart.

pub(crate) mod alerts;

use std::{
    io::{self, Read as _},
    path::Path,
};

use anyhow::Context as _;
use bowline_config::{
    Author, ConfigManager, DOCUMENT_BYTES_MAX, Document, Draft, Error, ExpectSchema, Format, Origin, SCHEMA_BYTES_MAX,
    VERSIONS_MAX, VIOLATIONS_MAX, Version, Violation,
};
use bowline_model::{ConfigKey, Position, Problem, ServiceName, System, parse, system::ConfigDeclaration};
use bowline_server::RoutesCheck;

use crate::api;

/// How often a publication is tried that others are faster than.
const ATTEMPTS_MAX: usize = 4;

/// A document, and the schema it has to fit.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    key: ConfigKey,
    document: Option<Document>,
    schema: Option<String>,
}

/// Reads the files that a system names; `text` is its own, `dir` the folder it is in.
///
/// # Errors
/// A problem for each file that cannot be read, at the place that names it.
pub(crate) fn read(system: &System, text: &str, dir: &Path) -> Result<Vec<Brought>, Vec<Problem>> {
    let mut problems = Vec::new();
    let routes = Document::new(Format::Toml, parse::routes_text(text));
    let of_own = |key, document| Brought { key, document: Some(document), schema: None };
    let sampling = serde_json::to_string(&system.tracing.sampling).expect("shares are JSON");
    let sampling = Document::new(Format::Json, sampling);
    let mut all = vec![of_own(ConfigKey::routes(), routes), of_own(ConfigKey::tracing(), sampling)];
    for declared in &system.configs {
        let ConfigDeclaration { key, position: _, document, schema } = declared;
        let mut file = |name: &String, bytes_max| match read_file(&dir.join(name), bytes_max) {
            Ok(text) => Some(text),
            Err(error) => {
                problems.push(unread(declared, name, &error));
                None
            }
        };
        let text = document.as_ref().and_then(|name| file(name, DOCUMENT_BYTES_MAX));
        let schema = schema.as_ref().and_then(|name| file(name, SCHEMA_BYTES_MAX));
        let format = document.as_ref().and_then(|name| format_of(Path::new(name))).unwrap_or(Format::Text);
        all.push(Brought { key: key.clone(), document: text.map(|text| Document::new(format, text)), schema });
    }
    match alerts::document(&system.alerts, dir) {
        Ok(document) => all.push(of_own(ConfigKey::alerts(), document)),
        Err(more) => problems.extend(more),
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// What judges the routes that are published while a system runs.
pub(crate) fn routes_check(system: &System) -> RoutesCheck {
    let services = services(system);
    RoutesCheck::new(move |text| match parse::routes(text, &services) {
        Ok(_) => Ok(()),
        Err(problems) => Err(problems.iter().take(VIOLATIONS_MAX).map(violation).collect()),
    })
}

/// The services that routes may name.
pub(crate) fn services(system: &System) -> Vec<ServiceName> {
    system.services.iter().map(|service| service.name.clone()).collect()
}

fn violation(problem: &Problem) -> Violation {
    let Problem { position: Position { line, column }, width: _, message, help } = problem;
    let detail = format!("{message} → {help}");
    Violation { path: format!("line {line}, column {column}"), rule: "routes".to_owned(), detail }
}

/// The format that the name of a file tells, if it does.
pub(crate) fn format_of(file: &Path) -> Option<Format> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Some(Format::Toml),
        Some("json") => Some(Format::Json),
        // YAML is a text to configuration; what takes it reads it.
        Some("txt" | "yaml" | "yml") => Some(Format::Text),
        _ => None,
    }
}

fn read_file(file: &Path, bytes_max: usize) -> io::Result<String> {
    read_text(bowline_runtime::fs::File::open(file)?, bytes_max)
}

/// A text of at most so many bytes.
pub(crate) fn read_text(source: impl io::Read, bytes_max: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    source.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn unread(declared: &ConfigDeclaration, name: &str, error: &io::Error) -> Problem {
    Problem {
        position: declared.position,
        width: declared.key.as_str().len(),
        message: format!("{name}, which `{}` names, cannot be read: {error}", declared.key),
        help: "paths are relative to bowline.toml: write the file, or name another".to_owned(),
    }
}

/// Publishes what is new in the file; says what is not as the file has it, and what it took the place
/// of, a line each.
///
/// # Errors
/// A document that breaks its schema, a store that fails.
pub(crate) async fn publish(
    config: &dyn ConfigManager,
    brought: &[Brought],
    services: &[ServiceName],
) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    for one in brought {
        let note = one.publish(config, services).await.map_err(|error| one.unpublished(error));
        notes.extend(note.with_context(|| format!("cannot publish {} of bowline.toml", one.key))?);
    }
    Ok(notes)
}

impl Brought {
    async fn publish(&self, config: &dyn ConfigManager, services: &[ServiceName]) -> Result<Option<String>, Error> {
        for _ in 1..ATTEMPTS_MAX {
            match self.try_publish(config, services).await {
                // The API is open already. What came through it meanwhile may be there to stay.
                Err(Error::Conflict { .. }) => {}
                published => return published,
            }
        }
        self.try_publish(config, services).await
    }

    async fn try_publish(&self, config: &dyn ConfigManager, services: &[ServiceName]) -> Result<Option<String>, Error> {
        let current = config.get_config(&self.key).await?;
        let Some(document) = &self.document else { return self.demand_schema(config, current.as_ref()).await };
        let is_usable = current.as_ref().is_some_and(|current| self.is_usable(current, services));
        if is_usable && self.last_of_file(config).await?.is_some_and(|last| last.document == *document) {
            return self.demand_schema(config, current.as_ref()).await;
        }
        let author = Author::new("bowline up").expect("it is a name");
        let expect = Some(current.as_ref().map_or(0, |current| current.number));
        let draft = Draft { origin: Origin::File, expect, ..Draft::new(document.clone(), author) };
        match &self.schema {
            Some(schema) => config.set_config_with_schema(&self.key, draft, schema).await?,
            None => config.set_config(&self.key, draft).await?,
        };
        let replaced = current.filter(|current| current.origin == Origin::Api && current.document != *document);
        Ok(replaced.map(|Version { number, author, .. }| {
            let key = &self.key;
            format!(
                "{key} is what bowline.toml says now; `bowline config get {key} --version {number}` shows what {author} had published"
            )
        }))
    }

    /// Whether gateways can still serve by a version of the routes: it may name a service that the
    /// file declares no more.
    fn is_usable(&self, current: &Version, services: &[ServiceName]) -> bool {
        self.key != ConfigKey::routes() || parse::routes(&current.document.text, services).is_ok()
    }

    /// The version that the file brought last; none where it is no longer kept.
    async fn last_of_file(&self, config: &dyn ConfigManager) -> Result<Option<Version>, Error> {
        let kept = config.history(&self.key, None, VERSIONS_MAX).await?;
        let Some(last) = kept.iter().find(|version| version.origin == Origin::File) else { return Ok(None) };
        config.get_version(&self.key, last.number).await
    }

    /// Sets the schema where it is another one, and says what is not as the file has it.
    async fn demand_schema(
        &self,
        config: &dyn ConfigManager,
        current: Option<&Version>,
    ) -> Result<Option<String>, Error> {
        if let Some(schema) = &self.schema
            && config.get_schema(&self.key).await?.as_ref() != Some(schema)
        {
            match config.set_schema(&self.key, Some(schema), ExpectSchema::Any).await {
                // Whoever may mend it needs a Bowline that runs.
                Err(Error::Rejected { violations }) => {
                    let broken = violations.first().map(ToString::to_string).unwrap_or_default();
                    let key = &self.key;
                    return Ok(Some(format!("{key} keeps its old schema: what is live breaks the new one: {broken}")));
                }
                set => set?,
            }
        }
        let Some(current) = current.filter(|current| current.origin == Origin::Api && self.document.is_some()) else {
            return Ok(None);
        };
        let Version { number, author, .. } = current;
        Ok(Some(format!("{} stays at version {number}, which {author} published after bowline.toml's", self.key)))
    }

    fn unpublished(&self, error: Error) -> anyhow::Error {
        // Without a Bowline that runs, the schema can be replaced by way of the file alone.
        let is_of_another = self.schema.is_none() && matches!(error, Error::Rejected { .. });
        let error = api::document_error(error);
        if is_of_another {
            error.context("bowline.toml names no `schema`, the last one stands until it does")
        } else {
            error
        }
    }
}

#[cfg(test)]
mod tests;
