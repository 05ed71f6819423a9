//! What is known to be wrong with files: `{"file.csv": [["FROM", "TO"], …]}`, as the Numenta Anomaly Benchmark has it.
//!
//! Its `combined_windows.json` has windows, its `combined_labels.json` moments (`["AT", …]`); both are read.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    evaluation::Fault,
    series::{read_time, time},
};

/// The most windows of one file.
pub const WINDOWS_MAX: usize = 10_000;

/// Why labels cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    #[error("the labels are not of the form {{\"file.csv\": [[\"FROM\", \"TO\"]]}}")]
    Form(#[source] serde_json::Error),
    #[error("no labels for `{name}`, there are some for {known}")]
    Absent { name: String, known: String },
    #[error("several labels for `{name}`: {known}")]
    Several { name: String, known: String },
    #[error("more than {WINDOWS_MAX} labels for one file")]
    Many,
    #[error("label {number} of `{name}`: {why}")]
    Label { name: String, number: usize, why: String },
}

/// A window, or a moment.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Label {
    Window(String, String),
    Moment(String),
}

/// The labels of a file, by its path or the end of it.
///
/// # Errors
/// When they cannot be read, or are not those of one file.
pub fn read(text: &str, name: &str) -> Result<Vec<Fault>, LabelsError> {
    let all: BTreeMap<String, Vec<Label>> = serde_json::from_str(text).map_err(LabelsError::Form)?;
    let is_meant = |key: &str| name == key || is_end(name, key) || is_end(key, name);
    let mut meant = all.iter().filter(|(key, _)| is_meant(key));
    let known = || {
        let names: Vec<&str> = all.keys().take(5).map(String::as_str).collect();
        names.join(", ")
    };
    let Some((_, labels)) = meant.next() else {
        return Err(LabelsError::Absent { name: name.to_owned(), known: known() });
    };
    if let Some((other, _)) = meant.next() {
        return Err(LabelsError::Several { name: name.to_owned(), known: other.clone() });
    }
    if labels.len() > WINDOWS_MAX {
        return Err(LabelsError::Many);
    }
    let fault = |(index, label): (usize, &Label)| {
        label.fault().map_err(|why| LabelsError::Label { name: name.to_owned(), number: index + 1, why })
    };
    labels.iter().enumerate().map(fault).collect()
}

/// Whether one path ends with the other, at a folder.
fn is_end(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|rest| rest.ends_with('/'))
}

impl Label {
    fn fault(&self) -> Result<Fault, String> {
        let (from, to) = match self {
            Self::Window(from, to) => (from, to),
            Self::Moment(at) => (at, at),
        };
        let (from_ms, to_ms) = (read_time(from)?, read_time(to)?);
        if from_ms > to_ms {
            return Err(format!("it ends at {to} before it begins at {from}"));
        }
        Ok(Fault { kind: None, from_ms, to_ms })
    }
}

/// A file's text, of the faults of one series.
pub fn write(name: &str, faults: &[Fault]) -> String {
    let windows: Vec<[String; 2]> = faults.iter().map(|fault| [time(fault.from_ms), time(fault.to_ms)]).collect();
    format!("{:#}\n", serde_json::json!({ name: windows }))
}
