//! The rules: what breaks each is found and told where it is, and what does not is left alone.

mod declared;
mod oracle;
mod workspace;

use std::fmt::Write as _;

use super::{Facts, Rule, Site, Violation, check};
use crate::parse;

/// A violation as one line: `id message | line:column label | …`.
fn told(violation: &Violation) -> String {
    let mut text = format!("{} {}", violation.rule.id, violation.message);
    for Site { file, position, label } in &violation.sites {
        let file = file.as_ref().map_or(String::new(), |file| format!("{file}:"));
        write!(text, " | {file}{}:{} {label}", position.line, position.column).unwrap();
    }
    text
}

/// Checks that a file breaks these rules, in this order, each as [`told`] has it.
#[track_caller]
fn check_with(text: &str, facts: &Facts, expect: &[&str]) {
    let (system, _) = parse::declared(text, None).unwrap_or_else(|problems| panic!("{problems:#?} in\n{text}"));
    let violations = check(&system, facts);
    for Violation { why, help, message, .. } in &violations {
        for text in [why, help, message] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{text:?}");
        }
    }
    let found: Vec<String> = violations.iter().map(told).collect();
    assert_eq!(found, expect, "in\n{text}\n");
}

/// Checks all cases, each the lines of a file and then, indented, what it breaks. A line of `---` ends it.
#[track_caller]
fn check_all(cases: &str) {
    for case in cases.trim().split("\n---\n") {
        let (expect, lines): (Vec<&str>, Vec<&str>) = case.lines().partition(|line| line.starts_with("  "));
        let expect: Vec<&str> = expect.iter().map(|line| line.trim_start()).collect();
        check_with(&format!("name = \"t\"\n{}", lines.join("\n")), &Facts::default(), &expect);
    }
}

#[test]
fn rules_come_in_the_order_of_their_ids_and_are_found_by_them() {
    let ids: Vec<&str> = Rule::all().map(|rule| rule.id).collect();
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    assert!(Rule::all().all(|rule| Rule::find(rule.id) == Some(rule)));
    assert_eq!(Rule::find("B9999"), None);
}
