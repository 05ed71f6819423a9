//! B0004 and B0005: calls whose target is not there, or does not offer what they are for.

use std::collections::BTreeMap;

use super::{Site, Violation, rules};
use crate::{
    parse::in_ticks,
    suggest,
    system::{Call, Operation, Service, System},
};

const WHY_TARGET: &str = "independence demands that every coupling is a declared edge, and an edge has two ends";

const WHY_OPERATION: &str =
    "a service is known by its boundary alone: what is not in its `api` it may change or remove without a word";

/// The calls of all services against what there is.
pub(super) fn check(system: &System) -> Vec<Violation> {
    let services: BTreeMap<&str, &Service> =
        system.services.iter().map(|service| (service.name.as_str(), service)).collect();
    let mut violations = Vec::new();
    for caller in &system.services {
        for call in &caller.calls {
            match services.get(call.target.as_str()) {
                None => violations.push(no_target(caller, call, services.keys().copied())),
                Some(target) => violations.extend(unoffered(caller, call, target)),
            }
        }
    }
    violations
}

fn no_target<'a>(caller: &Service, call: &Call, names: impl Iterator<Item = &'a str>) -> Violation {
    let (caller, target) = (&caller.name, &call.target);
    let help = match suggest::nearest(target.as_str(), names.filter(|name| *name != caller.as_str())) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("declare it with `[service.{target}]`; without `run` it may run elsewhere"),
    };
    let sites = vec![Site::of_system(call.position, "no such service")];
    let message = format!("`{caller}` calls `{target}`, which is not declared");
    Violation::of(&rules::CALL_TARGET, message, sites, WHY_TARGET, help)
}

/// What a service is called for that says what it offers, and is not among that.
fn unoffered(caller: &Service, call: &Call, target: &Service) -> Vec<Violation> {
    let offered = &target.boundary.api;
    let is_offered = |asked: &&Operation| {
        let covers = |offered: &Operation| offered.method == asked.method && offered.path.covers(&asked.path);
        offered.is_empty() || offered.iter().any(covers)
    };
    let violation = |asked: &Operation| {
        let (caller, target) = (&caller.name, &target.name);
        let written: Vec<String> = offered.iter().map(Operation::to_string).collect();
        let help = match suggest::nearest(&asked.to_string(), written.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("add it to `[service.{target}.boundary]`, or remove it here"),
        };
        let asked_for = in_ticks(&asked.to_string());
        let message = format!("`{caller}` calls `{target}` for {asked_for}, which it does not offer");
        let mut sites = vec![Site::of_system(asked.position, format!("not in the `api` of `{target}`"))];
        sites.extend(offered.first().map(|first| Site::of_system(first.position, format!("what `{target}` offers"))));
        Violation::of(&rules::CALL_OPERATION, message, sites, WHY_OPERATION, help)
    };
    call.operations.iter().filter(|asked| !is_offered(asked)).map(violation).collect()
}
