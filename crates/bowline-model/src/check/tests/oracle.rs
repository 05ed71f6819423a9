//! The prover against brute force, on small systems.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Facts, check};
use crate::{
    Position, ServiceName, System,
    check::{EdgeLoad, amplification, witness},
    policy::{CallPolicy, RetryPolicy},
    route::{Backend, PathPattern, Route},
    system::{Call, CallMode, Operation, Resource, RouteSite, Service},
    units::Share,
};

fn name(number: usize) -> ServiceName {
    ServiceName::new(&format!("s{number}")).unwrap()
}

/// So many services; each place of the system is a line of its own.
fn services(count: usize) -> System {
    let mut system = System::new(ServiceName::new("t").unwrap());
    system.services = (0..count).map(|number| Service::new(name(number), at(number))).collect();
    system
}

fn at(line: usize) -> Position {
    Position { line: line + 1, column: 1 }
}

/// The lines of the sites of all violations of a rule, the first ones first.
fn lines(system: &System, rule: &str) -> Vec<Vec<usize>> {
    let violations = check(system, &Facts::default()).into_iter().filter(|violation| violation.rule.id == rule);
    violations.map(|it| it.sites.iter().map(|site| site.position.line - 1).collect()).collect()
}

// === operations ===

fn pattern() -> impl Strategy<Value = PathPattern> {
    let segment = prop::sample::select(vec!["a", "b", "{x}"]);
    (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, is_prefix)| {
        let text = format!("/{}", segments.join("/"));
        let text = if is_prefix { format!("{}/**", text.trim_end_matches('/')) } else { text };
        PathPattern::parse(&text).unwrap()
    })
}

/// Every path of up to four segments of a few names, an empty one and one that no pattern has among them.
fn paths() -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut last = paths.clone();
    for _ in 0..4 {
        last = last.iter().flat_map(|path| ["a", "b", "z", ""].map(|segment| format!("{path}/{segment}"))).collect();
        paths.extend(last.iter().cloned());
    }
    paths
}

fn overlap(one: &PathPattern, other: &PathPattern, paths: &[String]) -> bool {
    paths.iter().any(|path| one.matches(path) && other.matches(path))
}

