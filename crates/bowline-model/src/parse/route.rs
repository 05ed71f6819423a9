//! Routes: which requests from outside go to which services.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ROUTES_MAX,
    boundary::{read_method, shape},
    gateway::Declared,
    middleware, policy,
    references::{Names, Side},
    schema,
    table::Table,
    value::{LIST_MAX, Value, in_ticks, once},
    web::{self, header_value},
};
use crate::{
    gateway::is_header_name,
    problem::Position,
    route::{BODY_MAX_DEFAULT, Backend, HostPattern, PathPattern, Route, RouteMatch},
    system::RouteSite,
    units,
};

/// The most that a weight is.
const WEIGHT_MAX: u32 = 1_000_000;

/// What the routes read so far have taken.
#[derive(Debug, Default)]
struct Taken {
    names: BTreeMap<String, Position>,
    matches: BTreeMap<String, Position>,
}

/// The routes, and where they are by their names.
pub(super) fn read_all(value: Value<'_>, declared: &Declared<'_>) -> (Vec<Route>, BTreeMap<String, RouteSite>) {
    let mut taken = Taken::default();
    let mut sites = BTreeMap::new();
    let routes = value.list(ROUTES_MAX).into_iter().filter_map(|value| {
        let table = value.table(&schema::ROUTE)?;
        let route = route(&table, declared, &mut taken);
        sites.insert(route.name.clone(), site(&table));
        Some(route)
    });
    (routes.collect(), sites)
}

fn site(table: &Table<'_>) -> RouteSite {
    RouteSite {
        position: table.get("name").map_or_else(|| table.position(), Value::position),
        timeout_position: table.get("timeout").map(Value::position),
    }
}

fn route(table: &Table<'_>, declared: &Declared<'_>, taken: &mut Taken) -> Route {
    let name = table.need("name").and_then(|value| name(value, taken));
    let hosts = hosts(table);
    Route {
        matches: matches(table, &hosts, taken),
        hosts,
        policy: policy::read(table),
        body_max: table.get("body_max").and_then(body_max).unwrap_or(BODY_MAX_DEFAULT),
        auth: declared.auth(table),
        limit: declared.limit(table),
        middleware: middleware::read(table),
        name: name.unwrap_or_default(),
        backends: table.need("backends").map(|value| backends(value, &declared.services)).unwrap_or_default(),
    }
}

fn name(value: Value<'_>, taken: &mut Taken) -> Option<String> {
    let name = String::from(value.label()?);
    if let Some(first) = taken.names.get(&name) {
        let message = format!("two routes are named {}", in_ticks(&name));
        return value.refuse(message, format!("give this one another name; the first is on line {}", first.line));
    }
    taken.names.insert(name.clone(), value.position());
    Some(name)
}

fn hosts(table: &Table<'_>) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for value in table.list("hosts") {
        let Some(host) = value.parsed("a host", HostPattern::parse) else { continue };
        once(value, host, &mut hosts);
    }
    hosts
}

fn body_max(value: Value<'_>) -> Option<u64> {
    let bytes = value.parsed("a size", units::parse_bytes)?;
    if bytes == 0 {
        return value.refuse("`body_max` (0 B) must be above zero", "write `body_max = \"10 MiB\"`");
    }
    Some(bytes)
}

// === matches ===

fn matches(table: &Table<'_>, hosts: &[HostPattern], taken: &mut Taken) -> Vec<RouteMatch> {
    let mut matches = Vec::new();
    let values = table.list("matches");
    for value in &values {
        let Some(matched) = value.table(&schema::MATCH).and_then(|table| read_match(&table)) else { continue };
        if let Some(first) = taken.take(&matched, hosts, value.position()) {
            let message = format!("the route on line {} takes these requests already", first.line);
            value.fault(message, "change the path, the methods or the headers, or remove the match");
        }
        matches.push(matched);
    }
    if values.is_empty()
        && let Some(first) = taken.take(&every_request(), hosts, table.position())
    {
        let message = format!("the route on line {} takes these requests already", first.line);
        table.fault(message, "add `matches = [{ path = \"/orders/**\" }]`");
    }
    matches
}

