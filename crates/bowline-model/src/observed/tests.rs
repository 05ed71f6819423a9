//! The rules held against systems and observations, the monitors against their formulas.

mod calls;
mod exchange;
mod messages;
mod monitor;
mod resources;

use crate::{
    check::{Severity, Violation},
    observed::{Gap, Observed, ObservedBreach, ObservedEdge, ObservedOperation, ObservedUse, check, unseen},
    system::{CallMode, System},
};

/// The system of most tests: order calls user and payment, each owns its data, order owns a topic.
const SHOP: &str = r#"name = "shop"

[service.user.boundary]
api = ["GET /users/{id}"]
data = ["sqlite:user.db"]

[service.order.boundary]
api = ["POST /orders"]
data = ["sqlite:order.db"]
state = ["topic:order.placed"]

[service.order.calls.user]
operations = ["GET /users/{id}"]

[service.order.calls.payment]
mode = "sync"

[service.payment.boundary]
api = ["POST /charges", "GET /charges/{order}"]
data = ["sqlite:payment.db"]
"#;

fn shop() -> System {
    crate::parse(SHOP).unwrap()
}

/// The same, where order's call to payment has that mode.
fn shop_with(mode: CallMode) -> System {
    let mut system = shop();
    let order = system.services.iter_mut().find(|service| service.name.as_str() == "order").unwrap();
    order.calls.iter_mut().find(|call| call.target.as_str() == "payment").unwrap().mode = mode;
    system
}

fn edge(caller: &str, callee: &str) -> ObservedEdge {
    ObservedEdge {
        caller: Some(caller.to_owned()),
        callee: callee.to_owned(),
        mode: CallMode::Sync,
        operations: Vec::new(),
        topics: Vec::new(),
        is_denied: false,
        count: 1,
        waited: 1,
        first_unix_ms: 1,
        last_unix_ms: 1,
        sample: format!("{caller}-{callee}"),
    }
}

fn operation(method: &str, path: &str) -> ObservedOperation {
    ObservedOperation { method: method.to_owned(), path: path.to_owned(), count: 1 }
}

fn using(service: &str, kind: &str, name: &str, table: Option<&str>) -> ObservedUse {
    ObservedUse {
        service: service.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        table: table.map(str::to_owned),
        is_written: true,
        count: 2,
        sample: format!("{service}-{name}"),
    }
}

/// What is seen of a shop that is as it should be, and more.
fn observed(edges: Vec<ObservedEdge>, uses: Vec<ObservedUse>, breaches: Vec<ObservedBreach>) -> Observed {
    let good = [edge("order", "user"), edge("order", "payment")];
    let edges = good.into_iter().chain(edges).collect();
    Observed { edges, uses, breaches, spans: 10, traces: 2, ..Observed::default() }
}

/// Rule, severity and the lines of the sites of each violation.
fn told(violations: &[Violation]) -> Vec<(&'static str, Severity, Vec<usize>)> {
    let one = |violation: &Violation| {
        let lines = violation.sites.iter().map(|site| site.position.line).collect();
        (violation.rule.id, violation.severity, lines)
    };
    violations.iter().map(one).collect()
}

#[track_caller]
fn check_shop(seen: &Observed, expect: &[(&'static str, Severity, &[usize])], message: &str) {
    let violations = check(&shop(), seen);
    let expect: Vec<_> = expect.iter().map(|(id, severity, lines)| (*id, *severity, lines.to_vec())).collect();
    assert_eq!(told(&violations), expect, "{violations:#?}");
    assert_eq!(violations.first().map_or("", |violation| &*violation.message), message);
}

#[test]
fn what_is_as_declared_is_no_violation() {
    let own = [
        using("order", "sqlite", "order.db", Some("orders")),
        using("user", "sqlite", "user.db", None),
        using("order", "topic", "order.placed", None),
    ];
    check_shop(&observed(Vec::new(), own.to_vec(), Vec::new()), &[], "");
}

#[test]
fn an_observation_reads_what_it_writes() {
    let seen = observed(vec![edge("user", "payment")], vec![using("order", "sqlite", "a", None)], Vec::new());
    let text = serde_json::to_string(&seen).unwrap();
    assert_eq!(serde_json::from_str::<Observed>(&text).unwrap(), seen);
    assert!(serde_json::from_str::<Observed>("{\"edgse\": []}").is_err());
    let short: Observed = serde_json::from_str(r#"{"spans": 1}"#).unwrap();
    assert!(short.is_complete() && short.edges.is_empty());
}
