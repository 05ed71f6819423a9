//! A system of 2,000 services in layers, each with ten operations, a table and five calls; nothing in it is wrong.

use std::{fmt::Write as _, time::Duration};

use bowline_model::{
    Position, ServiceName, System,
    policy::CallPolicy,
    route::PathPattern,
    system::{Call, Operation, Resource, Service},
    units::format_duration,
};

pub(crate) const SERVICES: usize = 2000;
pub(crate) const OPERATIONS: usize = 10;
pub(crate) const CALLS: usize = 5;
/// Each calls some of the next layer; the last one calls nobody.
pub(crate) const LAYER: usize = 250;

pub(crate) fn system() -> System {
    let mut system = System::new(ServiceName::new("large").expect("it is a name"));
    system.services = (0..SERVICES).map(service).collect();
    // Five ways lead on from each of seven layers.
    system.boundaries.amplification_max = 1_000_000;
    system
}

/// The same as the text of a `bowline.toml`.
pub(crate) fn text() -> String {
    let System { name, services, boundaries, .. } = system();
    let mut text = format!("name = \"{name}\"\n\n[boundary]\namplification_max = {}\n", boundaries.amplification_max);
    for Service { name, boundary, calls, .. } in services {
        let list = |items: Vec<String>| items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ");
        let api = list(boundary.api.iter().map(ToString::to_string).collect());
        let data = list(boundary.data.iter().map(ToString::to_string).collect());
        writeln!(text, "\n[service.{name}.boundary]\napi = [{api}]\ndata = [{data}]").expect("a string takes all");
        for Call { target, policy, .. } in calls {
            let timeout = format_duration(policy.timeout);
            writeln!(text, "\n[service.{name}.calls.{target}]\ntimeout = \"{timeout}\"\nretry = \"off\"")
                .expect("a string takes all");
        }
    }
    text
}

pub(crate) fn name(number: usize) -> ServiceName {
    ServiceName::new(&format!("s{number}")).expect("it is a name")
}

pub(crate) fn operation(path: &str, position: Position) -> Operation {
    Operation { method: "GET".to_owned(), path: PathPattern::parse(path).expect("it is a pattern"), position }
}

pub(crate) fn table(number: usize, position: Position) -> Resource {
    Resource { kind: "postgres".to_owned(), name: format!("shared/t{number}"), position }
}

fn service(number: usize) -> Service {
    let at = |column| Position { line: number + 1, column };
    let mut service = Service::new(name(number), at(1));
    service.boundary.api = (0..OPERATIONS).map(|index| operation(&path(number, index), at(100 + index))).collect();
    service.boundary.data.push(table(number, at(200)));
    let next = (number / LAYER + 1) * LAYER;
    let targets = (0..CALLS).map(|index| next + (number * 7 + index * 31) % LAYER).filter(|target| *target < SERVICES);
    service.calls = targets.map(|target| call(target, number / LAYER, at(300))).collect();
    service
}

fn path(number: usize, index: usize) -> String {
    match index % 3 {
        0 => format!("/s{number}/{{id}}/o{index}"),
        1 => format!("/s{number}/o{index}/**"),
        _ => format!("/api/v1/s{number}/o{index}/{{id}}"),
    }
}

/// Timeouts shrink from layer to layer, and nobody tries again.
fn call(target: usize, layer: usize, position: Position) -> Call {
    let timeout = Duration::from_secs(20 - layer as u64);
    let policy = CallPolicy { timeout, retry: None, ..CallPolicy::default() };
    Call { policy, ..Call::new(name(target), position) }
}
