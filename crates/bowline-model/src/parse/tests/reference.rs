//! The schema against what is read, and against the reference page.

use super::parse;
use crate::parse::schema::{ALL, Key};

const PAGE: &str = include_str!("../../../../../docs/bowline-toml.md");

/// Before this, the keys of a heading's table can be written.
fn before(heading: &str) -> &'static str {
    match heading {
        "The system" => "",
        "`[service.X]`" => "[service.x]\n",
        "`[boundary]`" => "[boundary]\n",
        "`[mesh]`" => "[mesh]\n",
        "`[tracing]`" => "[tracing]\n",
        "`export`" => "[tracing.export]\n",
        "`[metrics]`" => "[metrics]\n",
        "`targets`" => "[[metrics.targets]]\n",
        "`[alerts]`" => "[alerts]\n",
        "`[alerts.receivers.X]`" => "[alerts.receivers.x]\n",
        "`check`" => "[service.order.check]\n",
        "`[service.X.boundary]`" => "[service.order.boundary]\n",
        "`[service.X.calls.Y]`" => "[service.order.calls.payment]\n",
        "`[service.X.versions.V]`" => "[service.order.versions.v2]\n",
        "`retry`" => "[service.order.calls.payment.retry]\n",
        "`breaker`" => "[service.order.calls.payment.breaker]\n",
        "`balance`" => "[service.order.calls.payment.balance]\n",
        "`outcome`" => "[service.order.calls.payment.outcome]\n",
        "`outlier`" => "[service.order.calls.payment.outlier]\n",
        "`hedge`" => "[service.order.calls.payment.hedge]\n",
        "`bulkhead`" => "[service.order.calls.payment.bulkhead]\n",
        "`fallback`" => "[service.order.calls.payment.fallback]\n",
        "`shed`" => "[service.order.shed]\n",
        "`[[route]]`" => "[[route]]\n",
        "`matches`" => "[[route]]\n[[route.matches]]\n",
        "`backends`" => "[[route]]\n[[route.backends]]\n",
        "`limit`" => "[gateway.limit]\n",
        "`cors`" => "[[route]]\n[route.cors]\n",
        "`request_headers`, `response_headers`" => "[[route]]\n[route.request_headers]\n",
        "`[gateway]`" => "[gateway]\n",
        "`[auth.X]`" => "[auth.x]\n",
        "`jwt`" => "[auth.x.jwt]\n",
        "`jwks`" => "[auth.x.jwt.jwks]\n",
        "`api_key`" => "[auth.x.api_key]\n",
        "`keys`" => "[[auth.x.api_key.keys]]\n",
        "`[config.\"NAMESPACE/NAME\"]`" => "[config.\"shop/order\"]\n",
        "`[messages]`" => "[messages]\n",
        "`[caches]`" => "[caches]\n",
        "`[databases]`" => "[databases]\n",
        "`[topic.\"NAME\"]`" => "[topic.\"order.placed\"]\n",
        "`[deploy.X]`" => "[deploy.order]\n",
        _ => panic!("no way to write a key of {heading}"),
    }
}

/// What the examples name.
const DECLARED: &str = "[service.order]\n[service.payment]\n[service.user]\n[auth.customers]\n";

/// Whether the last line of a text has a problem.
fn is_told(text: &str) -> bool {
    let last = text.lines().count();
    parse(text).err().unwrap_or_default().iter().any(|problem| problem.position.line == last)
}

fn keys() -> impl Iterator<Item = (&'static str, &'static Key)> {
    ALL.iter().flat_map(|(heading, schema)| schema.keys.iter().map(|key| (*heading, key)))
}

#[test]
fn no_key_is_ignored() {
    for (heading, key) in keys() {
        let text = format!("{}{} = 1979-05-27", before(heading), key.name);
        assert!(is_told(&text), "{heading} {}", key.name);
    }
}

#[test]
fn every_example_is_right() {
    for (heading, key) in keys().filter(|(_, key)| !key.is_section) {
        let declared = if heading == "The system" { "" } else { DECLARED };
        let run = if key.name == "replicas" { "run = \"./x\"\n" } else { "" };
        let example = key.example.replace("sha256:…", &format!("sha256:{}", "0a".repeat(32)));
        let canary = if key.name == "steps" { "strategy = \"canary\"\n" } else { "" };
        let mode = if key.name == "topics" { "mode = \"message\"\n" } else { "" };
        let slow = if key.name == "slow_rate" { "slow_call = \"300ms\"\n" } else { "" };
        let ring = if key.name == "key" || key.name == "headroom" { "by = \"ring\"\n" } else { "" };
        let queue = if key.name == "queue_timeout" { "queue_max = 1\n" } else { "" };
        let server = if key.name == "credential" { "nats = \"nats://127.0.0.1:4222\"\n" } else { "" };
        let text = format!(
            "{declared}{}{run}{canary}{mode}{slow}{ring}{queue}{server}{} = {example}",
            before(heading),
            key.name
        );
        assert!(!is_told(&text), "{text}");
    }
}

/// The part of the page below a heading.
fn section(heading: &str) -> &'static str {
    let mut sections = PAGE.split("\n## ");
    sections
        .find(|section| section.lines().next() == Some(heading))
        .unwrap_or_else(|| panic!("docs/bowline-toml.md has no section \"{heading}\""))
}

#[test]
fn the_reference_page_has_every_key() {
    for (heading, key) in keys() {
        let row = section(heading).lines().find(|line| line.starts_with(&format!("| `{}` |", key.name)));
        assert!(row.is_some(), "docs/bowline-toml.md: no row for `{}` in \"{heading}\"", key.name);
    }
}

#[test]
fn the_reference_page_has_no_other_key() {
    for (heading, schema) in ALL {
        let rows = section(heading).lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        for (name, _) in rows {
            assert!(schema.key(name).is_some(), "docs/bowline-toml.md: `{name}` in \"{heading}\" is no key");
        }
    }
}

#[test]
fn the_examples_of_the_reference_page_are_right() {
    let examples: Vec<&str> = PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        assert_eq!(parse(example).err(), None, "{example}");
    }
}
