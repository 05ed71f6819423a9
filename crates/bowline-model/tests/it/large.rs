//! 2,000 services are proved, and what is found is what was put there.

use std::time::Duration;

use bowline_model::{
    Position, System,
    check::{Facts, amplification, check},
    parse,
    policy::CallPolicy,
    system::{Call, Service},
};

use crate::generated::{CALLS, LAYER, SERVICES, name, operation, system, table, text};

fn broken(system: &System) -> Vec<(&'static str, String)> {
    check(system, &Facts::default()).into_iter().map(|violation| (violation.rule.id, violation.message)).collect()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let (system, unbuilt) = parse::declared(&text(), None).unwrap_or_else(|problems| panic!("{:?}", problems.first()));
    assert_eq!((system.services.len(), unbuilt), (SERVICES, Vec::new()));
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

/// Of patterns that a tree of segments cannot tell apart but at their last segment, each against each.
#[test]
fn parameters_before_literals_do_not_make_it_slow() {
    const EACH: usize = 1000;
    let paths: [fn(usize, usize) -> String; 4] = [
        |service, index| format!("/a{service}-{index}/b"),
        |service, index| format!("/{{p}}/z{service}-{index}"),
        |service, index| format!("/a{service}-{index}/b/c{index}"),
        |service, index| format!("/{{p}}/z{service}-{index}/{{q}}"),
    ];
    let mut system = System::new(name(0));
    for number in 0..12 {
        let at = |index| Position { line: number + 1, column: index + 1 };
        let path = |index| paths[number % paths.len()](number, index);
        let mut service = Service::new(name(number), at(0));
        service.boundary.api = (0..EACH).map(|index| operation(&path(index), at(index))).collect();
        system.services.push(service);
    }
    assert_eq!(broken(&system), []);
    let last = Position { line: 99, column: 1 };
    system.services[0].boundary.api.push(operation("/{x}/z11-999/y", last));
    system.services[0].boundary.api.push(operation("/a4-0/**", last));
    let expect = ["`s11` and `s0` both answer `GET /1/z11-999/y`", "`s1` and `s0` both answer `GET /a4-0/z1-0`"]
        .map(str::to_owned);
    assert_eq!(broken(&system).into_iter().map(|(_, message)| message).collect::<Vec<_>>(), expect);
}
