//! B0010: how many attempts one request from outside may become, where each hop tries again.

use std::collections::BTreeMap;

use super::{
    Site, Violation,
    graph::{Edge, Graph},
    rules,
};
use crate::{
    policy::CallPolicy,
    problem::Position,
    route::Route,
    system::{RouteSite, System},
};

const WHY: &str = "attempts multiply along a chain of calls: when what is at its end fails, every hop before it tries \
                   again, and it gets that many times its load just when it cannot bear it";

/// The most attempts that are counted: a number that every reader of JSON has, 2⁵³ - 1.
pub const ATTEMPTS_MAX: u64 = (1 << 53) - 1;

/// What a declared synchronous call adds to each request from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeLoad {
    /// The service that calls.
    pub caller: String,
    /// The service called.
    pub callee: String,
    /// The most attempts of this call that one request from outside may become, when everything fails; at most
    /// [`ATTEMPTS_MAX`].
    pub attempts_worst: u64,
    /// The same while failures last, when retries are held to their budgets; a finite number.
    pub load_sustained: f64,
}

/// The worst of each synchronous call, over all ways in: in the order of the file.
///
/// A way in is a route, which picks one of its backends for a request, or a service that nobody waits for, which
/// does what it does once. Each service is taken to make each of its calls once for each attempt that reaches it.
/// The calls of a cycle, which have no bound, are left out, and those that only a cycle leads to. O(ways in × calls),
/// a service with several routes counted once.
pub fn amplification(system: &System) -> Vec<EdgeLoad> {
    let graph = Graph::of(system);
    let mut loads: Vec<Vec<(u64, f64)>> = graph.edges.iter().map(|edges| vec![(0, 0.0); edges.len()]).collect();
    for entry in entries(system, &graph) {
        let spread = Spread::of(&graph, entry);
        for (from, edges) in graph.edges.iter().enumerate() {
            for (load, edge) in loads[from].iter_mut().zip(edges).filter(|(_, edge)| graph.is_forward(from, edge)) {
                let policy = &edge.call.policy;
                load.0 = load.0.max(spread.attempts[from].saturating_mul(attempts(policy)));
                load.1 = load.1.max(spread.loads[from] * sustained(policy));
            }
        }
    }
    let edges = graph.edges.iter().zip(&loads).enumerate();
    let loads = edges.flat_map(|(from, (edges, loads))| {
        let graph = &graph;
        edges.iter().zip(loads).filter(|(_, (attempts, _))| *attempts > 0).map(
            move |(edge, (attempts_worst, load_sustained))| EdgeLoad {
                caller: graph.name(from).to_owned(),
                callee: graph.name(edge.to).to_owned(),
                attempts_worst: (*attempts_worst).min(ATTEMPTS_MAX),
                load_sustained: load_sustained.min(f64::MAX),
            },
        )
    });
    loads.collect()
}

/// What each route adds itself: its own retries, by which all that comes after is multiplied; in the table's order. Its
/// caller is `route NAME`, which no service is.
pub fn route_loads(system: &System) -> Vec<EdgeLoad> {
    let of = |route: &Route| {
        let (attempts_worst, load_sustained) = (attempts(&route.policy), sustained(&route.policy));
        let caller = format!("route {}", route.name);
        let backends = route.backends.iter().filter(|backend| backend.weight > 0);
        let load = move |callee: String| EdgeLoad { caller: caller.clone(), callee, attempts_worst, load_sustained };
        backends.map(|backend| backend.service.to_string()).map(load).collect::<Vec<_>>()
    };
    system.table.routes.iter().flat_map(of).collect()
}

/// One violation for each service that gets too many and whose callers do not yet, for the worst way in.
pub(super) fn check(system: &System, graph: &Graph<'_>) -> Vec<Violation> {
    let max = u64::from(system.boundaries.amplification_max);
    let mut worst: BTreeMap<usize, (u64, Entry<'_>)> = BTreeMap::new();
    for entry in entries(system, graph) {
        let spread = Spread::of(graph, entry);
        for service in spread.first_above(graph, max) {
            let attempts = spread.attempts[service];
            let known = worst.entry(service).or_insert((attempts, entry));
            if attempts > known.0 {
                *known = (attempts, entry);
            }
        }
    }
    let violation = |(service, (attempts, entry))| violation(graph, entry, service, attempts, max);
    worst.into_iter().map(violation).collect()
}

fn violation(graph: &Graph<'_>, entry: Entry<'_>, service: usize, attempts: u64, max: u64) -> Violation {
    let spread = Spread::of(graph, entry);
    let mut hops: Vec<(u64, Position)> =
        spread.way_to(service).map(|edge| hop(&edge.call.policy, edge.call.position)).collect();
    hops.extend(entry.route.and_then(|route| Some(hop(route.policy, route.site?.position))));
    let what = match entry.route {
        Some(route) => format!("a request through route `{}`", route.name),
        None => format!("what `{}` does once", graph.name(entry.service)),
    };
    let name = graph.name(service);
    let message = format!("{what} may become {attempts} attempts at `{name}`, above {max}");
    // What multiplies most comes first; of equals the one that is nearest to the end of the chain.
    hops.sort_by_key(|(attempts, _)| std::cmp::Reverse(*attempts));
    let site = |(attempts, position): (u64, Position)| {
        let label = if attempts == 1 { "one attempt".to_owned() } else { format!("up to {attempts} attempts") };
        Site::of_system(position, label)
    };
    let help = "let one hop of the way try again and write `retry = \"off\"` at the others, or raise \
                `amplification_max` of `[boundary]`";
    Violation::of(&rules::AMPLIFICATION, message, hops.into_iter().map(site).collect(), WHY, help.to_owned())
}

fn hop(policy: &CallPolicy, position: Position) -> (u64, Position) {
    (attempts(policy), position)
}

/// The most attempts of one call.
fn attempts(policy: &CallPolicy) -> u64 {
    policy.retry.as_ref().map_or(1, |retry| u64::from(retry.attempts_max.max(1)))
}

/// How many attempts a call is on average while failures last: its own, and what its budget grants.
fn sustained(policy: &CallPolicy) -> f64 {
    let Some(retry) = &policy.retry else { return 1.0 };
    (1.0 + retry.budget.ratio()).min(f64::from(retry.attempts_max.max(1)))
}

/// A way in: what begins the calls of a service.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    service: usize,
    attempts: u64,
    load: f64,
    /// The route with the most attempts; none: nobody waits for the service.
    route: Option<EntryRoute<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct EntryRoute<'a> {
    name: &'a str,
    policy: &'a CallPolicy,
    site: Option<RouteSite>,
}

