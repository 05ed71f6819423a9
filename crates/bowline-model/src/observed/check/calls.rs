//! Calls that were seen, and those that are declared: B0101, B0102, B0109.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, call_of, few, shown, site, times};
use crate::{
    check::{Severity, Site, Violation},
    observed::{Observed, ObservedEdge, ObservedOperation, rules},
    route::{PathPattern, Segment},
    system::{Call, CallMode, Operation, Service, System},
};

pub(super) fn check(system: &System, observed: &Observed) -> Vec<Violation> {
    let mut findings = Vec::new();
    for ((caller, callee, is_denied), seen) in seen(observed) {
        let Some(callee) = system.service(callee) else { continue };
        let Some(name) = caller else {
            findings.push(without_identity(callee, is_denied, &seen));
            continue;
        };
        match system.service(name).map(|caller| (caller, call_of(caller, callee.name.as_str()))) {
            Some((caller, Some(call))) => {
                findings.extend(wrong_operation(caller, call, callee, is_denied, &seen));
                findings.extend(wrong_topic(caller, call, callee, &seen));
            }
            Some((caller, None)) => findings.push(undeclared(caller, callee, is_denied, &seen)),
            // Others of this system's trust domain are not in the file; of another's, nobody is let in.
            None if name.contains("://") => findings.push(foreign(name, callee, is_denied, &seen)),
            None => {}
        }
    }
    if observed.is_complete() && observed.spans > 0 {
        findings.extend(unseen(system, observed).into_iter().map(|(caller, call)| never_seen(caller, call)));
    }
    findings.into_iter().map(Violation::from).collect()
}

/// Method and path of what was asked for.
type Asked<'a> = (&'a str, &'a str);

/// What was seen between two services, in all modes.
#[derive(Default)]
struct Seen<'a> {
    count: u64,
    operations: BTreeMap<Asked<'a>, u64>,
    topics: BTreeSet<&'a str>,
    /// Whether messages came, whatever their topic.
    has_messages: bool,
    last_unix_ms: u64,
    sample: &'a str,
}

/// Caller, callee, and whether the mesh refused it.
type Pair<'a> = (Option<&'a str>, &'a str, bool);

fn seen(observed: &Observed) -> BTreeMap<Pair<'_>, Seen<'_>> {
    let mut pairs: BTreeMap<Pair<'_>, Seen<'_>> = BTreeMap::new();
    for edge in &observed.edges {
        let ObservedEdge { caller, callee, mode, operations, topics, is_denied, count, last_unix_ms, sample, .. } =
            edge;
        let seen = pairs.entry((caller.as_deref(), callee, *is_denied)).or_default();
        seen.count += count;
        for ObservedOperation { method, path, count } in operations {
            *seen.operations.entry((method, path)).or_default() += count;
        }
        seen.topics.extend(topics.iter().map(String::as_str));
        seen.has_messages |= *mode == CallMode::Message;
        if seen.sample.is_empty() || *last_unix_ms > seen.last_unix_ms {
            (seen.last_unix_ms, seen.sample) = (*last_unix_ms, sample);
        }
    }
    pairs
}

impl Seen<'_> {
    /// What for, as far as it is known.
    fn purpose(&self) -> String {
        let operations = self.operations.keys().map(|(method, path)| format!("{method} {path}"));
        let topics = self.topics.iter().map(|topic| format!("topic:{topic}"));
        let all = few(operations.chain(topics));
        if all.is_empty() { all } else { format!(" ({all})") }
    }
}

const WHY_UNDECLARED: &str = "services are independent when every coupling between them is a declared edge of \
    Communication(S): what is not declared has no policy, is in no proof, and breaks unseen";

fn undeclared(caller: &Service, callee: &Service, is_denied: bool, seen: &Seen<'_>) -> Finding {
    let (from, to) = (&caller.name, &callee.name);
    let end = if is_denied { "the mesh refused it" } else { "it got through" };
    Finding {
        rule: &rules::UNDECLARED_CALL,
        severity: Severity::Error,
        message: format!(
            "`{from}` called `{to}`{} {}, which is not declared; {end}",
            seen.purpose(),
            times(seen.count)
        ),
        sites: vec![site(caller.position, format!("`{from}` declares no call to `{to}`")), offered(callee, seen)],
        why: WHY_UNDECLARED,
        help: format!("declare `[service.{from}.calls.{to}]` if it is meant, else take the call out of `{from}`"),
        sample: Some(seen.sample.to_owned()),
    }
}

fn foreign(caller: &str, callee: &Service, is_denied: bool, seen: &Seen<'_>) -> Finding {
    let (from, to) = (shown(caller), &callee.name);
    let end = if is_denied { "the mesh refused it" } else { "it got through" };
    Finding {
        rule: &rules::UNDECLARED_CALL,
        severity: Severity::Error,
        message: format!("{from} of another system called `{to}`{} {}; {end}", seen.purpose(), times(seen.count)),
        sites: vec![offered(callee, seen)],
        why: WHY_UNDECLARED,
        help: format!("let others come to `{to}` by a route of the gateway"),
        sample: Some(seen.sample.to_owned()),
    }
}

