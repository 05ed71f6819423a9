//! Violations as code hosts and editors read them: SARIF 2.1.0.
//!
//! Source: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use bowline_model::{
    Position,
    check::{Rule, Site, Violation},
    percent,
};
use serde_json::{Value, json};

use super::{
    Note, Report, Sources,
    json::{Extent, end_column},
    level,
};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// A log with one run: a result for each violation, a rule for each that is broken; notes, and how much was observed,
/// as notifications.
///
/// Files are named relative to where the command was run, which for a code host has to be the root of the checkout.
pub fn sarif(report: &Report<'_>) -> String {
    let Report { violations, notes, seen, sources, .. } = report;
    let rules = broken(violations);
    let results: Vec<Value> = violations.iter().map(|violation| result(violation, &rules, sources)).collect();
    let extent = seen.map(|seen| Note::new(format!("observed: {}", seen.extent)));
    let notifications: Vec<Value> = notes.iter().chain(&extent).map(|note| notification(note, sources)).collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "bowline",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| described(rule)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notifications,
                "properties": {"observed": seen.map(Extent::of)},
            }],
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log).expect("it has text keys alone")
}

/// The rules that are broken, each once, by their ids.
fn broken(violations: &[Violation]) -> Vec<&'static Rule> {
    let mut rules: Vec<&Rule> = violations.iter().map(|violation| violation.rule).collect();
    rules.sort_unstable_by_key(|rule| rule.id);
    rules.dedup_by_key(|rule| rule.id);
    rules
}

fn described(rule: &Rule) -> Value {
    let Rule { id, title, page } = rule;
    json!({
        "id": id,
        "shortDescription": {"text": title},
        "help": {"text": page, "markdown": page},
    })
}

fn result(violation: &Violation, rules: &[&Rule], sources: &Sources) -> Value {
    let Violation { rule, severity, sites, .. } = violation;
    let whole = Site { file: None, position: Position { line: 1, column: 1 }, label: String::new() };
    let related = (1..).zip(sites.iter().skip(1)).map(|(id, site)| related_location(id, site, sources));
    json!({
        "ruleId": rule.id,
        "ruleIndex": rules.iter().position(|known| known.id == rule.id),
        "level": level(*severity),
        "message": {"text": message(violation)},
        "locations": [location(sites.first().unwrap_or(&whole), sources)],
        "relatedLocations": related.collect::<Vec<_>>(),
    })
}

/// All that a violation says, with a link to each related place: code hosts show those that are linked.
fn message(violation: &Violation) -> String {
    let Violation { rule, severity: _, message, sites, why, help, trace_id } = violation;
    let mut said = vec![format!("{}: {}", rule.title, escaped(message))];
    let links = (1..).zip(sites.iter().skip(1)).map(|(id, site)| format!("- [{}]({id})", escaped(label(site))));
    said.extend([links.collect::<Vec<_>>().join("\n")].into_iter().filter(|links| !links.is_empty()));
    let told = [("Why", why), ("Help", help)].into_iter().filter(|(_, text)| !text.is_empty());
    said.extend(told.map(|(what, text)| format!("{what}: {}.", escaped(text))));
    said.extend(trace_id.iter().map(|id| format!("Seen: `bowline trace {}` shows it.", escaped(id))));
    said.join("\n\n")
}

fn notification(note: &Note, sources: &Sources) -> Value {
    let Note { message, help, site, .. } = note;
    let text = if help.is_empty() { message.clone() } else { format!("{message}: {help}") };
    let locations: Vec<Value> = site.iter().map(|site| location(site, sources)).collect();
    json!({"level": "note", "message": {"text": escaped(&text)}, "locations": locations})
}

fn related_location(id: usize, site: &Site, sources: &Sources) -> Value {
    let mut location = location(site, sources);
    location["id"] = json!(id);
    location["message"] = json!({"text": escaped(label(site))});
    location
}

fn location(site: &Site, sources: &Sources) -> Value {
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": {"uri": uri(&sources.name_of(site))},
            "region": {
                "startLine": site.position.line,
                "startColumn": site.position.column,
                "endColumn": end_column(site, sources),
            },
        },
    });
    if !site.label.is_empty() {
        location["message"] = json!({"text": escaped(&site.label)});
    }
    location
}

fn label(site: &Site) -> &str {
    if site.label.is_empty() { "takes part" } else { &site.label }
}

/// A message without what would be a link: SARIF 3.11.6.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// A path as a URI: relative where the path is.
///
/// Source: RFC 3986, 2.3 (what need not be escaped) and 3.3.
fn uri(path: &str) -> String {
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    format!("{scheme}{}", percent::encode(path, b"/@"))
}

#[cfg(test)]
mod tests;
