//! How a system watches itself: `[tracing]`, `[metrics]`, `[alerts]`.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use super::{
    SERVICES_MAX,
    references::{Names, Side},
    schema,
    table::Table,
    value::{LIST_MAX, Value, is_word, once},
    web,
};
use crate::{
    monitor::{
        AlertPolicy, MetricsPolicy, RETENTION_RANGE, Receiver, SCRAPE_EVERY_RANGE, Sampling, SecretText, StaticTarget,
        TraceExport, TracingPolicy,
    },
    name::ServiceName,
    units::{self, Share},
};

/// The name under which the gateway samples.
const GATEWAY: &str = "gateway";
/// The longest text of a label, a header or a matcher, in bytes.
const TEXT_LENGTH_MAX: usize = 1024;
/// The longest name of a label, in bytes: a series with a longer one is not kept.
const LABEL_NAME_LENGTH_MAX: usize = 128;
/// The most receivers.
const RECEIVERS_MAX: usize = 32;
/// The most files of rules.
const RULE_FILES_MAX: usize = 64;
/// The longest wait of a group.
const WAIT_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 30);

// === [tracing] ===

pub(super) fn tracing(value: Value<'_>, services: &Names<'_>) -> TracingPolicy {
    let Some(table) = value.table(&schema::TRACING) else { return TracingPolicy::default() };
    let sample = table.get("sample").and_then(Value::share).unwrap_or(Share::ALL);
    let shares = table.get("services").map(|value| shares(value, services)).unwrap_or_default();
    TracingPolicy { sampling: Sampling { sample, services: shares }, export: table.get("export").and_then(export) }
}

fn shares(value: Value<'_>, services: &Names<'_>) -> BTreeMap<ServiceName, Share> {
    let entries = value.entries(&schema::SHARE_ENTRY, SERVICES_MAX);
    let share = |entry: Value<'_>| {
        if entry.key() != GATEWAY {
            services.check(entry.key(), entry, Side::Key);
        }
        entry.key_label().zip(entry.share())
    };
    entries.into_iter().filter_map(share).collect()
}

fn export(value: Value<'_>) -> Option<TraceExport> {
    let table = value.table(&schema::EXPORT)?;
    let otlp = table.need("otlp").and_then(|value| value.parsed("the URL of a collector", web::url));
    let headers = table.get("headers").map(headers).unwrap_or_default();
    Some(TraceExport { otlp: otlp?, headers })
}

fn headers(value: Value<'_>) -> BTreeMap<String, SecretText> {
    let entries = value.entries(&schema::HEADER_ENTRY, LIST_MAX);
    let header = |entry: Value<'_>| {
        let name = web::header_name(entry.key()).map_err(|rule| {
            entry.fault_key(format!("{} is not the name of a header", entry.key_quoted()), rule);
        });
        let name = name.ok()?;
        let text = entry.parsed("a header's value", short)?;
        Some((name, SecretText::parse(&text)))
    };
    entries.into_iter().filter_map(header).collect()
}

fn short(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > TEXT_LENGTH_MAX || text.chars().any(char::is_control) {
        return Err("write 1 to 1024 bytes without control characters");
    }
    Ok(text.to_owned())
}

// === [metrics] ===

pub(super) fn metrics(value: Value<'_>) -> MetricsPolicy {
    let default = MetricsPolicy::default();
    let Some(table) = value.table(&schema::METRICS) else { return default };
    let (least, most) = SCRAPE_EVERY_RANGE;
    let every = duration(&table, "every", &(least..=most)).unwrap_or(default.every);
    let (least, most) = RETENTION_RANGE;
    let retention = duration(&table, "retention", &(least..=most)).unwrap_or(default.retention);
    let targets = table.list("targets").into_iter().filter_map(target).collect();
    MetricsPolicy { every, retention, targets }
}

fn target(value: Value<'_>) -> Option<StaticTarget> {
    let table = value.table(&schema::TARGET)?;
    let job = table.need("job").and_then(|value| value.parsed("a job", short));
    let address = table.need("address").and_then(|value| value.parsed("a host and a port", web::host_and_port));
    let path = table.get("path").and_then(|value| value.parsed("a path", metrics_path));
    let labels = table.get("labels").map(labels).unwrap_or_default();
    Some(StaticTarget { job: job?, address: address?, path: path.unwrap_or_else(|| "/metrics".to_owned()), labels })
}

/// Where metrics are shown.
pub(super) fn metrics_path(text: &str) -> Result<String, &'static str> {
    web::path(text, "begin it with a slash: \"/metrics\"")
}

