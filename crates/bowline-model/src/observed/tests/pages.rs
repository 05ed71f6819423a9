//! The rules' pages: the first example of each breaks exactly that rule, the second none.

use super::*;
use crate::observed::RULES;

/// The examples of a page, in their order: of each the text of `bowline.toml`, and what was observed.
fn examples(page: &str) -> Vec<(String, Observed)> {
    let blocks = |head: &str| -> Vec<String> {
        let open = format!("```{head}\n");
        page.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    let seen = blocks("json observed").into_iter().map(|text| serde_json::from_str(&text).unwrap());
    blocks("toml bowline.toml").into_iter().zip(seen).collect()
}

/// The system of a file whose calls may be of any mode.
//
// FIXME: the parser refuses modes that nothing runs yet; this is `parse::declared` once that is there.
fn declared(text: &str) -> System {
    let is_parsed = |line: &&str| !line.starts_with("mode =") && !line.starts_with("topics =");
    let plain = text.lines().filter(is_parsed).collect::<Vec<_>>().join("\n");
    let mut system = crate::parse(&plain).unwrap_or_else(|problems| panic!("{problems:?} in {plain}"));
    let table: toml::Table = text.parse().unwrap();
    let owned: Vec<_> = system.services.iter().flat_map(|service| service.boundary.state.clone()).collect();
    for service in &mut system.services {
        for call in &mut service.calls {
            let written = &table["service"][service.name.as_str()]["calls"][call.target.as_str()];
            let mode = written.get("mode").and_then(toml::Value::as_str).unwrap_or("sync");
            call.mode = CallMode::NAMES.into_iter().find(|(name, _)| *name == mode).unwrap().1;
            let topics = written.get("topics").and_then(toml::Value::as_array).into_iter().flatten();
            let topic = |name: &toml::Value| owned.iter().find(|own| Some(&*own.name) == name.as_str()).cloned();
            call.topics = topics.filter_map(topic).collect();
        }
    }
    system
}

#[test]
fn the_examples_of_each_page_break_that_rule_and_none() {
    for rule in &RULES {
        assert!(rule.page.starts_with(&format!("# {}: {}\n", rule.id, rule.title)), "{}", rule.id);
        let examples = examples(rule.page);
        assert_eq!(examples.len(), 2, "{}", rule.id);
        let broken: Vec<Vec<&str>> = examples
            .iter()
            .map(|(text, seen)| check(&declared(text), seen).iter().map(|violation| violation.rule.id).collect())
            .collect();
        assert_eq!(broken, [vec![rule.id], vec![]], "{}", rule.id);
    }
}

#[test]
fn rules_are_sorted_and_named_once() {
    assert!(RULES.is_sorted_by(|one, other| one.id < other.id));
    assert!(RULES.iter().all(|rule| rule.id.starts_with("B01") && rule.id.len() == 5));
}
