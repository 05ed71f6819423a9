//! B0101, B0102, B0109.

use super::*;
use crate::units::Share;

#[test]
fn a_call_that_nobody_declares_is_told_with_both_services_and_a_trace() {
    let denied = ObservedEdge {
        is_denied: true,
        operations: vec![operation("GET", "/charges/7")],
        sample: "denied".to_owned(),
        ..edge("user", "payment")
    };
    let through = ObservedEdge {
        count: 3,
        operations: vec![operation("POST", "/charges")],
        sample: "through".to_owned(),
        ..edge("user", "payment")
    };
    let seen = observed(vec![denied, through], Vec::new(), Vec::new());
    let error = Severity::Error;
    check_shop(
        &seen,
        &[("B0101", error, &[3, 19]), ("B0101", error, &[3, 19])],
        "`user` called `payment` (`GET /charges/7`) once, which is not declared; the mesh refused it",
    );
    let violations = check(&shop(), &seen);
    let traces: Vec<_> = violations.iter().map(|violation| violation.trace_id.as_deref()).collect();
    assert_eq!(traces, [Some("denied"), Some("through")]);
    assert!(violations[1].message.ends_with("(`POST /charges`) 3 times, which is not declared; it got through"));
    assert!(violations[0].help.contains("[service.user.calls.payment]"));
    assert_eq!(violations[0].sites[1].label, "`payment` offers it here");
}

#[test]
fn an_operation_that_the_call_does_not_name_is_undeclared() {
    let asked = |callee: &str, method: &str, path: &str| {
        let edge = ObservedEdge { operations: vec![operation(method, path)], ..edge("order", callee) };
        observed(vec![edge], Vec::new(), Vec::new())
    };
    for path in ["/users/{id}", "/users/7", "/users/:id", "/users/<id>", "/users/{*rest}"] {
        check_shop(&asked("user", "GET", path), &[], "");
    }
    // It is an operation of its own, for who lets it in and for whom it is declared.
    let message = "`order` asked `user` once for `HEAD /users/7`, which the call does not name";
    check_shop(&asked("user", "HEAD", "/users/7"), &[("B0101", Severity::Error, &[12, 3])], message);
    let message = "`order` asked `user` once for `GET /users/7/cards`, which the call does not name";
    check_shop(&asked("user", "GET", "/users/7/cards"), &[("B0101", Severity::Error, &[12, 3])], message);
    // Where the call names none, the callee's boundary does.
    check_shop(&asked("payment", "GET", "/charges/{order}"), &[], "");
    let message = "`order` asked `payment` once for `DELETE /charges`, which the callee does not offer";
    check_shop(&asked("payment", "DELETE", "/charges"), &[("B0101", Severity::Error, &[15, 18])], message);
}

#[test]
fn messages_are_undeclared_but_through_the_topics_of_their_call() {
    let sent = ObservedEdge {
        mode: CallMode::Message,
        waited: 0,
        topics: vec!["order.placed".to_owned()],
        ..edge("order", "payment")
    };
    let seen = observed(vec![sent], Vec::new(), Vec::new());
    let message = "`order` sent messages to `payment` through `topic:order.placed`, which the call does not declare";
    check_shop(&seen, &[("B0101", Severity::Error, &[15, 18])], message);
    let mut system = shop_with(CallMode::Message);
    let seen = Observed { edges: seen.edges[2..].to_vec(), gaps: vec![Gap::Unread], ..seen };
    assert_eq!(check(&system, &seen).len(), 1);
    let topic = system.services.iter().find_map(|service| service.boundary.state.first().cloned()).unwrap();
    let calls = system.services.iter_mut().flat_map(|service| &mut service.calls);
    calls.filter(|call| call.mode == CallMode::Message).for_each(|call| call.topics = vec![topic.clone()]);
    assert_eq!(check(&system, &seen), []);
    // Beside what it waits for, one tells another, too.
    let calls = system.services.iter_mut().flat_map(|service| &mut service.calls);
    calls.filter(|call| call.mode == CallMode::Message).for_each(|call| call.mode = CallMode::Sync);
    assert_eq!(check(&system, &seen), []);
}

#[test]
fn who_is_outside_of_the_system_is_judged_only_by_its_identity() {
    let others = vec![edge("load-test", "order"), edge("order", "stripe.com")];
    check_shop(&observed(others, Vec::new(), Vec::new()), &[], "");
    let message = "`spiffe://bank/service/x` of another system called `order` once; it got through";
    let foreign = vec![edge("spiffe://bank/service/x", "order")];
    check_shop(&observed(foreign, Vec::new(), Vec::new()), &[("B0101", Severity::Error, &[7])], message);
    let nobody = ObservedEdge { caller: None, count: 4, ..edge("", "order") };
    let message = "nobody knows who called `order` 4 times";
    check_shop(&observed(vec![nobody], Vec::new(), Vec::new()), &[("B0109", Severity::Warning, &[7])], message);
}

#[test]
fn a_declared_call_was_never_seen_only_where_everything_was_looked_at() {
    let seen = observed(Vec::new(), Vec::new(), Vec::new());
    let never_seen = Observed { edges: vec![edge("order", "user")], ..seen };
    let message = "`order` declares that it calls `payment`, and no trace shows it";
    check_shop(&never_seen, &[("B0102", Severity::Warning, &[15])], message);
    for gap in [Gap::Unread, Gap::Deleted, Gap::LeftOut] {
        check_shop(&Observed { gaps: vec![gap], ..never_seen.clone() }, &[], "");
    }
    check_shop(&Observed { sample: Some(Share::from_percent(10)), ..never_seen.clone() }, &[], "");
    check_shop(&Observed { spans: 0, ..never_seen.clone() }, &[], "");
    let shop = shop();
    let [(caller, call)] = &*unseen(&shop, &never_seen) else { panic!("one is not seen") };
    assert_eq!((caller.name.as_str(), call.target.as_str()), ("order", "payment"));
}

#[test]
fn what_the_call_does_not_name_is_counted() {
    let asked = |method: &str, path: &str, count| ObservedOperation { count, ..operation(method, path) };
    let good = asked("GET", "/users/{id}", 40);
    let denied = ObservedEdge {
        is_denied: true,
        operations: vec![asked("DELETE", "/users/7", 1), asked("HEAD", "/users/7", 2)],
        ..edge("order", "user")
    };
    let through = |mode, count| ObservedEdge {
        mode,
        operations: vec![good.clone(), asked("HEAD", "/users/7", count)],
        ..edge("order", "user")
    };
    let edges = vec![denied, through(CallMode::Sync, 1), through(CallMode::Async, 4)];
    let violations = check(&shop(), &observed(edges, Vec::new(), Vec::new()));
    let messages: Vec<_> = violations.iter().filter(|found| found.rule.id == "B0101").map(|it| &*it.message).collect();
    assert_eq!(
        messages,
        [
            "`order` asked `user` 3 times for `DELETE /users/7`, `HEAD /users/7`, which the call does not name; the \
             mesh refused it",
            "`order` asked `user` 5 times for `HEAD /users/7`, which the call does not name",
        ]
    );
}

#[test]
fn what_a_hostile_span_says_does_not_flood_a_message() {
    let path = format!("/{}", "x".repeat(10_000));
    let operations = (0..9).map(|at| operation("GET", &format!("{path}{at}"))).collect();
    let edge = ObservedEdge { operations, ..edge("user", "payment") };
    let violations = check(&shop(), &observed(vec![edge], Vec::new(), Vec::new()));
    assert!(violations[0].message.chars().count() < 500, "{}", violations[0].message);
    assert!(violations[0].message.contains("and 6 more"));
}
