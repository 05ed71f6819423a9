//! Rules as they are written, and what is checked on the way to rules as they are used.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bowline_model::{Position, Problem};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::{
    AlertRule, CheckExpr, EXPR_BYTES_MAX, GROUPS_MAX, Group, INTERVAL_RANGE, LABELS_MAX, NAME_BYTES_MAX, RULES_MAX,
    RecordRule, Rule, Template, is_label_name,
};
use crate::alerts::duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    groups: Vec<RawGroup>,
}

/// A group as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGroup {
    name: Spanned<String>,
    interval: Option<Spanned<String>>,
    limit: Option<usize>,
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    alert: Option<Spanned<String>>,
    record: Option<Spanned<String>>,
    expr: Spanned<String>,
    #[serde(rename = "for")]
    hold: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    annotations: BTreeMap<String, Spanned<String>>,
}

/// Goes through what was written, and gathers what is wrong.
pub(crate) struct Reader<'a> {
    check: CheckExpr<'a>,
    problems: Vec<Problem>,
}

/// The most problems that are told at once.
const PROBLEMS_MAX: usize = 100;

pub(super) fn parse_file(text: &str) -> Result<Vec<RawGroup>, Problem> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let parsed: Result<RawFile, _> = serde_saphyr::from_str(text);
    parsed.map(|file| file.groups).map_err(|error| structure_problem(&error))
}

/// What is wrong where the text is not structured as it has to be.
pub(crate) fn structure_problem(error: &serde_saphyr::Error) -> Problem {
    let plain = error.without_snippet();
    let position = error.location().map_or(Position { line: 1, column: 1 }, position);
    let message = plain.to_string();
    // The place is said beside it.
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or(message).trim_start_matches("error: ").to_owned();
    Problem { position, width: 1, message, help: String::new() }
}

