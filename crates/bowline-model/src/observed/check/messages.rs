//! The orders of events that messages have to have: B0105 to B0108.

use std::collections::BTreeMap;

use super::{Finding, call_of, site, times};
use crate::{
    check::{Rule, Severity, Violation},
    observed::{Event, Observed, ObservedBreach, rules},
    system::{Call, CallMode, Service, System},
};

pub(super) fn check(system: &System, observed: &Observed) -> Vec<Violation> {
    let pairs = of_edges(system, observed);
    let of_breaches = observed.breaches.iter().filter_map(|breach| broken(system, breach));
    pairs.into_iter().chain(of_breaches).map(Violation::from).collect()
}

/// How many calls of a declared edge were not as its mode says, and a trace of them.
#[derive(Default)]
struct Counted<'a> {
    count: u64,
    sample: &'a str,
}

impl<'a> Counted<'a> {
    fn add(&mut self, count: u64, sample: &'a str) {
        if count > 0 {
            self.count += count;
            self.sample = sample;
        }
    }
}

fn of_edges(system: &System, observed: &Observed) -> Vec<Finding> {
    let mut waits: BTreeMap<(&str, &str), Counted<'_>> = BTreeMap::new();
    let mut went_on: BTreeMap<(&str, &str), Counted<'_>> = BTreeMap::new();
    for edge in observed.edges.iter().filter(|edge| !edge.is_denied) {
        let Some(caller) = &edge.caller else { continue };
        let Some(call) = system.service(caller).and_then(|caller| call_of(caller, &edge.callee)) else { continue };
        let pair = (caller.as_str(), edge.callee.as_str());
        match (call.mode, edge.mode) {
            (CallMode::Async | CallMode::Message, _) => waits.entry(pair).or_default().add(edge.waited, &edge.sample),
            (CallMode::Sync, CallMode::Async) => went_on.entry(pair).or_default().add(edge.count, &edge.sample),
            (CallMode::Sync, CallMode::Sync | CallMode::Message) => {}
        }
    }
    let declared = |(caller, callee): (&str, &str)| {
        let caller = system.service(caller)?;
        Some((caller, call_of(caller, callee)?))
    };
    let waits = waits.into_iter().filter(|(_, waits)| waits.count > 0);
    let waits = waits.filter_map(|(pair, waits)| declared(pair).map(|(caller, call)| waited(caller, call, &waits)));
    let went_on = went_on.into_iter().filter(|(_, went_on)| went_on.count > 0);
    let went_on =
        went_on.filter_map(|(pair, seen)| declared(pair).map(|(caller, call)| not_waited(caller, call, &seen)));
    waits.chain(went_on).collect()
}

fn waited(caller: &Service, call: &Call, seen: &Counted<'_>) -> Finding {
    let (from, to, mode) = (&caller.name, &call.target, call.mode.as_str());
    Finding {
        rule: &rules::WAIT,
        severity: Severity::Error,
        message: format!("`{from}` waited for `{to}` {}, in a call that is declared {mode}", times(seen.count)),
        sites: vec![site(call.position, format!("declared {mode} here"))],
        why: "a caller that waits is slow when its callee is, and down when it is: that is a synchronous edge, and the \
            proof that those have no cycle does not know it",
        help: format!("let `{from}` go on once the message is handed over, or write `mode = \"sync\"`"),
        sample: Some(seen.sample.to_owned()),
    }
}

fn not_waited(caller: &Service, call: &Call, seen: &Counted<'_>) -> Finding {
    let (from, to) = (&caller.name, &call.target);
    Finding {
        rule: &rules::SYNC_BROKEN,
        severity: Severity::Error,
        message: format!(
            "`{from}` went on before `{to}` was through {}: {} came where {} was due",
            times(seen.count),
            Event::Continue,
            Event::Wait
        ),
        sites: vec![site(call.position, "declared sync here")],
        why: WHY_ORDER,
        help: format!("let `{from}` take the answer, or write `mode = \"async\"` if it needs none"),
        sample: Some(seen.sample.to_owned()),
    }
}

const WHY_ORDER: &str = "each mode is an order of events, and what callers rely on (that there is an answer, that \
    nobody reads what was not sent) is that order";

fn broken(system: &System, breach: &ObservedBreach) -> Option<Finding> {
    let ObservedBreach { caller, callee, mode, expected, got, count, sample } = breach;
    // That somebody waits is said of the edge.
    if *got == Event::Wait {
        return None;
    }
    let (from, to) = (system.service(caller)?, system.service(callee)?);
    let due = expected.map_or_else(|| "nothing more".to_owned(), |event| event.to_string());
    let (rule, formula) = formula(*mode);
    let place = match call_of(from, callee) {
        Some(call) => site(call.position, format!("declared {} here", call.mode.as_str())),
        None => site(from.position, format!("`{}` declares no call to `{}`", from.name, to.name)),
    };
    Some(Finding {
        rule,
        severity: Severity::Error,
        message: format!(
            "`{}` to `{}` broke {formula} {}: {got} came where {due} was due",
            from.name,
            to.name,
            times(*count)
        ),
        sites: vec![place],
        why: WHY_ORDER,
        help: "look at the trace: either a span is joined to one that did not cause it, or the machines' clocks are \
            more than 50 ms apart"
            .to_owned(),
        sample: Some(sample.clone()),
    })
}

fn formula(mode: CallMode) -> (&'static Rule, &'static str) {
    match mode {
        CallMode::Sync => (&rules::SYNC_BROKEN, "SyncComm"),
        CallMode::Async => (&rules::ASYNC_BROKEN, "AsyncComm"),
        CallMode::Message => (&rules::MESSAGE_BROKEN, "MessagePassing"),
    }
}
