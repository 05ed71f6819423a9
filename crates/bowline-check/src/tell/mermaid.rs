//! A system as a picture: who calls whom and how, and what of it breaks a rule, as a flowchart of Mermaid.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use bowline_model::{
    Position, System,
    check::Violation,
    observed::Observed,
    system::{Call, CallMode, Service},
    units,
};

use super::{Report, plain};

/// What the outside world is called in it.
const OUTSIDE: &str = "outside";

/// A `flowchart`: services, declared calls with mode and policy, what came in from outside, violations in red with
/// the ids of the rules; calls that were seen and are not declared are dashed.
pub fn mermaid(report: &Report<'_>) -> String {
    let Report { system, violations, seen, .. } = report;
    let places = Places::of(system);
    let (mut of_services, mut of_calls) = (Broken::new(), Broken::new());
    for violation in *violations {
        for site in violation.sites.iter().filter(|site| site.file.is_none()) {
            match places.of_position(site.position) {
                Some(Place::Service(service)) => {
                    of_services.entry(service).or_default().insert(violation.rule.id);
                }
                Some(Place::Call(caller, call)) => {
                    of_calls.entry((caller, call)).or_default().insert(violation.rule.id);
                }
                None => {}
            }
        }
    }
    let mut chart = Chart::default();
    for (index, service) in system.services.iter().enumerate() {
        chart.service(index, service.name.as_str(), of_services.get(&index));
    }
    chart.routes(system);
    for (caller, service) in system.services.iter().enumerate() {
        for (index, call) in service.calls.iter().enumerate() {
            chart.call(system, caller, call, of_calls.get(&(caller, index)));
        }
    }
    chart.seen(system, seen.map(|seen| seen.observed));
    chart.finish(violations)
}

/// The rules that something breaks.
type Broken<K> = BTreeMap<K, BTreeSet<&'static str>>;

/// Something that a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A service, by its index.
    Service(usize),
    /// A call, by the index of its caller and its own.
    Call(usize, usize),
}

/// Where what a picture shows is declared.
struct Places(BTreeMap<Position, Place>);

impl Places {
    fn of(system: &System) -> Self {
        let mut places = BTreeMap::new();
        for (index, service) in system.services.iter().enumerate() {
            let Service { position, boundary, calls, .. } = service;
            places.insert(*position, Place::Service(index));
            let operations = boundary.api.iter().map(|operation| operation.position);
            let resources = boundary.data.iter().chain(&boundary.state).map(|resource| resource.position);
            places.extend(operations.chain(resources).map(|position| (position, Place::Service(index))));
            for (of_call, call) in calls.iter().enumerate() {
                let operations = call.operations.iter().map(|operation| operation.position);
                let topics = call.topics.iter().map(|topic| topic.position);
                let all = operations.chain(topics).chain([call.position]).chain(call.timeout_position);
                places.extend(all.map(|position| (position, Place::Call(index, of_call))));
            }
        }
        Self(places)
    }

    /// What is declared there.
    fn of_position(&self, position: Position) -> Option<Place> {
        self.0.get(&position).copied()
    }
}

/// The lines so far.
#[derive(Debug, Default)]
struct Chart {
    nodes: String,
    edges: String,
    /// How many edges there are: styles name them by number.
    edge_count: usize,
    red_nodes: Vec<String>,
    red_edges: Vec<String>,
}

impl Chart {
    /// Ids are numbers: names may be words that Mermaid knows, as `end`.
    fn service(&mut self, index: usize, name: &str, broken: Option<&BTreeSet<&str>>) {
        let label = labelled(&[name.to_owned()], broken);
        let _infallible = writeln!(self.nodes, "    s{index}[\"{label}\"]");
        if broken.is_some() {
            self.red_nodes.push(format!("s{index}"));
        }
    }

    /// What the gateway lets in, one edge a service.
    fn routes(&mut self, system: &System) {
        let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for route in &system.table.routes {
            for backend in &route.backends {
                if let Some(index) = index_of(system, backend.service.as_str()) {
                    names.entry(index).or_default().push(route.name.clone());
                }
            }
        }
        if !names.is_empty() {
            let _infallible = writeln!(self.nodes, "    {OUTSIDE}([\"gateway\"])");
        }
        for (index, names) in names {
            self.edge(OUTSIDE, "-->", &labelled(&[names.join(", ")], None), index, false);
        }
    }

    fn call(&mut self, system: &System, caller: usize, call: &Call, broken: Option<&BTreeSet<&str>>) {
        let label = labelled(&[policy(call)], broken);
        let target = index_of(system, call.target.as_str());
        let callee = target.unwrap_or_else(|| {
            let missing = system.services.len() + self.edge_count;
            let name = format!("{} ?", call.target);
            self.service(missing, &name, Some(&BTreeSet::new()));
            missing
        });
        self.edge(&format!("s{caller}"), "-->", &label, callee, broken.is_some());
    }

    /// What was seen and is not declared.
    fn seen(&mut self, system: &System, seen: Option<&Observed>) {
        let edges = seen.into_iter().flat_map(|seen| &seen.edges);
        let pairs: BTreeSet<_> = edges.filter_map(|edge| Some((edge.caller.as_deref()?, &*edge.callee))).collect();
        for (caller, callee) in pairs {
            let (Some(caller), Some(callee)) = (index_of(system, caller), index_of(system, callee)) else { continue };
            let calls = &system.services[caller].calls;
            if !calls.iter().any(|call| call.target == system.services[callee].name) {
                self.edge(&format!("s{caller}"), "-.->", "seen", callee, true);
            }
        }
    }

