//! Cases: what Prometheus answers, as its own tests state it.

use super::script;

/// Runs a script that asks at least so many questions.
fn check(name: &str, script: &str, asked_min: usize) {
    let (asked, wrong) = script::run(script);
    assert!(wrong.is_empty(), "{} of {asked} of {name} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked >= asked_min, "{name} asks {asked} questions");
}

#[test]
fn aggregators() {
    check("aggregators", include_str!("cases/aggregators.txt"), 156);
}

#[test]
fn at_modifier() {
    check("at_modifier", include_str!("cases/at_modifier.txt"), 78);
}

#[test]
fn collision() {
    check("collision", include_str!("cases/collision.txt"), 2);
}

#[test]
fn functions() {
    check("functions", include_str!("cases/functions.txt"), 331);
}

#[test]
fn histograms() {
    check("histograms", include_str!("cases/histograms.txt"), 78);
}

#[test]
fn literals() {
    check("literals", include_str!("cases/literals.txt"), 25);
}

#[test]
fn name_label_dropping() {
    check("name_label_dropping", include_str!("cases/name_label_dropping.txt"), 22);
}

#[test]
fn operators() {
    check("operators", include_str!("cases/operators.txt"), 207);
}

#[test]
fn range_queries() {
    check("range_queries", include_str!("cases/range_queries.txt"), 17);
}

#[test]
fn selectors() {
    check("selectors", include_str!("cases/selectors.txt"), 31);
}

#[test]
fn staleness() {
    check("staleness", include_str!("cases/staleness.txt"), 17);
}

#[test]
fn subquery() {
    check("subquery", include_str!("cases/subquery.txt"), 32);
}

#[test]
fn trig_functions() {
    check("trig_functions", include_str!("cases/trig_functions.txt"), 19);
}