/// What the call does not name, of what was asked for.
fn wrong_operation(
    caller: &Service,
    call: &Call,
    callee: &Service,
    is_denied: bool,
    seen: &Seen<'_>,
) -> Option<Finding> {
    let (from, to) = (&caller.name, &callee.name);
    let is_named = !call.operations.is_empty();
    let allowed = if is_named { &call.operations } else { &callee.boundary.api };
    let is_allowed = |asked: Asked<'_>| allowed.is_empty() || allowed.iter().any(|operation| may_be(operation, asked));
    let wrong: Vec<_> = seen.operations.iter().filter(|(asked, _)| !is_allowed(**asked)).collect();
    if wrong.is_empty() {
        return None;
    }
    let count = times(wrong.iter().map(|(_, count)| **count).sum());
    let wrong = few(wrong.iter().map(|((method, path), _)| format!("{method} {path}")));
    let end = if is_denied { "; the mesh refused it" } else { "" };
    let (what, help) = if is_named {
        let table = format!("`[service.{from}.calls.{to}]`");
        ("the call does not name", format!("add it to `operations` of {table} if it is meant, else do not ask for it"))
    } else {
        ("the callee does not offer", format!("add it to `api` of `[service.{to}.boundary]` if it is offered"))
    };
    Some(Finding {
        rule: &rules::UNDECLARED_CALL,
        severity: Severity::Error,
        message: format!("`{from}` asked `{to}` {count} for {wrong}, which {what}{end}"),
        sites: vec![site(call.position, "not an operation of this call"), offered(callee, seen)],
        why: WHY_UNDECLARED,
        help,
        sample: Some(seen.sample.to_owned()),
    })
}

/// Topics that messages came through, and the call does not name.
fn wrong_topic(caller: &Service, call: &Call, callee: &Service, seen: &Seen<'_>) -> Option<Finding> {
    let (from, to) = (&caller.name, &callee.name);
    let is_named = |topic: &str| call.topics.iter().any(|known| known.name == topic);
    let wrong: Vec<_> =
        seen.topics.iter().filter(|topic| !is_named(topic)).map(|topic| format!("topic:{topic}")).collect();
    let is_wrong_mode = seen.has_messages && call.mode != CallMode::Message && call.topics.is_empty();
    if wrong.is_empty() && !is_wrong_mode {
        return None;
    }
    let through = if wrong.is_empty() { String::new() } else { format!(" through {}", few(wrong)) };
    Some(Finding {
        rule: &rules::UNDECLARED_CALL,
        severity: Severity::Error,
        message: format!("`{from}` sent messages to `{to}`{through}, which the call does not declare"),
        sites: vec![
            site(call.position, format!("declared as {}", call.mode.as_str())),
            site(callee.position, "received here"),
        ],
        why: WHY_UNDECLARED,
        help: format!(
            "write its `topics` in `[service.{from}.calls.{to}]` if it is meant, and `mode = \"message\"` where `{from}` \
             waits for nothing of `{to}`"
        ),
        sample: Some(seen.sample.to_owned()),
    })
}

/// The calls that are declared and not in what was observed, each after its caller.
pub fn unseen<'a>(system: &'a System, observed: &Observed) -> Vec<(&'a Service, &'a Call)> {
    let pairs: BTreeSet<(&str, &str)> =
        observed.edges.iter().filter_map(|edge| Some((edge.caller.as_deref()?, &*edge.callee))).collect();
    let declared = system.services.iter().flat_map(|caller| caller.calls.iter().map(move |call| (caller, call)));
    declared.filter(|(caller, call)| !pairs.contains(&(caller.name.as_str(), call.target.as_str()))).collect()
}

fn never_seen(caller: &Service, call: &Call) -> Finding {
    let (from, to) = (&caller.name, &call.target);
    Finding {
        rule: &rules::NEVER_SEEN,
        severity: Severity::Warning,
        message: format!("`{from}` declares that it calls `{to}`, and no trace shows it"),
        sites: vec![site(call.position, "declared here")],
        why: "a declared call lets somebody in: one that nobody makes is a door without a use, or a part of the \
            system that sends no spans",
        help: format!("look further back with `--since`, or take `[service.{from}.calls.{to}]` out"),
        sample: None,
    }
}

fn without_identity(callee: &Service, is_denied: bool, seen: &Seen<'_>) -> Finding {
    let to = &callee.name;
    let end = if is_denied { "; the mesh refused it" } else { "" };
    Finding {
        rule: &rules::NO_IDENTITY,
        severity: Severity::Warning,
        message: format!("nobody knows who called `{to}`{} {}{end}", seen.purpose(), times(seen.count)),
        sites: vec![site(callee.position, "called without a certificate, and without a trace of the caller")],
        why: "who has no identity is in no rule: that such a call is an edge of Communication(S) can neither be shown \
            nor refuted",
        help: "let callers come through a sidecar or the crate `bowline`, then write `mode = \"strict\"` in `[mesh]`"
            .to_owned(),
        sample: Some(seen.sample.to_owned()),
    }
}

/// The place where the callee declares what it was asked for; where it does not, the place of the callee.
fn offered(callee: &Service, seen: &Seen<'_>) -> Site {
    let declared = callee.boundary.api.iter();
    let mut asked = declared.filter(|operation| seen.operations.keys().any(|seen| may_be(operation, *seen)));
    match asked.next() {
        Some(operation) => site(operation.position, format!("`{}` offers it here", callee.name)),
        None => site(callee.position, format!("`{}` is declared here", callee.name)),
    }
}

/// Whether what was asked for may be that operation; of a template, its parameters may be any text.
fn may_be(operation: &Operation, (method, path): Asked<'_>) -> bool {
    operation.method.eq_ignore_ascii_case(method) && may_match(&operation.path, path)
}

fn may_match(pattern: &PathPattern, path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/').filter(|part| !part.is_empty());
    for segment in pattern.segments() {
        let Some(part) = parts.next() else { return false };
        if part.starts_with("{*") {
            return true;
        }
        let is_parameter = part.starts_with('{') && part.ends_with('}');
        if !is_parameter && matches!(segment, Segment::Literal(text) if text != part) {
            return false;
        }
    }
    pattern.is_prefix() || parts.next().is_none_or(|part| part.starts_with("{*"))
}
