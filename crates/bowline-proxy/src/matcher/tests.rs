//! The precedence of routes, row by row, and against a reference that scans.

use bowline_model::{
    ServiceName,
    route::{Backend, Segment},
};
use http::{HeaderValue, header::HeaderName};
use proptest::prelude::*;

use super::*;

/// A route in one line: `hosts paths methods headers`, each a list with commas, `-` for none.
fn route(name: &str, line: &str) -> Route {
    let mut words = line.split_whitespace().map(|word| if word == "-" { "" } else { word });
    let mut list = || words.next().unwrap_or("").split(',').filter(|item| !item.is_empty()).map(str::to_owned);
    let hosts = list().map(|host| HostPattern::parse(&host).unwrap()).collect();
    let paths: Vec<_> = list().collect();
    let methods: Vec<_> = list().collect();
    let headers: Vec<_> = list().map(|pair| pair.split_once('=').map(|(a, b)| (a.into(), b.into())).unwrap()).collect();
    let matches = paths.iter().map(|path| RouteMatch {
        path: PathPattern::parse(path).unwrap(),
        methods: methods.clone(),
        headers: headers.clone(),
    });
    Route {
        hosts,
        matches: matches.collect(),
        ..Route::new(name, vec![Backend { service: ServiceName::new("a").unwrap(), weight: 1 }])
    }
}

