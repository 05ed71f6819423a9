//! Every rule has a page, whose examples are its fixtures. `BLESS=1` writes what is told into pages and table.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use bowline_model::check::Rule;

use crate::{fixture::Fixture, page::Page};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Whether what is told is to be taken for right.
fn is_blessed() -> bool {
    env::var_os("BLESS").is_some_and(|value| value == "1")
}

#[test]
fn every_rule_has_its_page() {
    let mut files: Vec<String> = fs::read_dir(docs().join("rules"))
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    files.sort();
    let mut ids: Vec<&str> = Rule::all().map(|rule| rule.id).collect();
    ids.sort_unstable();
    let expected: Vec<String> = ids.iter().map(|id| format!("{id}.md")).collect();
    assert_eq!(files, expected);
    for rule in Rule::all() {
        assert_eq!(Page::new(rule.page.to_owned()).heading(), format!("{}: {}", rule.id, rule.title));
        assert_eq!(Rule::find(rule.id), Some(rule));
    }
}

#[test]
fn what_a_page_says_to_break_its_rule_breaks_that_alone_and_is_told_so() {
    let mut untold = Vec::new();
    for rule in Rule::all() {
        let path = docs().join("rules").join(format!("{}.md", rule.id));
        // Not the page that was compiled in: it may have been blessed since.
        let page = Page::new(fs::read_to_string(&path).unwrap());
        let fixture = Fixture::of(&page.blocks("Breaks it"));
        let broken: Vec<&str> = fixture.violations.iter().map(|violation| violation.rule.id).collect();
        assert!(!broken.is_empty() && broken.iter().all(|id| *id == rule.id), "{}: {broken:?}", rule.id);
        let shown = page.blocks("Told as");
        let [shown] = shown.as_slice() else { panic!("{} has not one block below `## Told as`", rule.id) };
        let told = fixture.told();
        if shown.content != told {
            if is_blessed() {
                fs::write(&path, page.with(shown, &told)).unwrap();
            } else {
                untold.push(format!("{}:\n{}instead of\n{told}", rule.id, shown.content));
            }
        }
    }
    assert!(untold.is_empty(), "BLESS=1 writes what is told:\n{}", untold.join("\n"));
}

#[test]
fn what_a_page_says_to_hold_holds() {
    for rule in Rule::all() {
        let page = Page::new(rule.page.to_owned());
        let blocks = page.blocks("Holds");
        assert!(!blocks.is_empty(), "{} has no example that holds", rule.id);
        let fixture = Fixture::of(&blocks);
        assert!(fixture.violations.is_empty(), "{}:\n{}", rule.id, fixture.told());
        for section in ["## Why", "## What to do"] {
            assert!(page.text().lines().any(|line| line == section), "{} has no `{section}`", rule.id);
        }
    }
}

#[test]
fn the_table_of_rules_is_that_of_the_rules() {
    const BEGIN: &str = "<!-- rules: written by BLESS=1 -->\n";
    const END: &str = "<!-- end of rules -->\n";

    let path = docs().join("check.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let rows = Rule::all().map(|Rule { id, title, page: _ }| format!("| [{id}](rules/{id}.md) | {title} |\n"));
    let expected = format!("| rule | what breaks it |\n|---|---|\n{}", rows.collect::<String>());
    if table != expected && is_blessed() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(table, expected, "BLESS=1 writes it");
    }
}