    fn edge(&mut self, from: &str, arrow: &str, label: &str, to: usize, is_red: bool) {
        let _infallible = writeln!(self.edges, "    {from} {arrow}|\"{label}\"| s{to}");
        if is_red {
            self.red_edges.push(self.edge_count.to_string());
        }
        self.edge_count += 1;
    }

    fn finish(self, violations: &[Violation]) -> String {
        let Self { nodes, edges, edge_count: _, red_nodes, red_edges } = self;
        let mut chart = String::from("flowchart LR\n");
        for violation in violations {
            let Violation { rule, message, .. } = violation;
            let comment = plain::line(message).replace(['{', '}'], "'");
            let _infallible = writeln!(chart, "    %% {}: {}: {comment}", rule.id, rule.title);
        }
        chart += &nodes;
        chart += &edges;
        if !red_nodes.is_empty() {
            chart += "    classDef broken fill:#fdd,stroke:#c00,color:#600\n";
            let _infallible = writeln!(chart, "    class {} broken", red_nodes.join(","));
        }
        if !red_edges.is_empty() {
            let _infallible = writeln!(chart, "    linkStyle {} stroke:#c00,color:#c00", red_edges.join(","));
        }
        chart
    }
}

fn index_of(system: &System, name: &str) -> Option<usize> {
    system.services.iter().position(|service| service.name.as_str() == name)
}

/// Mode and policy in a few words: `sync · 800ms · 3 attempts`.
fn policy(call: &Call) -> String {
    let mode = CallMode::NAMES.iter().find(|(_, mode)| *mode == call.mode).map_or("", |(name, _)| name);
    let topics = call.topics.iter().map(|topic| topic.name.clone());
    let with_topics = |words: Vec<String>| words.into_iter().chain(topics).collect::<Vec<_>>().join(" · ");
    if call.mode == CallMode::Message {
        return with_topics(vec![mode.to_owned()]);
    }
    let attempts = match call.policy.retry.as_ref().map_or(1, |retry| retry.attempts_max) {
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    with_topics(vec![mode.to_owned(), units::format_duration(call.policy.timeout), attempts])
}

/// Lines of a label, and the rules that are broken there, as Mermaid takes them within quotes.
fn labelled(lines: &[String], broken: Option<&BTreeSet<&str>>) -> String {
    let rules: Vec<&str> = broken.into_iter().flatten().copied().collect();
    let rules = (!rules.is_empty()).then(|| rules.join(" "));
    lines.iter().chain(&rules).map(|line| escaped(&plain::line(line))).collect::<Vec<_>>().join("<br/>")
}

/// A text without what ends a label or begins markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '#' | '<' | '>' | '&' | '`' | '|' | '\\' => {
                let _infallible = write!(escaped, "#{};", u32::from(letter));
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use bowline_model::parse;
    use serde_json::json;

    use super::*;
    use crate::tell::{
        Seen,
        stand_in::{Shop, cycle, two_owners},
    };

    #[test]
    fn declared_calls_are_edges_with_their_policy() {
        let shop = Shop::new();
        let expected = "flowchart LR
    s0[\"order\"]
    s1[\"user\"]
    outside([\"gateway\"])
    outside -->|\"orders\"| s0
    s0 -->|\"sync · 2s · 3 attempts\"| s1
    s1 -->|\"sync · 15s · 3 attempts\"| s0
";
        assert_eq!(mermaid(&shop.report(&[])), expected);
    }

    #[test]
    fn what_breaks_a_rule_is_red_and_named() {
        let shop = Shop::new();
        let chart = mermaid(&shop.report(&[two_owners(), cycle()]));
        for line in [
            "    %% B0002: data with two owners: `sqlite:order.db` belongs to `order` and to `user`\n",
            "    s0[\"order<br/>B0002\"]\n",
            "    s1[\"user<br/>B0002\"]\n",
            "    s0 -->|\"sync · 2s · 3 attempts<br/>B0008\"| s1\n",
            "    s1 -->|\"sync · 15s · 3 attempts<br/>B0008\"| s0\n",
            "    class s0,s1 broken\n",
            "    linkStyle 1,2 stroke:#c00,color:#c00\n",
        ] {
            assert!(chart.contains(line), "{line} in\n{chart}");
        }
    }

    #[test]
    fn what_was_seen_and_is_not_declared_is_dashed() {
        let (system, _) =
            parse::declared("name = \"a\"\n[service.end]\n[service.b]\n[service.b.calls.end]\n", None).unwrap();
        let shop = Shop::new();
        let edge =
            |caller, callee| json!({"caller": caller, "callee": callee, "mode": "sync", "count": 1, "sample": ""});
        let edges = [edge("end", "b"), edge("end", "b"), edge("b", "end"), edge("b", "elsewhere")];
        let observed: Observed = serde_json::from_value(json!({"edges": edges})).unwrap();
        let seen = Some(Seen { observed: &observed, extent: "" });
        let chart = mermaid(&Report { system: &system, seen, ..shop.report(&[]) });
        let expected = "flowchart LR
    s0[\"end\"]
    s1[\"b\"]
    s1 -->|\"sync · 15s · 3 attempts\"| s0
    s0 -.->|\"seen\"| s1
    linkStyle 1 stroke:#c00,color:#c00
";
        assert_eq!(chart, expected);
    }

    #[test]
    fn labels_cannot_end_themselves() {
        assert_eq!(escaped("a\"b#<|`"), "a#34;b#35;#60;#124;#96;");
    }
}
