//! B0105 to B0108.

use super::*;
use crate::observed::Event;

#[track_caller]
fn check_mode(declared: CallMode, seen: &Observed, expect: &[&str]) {
    let violations = check(&shop_with(declared), seen);
    let told: Vec<_> =
        violations.iter().map(|violation| format!("{} {}", violation.rule.id, violation.message)).collect();
    assert_eq!(told, expect);
    assert!(violations.iter().all(|violation| violation.sites[0].position.line == 15 && violation.trace_id.is_some()));
}

fn seen(mode: CallMode, waited: u64) -> Observed {
    let edges = vec![edge("order", "user"), ObservedEdge { mode, count: 5, waited, ..edge("order", "payment") }];
    Observed { edges, spans: 10, ..Observed::default() }
}

#[test]
fn a_caller_waits_as_its_call_is_declared() {
    check_mode(CallMode::Sync, &seen(CallMode::Sync, 5), &[]);
    check_mode(CallMode::Async, &seen(CallMode::Async, 0), &[]);
    // A server answered, and nothing shows whether anybody waited for it.
    check_mode(CallMode::Async, &seen(CallMode::Sync, 0), &[]);
    for mode in [CallMode::Async, CallMode::Message] {
        let told = format!("B0105 `order` waited for `payment` 3 times, in a call that is declared {}", mode.as_str());
        check_mode(mode, &seen(CallMode::Sync, 3), &[&told]);
    }
    let told = "B0106 `order` went on before `payment` was through 5 times: continue(s₁) came where wait(s₁) was due";
    check_mode(CallMode::Sync, &seen(CallMode::Async, 0), &[told]);
}

#[test]
fn a_broken_formula_is_told_by_its_name() {
    let breach = |mode, expected, got| ObservedBreach {
        caller: "order".to_owned(),
        callee: "payment".to_owned(),
        mode,
        expected: Some(expected),
        got,
        count: 2,
        sample: "broken".to_owned(),
    };
    let cases = [
        (
            CallMode::Sync,
            Event::Send,
            Event::Receive,
            "B0106",
            "SyncComm 2 times: receive(s₂, m) came where send(s₁, m)",
        ),
        (
            CallMode::Async,
            Event::Send,
            Event::Receive,
            "B0107",
            "AsyncComm 2 times: receive(s₂, m) came where send(s₁, m)",
        ),
        (
            CallMode::Message,
            Event::Queue,
            Event::Deliver,
            "B0108",
            "MessagePassing 2 times: deliver(m) came where queue(m)",
        ),
    ];
    for (mode, expected, got, rule, told) in cases {
        let broken = Observed { breaches: vec![breach(mode, expected, got)], ..seen(mode, 0) };
        check_mode(mode, &broken, &[&format!("{rule} `order` to `payment` broke {told} was due")]);
    }
    let waits =
        Observed { breaches: vec![breach(CallMode::Async, Event::Continue, Event::Wait)], ..seen(CallMode::Async, 1) };
    check_mode(CallMode::Async, &waits, &["B0105 `order` waited for `payment` once, in a call that is declared async"]);
}
