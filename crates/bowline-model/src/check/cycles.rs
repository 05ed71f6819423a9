//! B0008: services that wait for each other.

use std::{collections::VecDeque, fmt::Write as _};

use super::{
    Site, Violation,
    graph::{Edge, Graph},
    rules,
};

const WHY: &str = "independence demands that no wait leads back to who waits: of such services none works without all \
                   others, none can be started first, and under load each holds what the others need";

/// One violation for each set of services that reach each other, which names a shortest cycle of it.
pub(super) fn check(graph: &Graph<'_>) -> Vec<Violation> {
    let shortest = |members: &Vec<usize>| Some(violation(graph, &shortest(graph, members)?, members.len()));
    graph.components.iter().filter_map(shortest).collect()
}

fn violation(graph: &Graph<'_>, cycle: &[(usize, Edge<'_>)], members: usize) -> Violation {
    let mut message = String::new();
    for (at, (from, edge)) in cycle.iter().enumerate() {
        let (from, to) = (graph.name(*from), graph.name(edge.to));
        let lead = if at == 0 { format!("`{from}`") } else { ", which".to_owned() };
        write!(message, "{lead} waits for `{to}`").expect("a string takes all");
    }
    if members > cycle.len() {
        write!(message, "; {} more are in cycles with them", members - cycle.len()).expect("a string takes all");
    }
    let site = |(from, edge): &(usize, Edge<'_>)| {
        let label = format!("`{}` waits for `{}`", graph.name(*from), graph.name(edge.to));
        Site::of_system(edge.call.position, label)
    };
    // The call that closes the cycle comes first: without it the others are a chain.
    let sites = cycle.last().into_iter().chain(&cycle[..cycle.len() - 1]).map(site).collect();
    let help = "let one of them tell the other instead of waiting for it (`mode = \"message\"`), or move what both need \
                into a service that calls neither";
    Violation::of(&rules::CYCLE, message, sites, WHY, help.to_owned())
}

/// A shortest cycle within a component, from the service that is first in the file; none where it has none.
///
/// O(services × calls) of the component, less where a short one is found early.
fn shortest<'a>(graph: &Graph<'a>, members: &[usize]) -> Option<Vec<(usize, Edge<'a>)>> {
    let mut best: Option<Vec<(usize, Edge<'a>)>> = None;
    for start in members {
        let below = best.as_ref().map_or(members.len() + 1, Vec::len);
        if let Some(found) = shortest_through(graph, *start, below) {
            best = Some(found);
        }
    }
    best
}

/// A shortest cycle through a service, if it is shorter than `below`.
fn shortest_through<'a>(graph: &Graph<'a>, start: usize, below: usize) -> Option<Vec<(usize, Edge<'a>)>> {
    // By service: the call by which it was reached, and how far it is.
    let mut reached: Vec<Option<(usize, Edge<'a>)>> = vec![None; graph.services.len()];
    let mut open = VecDeque::from([(start, 1)]);
    while let Some((from, length)) = open.pop_front().filter(|(_, length)| *length < below) {
        for edge in graph.edges[from].iter().filter(|edge| !graph.is_forward(from, edge)) {
            if reached[edge.to].is_some() {
                continue;
            }
            reached[edge.to] = Some((from, *edge));
            if edge.to == start {
                return Some(way_back(&reached, start));
            }
            open.push_back((edge.to, length + 1));
        }
    }
    None
}

/// The calls from `start` to itself, in order.
fn way_back<'a>(reached: &[Option<(usize, Edge<'a>)>], start: usize) -> Vec<(usize, Edge<'a>)> {
    let mut way = Vec::new();
    let mut at = start;
    while let Some((from, edge)) = reached[at] {
        way.push((from, edge));
        at = from;
        if at == start {
            break;
        }
    }
    way.reverse();
    way
}