/// The ways in, one for each service that has any.
fn entries<'a>(system: &'a System, graph: &Graph<'_>) -> Vec<Entry<'a>> {
    let mut entries: BTreeMap<usize, Entry<'a>> = BTreeMap::new();
    for service in uncalled(graph) {
        entries.insert(service, Entry { service, attempts: 1, load: 1.0, route: None });
    }
    for route in &system.table.routes {
        // Routes that were published since are in no file, and no less a way in.
        let site = system.routes.get(&route.name).copied();
        for backend in route.backends.iter().filter(|backend| backend.weight > 0) {
            let Some(service) = graph.number(backend.service.as_str()) else { continue };
            let (attempts, load) = (attempts(&route.policy), sustained(&route.policy));
            let route = Some(EntryRoute { name: &route.name, policy: &route.policy, site });
            let entry = entries.entry(service).or_insert(Entry { service, attempts, load, route });
            entry.load = entry.load.max(load);
            if attempts > entry.attempts || entry.route.is_none() {
                (entry.attempts, entry.route) = (attempts, route);
            }
        }
    }
    entries.into_values().collect()
}

/// The services that nobody waits for, but who is in a cycle with them.
fn uncalled(graph: &Graph<'_>) -> impl Iterator<Item = usize> {
    let mut is_called = vec![false; graph.services.len()];
    for (from, edges) in graph.edges.iter().enumerate() {
        for edge in edges.iter().filter(|edge| graph.is_forward(from, edge)) {
            is_called[edge.to] = true;
        }
    }
    let components = graph.components.iter();
    let uncalled: Vec<_> = components.filter(|members| members.iter().all(|member| !is_called[*member])).collect();
    uncalled.into_iter().flatten().copied().collect::<Vec<_>>().into_iter()
}

/// What one way in becomes at each service, by its number.
#[derive(Debug)]
struct Spread<'a> {
    /// The most attempts, over all ways to it; 0: none leads there.
    attempts: Vec<u64>,
    loads: Vec<f64>,
    /// The most attempts of a single way to it, and the last call of that.
    single: Vec<(u64, Option<(usize, Edge<'a>)>)>,
}

impl<'a> Spread<'a> {
    fn of(graph: &Graph<'a>, entry: Entry<'_>) -> Self {
        let count = graph.services.len();
        let mut spread = Self { attempts: vec![0; count], loads: vec![0.0; count], single: vec![(0, None); count] };
        spread.attempts[entry.service] = entry.attempts;
        spread.loads[entry.service] = entry.load;
        spread.single[entry.service] = (entry.attempts, None);
        // Callers come before whom they call.
        let from = graph.component_of[entry.service];
        for service in graph.components[..=from].iter().rev().flatten() {
            spread.pass_on(graph, *service);
        }
        spread
    }

    fn pass_on(&mut self, graph: &Graph<'a>, from: usize) {
        if self.attempts[from] == 0 {
            return;
        }
        for edge in graph.edges[from].iter().filter(|edge| graph.is_forward(from, edge)) {
            let attempts = attempts(&edge.call.policy);
            self.attempts[edge.to] =
                self.attempts[edge.to].saturating_add(self.attempts[from].saturating_mul(attempts));
            self.loads[edge.to] += self.loads[from] * sustained(&edge.call.policy);
            let single = self.single[from].0.saturating_mul(attempts);
            if single > self.single[edge.to].0 {
                self.single[edge.to] = (single, Some((from, *edge)));
            }
        }
    }

    /// The services that get more than so many, and none of whose callers does.
    fn first_above(&self, graph: &Graph<'_>, max: u64) -> Vec<usize> {
        let is_above = |service: usize| self.attempts[service] > max;
        let mut is_behind = vec![false; self.attempts.len()];
        for (from, edges) in graph.edges.iter().enumerate().filter(|(from, _)| is_above(*from)) {
            for edge in edges.iter().filter(|edge| graph.is_forward(from, edge)) {
                is_behind[edge.to] = true;
            }
        }
        (0..self.attempts.len()).filter(|service| is_above(*service) && !is_behind[*service]).collect()
    }

    /// The calls of the single way with the most attempts, the last one first.
    fn way_to(&self, service: usize) -> impl Iterator<Item = Edge<'a>> {
        let last = self.single[service].1;
        std::iter::successors(last, |(from, _)| self.single[*from].1).map(|(_, edge)| edge)
    }
}
