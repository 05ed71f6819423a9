//! What somebody who is not let in is told.

use bowline_model::{
    ServiceName,
    mesh::{Pattern, Rule, SpiffeId, Workload},
};
use http::request::Parts;

/// The longest path that is told.
const PATH_BYTES_MAX: usize = 128;

/// How many operations are told of what somebody may.
const OPERATIONS_MAX: usize = 8;

/// What is allowed where nobody asks what is declared.
pub(super) const ALLOWS_WITHOUT_RULES: &str = "everything is allowed but what is Bowline's own";

pub(super) fn no_identity(service: &ServiceName) -> String {
    format!("nobody knows who calls `{service}`: the request came without a certificate, call through a sidecar")
}

pub(super) fn not_declared(peer: &SpiffeId, system: &ServiceName, service: &ServiceName) -> String {
    if peer.system != *system {
        return format!("`{peer}` may not call `{service}`: it is of another system");
    }
    match &peer.workload {
        Workload::Service(_) => {
            let (caller, rule) = (who(&peer.workload), missing_rule(peer, service));
            format!("{caller} may not call `{service}`: [{rule}] is not declared")
        }
        Workload::Gateway => format!("the gateway may not call `{service}`: no route leads there"),
        Workload::Platform => format!("bowline may not call `{service}`: it has no rule for that"),
    }
}

/// The name of the rule that there would have to be.
pub(super) fn missing_rule(peer: &SpiffeId, service: &ServiceName) -> String {
    match &peer.workload {
        Workload::Service(caller) => format!("service.{caller}.calls.{service}"),
        Workload::Gateway => "route".to_owned(),
        Workload::Platform => "platform".to_owned(),
    }
}

pub(super) fn wrong_operation(peer: &SpiffeId, service: &ServiceName, head: &Parts, allows: &str) -> String {
    let (caller, method, path) = (who(&peer.workload), &head.method, cut(head.uri.path()));
    format!("{caller} may not ask `{service}` for {method} {path}: {allows}")
}

/// What the rules of a caller allow.
pub(super) fn allows(rules: &[&Rule]) -> String {
    rules.iter().map(|rule| allows_by(rule)).collect::<Vec<_>>().join("; ")
}

fn allows_by(rule: &Rule) -> String {
    let Rule { name, caller: _, operations } = rule;
    if operations.is_empty() {
        return format!("`{name}` allows everything but what is Bowline's own");
    }
    let operation = |Pattern { methods, path }: &Pattern| {
        let methods = if methods.is_empty() { "any method of".to_owned() } else { methods.join("|") };
        format!("{methods} {}", String::from(path.clone()))
    };
    let told: Vec<_> = operations.iter().take(OPERATIONS_MAX).map(operation).collect();
    let more = if operations.len() > OPERATIONS_MAX { ", …" } else { "" };
    format!("`{name}` allows {}{more}", told.join(", "))
}

fn who(workload: &Workload) -> String {
    match workload {
        Workload::Service(service) => format!("`{service}`"),
        Workload::Gateway => "the gateway".to_owned(),
        Workload::Platform => "bowline".to_owned(),
    }
}

/// A path as far as it is told.
pub(super) fn cut(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES_MAX)]
}
