//! The judge of documents: JSON Schema, and what the platform's own keys demand.

use std::{fmt, sync::Arc};

use bowline_config::{Document, Format, Schema, VIOLATIONS_MAX, Violation};
use bowline_model::{
    ConfigKey, Position, Problem, ServiceName,
    mesh::{InvalidTraffic, SNAPSHOT_FORMAT, Snapshot, Steering, Traffic},
    monitor::Sampling,
};
use jsonschema::{PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value;

use crate::monitor;

/// The longest text about one violation, in characters.
const DETAIL_MAX: usize = 500;

type Check = dyn Fn(&str) -> Result<(), Vec<Violation>> + Send + Sync;

/// What judges a route table: its text as TOML, and every rule that it breaks.
#[derive(Clone)]
pub struct RoutesCheck(Arc<Check>);

impl RoutesCheck {
    /// A judge that is a function. It may block.
    pub fn new(check: impl Fn(&str) -> Result<(), Vec<Violation>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }
}

impl fmt::Debug for RoutesCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutesCheck").finish_non_exhaustive()
    }
}

/// Judges by JSON Schema, 2020-12 where the schema does not say otherwise.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// The judge of `bowline/routes`; absent: there are none here.
    pub(crate) routes: Option<RoutesCheck>,
    /// The services that `bowline/traffic` may name; absent: nobody would act by it.
    pub(crate) services: Option<Vec<ServiceName>>,
    /// Whether there is a mesh, whose sidecars disturb traffic.
    pub(crate) has_mesh: bool,
    /// Whether traffic may be split between versions.
    pub(crate) has_versions: bool,
}

impl Schema for Judge {
    fn check(&self, key: &ConfigKey, document: &Document, schema: Option<&str>) -> Result<(), Vec<Violation>> {
        if key.is_reserved() {
            return self.check_reserved(key, document);
        }
        let Some(schema) = schema else { return Ok(()) };
        let whole = |rule: &str, detail: String| vec![violation(String::new(), rule, detail)];
        let validator = compile(schema).map_err(|reason| whole("schema", reason))?;
        let json = document.to_json().map_err(|error| whole("syntax", error.to_string()))?;
        let violations: Vec<_> = validator.iter_errors(&json).take(VIOLATIONS_MAX).map(|error| told(&error)).collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    fn check_schema(&self, key: &ConfigKey, schema: &str) -> Result<(), String> {
        if key.is_reserved() {
            return Err(format!("`{key}` is Bowline's own, which judges it itself"));
        }
        compile(schema).map(drop)
    }
}

impl Judge {
    fn check_reserved(&self, key: &ConfigKey, document: &Document) -> Result<(), Vec<Violation>> {
        let (routes, traffic) = (ConfigKey::routes(), ConfigKey::traffic());
        let (tracing, alerts) = (ConfigKey::tracing(), ConfigKey::alerts());
        if *key == routes {
            return self.check_routes(document);
        }
        if *key == traffic {
            return self.check_traffic(document);
        }
        if key.workload().is_some() {
            return check_snapshot(key, document);
        }
        if *key == tracing {
            return check_tracing(document);
        }
        if *key == alerts {
            return check_alerts(document);
        }
        let rule = "is not known: of Bowline's own documents there are";
        refuse(format!("`{key}` {rule} `{routes}`, `{traffic}`, `{tracing}` and `{alerts}`"))
    }

    fn check_routes(&self, document: &Document) -> Result<(), Vec<Violation>> {
        let Some(RoutesCheck(check)) = &self.routes else {
            return refuse("this server has no gateway to take routes".to_owned());
        };
        if document.format != Format::Toml {
            return refuse(format!("routes are written in toml, not in {}", document.format));
        }
        check(&document.text)
    }

