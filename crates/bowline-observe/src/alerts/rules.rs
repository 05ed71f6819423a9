//! Rules: what is evaluated, how often, and what follows, in the YAML of Prometheus' rule files.
//!
//! Everything that can be wrong is found when rules are read: unknown keys, expressions, texts with places to
//! fill. What was read can be evaluated.

mod number;
mod raw;
mod template;

use std::{collections::BTreeMap, time::Duration};

use bowline_model::Problem;
use serde_json::Value;

use crate::labels;

pub use template::{Scope, TEXT_BYTES_MAX, Template};

pub(crate) use raw::{RawGroup, Reader, read_groups, structure_problem};

/// The most bytes of one file.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// The most groups of one file, and of all.
pub const GROUPS_MAX: usize = 100;

/// The most rules of one file, and of all.
pub const RULES_MAX: usize = 1000;

/// The most labels, and the most annotations, of one rule.
pub const LABELS_MAX: usize = 64;

/// The longest name of a group, a rule or a label, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// The longest expression, in bytes.
pub const EXPR_BYTES_MAX: usize = 16 * 1024;

/// The shortest and the longest interval of a group.
pub const INTERVAL_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));

/// Says of an expression whether it can be evaluated, or why not.
pub type CheckExpr<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// Rules that are evaluated one after the other, at the same times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name, unlike that of every other group.
    pub name: String,
    /// Where it was read from, for people.
    pub file: String,
    /// How often; none: as often as targets are scraped.
    pub interval: Option<Duration>,
    /// The most alerts, or series, that one of its rules may have.
    pub limit: Option<usize>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// It raises alerts.
    Alert(AlertRule),
    /// It records series.
    Record(RecordRule),
}

/// Each series that the expression answers is an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRule {
    /// What the alerts are called.
    pub name: String,
    /// What is evaluated.
    pub expr: String,
    /// For how long the series has to be there until its alert fires.
    pub hold: Duration,
    /// For how long an alert goes on firing when its series is gone.
    pub keep_firing: Duration,
    /// What is added to the series' labels.
    pub labels: BTreeMap<String, Template>,
    /// What people are told.
    pub annotations: BTreeMap<String, Template>,
}

/// What the expression answers is kept as a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRule {
    /// The metric's name.
    pub name: String,
    /// What is evaluated.
    pub expr: String,
    /// What is added to the series' labels.
    pub labels: BTreeMap<String, String>,
}

impl Rule {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Alert(rule) => &rule.name,
            Self::Record(rule) => &rule.name,
        }
    }

    /// What is evaluated.
    pub fn expr(&self) -> &str {
        match self {
            Self::Alert(rule) => &rule.expr,
            Self::Record(rule) => &rule.expr,
        }
    }
}

/// Reads a rule file of Prometheus: `groups`, each with its `rules`. `file` is what people call it.
///
/// # Errors
/// All that is wrong with its rules; where the file has another structure than rules have, the first such place.
pub fn parse(file: &str, text: &str, check: CheckExpr<'_>) -> Result<Vec<Group>, Vec<Problem>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes", text.len());
        return Err(vec![Problem::of_file(message, format!("write at most {FILE_BYTES_MAX} bytes, part it"))]);
    }
    let groups = raw::parse_file(text).map_err(|problem| vec![problem])?;
    let mut reader = Reader::new(check);
    let groups = read_groups(&mut reader, file, groups);
    reader.finish(groups)
}

/// The groups of a rule file as the document `bowline/alerts` has them: in JSON, once [`parse`] takes them.
///
/// # Errors
/// As [`parse`].
pub fn groups(file: &str, text: &str, check: CheckExpr<'_>) -> Result<Vec<Value>, Vec<Problem>> {
    parse(file, text, check)?;
    let read: Value = serde_saphyr::from_str(text).map_err(|error| vec![raw::structure_problem(&error)])?;
    Ok(read.get("groups").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// Whether it can be a label of an alert: the name of a label, and not too long.
pub(crate) fn is_label_name(name: &str) -> bool {
    labels::is_label_name(name) && name.len() <= NAME_BYTES_MAX
}

#[cfg(test)]
mod tests;
