//! The set and the pickers as their callers see them.

mod concurrency;
mod keys;
mod outlier;
mod picker;
mod port;
mod set;
mod shape;

use std::collections::BTreeMap;

use bowline_balance::{InstanceSet, Member, Shape};
use bowline_model::{Instance, InstanceId, ServiceName, policy::BalancePolicy};
use bowline_runtime::rand;

/// The instances `i-0000`, `i-0001` and so on, each on a port of its own.
fn instances(count: u16) -> Vec<Instance> {
    (0..count).map(instance).collect()
}

fn instance(number: u16) -> Instance {
    let id = InstanceId::new(&format!("i-{number:05}")).expect("a good id");
    let service = ServiceName::new("svc").expect("a good name");
    Instance::new(id, service, std::net::SocketAddr::from(([127, 0, 0, 1], 1 + number)).into())
}

/// A set of those instances whose members have no state, for picks by the default policy.
fn set_of(instances: &[Instance]) -> InstanceSet<()> {
    set_by(&BalancePolicy::default(), instances)
}

/// A set of those instances whose members have no state, for picks by that policy.
fn set_by(policy: &BalancePolicy, instances: &[Instance]) -> InstanceSet<()> {
    let set = InstanceSet::new(Shape::of(policy, None, "caller"));
    set.update(instances, |_| ());
    set
}

fn number(member: &Member<()>) -> u16 {
    member.instance.id.to_string()[2..].parse().expect("a number")
}

/// The seed of this test, printed so that a failure can be had again.
#[expect(clippy::print_stdout, reason = "shown where the test fails")]
fn seeded(seed: u64) {
    println!("seed {seed}");
    rand::seed(seed);
}

/// Fails where an even distribution over `places` would give such counts less than once in a
/// thousand times (Wilson and Hilferty's approximation of the χ² distribution).
fn assert_even(counts: &BTreeMap<u16, u32>, places: u16) {
    let total: u32 = counts.values().sum();
    let expected = f64::from(total) / f64::from(places);
    let found = (0..places).map(|place| f64::from(counts.get(&place).copied().unwrap_or_default()));
    let chi_squared: f64 = found.map(|count| (count - expected).powi(2) / expected).sum();
    let freedom = f64::from(places - 1);
    let (part, z_of_a_thousandth) = (2.0 / (9.0 * freedom), 3.09);
    let limit = freedom * (1.0 - part + z_of_a_thousandth * part.sqrt()).powi(3);
    assert!(chi_squared < limit, "χ² {chi_squared} of at most {limit}: {counts:?}");
}