fn position(location: Location) -> Position {
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).max(1);
    Position { line: count(location.line()), column: count(location.column()) }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(check: CheckExpr<'a>) -> Self {
        Self { check, problems: Vec::new() }
    }

    /// What was read, or all that is wrong with it, by place.
    pub(crate) fn finish<T>(mut self, read: T) -> Result<T, Vec<Problem>> {
        self.problems.sort_by_key(|problem| problem.position);
        if self.problems.is_empty() { Ok(read) } else { Err(self.problems) }
    }

    pub(crate) fn problem<T>(&mut self, at: &Spanned<T>, message: impl Into<String>, help: impl Into<String>) {
        let position = position(at.referenced);
        self.push(Problem { position, width: 1, message: message.into(), help: help.into() });
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// A duration, or zero where it is none.
    pub(crate) fn duration(&mut self, key: &str, text: &Spanned<String>) -> Duration {
        duration::parse(&text.value).unwrap_or_else(|rule| {
            self.problem(text, format!("`{key}` is no duration"), rule);
            Duration::ZERO
        })
    }

    fn name(&mut self, what: &str, name: &Spanned<String>) {
        if name.value.trim().is_empty() || name.value.len() > NAME_BYTES_MAX {
            self.problem(
                name,
                format!("the {what}'s name is not usable"),
                format!("write 1 to {NAME_BYTES_MAX} bytes"),
            );
        }
    }

    fn expr(&mut self, expr: &Spanned<String>) {
        if expr.value.len() > EXPR_BYTES_MAX {
            self.problem(expr, "the expression is too long", format!("write at most {EXPR_BYTES_MAX} bytes"));
        } else if let Err(reason) = (self.check)(&expr.value) {
            self.problem(expr, format!("the expression cannot be read: {reason}"), "");
        }
    }

    fn texts(&mut self, what: &str, texts: &BTreeMap<String, Spanned<String>>) -> BTreeMap<String, Template> {
        if let Some((_, first)) = texts.iter().next().filter(|_| texts.len() > LABELS_MAX) {
            self.problem(first, format!("there are {} {what}s", texts.len()), format!("write at most {LABELS_MAX}"));
        }
        let mut read = BTreeMap::new();
        for (name, text) in texts {
            let is_ours = what == "label" && (name == "alertname" || name.starts_with("__"));
            if !is_label_name(name) || is_ours {
                let help = "write letters, digits and `_`; `alertname` and what begins with `__` are taken";
                self.problem(text, format!("`{name}` cannot be the name of a {what}"), help);
            }
            match Template::parse(&text.value) {
                Ok(template) => drop(read.insert(name.clone(), template)),
                Err(reason) => self.problem(text, format!("the {what} `{name}` cannot be filled in"), reason),
            }
        }
        read
    }

    fn rule(&mut self, rule: RawRule, group_labels: &BTreeMap<String, Template>) -> Option<Rule> {
        let RawRule { alert, record, expr, hold, keep_firing_for, labels, annotations } = rule;
        self.expr(&expr);
        let mut labels = self.texts("label", &labels);
        for (name, text) in group_labels {
            labels.entry(name.clone()).or_insert_with(|| text.clone());
        }
        match (alert, record) {
            (Some(name), None) => {
                self.name("alert", &name);
                let annotations = self.texts("annotation", &annotations);
                let mut of = |key, text: Option<_>| text.map_or(Duration::ZERO, |text| self.duration(key, &text));
                let (hold, keep_firing) = (of("for", hold), of("keep_firing_for", keep_firing_for));
                let (name, expr) = (name.value, expr.value);
                Some(Rule::Alert(AlertRule { name, expr, hold, keep_firing, labels, annotations }))
            }
            (None, Some(name)) => {
                for text in [&hold, &keep_firing_for].into_iter().flatten().chain(annotations.values()) {
                    self.problem(text, "a rule that records does not alert", "remove it, or write `alert`");
                }
                let is_valid = is_label_name(&name.value.replace(':', "_"));
                if !is_valid {
                    self.problem(&name, format!("`{}` cannot be a metric's name", name.value), "");
                }
                let labels = labels.into_iter().map(|(name, text)| (name, text.text().to_owned())).collect();
                Some(Rule::Record(RecordRule { name: name.value, expr: expr.value, labels }))
            }
            (Some(_), Some(name)) => {
                self.problem(&name, "a rule alerts or records, not both", "write `alert` or `record`");
                None
            }
            (None, None) => {
                self.problem(&expr, "the rule has no name", "write `alert` or `record`");
                None
            }
        }
    }

    fn group(&mut self, file: &str, group: RawGroup) -> Group {
        let RawGroup { name, interval, limit, labels, rules } = group;
        self.name("group", &name);
        let interval = interval.map(|text| {
            let interval = self.duration("interval", &text);
            let (min, max) = INTERVAL_RANGE;
            let is_read = duration::parse(&text.value).is_ok();
            if is_read && !(min..=max).contains(&interval) {
                self.problem(&text, "the interval is not usable", "write 1s to 1d");
            }
            interval
        });
        let labels = self.texts("label", &labels);
        let rules = rules.into_iter().filter_map(|rule| self.rule(rule, &labels)).collect();
        // As in Prometheus, 0 is no limit.
        let limit = limit.filter(|limit| *limit > 0);
        Group { name: name.value, file: file.to_owned(), interval, limit, rules }
    }
}

/// Groups as they are used; what is wrong with them is the reader's.
pub(crate) fn read_groups(reader: &mut Reader<'_>, file: &str, groups: Vec<RawGroup>) -> Vec<Group> {
    let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
    if groups.len() > GROUPS_MAX || rules > RULES_MAX {
        let message = format!("there are {} groups and {rules} rules", groups.len());
        reader.push(Problem::of_file(message, format!("write at most {GROUPS_MAX} groups and {RULES_MAX} rules")));
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    for group in &groups {
        if !names.insert(group.name.value.as_str()) {
            reader.problem(&group.name, "there is another group of that name", "give each a name of its own");
        }
    }
    groups.into_iter().map(|group| reader.group(file, group)).collect()
}
