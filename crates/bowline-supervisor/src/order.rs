//! Who stops first: callers before those they call.

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::{ServiceName, System};

/// The services in tiers: each is called only by services of earlier tiers. Services that call each
/// other in a circle share the last tier, with all that only they lead to.
pub(crate) fn tiers(system: &System) -> Vec<Vec<ServiceName>> {
    let mut callers: BTreeMap<&ServiceName, BTreeSet<&ServiceName>> =
        system.services.iter().map(|service| (&service.name, BTreeSet::new())).collect();
    for service in &system.services {
        for call in service.calls.iter().filter(|call| call.target != service.name) {
            if let Some(of_target) = callers.get_mut(&call.target) {
                of_target.insert(&service.name);
            }
        }
    }
    let mut tiers = Vec::new();
    while !callers.is_empty() {
        let mut tier: Vec<&ServiceName> =
            callers.iter().filter(|(_, of_it)| of_it.is_empty()).map(|(name, _)| *name).collect();
        if tier.is_empty() {
            tier = callers.keys().copied().collect();
        }
        callers.retain(|name, _| !tier.contains(name));
        for of_it in callers.values_mut() {
            of_it.retain(|caller| !tier.contains(caller));
        }
        tiers.push(tier.into_iter().cloned().collect());
    }
    tiers
}

#[cfg(test)]
mod tests {
    use bowline_model::{
        Position,
        system::{Call, Service},
    };

    use super::*;

    fn service(name: &str, targets: &[&str]) -> Service {
        let position = Position { line: 1, column: 1 };
        let call = |target: &&str| Call::new(ServiceName::new(target).unwrap(), position);
        let calls = targets.iter().map(call).collect();
        Service { replicas: 1, calls, ..Service::new(ServiceName::new(name).unwrap(), position) }
    }

    #[track_caller]
    fn check(services: &[(&str, &[&str])], expected: &[&[&str]]) {
        let services = services.iter().map(|(name, targets)| service(name, targets)).collect();
        let system = System { services, ..System::new(ServiceName::new("s").unwrap()) };
        let found = tiers(&system);
        let found: Vec<Vec<&str>> = found.iter().map(|tier| tier.iter().map(ServiceName::as_str).collect()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn callers_come_before_those_they_call() {
        check(
            &[("bank", &[]), ("order", &["user", "payment"]), ("payment", &["bank"]), ("user", &[])],
            &[&["order"], &["payment", "user"], &["bank"]],
        );
    }

    #[test]
    fn circles_share_the_last_tier() {
        check(&[("a", &["b"]), ("b", &["c", "b"]), ("c", &["b"])], &[&["a"], &["b", "c"]]);
        check(&[("a", &["elsewhere"])], &[&["a"]]);
        check(&[], &[]);
    }
}
