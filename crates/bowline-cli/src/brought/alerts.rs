//! What a system is watched for, and who is told, as one document: its rules' files and `[alerts]`.

use std::path::Path;

use bowline_config::{Document, Format};
use bowline_model::{
    Position, Problem,
    gateway::SecretSource,
    monitor::{AlertPolicy, Receiver, SecretText},
    units,
};
use bowline_observe::{
    alerts::{Matching, rules},
    promql,
};
use serde_json::{Value, json};

use super::read_file;

/// The document `bowline/alerts` that a file brings along.
///
/// # Errors
/// Everything that is wrong in a file of rules, at the place that names the file.
pub(super) fn document(policy: &AlertPolicy, dir: &Path) -> Result<Document, Vec<Problem>> {
    let AlertPolicy { rules, group_by, group_wait, group_interval, repeat_interval, receivers } = policy;
    let mut problems = Vec::new();
    let mut groups: Vec<Value> = Vec::new();
    for (file, position) in rules {
        match read_rules(dir, file) {
            Ok(more) => groups.extend(more),
            Err(more) => problems.extend(more.into_iter().map(|problem| at(problem, file, *position))),
        }
    }
    problems.extend(receivers.iter().flat_map(wrong_matchers));
    if !problems.is_empty() {
        return Err(problems);
    }
    let time = |time| units::format_duration(time).replace(' ', "");
    let document = json!({
        "groups": groups,
        "group_by": group_by,
        "group_wait": time(*group_wait),
        "group_interval": time(*group_interval),
        "repeat_interval": time(*repeat_interval),
        "receivers": receivers.iter().map(receiver).collect::<Vec<_>>(),
    });
    Ok(Document::new(Format::Json, document.to_string()))
}

fn read_rules(dir: &Path, file: &str) -> Result<Vec<Value>, Vec<Problem>> {
    let text = read_file(&dir.join(file), rules::FILE_BYTES_MAX).map_err(|error| {
        let help = "paths are relative to bowline.toml: write the file, or name another";
        vec![Problem::of_file(format!("it cannot be read: {error}"), help)]
    })?;
    rules::groups(file, &text, &|expression| promql::parse(expression).map(drop).map_err(|error| error.to_string()))
}

/// A problem of a file of rules, told where that is named.
fn at(problem: Problem, file: &str, position: Position) -> Problem {
    let Problem { position: Position { line, column }, width: _, message, help } = problem;
    let place = if line > 1 || column > 1 { format!("{file}:{line}:{column}") } else { file.to_owned() };
    Problem { position, width: file.len() + 2, message: format!("{place}: {message}"), help }
}

fn wrong_matchers(receiver: &Receiver) -> impl Iterator<Item = Problem> + use<'_> {
    let Receiver { name, position, matchers, .. } = receiver;
    matchers.iter().filter_map(move |matcher| {
        let rule = Matching::parse(matcher).err()?;
        let message = format!("a matcher of the receiver `{name}` cannot be read: {rule}");
        let help = "write label, operator and value: 'severity=\"page\"'".to_owned();
        Some(Problem { position: *position, width: name.len(), message, help })
    })
}

/// What is worth a word at the start: whom nobody can tell anything, as the place of its URL is empty.
pub(crate) fn notes(policy: &AlertPolicy) -> Vec<String> {
    let unset = policy.receivers.iter().filter_map(|receiver| match &receiver.webhook {
        SecretText::At(SecretSource::Env(name)) if std::env::var_os(name).is_none() => {
            Some(format!("nobody is told of alerts by the receiver {}: {name} is not set", receiver.name))
        }
        _ => None,
    });
    unset.collect()
}

fn receiver(receiver: &Receiver) -> Value {
    let Receiver { name, position: _, webhook, matchers, send_resolved } = receiver;
    let webhook = match webhook {
        SecretText::Plain(url) => url.clone(),
        SecretText::At(source) => source.to_string(),
    };
    json!({ "name": name, "webhook": webhook, "matchers": matchers, "send_resolved": send_resolved })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::parse;
    use bowline_observe::alerts::Config;

    const FILE: &str = "name = \"t\"\n[alerts]\nrules = [\"a.yaml\"]\n[alerts.receivers.ops]\nwebhook = \"env:HOOK\"\n";

    fn documented(rules: &str) -> Result<Document, Vec<Problem>> {
        let dir = bowline_testkit::temp_dir();
        std::fs::write(dir.path().join("a.yaml"), rules).unwrap();
        document(&parse(FILE).unwrap().alerts, dir.path())
    }

    #[test]
    fn rules_and_receivers_become_one_document_that_is_taken() {
        let rules = "groups:\n- name: g\n  rules:\n  - alert: Down\n    expr: up == 0\n    for: 10s\n";
        let document = documented(rules).unwrap();
        let config = Config::parse(&document.text, &|_| Ok(())).unwrap();
        assert_eq!((config.groups.len(), config.route.receivers.len()), (1, 1));
        assert_eq!(config.groups[0].rules[0].name(), "Down");
    }

    #[test]
    fn a_matcher_that_is_none_is_told_at_its_receiver() {
        let file = FILE.replace("rules = [\"a.yaml\"]\n", "") + "match = [\"bad\"]\n";
        let problems = document(&parse(&file).unwrap().alerts, Path::new("/nowhere")).unwrap_err();
        assert_eq!((problems.len(), problems[0].position), (1, Position { line: 3, column: 19 }), "{problems:?}");
        assert!(problems[0].message.contains("`bad`"), "{problems:?}");
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_where_it_is_named() {
        let rules = "groups:\n- name: g\n  rules:\n  - alert: Down\n    expr: up ==\n";
        let problems = documented(rules).unwrap_err();
        assert_eq!(problems[0].position, Position { line: 3, column: 10 });
        assert!(problems[0].message.starts_with("a.yaml:5:"), "{problems:?}");
        let problems = document(&parse(FILE).unwrap().alerts, Path::new("/nowhere")).unwrap_err();
        assert!(problems[0].message.starts_with("a.yaml: it cannot be read"), "{problems:?}");
    }
}
