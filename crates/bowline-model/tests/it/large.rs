//! 2,000 services are proved, and what is found is what was put there.

use std::time::Duration;

use bowline_model::{
    Position, System,
    check::{Facts, amplification, check},
    policy::CallPolicy,
    system::Call,
};

use crate::generated::{CALLS, LAYER, SERVICES, name, operation, system, table};

fn broken(system: &System) -> Vec<(&'static str, String)> {
    check(system, &Facts::default()).into_iter().map(|violation| (violation.rule.id, violation.message)).collect()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let system = system();
    assert_eq!(broken(&system), []);
    let loads = amplification(&system);
    assert_eq!(loads.len(), (SERVICES - LAYER) * CALLS);
    assert!(loads.iter().all(|load| load.attempts_worst >= 1 && load.load_sustained >= 1.0));
}

#[test]
fn what_was_put_there_is_found() {
    let mut system = system();
    let last = Position { line: SERVICES + 1, column: 1 };
    system.services[1999].boundary.api.push(operation("/s0/7/{what}", last));
    system.services[1000].boundary.data.push(table(3, last));
    let policy = CallPolicy { timeout: Duration::from_mins(1), ..CallPolicy::default() };
    let target = system.services[0].calls[0].target.clone();
    let called = system.services.iter_mut().find(|service| service.name == target).unwrap();
    called.calls.push(Call { policy, ..Call::new(name(0), last) });
    let found: Vec<(&str, String)> = broken(&system).into_iter().filter(|(id, _)| *id != "B0009").collect();
    let expect = [
        ("B0001", "`s0` and `s1999` both answer `GET /s0/7/o0`".to_owned()),
        ("B0002", "`s3` and `s1000` both own `postgres:shared/t3`".to_owned()),
        ("B0008", format!("`s0` waits for `{target}`, which waits for `s0`")),
    ];
    assert_eq!(found, expect);
}
