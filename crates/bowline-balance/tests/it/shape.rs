//! Zones, levels, subsets, slow starts and panic, as the pick has them.

use std::collections::BTreeMap;

use bowline_balance::{Balancer, InstanceSet, METADATA_PRIORITY, Shape};
use bowline_model::{
    Health, Instance,
    policy::{Balance, BalancePolicy, HashKey, Share, Zones},
};
use bowline_runtime::time::{self, Duration, Instant};

use crate::{assert_even, instance, instances, number, seeded};

const STRATEGIES: [Balance; 7] = [
    Balance::RoundRobin,
    Balance::Random,
    Balance::Weighted,
    Balance::LeastConnections,
    Balance::P2cEwma,
    Balance::Maglev,
    Balance::Ring,
];

fn policy(by: Balance) -> BalancePolicy {
    BalancePolicy { key: by.hashes().then_some(HashKey::Path), ..by.into() }
}

/// How often each is picked in 10,000 picks at that time, with a key for each.
fn counts(policy: &BalancePolicy, set: &InstanceSet<()>, now: Instant) -> BTreeMap<u16, u32> {
    let (balancer, snapshot) = (Balancer::new(policy), set.load());
    let mut counts = BTreeMap::new();
    for key in 0..10_000 {
        let member = balancer.pick(&snapshot, now, Some(key), |_| true).expect("somebody is there");
        *counts.entry(number(member)).or_default() += 1;
    }
    counts
}

fn set_in(policy: &BalancePolicy, zone: Option<&str>, list: &[Instance]) -> InstanceSet<()> {
    let set = InstanceSet::new(Shape::of(policy, zone, "caller"));
    set.update(list, |_| ());
    set
}

fn percent(counts: &BTreeMap<u16, u32>, is_in: impl Fn(u16) -> bool) -> f64 {
    counts.iter().filter(|(number, _)| is_in(**number)).map(|(_, count)| f64::from(*count)).sum::<f64>() / 100.0
}

/// Ten instances, the first four in zone `a`, the others in `b`.
fn zoned(ill: &[u16]) -> Vec<Instance> {
    let of = |at| Instance {
        zone: Some(if at < 4 { "a" } else { "b" }.to_owned()),
        health: if ill.contains(&at) { Health::Unhealthy } else { Health::Healthy },
        ..instance(at)
    };
    (0..10).map(of).collect()
}

#[test]
fn the_own_zone_is_used_and_what_it_cannot_bear_spills_over() {
    seeded(31);
    for by in STRATEGIES {
        let policy = BalancePolicy { zones: Zones::Prefer, ..policy(by) };
        let share = |ill: &[u16], zone| {
            let set = set_in(&policy, zone, &zoned(ill));
            percent(&counts(&policy, &set, time::now()), |number| number < 4)
        };
        assert!((share(&[], Some("a")) - 100.0).abs() < 0.01, "{by:?}");
        assert!((share(&[0, 1], Some("a")) - 70.0).abs() < 2.0, "{by:?}: half are well, which bear 70 %");
        assert!(share(&[0, 1, 2, 3], Some("a")).abs() < 0.01, "{by:?}");
        assert!(share(&[], Some("b")).abs() < 0.01, "{by:?}");
        let foreign = share(&[], Some("c"));
        assert!((20.0..60.0).contains(&foreign), "{by:?}: {foreign} of a caller whose zone nobody is in");
        let unzoned = share(&[], None);
        assert!((20.0..60.0).contains(&unzoned), "{by:?}: {unzoned} without a zone of its own");
    }
}

#[test]
fn who_is_refused_in_the_own_zone_goes_to_the_others() {
    let policy = BalancePolicy { zones: Zones::Prefer, ..policy(Balance::RoundRobin) };
    let (set, balancer) = (set_in(&policy, Some("a"), &zoned(&[])), Balancer::new(&policy));
    let mut asked = Vec::new();
    let snapshot = set.load();
    let picked = balancer.pick(&snapshot, time::now(), None, |member| {
        asked.push(number(member));
        asked.len() > 4
    });
    assert!(number(picked.unwrap()) >= 4 && asked[..4].iter().all(|number| *number < 4), "{asked:?}");
    assert_eq!(snapshot.eligible_count(), 10);
}

#[test]
fn a_further_level_gets_what_the_first_cannot_bear() {
    seeded(32);
    let list = |ill: u16| -> Vec<_> {
        let metadata = |level: &str| [(METADATA_PRIORITY.to_owned(), level.to_owned())].into();
        let of = |at| Instance {
            metadata: if at < 10 { [].into() } else { metadata("1") },
            health: if at < ill { Health::Unhealthy } else { Health::Healthy },
            ..instance(at)
        };
        (0..20).map(of).collect()
    };
    for by in STRATEGIES {
        for (ill, expect) in [(0, 100.0), (2, 100.0), (5, 70.0), (10, 0.0)] {
            let set = set_in(&policy(by), None, &list(ill));
            let first = percent(&counts(&policy(by), &set, time::now()), |number| number < 10);
            assert!((first - expect).abs() < 2.0, "{by:?}, {ill} ill: {first} % of {expect} %");
        }
    }
}

#[test]
fn levels_that_are_none_are_the_first() {
    let with = |level: &str, at| Instance {
        metadata: [(METADATA_PRIORITY.to_owned(), level.to_owned())].into(),
        ..instance(at)
    };
    let list = [with("0", 0), with("", 1), with("-1", 2), with("10", 3), with("9", 4)];
    let set = set_in(&policy(Balance::RoundRobin), None, &list);
    assert_eq!(counts(&policy(Balance::RoundRobin), &set, time::now()).len(), 4);
}

