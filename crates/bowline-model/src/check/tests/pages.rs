//! The pages of the rules: their first example breaks that rule alone, their second none.

use super::{super::rules, Facts, check};
use crate::{check::Rule, parse};

/// The text of the `bowline.toml` in a section of a page.
#[track_caller]
fn example(rule: &Rule, heading: &str) -> &'static str {
    let section = rule.page.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("the page of {} has no section {heading:?}", rule.id));
    let (_, rest) = section.split_once("```toml bowline.toml\n").unwrap_or_else(|| panic!("{}: no example", rule.id));
    rest.split("```").next().unwrap()
}

#[track_caller]
fn broken(text: &str) -> Vec<&'static str> {
    let (system, _) = parse::declared(text).unwrap_or_else(|problems| panic!("{problems:#?} in\n{text}"));
    check(&system, &Facts::default()).iter().map(|violation| violation.rule.id).collect()
}

#[test]
fn the_first_example_breaks_the_rule_and_the_second_none() {
    for rule in rules::DECLARED.iter().filter(|rule| ![rules::PACKAGE.id, rules::TABLE.id].contains(&rule.id)) {
        assert_eq!(broken(example(rule, "Breaks it")), [rule.id]);
        assert_eq!(broken(example(rule, "Holds")), [""; 0], "{}", rule.id);
    }
}

#[test]
fn every_page_has_its_sections() {
    for rule in Rule::all() {
        let headings: Vec<&str> = rule.page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, ["Breaks it", "Told as", "Holds", "Why", "What to do"], "{}", rule.id);
        assert_eq!(rule.page.lines().next(), Some(&*format!("# {}: {}", rule.id, rule.title)));
    }
}

#[test]
fn rules_are_found_by_their_ids() {
    let ids: Vec<&str> = Rule::all().map(|rule| rule.id).collect();
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    assert!(Rule::all().all(|rule| Rule::find(rule.id) == Some(rule)));
    assert_eq!(Rule::find("B9999"), None);
}