/// Looks up `METHOD host path [name=value …]` and writes the answer as `route`, `404` or `405 ALLOW`.
fn ask(routes: &[Route], matcher: &Matcher, request: &str) -> String {
    let mut words = request.split_whitespace();
    let method: Method = words.next().unwrap().parse().unwrap();
    let host = words.next().filter(|host| *host != "-").unwrap_or("");
    let path = words.next().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in words.map(|pair| pair.split_once('=').unwrap()) {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    match matcher.find(Query { host, path, method: &method, headers: &headers }) {
        Ok(index) => routes[index].name.clone(),
        Err(Miss::NoRoute) => "404".to_owned(),
        Err(Miss::Method { allow }) => format!("405 {allow}"),
    }
}

#[track_caller]
fn check(routes: &[(&str, &str)], rows: &[(&str, &str)]) {
    let routes: Vec<_> = routes.iter().map(|(name, line)| route(name, line)).collect();
    let matcher = Matcher::new(&routes).unwrap();
    for (request, expected) in rows {
        assert_eq!(ask(&routes, &matcher, request), *expected, "{request}");
    }
}

#[test]
fn hosts() {
    check(
        &[
            ("any", "- /**"),
            ("wide", "*.b.c /**"),
            ("narrow", "*.a.b.c /**"),
            ("exact", "x.a.b.c /only,/more/**"),
            ("two", "one.test,two.test /**"),
        ],
        &[
            ("GET x.a.b.c /only", "exact"),
            ("GET X.A.b.C /only", "exact"),
            ("GET x.a.b.c. /only", "exact"),
            ("GET x.a.b.c /other", "narrow"),
            ("GET y.a.b.c /only", "narrow"),
            ("GET z.y.a.b.c /only", "narrow"),
            ("GET a.b.c /only", "wide"),
            ("GET A.B.C /only", "wide"),
            ("GET b.c /only", "any"),
            ("GET xb.c /only", "any"),
            ("GET - /only", "any"),
            ("GET one.test /", "two"),
            ("GET two.test /x", "two"),
            ("GET three.test /x", "any"),
            ("GET .test /x", "any"),
            ("GET . /x", "any"),
        ],
    );
    check(&[("only", "a.test /**")], &[("GET a.test /", "only"), ("GET b.test /", "404"), ("GET - /", "404")]);
    let long = format!("GET {} /", "A.".repeat(200));
    check(&[("wide", "*.a /**")], &[(long.as_str(), "404"), (long.to_ascii_lowercase().as_str(), "404")]);
}

#[test]
fn paths() {
    check(
        &[
            ("root-below", "- /**"),
            ("root", "- /"),
            ("orders-below", "- /orders/**"),
            ("order", "- /orders/{id}"),
            ("order-new", "- /orders/new"),
            ("orders", "- /orders"),
            ("items", "- /orders/{id}/items/**"),
            ("item", "- /orders/{id}/items/{item}"),
            ("tenant", "- /{tenant}/bills/{bill}"),
        ],
        &[
            ("GET h /", "root"),
            ("GET h /x", "root-below"),
            ("GET h /ordersx", "root-below"),
            ("GET h /orders", "orders"),
            ("GET h /orders/", "orders-below"),
            ("GET h /orders/new", "order-new"),
            ("GET h /orders/NEW", "order"),
            ("GET h /orders/7", "order"),
            ("GET h /orders/7/", "orders-below"),
            ("GET h /orders/7/pay", "orders-below"),
            ("GET h /orders/7/items", "items"),
            ("GET h /orders/7/items/", "items"),
            ("GET h /orders/7/items/9", "item"),
            ("GET h /orders/7/items/9/x", "items"),
            ("GET h /orders/new/items/9", "item"),
            ("GET h /acme/bills/1", "tenant"),
            ("GET h /acme/bills", "root-below"),
            // A literal on the left is more specific than anything further right.
            ("GET h /orders/bills/1", "orders-below"),
            ("GET h *", "404"),
            ("GET h orders", "404"),
        ],
    );
    check(&[("all", "a.test")], &[("GET a.test /", "all"), ("DELETE a.test /x/y", "all")]);
}

#[test]
fn a_segment_has_one_meaning_however_it_is_written() {
    check(
        &[
            ("all", "- /**"),
            ("admin", "- /admin/**"),
            ("one", "- /users/{id}"),
            ("batch", "- /users/me:batch"),
            ("coffee", "- /caf%C3%A9"),
            ("tea", "- /thé"),
        ],
        &[
            ("GET h /admin;x=1/users", "admin"),
            ("GET h /admin;", "admin"),
            ("GET h /admin;x/../y", "admin"),
            ("GET h /admin%3Bx", "all"),
            ("GET h /users/7;a=b", "one"),
            ("GET h /users/;a=b", "all"),
            ("GET h /users/me:batch", "batch"),
            ("GET h /users/me%3abatch;v=1", "batch"),
            ("GET h /users/me%3Bbatch", "one"),
            ("GET h /caf%C3%A9", "coffee"),
            ("GET h /caf%c3%a9", "coffee"),
            ("GET h /café", "coffee"),
            ("GET h /th%c3%a9", "tea"),
            ("GET h /caf%c3", "all"),
        ],
    );
}

#[test]
fn a_path_that_no_request_has_is_refused() {
    for (path, problem) in [
        ("/a;b", "without `;`"),
        ("/x/%61", "a letter"),
        ("/a%2fb/{id}", "a slash"),
        ("/../a", "`..` segment"),
        ("/100%", "encodes nothing"),
    ] {
        let error = Matcher::new(&[route("bad", &format!("- {path}"))]).unwrap_err();
        assert!(matches!(error, InvalidRoute::Segment { .. }) && error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn methods_headers_and_order() {
    check(
        &[
            ("later-anything", "- /a"),
            ("read", "- /a GET,HEAD"),
            ("beta", "- /a - x-track=beta"),
            ("beta-eu", "- /a - x-track=beta,x-zone=eu"),
            ("write-beta", "- /a POST x-track=beta"),
            ("first", "- /same/{a} PUT"),
            ("second", "- /same/{b} PUT"),
            ("list", "h.test /m/** GET,POST"),
            ("drop", "h.test /m/{id} DELETE"),
            ("hidden", "h.test /m/{id} PATCH x-admin=1"),
            ("fallback", "- /m/open PUT"),
        ],
        &[
            ("GET h /a", "read"),
            ("HEAD h /a", "read"),
            ("POST h /a", "later-anything"),
            // A list of methods comes before headers.
            ("GET h /a x-track=beta", "read"),
            ("PUT h /a x-track=beta", "beta"),
            ("PUT h /a x-track=Beta", "later-anything"),
            ("PUT h /a x-track=beta x-zone=eu", "beta-eu"),
            ("PUT h /a x-track=alpha x-track=beta", "beta"),
            ("POST h /a x-track=beta x-zone=eu", "write-beta"),
            ("PUT h /same/1", "first"),
            ("GET h.test /m/1", "list"),
            ("DELETE h.test /m/1", "drop"),
            ("DELETE h.test /m/1/2", "405 GET, POST"),
            ("PUT h.test /m/1", "405 DELETE, GET, POST"),
            ("get h.test /m/1", "405 DELETE, GET, POST"),
            ("HEAD h.test /m", "405 GET, POST"),
            ("PATCH h.test /m/1", "405 DELETE, GET, POST"),
            ("PUT h.test /m/1 x-admin=1", "405 DELETE, GET, PATCH, POST"),
            ("PATCH h.test /m/1 x-admin=1", "hidden"),
            // A less specific host answers what the more specific one does not.
            ("PUT h.test /m/open", "fallback"),
            ("PUT h /b", "404"),
        ],
    );
}

#[test]
fn a_route_with_an_impossible_header_is_refused() {
    let error = Matcher::new(&[route("bad", "- / - a@b=1")]).unwrap_err();
    assert_eq!(error.to_string(), "route `bad` matches on `a@b`, which is not a header name");
}

/// The most specific match by scanning: what the documentation of [`Matcher`] says, word by word.
fn scan(routes: &[Route], query: Query<'_>) -> Option<usize> {
    let host_rank = |route: &Route| {
        let rank = |host: &HostPattern| match host {
            HostPattern::Exact(name) => (name == query.host).then_some(0),
            HostPattern::Wildcard(suffix) => {
                let rest = query.host.strip_suffix(suffix.as_str())?;
                rest.ends_with('.').then(|| 1000 - suffix.len())
            }
        };
        if route.hosts.is_empty() { Some(2000) } else { route.hosts.iter().filter_map(rank).min() }
    };
    let path_rank = |path: &PathPattern| {
        let segment = |segment: &Segment| u8::from(matches!(segment, Segment::Parameter(_)));
        let end = if path.is_prefix() { 3 } else { 2 };
        path.segments().iter().map(segment).chain([end]).collect::<Vec<_>>()
    };
    let mut best = None;
    for (index, route) in routes.iter().enumerate() {
        let Some(host) = host_rank(route) else { continue };
        for each in &route.matches {
            let has_method = each.methods.is_empty() || each.methods.iter().any(|m| m == query.method.as_str());
            let has_headers =
                each.headers.iter().all(|(name, value)| query.headers.get(name).is_some_and(|v| v == value));
            if has_method && has_headers && each.path.matches(query.path) {
                let rank =
                    (host, path_rank(&each.path), each.methods.is_empty(), usize::MAX - each.headers.len(), index);
                best = best.into_iter().chain([rank]).min();
            }
        }
    }
    best.map(|rank| rank.4)
}

fn route_line() -> impl Strategy<Value = String> {
    let host = prop::sample::select(vec!["-", "a.b", "*.b", "x.a.b", "*.a.b", "a.b,*.b"]);
    let segment = prop::sample::select(vec!["a", "b", "{p}"]);
    let path = (prop::collection::vec(segment, 0..4), prop::sample::select(vec!["", "/**"]));
    let path = path.prop_map(|(segments, end)| {
        let text = segments.iter().fold(String::new(), |text, segment| format!("{text}/{segment}")) + end;
        if text.is_empty() { "/".to_owned() } else { text }
    });
    let methods = prop::sample::select(vec!["-", "GET", "GET,POST", "POST"]);
    let headers = prop::sample::select(vec!["-", "k=1", "k=1,l=1"]);
    (host, path, methods, headers).prop_map(|(h, p, m, k)| format!("{h} {p} {m} {k}"))
}

fn request_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["/a", "/b", "/c", "/"]), 1..5).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_scan_finds(
        lines in prop::collection::vec(route_line(), 0..12),
        host in prop::sample::select(vec!["a.b", "x.a.b", "y.b", "z"]),
        path in request_path(),
        is_get: bool,
        has_header: bool,
    ) {
        let routes: Vec<_> = lines.iter().map(|line| route("r", line)).collect();
        let matcher = Matcher::new(&routes).unwrap();
        let mut headers = HeaderMap::new();
        if has_header {
            headers.insert("k", HeaderValue::from_static("1"));
        }
        let method = if is_get { Method::GET } else { Method::POST };
        let query = Query { host, path: &path, method: &method, headers: &headers };
        prop_assert_eq!(matcher.find(query).ok(), scan(&routes, query), "{:?}", lines);
    }
}