#[test]
fn callers_use_subsets_that_are_even_and_steady() {
    let policy = BalancePolicy { subset: Some(5), ..policy(Balance::RoundRobin) };
    let used = |caller: &str, list: &[Instance]| -> Vec<u16> {
        let set: InstanceSet<()> = InstanceSet::new(Shape::of(&policy, None, caller));
        set.update(list, |_| ());
        assert_eq!(set.load().members().len(), list.len(), "all are known");
        counts(&policy, &set, time::now()).into_keys().collect()
    };
    let mut callers = BTreeMap::new();
    for caller in 0..400 {
        let subset = used(&format!("caller-{caller}"), &instances(40));
        assert_eq!(subset.len(), 5);
        for number in subset {
            *callers.entry(number).or_insert(0) += 1;
        }
    }
    assert_even(&callers, 40);
    // When one goes, or is ill, it alone is replaced.
    let before = used("caller", &instances(40));
    let mut list = instances(40);
    list[usize::from(before[2])].health = Health::Unhealthy;
    let after = used("caller", &list);
    assert_eq!(after.len(), 5);
    assert!(before.iter().filter(|number| after.contains(number)).count() == 4, "{before:?} {after:?}");
}

#[test]
fn who_is_new_among_others_starts_slowly() {
    seeded(33);
    let slow_start = Duration::from_secs(100);
    for by in STRATEGIES {
        let policy = BalancePolicy { slow_start: Some(slow_start), ..policy(by) };
        let set = set_in(&policy, None, &instances(9));
        let start = time::now();
        let share =
            |after: u64| percent(&counts(&policy, &set, start + Duration::from_secs(after)), |number| number == 9);
        set.change(&[instance(9)], &[], |_| ());
        // The ring's shares are as the points fall: they are compared with what it has at last.
        let whole = share(200);
        assert!((5.0..16.0).contains(&whole), "{by:?}: {whole}");
        if matches!(by, Balance::LeastConnections | Balance::P2cEwma) {
            // All others are idle: it is not preferred to them while it starts.
            assert!(share(1) < 1.0, "{by:?}: {}", share(1));
            continue;
        }
        for (after, factor) in [(1, 0.11), (50, 0.55), (90, 0.91)] {
            let (is, due) = (share(after), whole * factor);
            assert!((is - due).abs() < 1.0 + due * 0.1, "{by:?} after {after} s: {is} of {due}");
        }
    }
}

#[test]
fn least_connections_and_p2c_let_the_new_one_have_its_part_under_load() {
    seeded(34);
    for by in [Balance::LeastConnections, Balance::P2cEwma] {
        let policy = BalancePolicy { slow_start: Some(Duration::from_secs(100)), ..policy(by) };
        let (set, balancer) = (set_in(&policy, None, &instances(9)), Balancer::new(&policy));
        let now = time::now() + Duration::from_secs(50);
        set.change(&[instance(9)], &[], |_| ());
        let snapshot = set.load();
        for member in snapshot.members() {
            member.begin(now).finish(now + Duration::from_millis(10), true);
        }
        let guards: Vec<_> =
            (0..1000).map(|_| balancer.pick(&snapshot, now, None, |_| true).unwrap().begin(now)).collect();
        let new = snapshot.members()[9].in_flight();
        assert!((40..75).contains(&new), "{by:?}: {new} of 1000 at 55 %");
        drop(guards);
    }
}

#[test]
fn nobody_is_new_at_the_start_nor_after_a_change_of_weight() {
    let policy = BalancePolicy { slow_start: Some(Duration::from_secs(100)), ..policy(Balance::RoundRobin) };
    let set = set_in(&policy, None, &instances(10));
    assert!(counts(&policy, &set, time::now()).values().all(|count| *count == 1000));
    set.change(&[Instance { weight: 7, ..instance(3) }], &[], |_| ());
    assert!(counts(&policy, &set, time::now()).values().all(|count| *count == 1000));
}

#[test]
fn where_too_few_are_well_all_are_picked_from() {
    seeded(35);
    let mut list = instances(10);
    list[9].health = Health::Draining;
    for by in STRATEGIES {
        let policy = BalancePolicy { panic_below: Share::from_percent(50), ..policy(by) };
        for (ill, expect) in [(4, 5), (5, 9)] {
            (0..9).for_each(|at| list[at].health = if at < ill { Health::Unhealthy } else { Health::Healthy });
            let set = set_in(&policy, None, &list);
            assert_eq!(counts(&policy, &set, time::now()).len(), expect, "{by:?} with {ill} ill of 9");
            assert_eq!(set.load().eligible_count(), expect);
        }
    }
}

#[test]
fn a_set_takes_another_shape_and_keeps_what_it_knows() {
    let set = set_in(&policy(Balance::P2cEwma), None, &instances(10));
    let now = time::now();
    let held = set.load().members()[3].begin(now);
    let ring = BalancePolicy { headroom: Some(Share::from_percent(10)), ..policy(Balance::Ring) };
    set.reshape(Shape::of(&ring, None, "caller"));
    assert_eq!(set.load().members()[3].in_flight(), 1);
    let (snapshot, balancer) = (set.load(), Balancer::new(&ring));
    let guards: Vec<_> =
        (0..50).map(|_| balancer.pick(&snapshot, now, Some(1), |_| true).unwrap().begin(now)).collect();
    drop((held, guards));
    assert!(snapshot.members().iter().all(|member| member.in_flight() == 0));
}
