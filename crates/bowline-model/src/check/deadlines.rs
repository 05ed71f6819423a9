//! B0009: who gives up before what it waits for can come.

use super::{
    Site, Violation,
    graph::{Graph, waits},
    rules,
};
use crate::{
    policy::CallPolicy,
    problem::Position,
    system::{Call, System},
    units::format_duration,
};

/// Each wait of a service or a route against the waits of whom it waits for.
pub(super) fn check(system: &System, graph: &Graph<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (caller, edges) in graph.edges.iter().enumerate() {
        let who = format!("`{}`", graph.name(caller));
        for edge in edges {
            let Call { policy, position, timeout_position, .. } = edge.call;
            let wait = Wait { who: &who, policy, position: *position, timeout_position: *timeout_position };
            violations.extend(wait.violation(graph, edge.to));
        }
    }
    for route in &system.table.routes {
        // A table that was published since has routes that the file does not.
        let Some(site) = system.routes.get(&route.name) else { continue };
        let who = format!("route `{}`", route.name);
        let (position, timeout_position) = (site.position, site.timeout_position);
        let wait = Wait { who: &who, policy: &route.policy, position, timeout_position };
        let backends = route.backends.iter().filter(|backend| backend.weight > 0);
        let backends = backends.filter_map(|backend| graph.number(backend.service.as_str()));
        violations.extend(backends.filter_map(|backend| wait.violation(graph, backend)));
    }
    violations
}

/// How long somebody waits for a service.
#[derive(Debug)]
struct Wait<'a> {
    who: &'a str,
    policy: &'a CallPolicy,
    position: Position,
    timeout_position: Option<Position>,
}

impl Wait<'_> {
    /// That it ends before the longest wait of `callee` does.
    fn violation(&self, graph: &Graph<'_>, callee: usize) -> Option<Violation> {
        let inner = waits(&graph.services[callee]).max_by_key(|call| call.policy.timeout)?;
        let longest = inner.policy.timeout;
        let per_try = self.policy.retry.as_ref().and_then(|retry| retry.per_try_timeout);
        let (given, key, position) = match (self.policy.timeout, per_try) {
            (timeout, _) if timeout < longest => (timeout, "timeout", self.timeout_position.unwrap_or(self.position)),
            (_, Some(per_try)) if per_try < longest => (per_try, "per_try_timeout", self.position),
            _ => return None,
        };
        let (who, name, target) = (self.who, graph.name(callee), &inner.target);
        let (given, most) = (format_duration(given), format_duration(longest));
        let message = format!("{who} waits {given} for `{name}`, which waits up to {most} for `{target}`");
        let label = if key == "timeout" {
            format!("gives up after {given}")
        } else {
            format!("gives up an attempt after {given}")
        };
        let sites = vec![
            Site::of_system(position, label),
            Site::of_system(inner.timeout_position.unwrap_or(inner.position), inner_label(inner)),
        ];
        let why = format!(
            "the answer that `{name}` still waits for comes when nobody wants it any more: it works for nothing, and \
             who asks again lets it do so twice"
        );
        let help = format!(
            "raise `{key}` to {most} or more, or lower the `timeout` of `[service.{name}.calls.{target}]` to {given} or less"
        );
        Some(Violation::of(&rules::DEADLINE, message, sites, why, help))
    }
}

fn inner_label(call: &Call) -> String {
    let most = format_duration(call.policy.timeout);
    let which = if call.timeout_position.is_some() { "" } else { ", the default" };
    format!("waits up to {most}{which}")
}
