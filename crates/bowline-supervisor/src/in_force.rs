//! Which releases run instead of, or beside, those that the file declares.

use bowline_deploy::InForce;
use bowline_model::{System, deploy::Release, system::Service};

use crate::release;

/// The system with these releases in force, for [`Supervisor::start`](crate::Supervisor::start). Services that it does
/// not declare are passed over.
///
/// A service stays as it is declared, so that what a release does not say is still as the file says; what took its
/// place becomes a release beside it. It is not for those who ask what is declared.
pub fn with_releases(mut system: System, in_force: &[InForce]) -> System {
    for InForce { service, own, own_count, beside } in in_force {
        let Some(service) = system.services.iter_mut().find(|declared| declared.name == *service) else { continue };
        match own {
            None => service.replicas = *own_count,
            Some(own) => {
                service.replicas = 0;
                put(service, own, *own_count);
            }
        }
        for (release, replicas) in beside {
            put(service, release, *replicas);
        }
    }
    system
}

fn put(service: &mut Service, release: &Release, replicas: u32) {
    if release.version == service.version {
        service.replicas = replicas;
        let Release { version: _, build, run, env } = release.clone();
        service.build = build.or(service.build.take());
        service.run = run.or(service.run.take());
        service.env.extend(env);
        return;
    }
    let put = release::as_version(service, release, replicas);
    match service.versions.iter_mut().find(|version| version.name == release.version) {
        Some(declared) if release.is_bare() => declared.replicas = replicas,
        Some(declared) => *declared = put,
        None => service.versions.push(put),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bowline_model::{Position, ServiceName};

    use super::*;

    const NOWHERE: Position = Position { line: 1, column: 1 };

    fn release(version: &str, run: Option<&str>) -> Release {
        Release { version: version.to_owned(), build: None, run: run.map(ToOwned::to_owned), env: BTreeMap::new() }
    }

    /// `order` runs 3 of `v1`, and 1 of `v2` beside it.
    fn declared() -> System {
        let mut order = Service::new(ServiceName::new("order").unwrap(), NOWHERE);
        order.version = "v1".to_owned();
        order.run = Some("one".to_owned());
        order.replicas = 3;
        order.versions = vec![release::as_version(&order, &release("v2", Some("two")), 1)];
        System { services: vec![order], ..System::new(ServiceName::new("s").unwrap()) }
    }

    #[track_caller]
    fn check(own: Option<Release>, own_count: u32, beside: &[(Release, u32)], expected: &[(&str, &str, u32)]) {
        let service = ServiceName::new("order").unwrap();
        let in_force = [InForce { service, own, own_count, beside: beside.to_vec() }];
        let releases = release::all(&with_releases(declared(), &in_force));
        let found: Vec<_> =
            releases.iter().map(|it| (it.version.as_str(), it.run.as_deref().unwrap(), it.replicas)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_in_force_runs_and_the_rest_is_as_declared() {
        let three = || release("v3", Some("three"));
        check(None, 3, &[], &[("v1", "one", 3), ("v2", "two", 1)]);
        check(Some(three()), 2, &[], &[("v1", "one", 0), ("v2", "two", 1), ("v3", "three", 2)]);
        check(None, 2, &[(three(), 1)], &[("v1", "one", 2), ("v2", "two", 1), ("v3", "three", 1)]);
        check(Some(three()), 3, &[(release("v1", None), 2)], &[("v1", "one", 2), ("v2", "two", 1), ("v3", "three", 3)]);
    }

    #[test]
    fn a_declared_release_may_take_the_place_of_the_services_own() {
        check(Some(release("v2", None)), 3, &[], &[("v1", "one", 0), ("v2", "two", 3)]);
        check(Some(release("v2", Some("2"))), 3, &[], &[("v1", "one", 0), ("v2", "2", 3)]);
        check(Some(release("v1", None)), 3, &[], &[("v1", "one", 3), ("v2", "two", 1)]);
        check(Some(release("v1", Some("1"))), 3, &[], &[("v1", "1", 3), ("v2", "two", 1)]);
    }

    #[test]
    fn a_service_that_is_gone_is_passed_over() {
        let service = ServiceName::new("gone").unwrap();
        let in_force = InForce { service, own: None, own_count: 1, beside: Vec::new() };
        assert_eq!(with_releases(declared(), &[in_force]), declared());
    }
}
