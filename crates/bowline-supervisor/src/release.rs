//! The releases of a service, and the ids of their instances.

use bowline_model::{
    InstanceId, System, deploy,
    system::{Service, Version},
};

/// The longest name of a version within an id; longer ones are cut.
const VERSION_BYTES_MAX: usize = 40;

/// All releases of the system's services, each as a service without others beside it: the own one of each, then
/// those beside it, in the file's order.
pub(crate) fn all(system: &System) -> Vec<Service> {
    let of = |service: &Service| -> Vec<Service> {
        let beside = service.versions.iter().map(|version| beside(service, version));
        std::iter::once(own(service)).chain(beside).collect()
    };
    system.services.iter().flat_map(of).collect()
}

/// What a release of a service runs as: what the file says of that version, where the release says nothing;
/// else the service, but for what the release says.
pub(crate) fn of(service: &Service, release: &deploy::Release) -> Service {
    if release.is_bare() {
        if release.version == service.version {
            return own(service);
        }
        if let Some(declared) = service.versions.iter().find(|declared| declared.name == release.version) {
            return beside(service, declared);
        }
    }
    beside(service, &as_version(service, release, 0))
}

/// Whether a release is none that the file declares: it has the place of the service, not one of its own.
pub(crate) fn is_promoted(system: &System, release: &Service) -> bool {
    let service = system.service(release.name.as_str());
    service.is_some_and(|service| service.version != release.version && service.position == release.position)
}

/// A release as the file would declare it beside the service's own; in the service's place, since it has none.
pub(crate) fn as_version(service: &Service, release: &deploy::Release, replicas: u32) -> Version {
    let deploy::Release { version, build, run, env } = release.clone();
    Version { name: version, position: service.position, build, run, replicas, env }
}

/// The id of a release's instance of this number, from 1 on.
///
/// An instance is `order-1`, one of another release `order-v2-1`. Where that may be another service's own
/// (there is a service `order-v2`), or is taken, it is `order:v2-1`, which no service's own can be.
pub(crate) fn id(
    system: &System,
    release: &Service,
    number: u32,
    is_taken: impl Fn(&InstanceId) -> bool,
) -> InstanceId {
    let name = &release.name;
    if system.service(name.as_str()).is_some_and(|own| own.version == release.version) {
        return parse(&format!("{name}-{number}"));
    }
    let mut version = release.version.clone();
    version.truncate(VERSION_BYTES_MAX);
    let separated = |by: &str| format!("{name}{by}{version}-{number}");
    let is_own_of_another = system.service(&format!("{name}-{version}")).is_some();
    let plain = (!is_own_of_another).then(|| separated("-"));
    // Two long names may have the same beginning.
    let others = std::iter::once(separated(":")).chain((2..).map(|other: u32| separated(&format!(":{other}:"))));
    let mut ids = plain.into_iter().chain(others).map(|text| parse(&text));
    ids.find(|id| !is_taken(id)).expect("they do not end")
}

fn own(service: &Service) -> Service {
    Service { versions: Vec::new(), ..service.clone() }
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

fn parse(text: &str) -> InstanceId {
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
        let mut ids: Vec<InstanceId> = Vec::new();
        for release in all(&system) {
            for number in 1..=release.replicas {
                let id = id(&system, &release, number, |id| ids.contains(id));
                ids.push(id);
            }
        }
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
        // Also those that it may have once it is scaled.
        check(
            vec![service("order", 0, &[("v2", 2)]), service("order-v2", 1, &[])],
            &["order:v2-1", "order:v2-2", "order-v2-1"],
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
        assert_eq!((own.version.as_str(), own.replicas), ("v1", 1));
        assert_eq!((beside.version.as_str(), beside.replicas), ("v2", 3));
        assert_eq!((beside.build.as_deref(), beside.run.as_deref()), (Some("build"), Some("run2")));
        assert_eq!(beside.env, BTreeMap::from([variable("A", "1"), variable("B", "2")]));
    }

    #[test]
    fn a_release_that_is_its_name_alone_is_what_the_file_says_of_it() {
        let mut order = service("order", 2, &[("v2", 3)]);
        order.version = "v1".to_owned();
        order.run = Some("run".to_owned());
        order.versions[0].run = Some("run2".to_owned());
        let release = |version: &str, run: Option<&str>| deploy::Release {
            version: version.to_owned(),
            build: None,
            run: run.map(ToOwned::to_owned),
            env: BTreeMap::new(),
        };
        let run = |release| of(&order, &release).run.unwrap();
        assert_eq!(run(release("v1", None)), "run");
        assert_eq!(run(release("v2", None)), "run2");
        assert_eq!(run(release("v3", None)), "run");
        assert_eq!(run(release("v2", Some("other"))), "other");
        assert_eq!(of(&order, &release("v3", None)).version, "v3");
    }
}
