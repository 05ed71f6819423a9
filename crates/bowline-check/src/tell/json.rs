//! Violations as programs read them.

use bowline_model::{
    check::{EdgeLoad, Site, Violation},
    observed::{Gap, Observed},
    units::Share,
};
use serde::Serialize;

use super::{Counts, Note, Report, Seen, Sources, broken_rules, level, token};

/// All of a report, as one JSON document.
///
/// Keys are not taken away or renamed within a release; some may be added.
pub fn json(report: &Report<'_>) -> String {
    let Report { system, violations, notes, loads, seen, sources } = report;
    let Counts { errors, warnings, rules: _, services, calls, unbuilt } = Counts::of(report);
    let document = Document {
        system: system.name.as_str(),
        file: sources.main(),
        violations: violations.iter().map(|violation| Told::of(violation, sources)).collect(),
        notes: notes.iter().map(|note| ToldNote::of(note, sources)).collect(),
        amplification: loads.iter().map(Amplified::of).collect(),
        observed: seen.map(Extent::of),
        summary: Summary { services, calls, errors, warnings, rules: broken_rules(violations), unbuilt },
    };
    serde_json::to_string_pretty(&document).expect("it has text keys alone, and finite numbers or null")
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    system: &'a str,
    file: &'a str,
    violations: Vec<Told<'a>>,
    notes: Vec<ToldNote<'a>>,
    amplification: Vec<Amplified<'a>>,
    observed: Option<Extent<'a>>,
    summary: Summary,
}

/// How much was read of what was seen; absent where nobody looked.
#[derive(Debug, Serialize)]
pub(super) struct Extent<'a> {
    message: &'a str,
    traces: u64,
    spans: u64,
    since_unix_ms: u64,
    whole_since_unix_ms: u64,
    until_unix_ms: u64,
    is_complete: bool,
    gaps: &'a [Gap],
    sample: Option<Share>,
}

impl<'a> Extent<'a> {
    pub(super) fn of(seen: Seen<'a>) -> Self {
        let Observed { traces, spans, since_unix_ms, whole_since_unix_ms, until_unix_ms, gaps, sample, .. } =
            seen.observed;
        Self {
            message: seen.extent,
            traces: *traces,
            spans: *spans,
            since_unix_ms: *since_unix_ms,
            whole_since_unix_ms: *whole_since_unix_ms,
            until_unix_ms: *until_unix_ms,
            is_complete: seen.observed.is_complete(),
            gaps,
            sample: *sample,
        }
    }
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    rule: &'static str,
    title: &'static str,
    severity: &'static str,
    message: &'a str,
    sites: Vec<Place<'a>>,
    why: &'a str,
    help: &'a str,
    trace_id: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of(violation: &'a Violation, sources: &Sources) -> Self {
        let Violation { rule, severity, message, sites, why, help, trace_id } = violation;
        Self {
            rule: rule.id,
            title: rule.title,
            severity: level(*severity),
            message,
            sites: sites.iter().map(|site| Place::of(site, sources)).collect(),
            why,
            help,
            trace_id: trace_id.as_deref(),
        }
    }
}

/// A place; line and columns count from 1, columns in characters, and the end is the first that is not of it.
#[derive(Debug, Serialize)]
struct Place<'a> {
    file: String,
    line: usize,
    column: usize,
    end_column: usize,
    label: &'a str,
}

impl<'a> Place<'a> {
    fn of(site: &'a Site, sources: &Sources) -> Self {
        Self {
            file: sources.name_of(site),
            line: site.position.line,
            column: site.position.column,
            end_column: end_column(site, sources),
            label: &site.label,
        }
    }
}

#[derive(Debug, Serialize)]
struct ToldNote<'a> {
    message: &'a str,
    help: &'a str,
    site: Option<Place<'a>>,
}

impl<'a> ToldNote<'a> {
    fn of(note: &'a Note, sources: &Sources) -> Self {
        let Note { message, help, site, .. } = note;
        Self { message, help, site: site.as_ref().map(|site| Place::of(site, sources)) }
    }
}

#[derive(Debug, Serialize)]
struct Amplified<'a> {
    caller: &'a str,
    callee: &'a str,
    attempts_worst: u64,
    load_sustained: f64,
}

impl<'a> Amplified<'a> {
    fn of(load: &'a EdgeLoad) -> Self {
        let EdgeLoad { caller, callee, attempts_worst, load_sustained } = load;
        Self { caller, callee, attempts_worst: *attempts_worst, load_sustained: *load_sustained }
    }
}

#[derive(Debug, Serialize)]
struct Summary {
    services: usize,
    calls: usize,
    errors: usize,
    warnings: usize,
    rules: Vec<&'static str>,
    unbuilt: usize,
}

/// The column behind what begins at a site; where its text is not known, it is one character.
pub(super) fn end_column(site: &Site, sources: &Sources) -> usize {
    let width = sources.rest_of(site).map_or(1, token::width);
    site.position.column.saturating_add(width.max(1))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tell::stand_in::{Shop, load, observed, two_owners};

    #[test]
    fn a_report_is_told_whole() {
        let shop = Shop::new();
        let violations = [two_owners()];
        let notes = [Note::new("no Cargo project")];
        let loads = [load()];
        let observed = observed();
        let seen = Some(Seen { observed: &observed, extent: "1 span" });
        let report = Report { notes: &notes, loads: &loads, seen, ..shop.report(&violations) };
        let told: Value = serde_json::from_str(&super::json(&report)).unwrap();
        let expected = json!({
            "system": "shop",
            "file": "bowline.toml",
            "violations": [{
                "rule": "B0002",
                "title": "data with two owners",
                "severity": "error",
                "message": "`sqlite:order.db` belongs to `order` and to `user`",
                "sites": [
                    {"file": "bowline.toml", "line": 13, "column": 9, "end_column": 26, "label": "and by user here"},
                    {"file": "bowline.toml", "line": 5, "column": 9, "end_column": 26, "label": "owned by order here"},
                ],
                "why": "what two services write, neither of them can change alone",
                "help": "let one of them own it, and the other call it",
                "trace_id": null,
            }],
            "notes": [{"message": "no Cargo project", "help": "", "site": null}],
            "amplification": [{"caller": "order", "callee": "user", "attempts_worst": 3, "load_sustained": 1.2}],
            "observed": {
                "message": "1 span", "traces": 1, "spans": 1, "since_unix_ms": 10, "whole_since_unix_ms": 20,
                "until_unix_ms": 30, "is_complete": false, "gaps": ["deleted"], "sample": "10%",
            },
            "summary": {"services": 2, "calls": 2, "errors": 1, "warnings": 0, "rules": ["B0002"], "unbuilt": 0},
        });
        assert_eq!(told, expected);
    }
}