fn every_request() -> RouteMatch {
    let path = PathPattern::parse("/**").expect("it is a pattern");
    RouteMatch { path, methods: Vec::new(), headers: Vec::new() }
}

fn read_match(table: &Table<'_>) -> Option<RouteMatch> {
    let path = match table.get("path") {
        Some(value) => value.parsed("a path", PathPattern::parse),
        None => Some(every_request().path),
    };
    let mut methods = Vec::new();
    for value in table.list("methods") {
        let Some(method) = value.text().and_then(|text| read_method(value, text)) else { continue };
        once(value, method, &mut methods);
    }
    let headers = table.get("headers").map(headers).unwrap_or_default();
    Some(RouteMatch { path: path?, methods, headers })
}

fn headers(value: Value<'_>) -> Vec<(String, String)> {
    let mut names = BTreeSet::new();
    let mut headers = Vec::new();
    for entry in value.entries(&schema::HEADER_ENTRY, LIST_MAX) {
        let name = entry.key().to_ascii_lowercase();
        if !is_header_name(&name) {
            let message = format!("{} is not the name of a header", entry.key_quoted());
            entry.fault_key(message, web::HEADER_NAME_RULE);
        } else if !names.insert(name.clone()) {
            entry.fault_key(format!("the header {} is asked for twice", in_ticks(&name)), "remove one of them");
        }
        if let Some(wanted) = entry.parsed("the value of a header", header_value) {
            headers.push((name, wanted));
        }
    }
    headers
}

impl Taken {
    /// Takes a match on each of the hosts; the position of the first that had it before.
    fn take(&mut self, matched: &RouteMatch, hosts: &[HostPattern], position: Position) -> Option<Position> {
        let RouteMatch { path, methods, headers } = matched;
        let (mut methods, mut headers) = (methods.clone(), headers.clone());
        methods.sort_unstable();
        headers.sort_unstable();
        let hosts: Vec<String> = hosts.iter().cloned().map(String::from).collect();
        let hosts = if hosts.is_empty() { vec![String::new()] } else { hosts };
        let mut first = None;
        for host in hosts {
            let identity = format!("{host} {} {methods:?} {headers:?}", shape(path));
            match self.matches.get(&identity) {
                Some(taken) => first = first.or(Some(*taken)),
                None => drop(self.matches.insert(identity, position)),
            }
        }
        first
    }
}

// === backends ===

fn backends(value: Value<'_>, declared: &Names<'_>) -> Vec<Backend> {
    let values = value.list(LIST_MAX);
    let mut seen = BTreeSet::new();
    let backends: Vec<Option<Backend>> = values.into_iter().map(|value| backend(value, declared, &mut seen)).collect();
    // Silent where a backend is faulty: its weight may be the one that counts.
    if value.is_list() && backends.iter().all(|backend| backend.as_ref().is_some_and(|backend| backend.weight == 0)) {
        let message = if backends.is_empty() { "a route without backends" } else { "all weights are zero" };
        value.fault(message, "name a service with a weight above zero: [{ service = \"order\" }]");
    }
    backends.into_iter().flatten().collect()
}

fn backend(value: Value<'_>, declared: &Names<'_>, seen: &mut BTreeSet<String>) -> Option<Backend> {
    let table = value.table(&schema::BACKEND)?;
    let weight = match table.get("weight") {
        Some(value) => value.integer(0..=WEIGHT_MAX),
        None => Some(1),
    };
    let value = table.need("service")?;
    let name = value.text()?;
    declared.check(name, value, Side::Value);
    if !seen.insert(name.to_owned()) {
        value.fault(format!("{} is a backend twice", in_ticks(name)), "name it once, with the sum of the weights");
    }
    Some(Backend { service: crate::name::ServiceName::new(name).ok()?, weight: weight? })
}