fn labels(value: Value<'_>) -> BTreeMap<String, String> {
    let entries = value.entries(&schema::LABEL_ENTRY, LIST_MAX);
    let label = |entry: Value<'_>| {
        if !is_label(entry.key()) || ["job", "instance"].contains(&entry.key()) {
            let message = format!("{} is not the name of a further label", entry.key_quoted());
            entry.fault_key(
                message,
                "use letters, digits and _, no digit first, 128 at most, and neither `job` nor `instance`",
            );
            return None;
        }
        Some((entry.key().to_owned(), entry.parsed("a label's value", short)?))
    };
    entries.into_iter().filter_map(label).collect()
}

/// Whether a text can be a label's name.
fn is_label(text: &str) -> bool {
    text.len() <= LABEL_NAME_LENGTH_MAX && !text.starts_with("__") && is_word(text)
}

/// A duration within its range.
pub(super) fn duration(table: &Table<'_>, name: &'static str, range: &RangeInclusive<Duration>) -> Option<Duration> {
    let value = table.get(name)?;
    let duration = value.parsed("a duration", units::parse_duration)?;
    if range.contains(&duration) {
        return Some(duration);
    }
    let message = format!("{} ({}) is out of range", value.key_quoted(), units::format_duration(duration));
    let (least, most) = (units::format_duration(*range.start()), units::format_duration(*range.end()));
    value.refuse(message, format!("write a duration from {least} to {most}"))
}

// === [alerts] ===

pub(super) fn alerts(value: Value<'_>) -> AlertPolicy {
    let default = AlertPolicy::default();
    let Some(table) = value.table(&schema::ALERTS) else { return default };
    let wait = |name, otherwise| duration(&table, name, &WAIT_RANGE).unwrap_or(otherwise);
    let receivers = table.get("receivers").map(|value| value.entries(&schema::RECEIVER_ENTRY, RECEIVERS_MAX));
    AlertPolicy {
        rules: table.get("rules").map(rule_files).unwrap_or_default(),
        group_by: table.get("group_by").map_or(default.group_by, group_by),
        group_wait: wait("group_wait", default.group_wait),
        group_interval: wait("group_interval", default.group_interval),
        repeat_interval: wait("repeat_interval", default.repeat_interval),
        receivers: receivers.unwrap_or_default().into_iter().filter_map(receiver).collect(),
    }
}

fn rule_files(value: Value<'_>) -> Vec<(String, crate::Position)> {
    let mut files: Vec<String> = Vec::new();
    let mut positions = Vec::new();
    for element in value.list(RULE_FILES_MAX) {
        let Some(file) = element.parsed("a file of rules", rule_file) else { continue };
        let count = files.len();
        once(element, file, &mut files);
        if files.len() > count {
            positions.push(element.position());
        }
    }
    files.into_iter().zip(positions).collect()
}

fn rule_file(text: &str) -> Result<String, &'static str> {
    let path = super::config::relative(text)?;
    let is_yaml = [".yaml", ".yml"].iter().any(|end| path.ends_with(end));
    if is_yaml { Ok(path) } else { Err("its name ends in .yaml or .yml, which is what it is") }
}

fn group_by(value: Value<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for element in value.list(LIST_MAX) {
        let name = element.parsed("a label's name", |text| {
            if is_label(text) {
                Ok(text.to_owned())
            } else {
                Err("use letters, digits and _, no digit first, 128 at most")
            }
        });
        if let Some(name) = name {
            once(element, name, &mut names);
        }
    }
    names
}

fn receiver(entry: Value<'_>) -> Option<Receiver> {
    let name = entry.key_label();
    let table = entry.table(&schema::RECEIVER)?;
    let webhook = table.need("webhook").and_then(webhook);
    let matchers = table.list("match").into_iter().filter_map(|value| value.parsed("a matcher", short)).collect();
    let send_resolved = table.get("send_resolved").is_none_or(|value| value.boolean().unwrap_or(true));
    let position = entry.key_position();
    Some(Receiver { name: name?.as_str().to_owned(), position, webhook: webhook?, matchers, send_resolved })
}

/// A URL, which may itself be a secret and is then not told again, or where it stands.
fn webhook(value: Value<'_>) -> Option<SecretText> {
    match SecretText::parse(value.text()?) {
        SecretText::Plain(text) => match web::url(&text) {
            Ok(url) => Some(SecretText::Plain(url)),
            Err(_) => value.refuse(
                "`webhook` is neither a URL nor the place of one",
                "write \"https://alerts.example/hook\", or \"env:NAME\" where the URL is a secret",
            ),
        },
        at @ SecretText::At(_) => Some(at),
    }
}
