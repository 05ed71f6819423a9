//! The paths of one host as a tree of segments, and the matches that end at each of its nodes.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use bowline_model::route::{PathPattern, Route, RouteMatch, Segment};
use http::HeaderName;

use super::{InvalidRoute, Query};
use crate::target::{Refusal, check_path, decoded};

/// A tree of path segments. Its depth is bounded by the length of the longest pattern.
#[derive(Debug)]
pub(super) struct Tree {
    /// The root is the first.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// The nodes below by literal segment, percent-decoded, sorted.
    literals: Vec<(Box<[u8]>, usize)>,
    /// The node below for any other segment.
    parameter: Option<usize>,
    /// Matches whose path ends here, in order of precedence.
    exact: Vec<Entry>,
    /// Matches whose `**` begins here, in order of precedence.
    below: Vec<Entry>,
}

/// What a match demands beside host and path. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    route: usize,
    methods: Arc<[String]>,
    headers: Arc<[(HeaderName, String)]>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Tree {
    /// Adds a match; those added earlier win among equals.
    pub(super) fn insert(&mut self, path: &PathPattern, entry: Entry) {
        let end = path.segments().iter().fold(0, |at, segment| self.child(at, segment));
        let node = &mut self.nodes[end];
        let entries = if path.is_prefix() { &mut node.below } else { &mut node.exact };
        let place = entries.partition_point(|other| other.rank() <= entry.rank());
        entries.insert(place, entry);
    }

    /// The node below `at` for a segment of a pattern, made where it is missing.
    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[at];
        let child = match segment {
            Segment::Parameter(_) => *node.parameter.get_or_insert(next),
            Segment::Literal(text) => {
                let text: Box<[u8]> = decoded(text.as_bytes()).collect();
                match node.literals.binary_search_by(|(other, _)| other.cmp(&text)) {
                    Ok(place) => node.literals[place].1,
                    Err(place) => {
                        node.literals.insert(place, (text, next));
                        next
                    }
                }
            }
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }

    /// The route of the most specific match that holds.
    pub(super) fn find(&self, query: Query<'_>) -> Option<usize> {
        self.walk(0, segments(query.path)?, &mut |entries| {
            entries.iter().find(|entry| entry.has_method(query) && entry.has_headers(query)).map(|entry| entry.route)
        })
    }

    /// Collects the methods of the matches that hold but for their method.
    pub(super) fn methods_at<'a>(&'a self, query: Query<'_>, methods: &mut BTreeSet<&'a str>) {
        let Some(rest) = segments(query.path) else { return };
        let found = self.walk(0, rest, &mut |entries: &'a [Entry]| {
            let held = entries.iter().filter(|entry| entry.has_headers(query));
            methods.extend(held.flat_map(|entry| entry.methods.iter().map(String::as_str)));
            None::<()>
        });
        debug_assert!(found.is_none(), "the visitor finds nothing, so that every node is seen");
    }

    /// Visits the nodes whose pattern matches, in order of precedence, until one has an answer.
    ///
    /// A node is reached by one way only, so no path makes this visit more nodes than there are.
    fn walk<'a, T>(
        &'a self,
        at: usize,
        rest: Option<&str>,
        visit: &mut impl FnMut(&'a [Entry]) -> Option<T>,
    ) -> Option<T> {
        let node = &self.nodes[at];
        let Some(rest) = rest else {
            return visit(&node.exact).or_else(|| visit(&node.below));
        };
        let (segment, rest) = match rest.bytes().position(|byte| byte == b'/') {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        let name = segment.split_once(';').map_or(segment, |(name, _)| name);
        let parameter = node.parameter.filter(|_| !name.is_empty());
        [node.literal(name.as_bytes()), parameter]
            .into_iter()
            .flatten()
            .find_map(|child| self.walk(child, rest, visit))
            .or_else(|| visit(&node.below))
    }
}

impl Node {
    /// The node below for a segment without its parameters.
    fn literal(&self, name: &[u8]) -> Option<usize> {
        let place = if name.contains(&b'%') {
            self.literals.binary_search_by(|(text, _)| text.iter().copied().cmp(decoded(name)))
        } else {
            self.literals.binary_search_by(|(text, _)| (**text).cmp(name))
        };
        place.ok().map(|place| self.literals[place].1)
    }
}

/// Refuses a pattern with a literal that no request has: [`check_path`] keeps it from coming here, or
/// it has parameters, without which segments are compared.
pub(super) fn check(route: &Route, path: &PathPattern) -> Result<(), InvalidRoute> {
    for segment in path.segments() {
        let Segment::Literal(text) = segment else { continue };
        let problem = match check_path(&format!("/{text}")) {
            _ if text.contains(';') => "segments are compared without `;` and what follows it",
            Err(Refusal::Path(problem) | Refusal::Host(problem)) => problem,
            Ok(()) => continue,
        };
        return Err(InvalidRoute::Segment { route: route.name.clone(), segment: text.clone(), problem });
    }
    Ok(())
}

/// What comes after the first slash, `None` when that is nothing; no path without a slash matches.
#[expect(clippy::option_option, reason = "the outer is whether it is a path, the inner whether it has segments")]
fn segments(path: &str) -> Option<Option<&str>> {
    let rest = path.strip_prefix('/')?;
    Some((!rest.is_empty()).then_some(rest))
}

impl Entry {
    pub(super) fn new(index: usize, route: &Route, each: &RouteMatch) -> Result<Self, InvalidRoute> {
        let parse = |(name, value): &(String, String)| match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Ok((name, value.clone())),
            Err(_) => Err(InvalidRoute::Header { route: route.name.clone(), header: name.clone() }),
        };
        let headers = each.headers.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { route: index, methods: Arc::from(each.methods.as_slice()), headers })
    }

    /// Smaller wins.
    fn rank(&self) -> (bool, Reverse<usize>) {
        (self.methods.is_empty(), Reverse(self.headers.len()))
    }

    fn has_method(&self, query: Query<'_>) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|method| method == query.method.as_str())
    }

    fn has_headers(&self, query: Query<'_>) -> bool {
        self.headers.iter().all(|(name, value)| query.headers.get_all(name).iter().any(|got| got == value.as_str()))
    }
}
