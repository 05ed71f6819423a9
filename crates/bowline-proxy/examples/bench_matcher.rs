//! How long finding a route takes among 10,000: printed in nanoseconds, for `cargo xtask bench proxy`.

#![expect(clippy::print_stdout, reason = "who starts it reads the figures")]

use std::{error::Error, hint::black_box};

use bowline_model::{
    ServiceName,
    route::{Backend, HostPattern, PathPattern, Route, RouteMatch},
};
use bowline_proxy::matcher::{Matcher, Query};
use bowline_runtime::time;
use http::{HeaderMap, Method};

const ROUTES: usize = 10_000;
const LOOKUPS: u32 = 2_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let by_host = |i: usize| (format!("host-{}.shop.test", i / 10), format!("/part-{}/{{id}}/items", i % 10));
    let by_path = |i: usize| ("shop.test".to_owned(), format!("/part-{i}/{{id}}/**"));
    println!("by host: {:.0} ns", measure(by_host)?);
    println!("by path: {:.0} ns", measure(by_path)?);
    Ok(())
}

/// Nanoseconds a lookup, the routes asked for in an order without pattern.
fn measure(place: impl Fn(usize) -> (String, String)) -> Result<f64, Box<dyn Error>> {
    let routes = (0..ROUTES).map(|i| route(i, &place(i))).collect::<Result<Vec<_>, _>>()?;
    let matcher = Matcher::new(&routes)?;
    let asked: Vec<_> = (0..ROUTES)
        .map(|i| (i * 7919) % ROUTES)
        .map(|i| (i, place(i)))
        .map(|(i, (host, path))| (i, host, path.replace("{id}", "4711").replace("**", "items")))
        .collect();
    let headers = HeaderMap::new();
    let began = time::now();
    for (expected, host, path) in asked.iter().cycle().take(LOOKUPS as usize) {
        let query = Query { host, path, method: &Method::GET, headers: &headers };
        let found = matcher.find(black_box(query));
        assert!(found == Ok(*expected), "{host}{path} found {found:?}");
    }
    Ok(began.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKUPS))
}

fn route(index: usize, (host, path): &(String, String)) -> Result<Route, Box<dyn Error>> {
    let methods = vec!["GET".to_owned()];
    Ok(Route {
        hosts: vec![HostPattern::parse(host)?],
        matches: vec![RouteMatch { path: PathPattern::parse(path)?, methods, headers: Vec::new() }],
        ..Route::new(format!("route-{index}"), vec![Backend { service: ServiceName::new("order")?, weight: 1 }])
    })
}
