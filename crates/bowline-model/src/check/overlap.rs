//! B0001: operations of two services that can answer one request, decided and not compared as text.

use std::collections::BTreeMap;

use super::{OTHERS_MAX, Site, Violation, rules};
use crate::{
    parse::in_ticks,
    route::{PathPattern, Segment},
    system::{Operation, System},
};

const WHY: &str = "isolation demands that what two services own has nothing in common; a request with two owners is \
                   answered by whichever it happens to reach";

/// A path that both match, if there is one.
pub fn witness(one: &PathPattern, other: &PathPattern) -> Option<String> {
    let (short, long) = if one.segments().len() <= other.segments().len() { (one, other) } else { (other, one) };
    if short.segments().len() < long.segments().len() && !short.is_prefix() {
        return None;
    }
    let mut path = String::new();
    for (at, segment) in long.segments().iter().enumerate() {
        let text = match (segment, short.segments().get(at)) {
            (Segment::Literal(one), Some(Segment::Literal(other))) if one != other => return None,
            (Segment::Literal(text), _) | (Segment::Parameter(_), Some(Segment::Literal(text))) => text,
            (Segment::Parameter(_), _) => "1",
        };
        path.extend(["/", text]);
    }
    Some(if path.is_empty() { "/".to_owned() } else { path })
}

/// For each operation, those before it in the file that another service has for some of its requests.
pub(super) fn check(system: &System) -> Vec<Violation> {
    let mut claims: Vec<Claim<'_>> = Vec::new();
    for service in &system.services {
        claims.extend(service.boundary.api.iter().map(|operation| Claim { owner: service.name.as_str(), operation }));
    }
    claims.sort_by_key(|claim| claim.operation.position);
    let mut tries: BTreeMap<&str, Trie<'_>> = BTreeMap::new();
    let mut violations = Vec::new();
    for claim in claims {
        let trie = tries.entry(&claim.operation.method).or_default();
        let others = trie.others(claim);
        if !others.is_empty() {
            violations.push(violation(claim, &others));
        }
        trie.insert(claim);
    }
    violations
}

fn violation(claim: Claim<'_>, others: &[Claim<'_>]) -> Violation {
    let (first, Operation { method, path, .. }) = (others[0], claim.operation);
    let path = witness(&first.operation.path, path).expect("a pattern that was found has a path in common");
    let message =
        format!("`{}` and `{}` both answer {}", first.owner, claim.owner, in_ticks(&format!("{method} {path}")));
    let site = |claim: &Claim<'_>| Site::of_system(claim.operation.position, format!("owned by `{}`", claim.owner));
    let sites = std::iter::once(&claim).chain(others).map(site).collect();
    let help = format!("let one of them own it, and the other call `{}` for it", first.owner);
    Violation::of(&rules::OPERATION_OWNERS, message, sites, WHY, help)
}

/// An operation and who offers it.
#[derive(Debug, Clone, Copy)]
struct Claim<'a> {
    owner: &'a str,
    operation: &'a Operation,
}

/// The operations of one method, by their segments.
#[derive(Debug)]
struct Trie<'a> {
    nodes: Vec<Node<'a>>,
}

impl Default for Trie<'_> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

#[derive(Debug, Default)]
struct Node<'a> {
    literals: BTreeMap<&'a str, usize>,
    parameter: Option<usize>,
    /// What ends here.
    exact: Vec<Claim<'a>>,
    /// What ends here and takes all that is below.
    prefix: Vec<Claim<'a>>,
}

impl<'a> Trie<'a> {
    fn insert(&mut self, claim: Claim<'a>) {
        let mut at = 0;
        for segment in claim.operation.path.segments() {
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match segment {
                Segment::Literal(text) => *node.literals.entry(text).or_insert(next),
                Segment::Parameter(_) => *node.parameter.get_or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let node = &mut self.nodes[at];
        if claim.operation.path.is_prefix() { node.prefix.push(claim) } else { node.exact.push(claim) }
    }

    /// Those of other owners that can answer a request of the claim, at most [`OTHERS_MAX`], by their places.
    ///
    /// Only nodes that have a path in common with it are visited.
    fn others(&self, claim: Claim<'a>) -> Vec<Claim<'a>> {
        let path = &claim.operation.path;
        let mut others: Vec<Claim<'a>> = Vec::new();
        let mut open = vec![(0, path.segments())];
        while let Some((at, rest)) = open.pop() {
            let node = &self.nodes[at];
            let ended = rest.is_empty().then_some(&node.exact);
            let answered = node.prefix.iter().chain(ended.into_iter().flatten());
            others.extend(answered.filter(|other| other.owner != claim.owner));
            if others.len() >= OTHERS_MAX {
                break;
            }
            let every = || node.literals.values().copied().chain(node.parameter);
            match rest.split_first() {
                None if path.is_prefix() => open.extend(every().map(|next| (next, rest))),
                None => {}
                Some((Segment::Parameter(_), rest)) => open.extend(every().map(|next| (next, rest))),
                Some((Segment::Literal(text), rest)) => {
                    let literal = node.literals.get(text.as_str()).copied();
                    open.extend(literal.into_iter().chain(node.parameter).map(|next| (next, rest)));
                }
            }
        }
        others.truncate(OTHERS_MAX);
        others.sort_by_key(|other| other.operation.position);
        others
    }
}
