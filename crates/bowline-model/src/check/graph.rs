//! Who waits for whom: the synchronous calls between declared services, as a graph.

use std::collections::BTreeMap;

use crate::system::{Call, CallMode, Service, System};

/// The synchronous edges of `Communication(S)`; services are numbered in the order of the file.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) services: &'a [Service],
    numbers: BTreeMap<&'a str, usize>,
    /// By the number of who calls: its calls that have a target.
    pub(super) edges: Vec<Vec<Edge<'a>>>,
    /// Services that reach each other are in one; callers' come after those of whom they call.
    pub(super) components: Vec<Vec<usize>>,
    /// By the number of a service: which component it is in.
    pub(super) component_of: Vec<usize>,
}

/// A synchronous call of a declared service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge<'a> {
    pub(super) to: usize,
    pub(super) call: &'a Call,
}

impl<'a> Graph<'a> {
    pub(super) fn of(system: &'a System) -> Self {
        let services = system.services.as_slice();
        let mut numbers = BTreeMap::new();
        for (number, service) in services.iter().enumerate() {
            numbers.entry(service.name.as_str()).or_insert(number);
        }
        let edge = |call: &'a Call| Some(Edge { to: *numbers.get(call.target.as_str())?, call });
        let edges: Vec<Vec<_>> = services.iter().map(|service| waits(service).filter_map(edge).collect()).collect();
        let components = components(&edges);
        let mut component_of = vec![0; services.len()];
        for (number, members) in components.iter().enumerate() {
            for member in members {
                component_of[*member] = number;
            }
        }
        Self { services, numbers, edges, components, component_of }
    }

    /// The number of the service of that name.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    pub(super) fn name(&self, number: usize) -> &'a str {
        self.services[number].name.as_str()
    }

    /// Whether a call is part of no cycle.
    pub(super) fn is_forward(&self, from: usize, edge: &Edge<'_>) -> bool {
        self.component_of[from] != self.component_of[edge.to]
    }
}

/// The calls that a service waits for.
pub(super) fn waits(service: &Service) -> impl Iterator<Item = &Call> {
    service.calls.iter().filter(|call| call.mode == CallMode::Sync)
}

/// The strongly connected components, each sorted; one comes after all that it reaches. O(services + calls).
///
/// Source: Tarjan, "Depth-first search and linear graph algorithms", SIAM J. Comput. 1(2), 1972; with a stack of
/// its own, since chains of calls may be long.
fn components(edges: &[Vec<Edge<'_>>]) -> Vec<Vec<usize>> {
    let mut walk = Walk { marks: vec![Mark::default(); edges.len()], ..Walk::default() };
    for root in 0..edges.len() {
        if walk.marks[root].met == 0 {
            walk.from(root, edges);
        }
    }
    walk.components
}

/// What Tarjan's algorithm knows of a node.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// When it was met, from 1; 0: not yet.
    met: usize,
    /// The earliest that it reaches among those that are open.
    low: usize,
    is_open: bool,
}

#[derive(Debug, Default)]
struct Walk {
    marks: Vec<Mark>,
    met: usize,
    /// Those whose component is not known yet, in the order in which they were met.
    open: Vec<usize>,
    components: Vec<Vec<usize>>,
}

impl Walk {
    fn from(&mut self, root: usize, edges: &[Vec<Edge<'_>>]) {
        self.meet(root);
        // Each with how many of its edges were followed.
        let mut path = vec![(root, 0)];
        while let Some((node, followed)) = path.last_mut() {
            let node = *node;
            let Some(edge) = edges[node].get(*followed) else {
                path.pop();
                self.leave(node, path.last().map(|(before, _)| *before));
                continue;
            };
            *followed += 1;
            let next = self.marks[edge.to];
            if next.met == 0 {
                self.meet(edge.to);
                path.push((edge.to, 0));
            } else if next.is_open {
                self.marks[node].low = self.marks[node].low.min(next.met);
            }
        }
    }

    fn meet(&mut self, node: usize) {
        self.met += 1;
        self.marks[node] = Mark { met: self.met, low: self.met, is_open: true };
        self.open.push(node);
    }

    /// All that a node reaches was met: what is open since then is its component, if it reaches nothing earlier.
    fn leave(&mut self, node: usize, before: Option<usize>) {
        let Mark { met, low, is_open: _ } = self.marks[node];
        if let Some(before) = before {
            self.marks[before].low = self.marks[before].low.min(low);
        }
        if low < met {
            return;
        }
        let begin = self.open.iter().rposition(|other| *other == node).expect("a node is open until here");
        let mut members = self.open.split_off(begin);
        for member in &members {
            self.marks[*member].is_open = false;
        }
        members.sort_unstable();
        self.components.push(members);
    }
}
