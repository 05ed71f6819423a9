//! The releases of a service that run here, and the ids of their instances.

use std::collections::BTreeSet;

use bowline_model::{
    InstanceId, System,
    system::{Service, Version},
};

/// The longest name of a version within an id; longer ones are cut.
const VERSION_BYTES_MAX: usize = 40;

/// One release of a service, as a service without others beside it.
pub(crate) struct Release {
    pub(crate) service: Service,
    /// The ids of its instances.
    pub(crate) ids: Vec<InstanceId>,
}

/// All releases of the system's services: the own one of each, then those beside it, in the file's order.
///
/// An instance is `order-1`, one of another release `order-v2-1`. Where that is somebody else's already
/// (there is a service `order-v2`), it is `order:v2-1`, which no other can be.
pub(crate) fn all(system: &System) -> Vec<Release> {
    let number = |service: &Service| 1..=service.replicas;
    let own = |service: &Service| -> Vec<String> {
        number(service).map(|number| format!("{}-{number}", service.name)).collect()
    };
    let mut taken: BTreeSet<String> = system.services.iter().flat_map(own).collect();
    let mut releases = Vec::new();
    for service in &system.services {
        let ids = own(service).iter().map(|text| id(text)).collect();
        releases.push(Release { service: Service { versions: Vec::new(), ..service.clone() }, ids });
        for version in &service.versions {
            let service = beside(service, version);
            let ids = number(&service).map(|number| of_version(&service, number, &mut taken)).collect();
            releases.push(Release { service, ids });
        }
    }
    releases
}

/// What another release is: the service, but for what is said of the release.
fn beside(service: &Service, version: &Version) -> Service {
    let Version { name, position, build, run, replicas, env } = version.clone();
    let mut beside = Service { position, replicas, version: name, versions: Vec::new(), ..service.clone() };
    beside.build = build.or(beside.build);
    beside.run = run.or(beside.run);
    beside.env.extend(env);
    beside
}

fn of_version(service: &Service, number: u32, taken: &mut BTreeSet<String>) -> InstanceId {
    let mut version = service.version.clone();
    version.truncate(VERSION_BYTES_MAX);
    let separated = |by: &str| format!("{}{by}{version}-{number}", service.name);
    let mut text = separated("-");
    // Two long names may have the same beginning.
    let mut others = std::iter::once(separated(":")).chain((2..).map(|other| separated(&format!(":{other}:"))));
    while !taken.insert(text.clone()) {
        text = others.next().unwrap_or_default();
    }
    id(&text)
}

fn id(text: &str) -> InstanceId {
    InstanceId::new(text).expect("a service's name, a version and a number are an id")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bowline_model::{Position, ServiceName};

    use super::*;

    const NOWHERE: Position = Position { line: 1, column: 1 };

    fn service(name: &str, replicas: u32, versions: &[(&str, u32)]) -> Service {
        let version = |(name, replicas): &(&str, u32)| Version {
            name: (*name).to_owned(),
            position: NOWHERE,
            build: None,
            run: None,
            replicas: *replicas,
            env: BTreeMap::new(),
        };
        let versions = versions.iter().map(version).collect();
        Service { replicas, versions, ..Service::new(ServiceName::new(name).unwrap(), NOWHERE) }
    }

    #[track_caller]
    fn check(services: Vec<Service>, expected: &[&str]) {
        let system = System { services, ..System::new(ServiceName::new("s").unwrap()) };
        let ids: Vec<InstanceId> = all(&system).into_iter().flat_map(|release| release.ids).collect();
        assert_eq!(ids.iter().map(InstanceId::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_instance_has_an_id_of_its_own() {
        check(vec![service("order", 2, &[("v2", 1)])], &["order-1", "order-2", "order-v2-1"]);
        check(vec![service("order", 0, &[("1", 2)])], &["order-1-1", "order-1-2"]);
        check(
            vec![service("order", 1, &[("v2", 1)]), service("order-v2", 1, &[])],
            &["order-1", "order:v2-1", "order-v2-1"],
        );
    }

    #[test]
    fn long_names_stay_apart() {
        let (name, version) = ("n".repeat(63), "v".repeat(62));
        let (one, two) = (format!("{version}1"), format!("{version}2"));
        let (name, cut) = (name.as_str(), "v".repeat(40));
        check(
            vec![service(name, 0, &[(&one, 1), (&two, 1)])],
            &[&format!("{name}-{cut}-1"), &format!("{name}:{cut}-1")],
        );
    }

    #[test]
    fn a_release_is_the_service_but_for_what_is_said_of_it() {
        let mut order = service("order", 1, &[("v2", 3)]);
        order.run = Some("run".to_owned());
        order.build = Some("build".to_owned());
        order.version = "v1".to_owned();
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        order.env = BTreeMap::from([variable("A", "1"), variable("B", "1")]);
        order.versions[0].run = Some("run2".to_owned());
        order.versions[0].env = BTreeMap::from([variable("B", "2")]);
        let system = System { services: vec![order], ..System::new(ServiceName::new("s").unwrap()) };
        let [own, beside] = &all(&system)[..] else { panic!() };
        assert_eq!((own.service.version.as_str(), own.service.replicas), ("v1", 1));
        let beside = &beside.service;
        assert_eq!((beside.version.as_str(), beside.replicas), ("v2", 3));
        assert_eq!((beside.build.as_deref(), beside.run.as_deref()), (Some("build"), Some("run2")));
        assert_eq!(beside.env, BTreeMap::from([variable("A", "1"), variable("B", "2")]));
    }
}
