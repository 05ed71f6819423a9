//! Tables of small graphs, and properties of any.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// `order 2/0/0` each: healthy, unhealthy, draining.
fn services(text: &str) -> BTreeMap<ServiceName, Counts> {
    let service = |words: &str| {
        let (service, counts) = words.split_once(' ').unwrap();
        let counts: Vec<usize> = counts.split('/').map(|count| count.parse().unwrap()).collect();
        (name(service), Counts { healthy: counts[0], unhealthy: counts[1], draining: counts[2] })
    };
    text.split(", ").map(service).collect()
}

fn edges(text: &str) -> Vec<Edge> {
    let edge = |words: &str| words.split_once('>').map(|(caller, callee)| (name(caller), name(callee)));
    text.split(' ').filter_map(edge).collect()
}

/// `order AllHealthy Degraded [payment>bank]` each.
fn told(services: &BTreeMap<ServiceName, Counts>, calls: &[Edge]) -> Vec<String> {
    let path = |path: &Vec<ServiceName>| path.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(">");
    let line = |(service, verdict): (ServiceName, Verdict)| {
        let because: Vec<String> = verdict.because.iter().map(path).collect();
        format!("{service} {:?} {:?} [{}]", verdict.own, verdict.rolled_up, because.join(" "))
    };
    roll_up(services, calls).into_iter().map(line).collect()
}

#[track_caller]
fn check(counts: &str, calls: &str, expect: &[&str]) {
    assert_eq!(told(&services(counts), &edges(calls)), expect, "{counts} with {calls}");
}

#[test]
fn a_service_is_as_its_instances_are() {
    check("a 2/0/0", "", &["a AllHealthy Healthy []"]);
    check("a 1/1/0", "", &["a SomeUnhealthy Degraded []"]);
    check("a 0/2/0", "", &["a NoneHealthy Unhealthy []"]);
    check("a 0/0/0", "", &["a NoInstance Unhealthy []"]);
    check("a 1/0/3", "", &["a AllHealthy Healthy []"]);
    check("a 0/0/1", "", &["a NoneHealthy Unhealthy []"]);
}

#[test]
fn callers_of_an_unhealthy_service_are_degraded_through_chains() {
    check(
        "bank 0/1/0, order 2/0/0, payment 1/0/0, user 1/0/0",
        "order>payment payment>bank order>user",
        &[
            "bank NoneHealthy Unhealthy []",
            "order AllHealthy Degraded [payment>bank]",
            "payment AllHealthy Degraded [bank]",
            "user AllHealthy Healthy []",
        ],
    );
}

#[test]
fn a_degraded_service_degrades_nobody() {
    check("a 1/0/0, b 1/1/0", "a>b", &["a AllHealthy Healthy []", "b SomeUnhealthy Degraded []"]);
}

#[test]
fn an_unhealthy_caller_stays_so_and_says_what_it_lacks_too() {
    check("a 0/1/0, b 0/0/0", "a>b", &["a NoneHealthy Unhealthy [b]", "b NoInstance Unhealthy []"]);
}

#[test]
fn cycles_end() {
    check(
        "a 1/0/0, b 0/1/0, c 1/0/0",
        "a>b b>c c>a a>a b>b",
        &["a AllHealthy Degraded [b]", "b NoneHealthy Unhealthy []", "c AllHealthy Degraded [a>b]"],
    );
}

#[test]
fn the_shortest_ways_come_first_and_then_the_first_by_name() {
    check(
        "a 1/0/0, m 1/0/0, n 1/0/0, x 0/1/0, y 0/1/0",
        "a>n n>x a>m m>x a>y y>x",
        &[
            "a AllHealthy Degraded [y m>x]",
            "m AllHealthy Degraded [x]",
            "n AllHealthy Degraded [x]",
            "x NoneHealthy Unhealthy []",
            "y NoneHealthy Unhealthy [x]",
        ],
    );
}

#[test]
fn who_is_not_known_is_not_looked_at() {
    check("a 1/0/0", "a>elsewhere elsewhere>a", &["a AllHealthy Healthy []"]);
}

#[test]
fn ways_are_bounded() {
    let causes = (0..40).map(|at| (name(&format!("c{at:02}")), Counts::default()));
    let services: BTreeMap<_, _> = causes.chain([(name("a"), Counts { healthy: 1, ..Counts::default() })]).collect();
    let calls: Vec<Edge> = services.keys().map(|callee| (name("a"), callee.clone())).collect();
    let because = &roll_up(&services, &calls)[&name("a")].because;
    assert_eq!((because.len(), &because[0]), (BECAUSE_MAX, &vec![name("c00")]));
}

/// Up to eight services of any health, with any calls among them and to nobody.
fn any_graph() -> impl Strategy<Value = (BTreeMap<ServiceName, Counts>, Vec<Edge>)> {
    let service = |at: usize| name(&format!("s{at}"));
    let counts = (0..3_usize, 0..3_usize, 0..2_usize);
    let counts = counts.prop_map(|(healthy, unhealthy, draining)| Counts { healthy, unhealthy, draining });
    let services = proptest::collection::vec(counts, 1..8)
        .prop_map(move |all| all.into_iter().enumerate().map(|(at, counts)| (service(at), counts)).collect());
    let calls = proptest::collection::vec((0..8_usize, 0..8_usize), 0..20)
        .prop_map(move |all| all.into_iter().map(|(caller, callee)| (service(caller), service(callee))).collect());
    (services, calls)
}

/// Whom a service needs, by brute force.
fn needs(services: &BTreeMap<ServiceName, Counts>, calls: &[Edge], from: &ServiceName) -> BTreeSet<ServiceName> {
    let is_known = |name: &ServiceName| services.contains_key(name);
    let mut needed = BTreeSet::from([from.clone()]);
    for _ in services {
        for (caller, callee) in calls {
            if needed.contains(caller) && is_known(callee) {
                needed.insert(callee.clone());
            }
        }
    }
    needed.remove(from);
    needed
}

proptest! {
    #[test]
    fn verdicts_are_what_reachability_says((services, mut calls) in any_graph()) {
        let verdicts = roll_up(&services, &calls);
        prop_assert!(verdicts.keys().eq(services.keys()));
        let is_down = |name: &ServiceName| services[name].healthy == 0;
        for (service, verdict) in &verdicts {
            let needed = needs(&services, &calls, service);
            let causes: BTreeSet<_> = needed.into_iter().filter(is_down).collect();
            let named: BTreeSet<_> = verdict.because.iter().filter_map(|path| path.last().cloned()).collect();
            prop_assert_eq!(verdict.because.len(), named.len(), "one way each");
            prop_assert_eq!(&named, &causes);
            let expect = match (is_down(service), causes.is_empty() && services[service].unhealthy == 0) {
                (true, _) => Rolled::Unhealthy,
                (false, false) => Rolled::Degraded,
                (false, true) => Rolled::Healthy,
            };
            prop_assert_eq!(verdict.rolled_up, expect);
            for path in &verdict.because {
                let steps = std::iter::once(service).chain(path).zip(path);
                for (caller, callee) in steps {
                    prop_assert!(calls.contains(&(caller.clone(), callee.clone())), "{} to {}", caller, callee);
                }
            }
        }
        calls.reverse();
        prop_assert_eq!(verdicts, roll_up(&services, &calls), "the order of calls means nothing");
    }
}
