//! Finds the route of a request: hosts in a table, paths in a tree of segments, no scan over routes.

use std::collections::{BTreeSet, HashMap};

use bowline_model::route::{HostPattern, PathPattern, Route, RouteMatch};
use http::{HeaderMap, Method};

use crate::target::HOST_MAX;

use tree::{Entry, Tree};

mod tree;

#[cfg(test)]
mod tests;

/// The routes of a snapshot, compiled for looking up.
///
/// Among the matches that hold for a request the winner is, in this order, the one with
/// 1. the more specific host: exact, then the wildcard with the longest suffix, then any;
/// 2. the more specific path, compared segment by segment from the left: literal, then parameter,
///    then `**`; so an exact path wins over everything, and a longer prefix over a shorter one;
/// 3. a list of methods rather than none;
/// 4. more headers;
/// 5. the earlier place: of routes in the list, then of matches in the route.
///
/// This is the Gateway API's order. A match whose method or headers do not hold takes no part, so a
/// less specific one may answer in its place. Methods are compared exactly: `GET` does not include
/// `HEAD`. A header with several values holds when one of them does.
///
/// A segment of a path is compared with a literal as a server behind us may read it: up to its first
/// `;`, as many servers take what follows for parameters and route without it, and percent-decoded.
/// So `/admin;x=1` and `/caf%c3%a9` are `/admin` and `/caf%C3%A9`, and no less specific route answers
/// for them; what is passed on is the path as it was sent. Paths with a second spelling of another
/// kind, as `/%61dmin` or `/a%2fb`, must be refused before.
///
/// Looking up costs a hash for the host and one binary search for each segment of the path, so it
/// grows with the logarithm of the number of routes. Nothing is allocated when a route is found.
#[derive(Debug, Default)]
pub struct Matcher {
    exact: HashMap<Box<str>, Tree>,
    wildcard: HashMap<Box<str>, Tree>,
    any: Tree,
    route_count: usize,
}

/// What a lookup reads of a request.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The host without its port; case does not matter. Empty where the request names none.
    pub host: &'a str,
    /// The path as sent, without the query.
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// Why no route was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// No route has the host and the path (and the headers).
    NoRoute,
    /// The path is there, with other methods only.
    Method {
        /// Those methods as an `Allow` header's value, sorted: `GET, POST`.
        allow: String,
    },
}

/// A route that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRoute {
    /// It matches on a header that cannot exist.
    #[error("route `{route}` matches on `{header}`, which is not a header name")]
    Header {
        /// The route.
        route: String,
        /// What it has in the place of a header name.
        header: String,
    },
    /// No request has the path, as those that could are refused or compared without their parameters.
    #[error("route `{route}` has the path segment `{segment}`, which matches nothing: {problem}")]
    Segment {
        /// The route.
        route: String,
        /// The segment.
        segment: String,
        /// Why no request has it.
        problem: &'static str,
    },
}

impl Matcher {
    /// Compiles routes; what [`Matcher::find`] returns is an index into them.
    ///
    /// # Errors
    /// [`InvalidRoute`] when a match names a header that cannot exist, or a path that no request has.
    pub fn new(routes: &[Route]) -> Result<Self, InvalidRoute> {
        let mut matcher = Self { route_count: routes.len(), ..Self::default() };
        let everywhere = [everything()];
        for (index, route) in routes.iter().enumerate() {
            let matches = if route.matches.is_empty() { &everywhere } else { route.matches.as_slice() };
            for each in matches {
                let entry = Entry::new(index, route, each)?;
                tree::check(route, &each.path)?;
                if route.hosts.is_empty() {
                    matcher.any.insert(&each.path, entry.clone());
                }
                for host in &route.hosts {
                    matcher.tree_of(host).insert(&each.path, entry.clone());
                }
            }
        }
        Ok(matcher)
    }

    /// The index of the route that answers a request.
    ///
    /// # Errors
    /// [`Miss`] when no route matches.
    pub fn find(&self, query: Query<'_>) -> Result<usize, Miss> {
        let mut buffer = [0; HOST_MAX];
        let host = lower_case(query.host, &mut buffer);
        self.trees_for(host).find_map(|tree| tree.find(query)).ok_or_else(|| self.explain(host, query))
    }

    /// How many routes were compiled.
    pub(crate) fn route_count(&self) -> usize {
        self.route_count
    }

    /// The slow path: nothing was found; which methods would have been?
    fn explain(&self, host: &str, query: Query<'_>) -> Miss {
        let mut methods = BTreeSet::new();
        for tree in self.trees_for(host) {
            tree.methods_at(query, &mut methods);
        }
        if methods.is_empty() {
            return Miss::NoRoute;
        }
        Miss::Method { allow: methods.into_iter().collect::<Vec<_>>().join(", ") }
    }

    /// The trees that hold for a host, the most specific first.
    fn trees_for<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Tree> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let dots = host.match_indices('.').take_while(|_| !self.wildcard.is_empty());
        // A wildcard stands for at least one label, so the search begins after the first dot.
        let wildcards = dots.filter_map(|(at, _)| self.wildcard.get(&host[at + 1..]));
        exact.into_iter().chain(wildcards).chain(std::iter::once(&self.any))
    }

    fn tree_of(&mut self, host: &HostPattern) -> &mut Tree {
        match host {
            HostPattern::Exact(name) => self.exact.entry(Box::from(name.as_str())).or_default(),
            HostPattern::Wildcard(suffix) => self.wildcard.entry(Box::from(suffix.as_str())).or_default(),
        }
    }
}

/// What a route without matches matches.
fn everything() -> RouteMatch {
    let path = PathPattern::parse("/**").expect("the pattern is valid");
    RouteMatch { path, methods: Vec::new(), headers: Vec::new() }
}

/// The host as the tables have it: lower case, without the dot that ends an absolute name.
///
/// A name that is too long to exist matches no host pattern.
fn lower_case<'a>(host: &'a str, buffer: &'a mut [u8; HOST_MAX]) -> &'a str {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() > HOST_MAX {
        return "";
    }
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host;
    }
    let lower = &mut buffer[..host.len()];
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).expect("lower-casing ASCII keeps UTF-8 valid")
}