    fn check_traffic(&self, document: &Document) -> Result<(), Vec<Violation>> {
        let Some(services) = &self.services else {
            // What was said before can be taken back, whatever the system has become.
            if read::<Traffic>(document).is_ok_and(|traffic| is_nothing(&traffic)) {
                return Ok(());
            }
            return refuse(
                "nobody calls anybody here whose traffic could be steered: this system declares no services".to_owned(),
            );
        };
        if !matches!(document.format, Format::Json | Format::Toml) {
            return refuse(format!("traffic is written in json or toml, not in {}", document.format));
        }
        let told = |InvalidTraffic { path, rule }| violation(path, "traffic", rule);
        let traffic = read::<Traffic>(document)?;
        if !self.has_mesh && !traffic.faults.is_empty() {
            let rule = "traffic is disturbed by a mesh, and this system has none: add the table [mesh] to its bowline.toml, and start it anew";
            return Err(vec![violation("/faults".to_owned(), "reserved", rule.to_owned())]);
        }
        if let Some((service, _)) = traffic.steering.iter().find(|(_, it)| !self.has_versions && it.is_by_version()) {
            let rule = "traffic is steered between versions, and disturbed by a mesh, and this system has neither: give a service its `version` in bowline.toml, or add the table [mesh], and start it anew";
            return Err(vec![violation(format!("/steering/{service}"), "reserved", rule.to_owned())]);
        }
        let checked = traffic.check(services);
        checked.map_err(|faults| faults.into_iter().take(VIOLATIONS_MAX).map(told).collect())
    }
}

/// Whether traffic is left alone.
fn is_nothing(traffic: &Traffic) -> bool {
    traffic.faults.is_empty() && traffic.steering.values().all(Steering::is_empty)
}

/// Whether a document says which traces are kept.
fn check_tracing(document: &Document) -> Result<(), Vec<Violation>> {
    if !matches!(document.format, Format::Json | Format::Toml) {
        return refuse(format!("which traces are kept is written in json or toml, not in {}", document.format));
    }
    read::<Sampling>(document).map(drop)
}

/// Whether a document says what is watched for, and who is told.
fn check_alerts(document: &Document) -> Result<(), Vec<Violation>> {
    if document.format == Format::Toml {
        return refuse("alerts are written in json, or in yaml as a text".to_owned());
    }
    let told = |problem: Problem| {
        let Problem { position: Position { line, column }, width: _, message, help } = problem;
        let detail = if help.is_empty() { message } else { format!("{message} → {help}") };
        violation(format!("line {line}, column {column}"), "alerts", detail)
    };
    let checked = monitor::read_alerts(document);
    checked.map(drop).map_err(|problems| problems.into_iter().take(VIOLATIONS_MAX).map(told).collect())
}

/// Whether a document is a snapshot of the workload that its key names. Only the control plane writes
/// them, in this process.
fn check_snapshot(key: &ConfigKey, document: &Document) -> Result<(), Vec<Violation>> {
    if document.format != Format::Json {
        return refuse(format!("snapshots are written in json, not in {}", document.format));
    }
    let snapshot: Snapshot = read(document)?;
    if snapshot.format != SNAPSHOT_FORMAT {
        return refuse(format!("the snapshot has format {}, this release knows {SNAPSHOT_FORMAT}", snapshot.format));
    }
    if ConfigKey::snapshot(&snapshot.workload) != *key {
        return refuse(format!("the snapshot is that of `{}`", snapshot.workload));
    }
    Ok(())
}

/// Reads a document of Bowline's own.
fn read<T: serde::de::DeserializeOwned>(document: &Document) -> Result<T, Vec<Violation>> {
    let whole = |rule: &str, detail: String| vec![violation(String::new(), rule, detail)];
    let json = document.to_json().map_err(|error| whole("syntax", error.to_string()))?;
    serde_json::from_value(json).map_err(|error| whole("type", error.to_string()))
}

fn refuse(detail: String) -> Result<(), Vec<Violation>> {
    Err(vec![violation(String::new(), "reserved", detail)])
}

/// Refuses references to other documents: what a schema means may not depend on what is elsewhere.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("`{uri}` is not fetched: write it into the schema, under `$defs`, and refer to `#/$defs/NAME`")
            .into())
    }
}

fn compile(schema: &str) -> Result<Validator, String> {
    let schema: Value = serde_json::from_str(schema).map_err(|error| error.to_string())?;
    if !schema.is_object() {
        return Err("it is not a JSON object".to_owned());
    }
    // An engine without backtracking: no pattern takes long.
    let options = jsonschema::options().with_retriever(Nowhere).with_pattern_options(PatternOptions::regex());
    options.build(&schema).map_err(|error| {
        let Violation { path, rule: _, detail } = told(&error);
        if path.is_empty() { detail } else { format!("{path}: {detail}") }
    })
}

/// A violation in words that name no value of the document, which may be nobody's business.
fn told(error: &ValidationError<'_>) -> Violation {
    let detail = error.masked_with("the value").to_string();
    violation(error.instance_path().to_string(), error.kind().keyword(), detail)
}

fn violation(path: String, rule: &str, detail: String) -> Violation {
    let detail = match detail.char_indices().nth(DETAIL_MAX) {
        Some((end, _)) => format!("{}…", &detail[..end]),
        None => detail,
    };
    Violation { path, rule: rule.to_owned(), detail }
}

#[cfg(test)]
mod tests;
