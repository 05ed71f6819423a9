//! The set and the pickers as their callers see them.

mod concurrency;
mod picker;
mod set;

use bowline_balance::InstanceSet;
use bowline_model::{Instance, InstanceId, ServiceName};

/// The instances `i-0000`, `i-0001` and so on, each on a port of its own.
fn instances(count: u16) -> Vec<Instance> {
    (0..count).map(instance).collect()
}

fn instance(number: u16) -> Instance {
    let id = InstanceId::new(&format!("i-{number:05}")).expect("a good id");
    let service = ServiceName::new("svc").expect("a good name");
    Instance::new(id, service, std::net::SocketAddr::from(([127, 0, 0, 1], 1 + number)).into())
}

/// A set of those instances whose members have no state.
fn set_of(instances: &[Instance]) -> InstanceSet<()> {
    let set = InstanceSet::new();
    set.update(instances, |_| ());
    set
}