/// Method and pattern of operations, and whose they are.
fn operations() -> impl Strategy<Value = Vec<(usize, &'static str, PathPattern)>> {
    prop::collection::vec((0..3usize, prop::sample::select(vec!["GET", "PUT"]), pattern()), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_witness_is_found_where_there_is_one(one in pattern(), other in pattern()) {
        let found = witness(&one, &other);
        prop_assert_eq!(found.is_some(), overlap(&one, &other, &paths()));
        if let Some(path) = found {
            prop_assert!(one.matches(&path) && other.matches(&path), "{} of {} and {}", path, one, other);
        }
    }

    #[test]
    fn a_pattern_covers_what_it_matches_all_of(one in pattern(), other in pattern()) {
        let covers = paths().iter().all(|path| !other.matches(path) || one.matches(path));
        prop_assert_eq!(one.covers(&other), covers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operations_of_two_owners(operations in operations()) {
        let mut system = services(3);
        for (line, (owner, method, path)) in operations.iter().enumerate() {
            let operation = Operation { method: (*method).to_owned(), path: path.clone(), position: at(line) };
            system.services[*owner].boundary.api.push(operation);
        }
        let paths = paths();
        let meets = |one: usize, other: usize| {
            let ((owner, method, path), (other_owner, other_method, other_path)) = (&operations[one], &operations[other]);
            owner != other_owner && method == other_method && overlap(path, other_path, &paths)
        };
        let expect: Vec<Vec<usize>> = (0..operations.len())
            .map(|line| std::iter::once(line).chain((0..line).filter(|before| meets(line, *before))).collect())
            .filter(|sites: &Vec<usize>| sites.len() > 1)
            .collect();
        prop_assert_eq!(lines(&system, "B0001"), expect);
    }

    #[test]
    fn resources_of_two_owners(resources in prop::collection::vec((0..3usize, any::<bool>(), "[xy]:[ab](/[ab]){0,2}"), 0..8)) {
        let mut system = services(3);
        for (line, (owner, is_data, resource)) in resources.iter().enumerate() {
            let (kind, name) = resource.split_once(':').unwrap();
            let resource = Resource { kind: kind.to_owned(), name: name.to_owned(), position: at(line) };
            let boundary = &mut system.services[*owner].boundary;
            if *is_data { boundary.data.push(resource) } else { boundary.state.push(resource) }
        }
        let meets = |one: usize, other: usize| {
            let ((owner, _, name), (other_owner, _, other_name)) = (&resources[one], &resources[other]);
            let (name, other_name) = (format!("{name}/"), format!("{other_name}/"));
            owner != other_owner && (name.starts_with(&other_name) || other_name.starts_with(&name))
        };
        for (rule, is_data) in [("B0002", true), ("B0003", false)] {
            let breaks = |one: usize, other: usize| {
                meets(one, other) && (resources[one].1 || resources[other].1) == is_data
            };
            let expect: BTreeSet<Vec<usize>> = (0..resources.len())
                .map(|line| std::iter::once(line).chain((0..line).filter(|before| breaks(line, *before))).collect())
                .filter(|sites: &Vec<usize>| sites.len() > 1)
                .collect();
            prop_assert_eq!(lines(&system, rule).into_iter().collect::<BTreeSet<_>>(), expect);
        }
    }
}

// === calls ===

/// Who calls whom, how, and with how many attempts.
type Calls = Vec<(usize, usize, CallMode, u32)>;

fn calls(count: usize) -> impl Strategy<Value = Calls> {
    let mode = prop::sample::select(vec![CallMode::Sync, CallMode::Sync, CallMode::Sync, CallMode::Async]);
    prop::collection::btree_map((0..count, 0..count), (mode, 1..=3u32), 0..10)
        .prop_map(|calls| calls.into_iter().map(|((from, to), (mode, attempts))| (from, to, mode, attempts)).collect())
}

fn with_calls(count: usize, calls: &Calls) -> System {
    let mut system = services(count);
    for (line, (from, to, mode, attempts)) in calls.iter().enumerate() {
        let call = Call::new(name(*to), at(line));
        system.services[*from].calls.push(Call { mode: *mode, policy: policy(*attempts), ..call });
    }
    system
}

fn policy(attempts_max: u32) -> CallPolicy {
    let retry = RetryPolicy { attempts_max, budget: Share::from_percent(50), ..RetryPolicy::default() };
    CallPolicy { retry: Some(retry), ..CallPolicy::default() }
}

/// Every way along calls that are waited for that visits no service twice, but may end where it began.
fn ways(calls: &Calls, from: usize) -> Vec<Vec<usize>> {
    fn go(calls: &Calls, start: usize, way: &[usize], ways: &mut Vec<Vec<usize>>) {
        let end = way.last().map_or(start, |call| calls[*call].1);
        ways.push(way.to_vec());
        if !way.is_empty() && end == start {
            return;
        }
        for (index, (from, to, mode, _)) in calls.iter().enumerate() {
            let is_new = *to == start || way.iter().all(|call| calls[*call].1 != *to);
            if *from == end && *mode == CallMode::Sync && is_new {
                go(calls, start, &[way, &[index]].concat(), ways);
            }
        }
    }
    let mut found = Vec::new();
    go(calls, from, &[], &mut found);
    found
}

/// The cycles of a system, by the service they begin at.
fn cycles(count: usize, calls: &Calls) -> Vec<(usize, Vec<usize>)> {
    let closed = |from: usize, way: &Vec<usize>| way.last().is_some_and(|call| calls[*call].1 == from);
    (0..count)
        .flat_map(|from| ways(calls, from).into_iter().filter(move |way| closed(from, way)).map(move |way| (from, way)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shortest_cycles(calls in calls(5)) {
        let cycles = cycles(5, &calls);
        let reaches = |from: usize, to: usize| from == to || ways(&calls, from).iter().any(|way| way.iter().any(|call| calls[*call].1 == to));
        // Of each set of services that reach each other, the length of a shortest cycle.
        let mut expect: Vec<usize> = Vec::new();
        for first in 0..5 {
            let together: Vec<usize> = (0..5).filter(|other| reaches(first, *other) && reaches(*other, first)).collect();
            let lengths = cycles.iter().filter(|(from, _)| together.contains(from)).map(|(_, way)| way.len());
            expect.extend(lengths.min().filter(|_| together[0] == first));
        }
        let found = lines(&with_calls(5, &calls), "B0008");
        for sites in &found {
            // The call that closes the cycle comes first.
            let mut way: Vec<usize> = sites[1..].to_vec();
            way.push(sites[0]);
            prop_assert!(cycles.iter().any(|(_, cycle)| *cycle == way), "{:?} is no cycle", way);
        }
        let mut lengths: Vec<usize> = found.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        expect.sort_unstable();
        prop_assert_eq!(lengths, expect);
    }

    /// Calls from lower numbers to higher ones, so that there is no cycle.
    #[test]
    fn attempts_along_all_ways(calls in calls(5), routes in prop::collection::vec((0..5usize, 1..=3u32), 0..3), max in 1..60u32) {
        let calls: Calls = calls.into_iter().filter(|(from, to, _, _)| from < to).collect();
        let mut system = with_calls(5, &calls);
        system.boundaries.amplification_max = max;
        for (index, (service, attempts)) in routes.iter().enumerate() {
            let route = Route::new(format!("r{index}"), vec![Backend { service: name(*service), weight: 1 }]);
            system.routes.insert(route.name.clone(), RouteSite { position: at(100 + index), timeout_position: None });
            system.table.routes.push(Route { policy: policy(*attempts), ..route });
        }
        let is_waited_for = |service: usize| calls.iter().any(|(_, to, mode, _)| *to == service && *mode == CallMode::Sync);
        let uncalled = (0..5).filter(|service| !is_waited_for(*service)).map(|service| (service, 1));
        let entries: Vec<(usize, u32)> = routes.iter().copied().chain(uncalled).collect();
        // Over all ways of one way in that a choice takes, the sum of the products of a weight of each hop.
        let sum = |(service, attempts): (usize, u32), weight: fn(u32) -> f64, takes: &dyn Fn(&[usize]) -> bool| {
            let ways = ways(&calls, service).into_iter().filter(|way| takes(way));
            let product = |way: Vec<usize>| way.iter().map(|call| weight(calls[*call].3)).product::<f64>();
            weight(attempts) * ways.map(product).sum::<f64>()
        };
        let worst = |call: usize, weight: fn(u32) -> f64| {
            entries.iter().map(|entry| sum(*entry, weight, &|way| way.last() == Some(&call))).fold(0.0, f64::max)
        };
        let expect = (0..calls.len()).filter(|call| calls[*call].2 == CallMode::Sync).map(|call| {
            let (from, to, ..) = calls[call];
            // The budget of `policy` is a half.
            let load = worst(call, |attempts| f64::from(attempts).min(1.5));
            (name(from).to_string(), name(to).to_string(), worst(call, f64::from), load)
        });
        let found = amplification(&system).into_iter().map(|EdgeLoad { caller, callee, attempts_worst, load_sustained }| {
            (caller, callee, f64::from(u32::try_from(attempts_worst).unwrap()), load_sustained)
        });
        prop_assert_eq!(found.collect::<Vec<_>>(), expect.collect::<Vec<_>>());

        let is_above = (0..5).any(|service| {
            let ends = |entry: usize, way: &[usize]| way.last().map_or(entry, |call| calls[*call].1) == service;
            entries.iter().any(|entry| sum(*entry, f64::from, &|way| ends(entry.0, way)) > f64::from(max))
        });
        prop_assert_eq!(!lines(&system, "B0010").is_empty(), is_above);
    }
}
