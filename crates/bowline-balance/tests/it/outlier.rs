//! Who is ejected, for how long, and what the pick makes of it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use bowline_balance::{Balancer, Detector, InstanceSet, Shape, Why};
use bowline_model::policy::{Balance, BalancePolicy, Deviations, HashKey, OpenFor, OutlierPolicy, Share};
use bowline_runtime::time::{self, Duration, Instant};

use crate::{instance, instances, number, set_by};

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> OutlierPolicy {
    OutlierPolicy {
        consecutive: Some(3),
        interval: SECOND * 10,
        failure_rate: None,
        deviations: None,
        calls_min: 10,
        instances_min: 3,
        eject_for: OpenFor { min: SECOND * 30, max: SECOND * 100 },
        ejected_max: Share::from_percent(50),
    }
}

/// Records so many answers of the one at that place.
fn record(detector: &Detector, set: &InstanceSet<()>, at: usize, answers: &[(u32, bool)], now: Instant) {
    let member = Arc::clone(&set.load().members()[at]);
    for (count, ok) in answers {
        (0..*count).for_each(|_| detector.record(set, &member, *ok, now));
    }
}

fn ejected(set: &InstanceSet<()>, now: Instant) -> Vec<u16> {
    let members = set.snapshot();
    members.members().iter().filter(|member| member.ejection(now).is_some()).map(|member| number(member)).collect()
}

fn picked(by: Balance, set: &InstanceSet<()>, now: Instant) -> BTreeSet<u16> {
    let (balancer, snapshot) = (Balancer::new(&by.into()), set.load());
    (0..2000).map(|key| number(balancer.pick(&snapshot, now, Some(key), |_| true).expect("somebody"))).collect()
}

#[test]
fn failures_in_a_row_eject_at_once_for_longer_each_time() {
    let (set, detector, start) =
        (set_by(&Balance::P2cEwma.into(), &instances(5)), Detector::new(&policy()), time::now());
    record(&detector, &set, 1, &[(2, false), (1, true), (2, false)], start);
    assert_eq!(ejected(&set, start), [0u16; 0]);
    record(&detector, &set, 1, &[(1, false)], start);
    assert_eq!(ejected(&set, start), [1]);
    let ejection = set.load().members()[1].ejection(start).unwrap();
    assert_eq!((ejection.why, ejection.in_a_row), (Why::Consecutive, 1));
    assert!(ejection.until >= start + SECOND * 30 && ejection.until < start + SECOND * 31);
    // Time alone brings it back; the next time it is out for twice as long.
    let back = start + SECOND * 31;
    assert_eq!(ejected(&set, back), [0u16; 0]);
    assert_eq!(picked(Balance::P2cEwma, &set, back).len(), 5);
    record(&detector, &set, 1, &[(3, false)], back);
    assert!(set.load().members()[1].ejection(back + SECOND * 59).is_some());
    assert!(set.load().members()[1].ejection(back + SECOND * 61).is_none());
    assert_eq!(detector.ejections(), [2, 0, 0]);
    // Six intervals of being in make the next time a first time again.
    let late = back + SECOND * 61;
    (0..6).for_each(|interval| record(&detector, &set, 0, &[(1, true)], late + SECOND * 11 * interval));
    let late = late + SECOND * 66;
    record(&detector, &set, 1, &[(3, false)], late);
    assert_eq!(set.load().members()[1].ejection(late).unwrap().in_a_row, 1);
}

#[test]
fn the_ejected_are_left_out_by_all_strategies_and_the_set_s_versions() {
    for (_, by) in Balance::NAMES {
        let policy_of = BalancePolicy { key: by.hashes().then_some(HashKey::Path), ..by.into() };
        let (set, detector, now) = (set_by(&policy_of, &instances(7)), Detector::new(&policy()), time::now());
        let version = set.load().subset(|instance| instance.id.as_str() < "i-00003");
        for at in [1, 4] {
            record(&detector, &set, at, &[(3, false)], now);
        }
        assert_eq!(picked(by, &set, now), [0, 2, 3, 5, 6].into(), "{by:?}");
        let balancer = Balancer::new(&by.into());
        let of_version: BTreeSet<_> =
            (0..500).map(|key| number(balancer.pick(&version, now, Some(key), |_| true).unwrap())).collect();
        assert_eq!(of_version, [0, 2].into(), "{by:?}");
        // Nobody else may be picked: the ejected are not asked.
        let nobody = balancer.pick(&version, now, Some(1), |member| number(member) == 1);
        assert!(nobody.is_none(), "{by:?}");
        assert_eq!(picked(by, &set, now + SECOND * 31).len(), 7, "{by:?}");
    }
}

#[test]
fn where_all_of_a_version_are_out_they_are_picked_all_the_same() {
    let (set, detector, now) = (set_by(&Balance::P2cEwma.into(), &instances(4)), Detector::new(&policy()), time::now());
    let version = set.load().subset(|instance| instance.id.as_str() < "i-00002");
    (0..2).for_each(|at| record(&detector, &set, at, &[(3, false)], now));
    let balancer = Balancer::new(&Balance::P2cEwma.into());
    let all: BTreeSet<_> = (0..200).map(|_| number(balancer.pick(&version, now, None, |_| true).unwrap())).collect();
    assert_eq!(all, [0, 1].into());
    assert_eq!(picked(Balance::P2cEwma, &set, now), [2, 3].into());
}

#[test]
fn too_many_ejections_are_panic() {
    let policy_of = BalancePolicy { panic_below: Share::from_percent(60), ..Balance::RoundRobin.into() };
    let (set, detector, now) = (set_by(&policy_of, &instances(10)), Detector::new(&policy()), time::now());
    (0..4).for_each(|at| record(&detector, &set, at, &[(3, false)], now));
    assert_eq!(picked(Balance::RoundRobin, &set, now).len(), 6);
    record(&detector, &set, 4, &[(3, false)], now);
    assert_eq!(picked(Balance::RoundRobin, &set, now).len(), 10);
}

#[test]
fn never_more_than_the_share_is_out_but_one_may_always_be() {
    for (count, percent, expect) in [(10, 30, 3), (10, 1, 1), (1, 10, 1), (3, 67, 2)] {
        let policy = OutlierPolicy { ejected_max: Share::from_percent(percent), ..policy() };
        let set = set_by(&Balance::P2cEwma.into(), &instances(count));
        let (detector, now) = (Detector::new(&policy), time::now());
        (0..usize::from(count)).for_each(|at| record(&detector, &set, at, &[(9, false)], now));
        assert_eq!(ejected(&set, now).len(), expect, "{percent} % of {count}");
    }
}

#[test]
fn whoever_leaves_gives_its_place_to_others_and_a_set_that_shrinks_takes_some_back() {
    let (set, detector, now) = (set_by(&Balance::P2cEwma.into(), &instances(8)), Detector::new(&policy()), time::now());
    (0..5).for_each(|at| record(&detector, &set, at, &[(3, false)], now));
    assert_eq!(ejected(&set, now), [0, 1, 2, 3]);
    set.change(&[], &[instance(0).id], |_| ());
    record(&detector, &set, 3, &[(3, false)], now);
    assert_eq!(ejected(&set, now), [1, 2, 3], "of seven three may be out");
    set.change(&[], &[instance(5).id, instance(6).id, instance(7).id], |_| ());
    record(&detector, &set, 0, &[(1, true)], now + SECOND * 11);
    assert_eq!(ejected(&set, now + SECOND * 11).len(), 2, "of four two may be out");
    set.recall();
    assert_eq!(ejected(&set, now), [0u16; 0]);
}

#[test]
fn each_interval_the_rates_are_judged() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let judge = |policy: OutlierPolicy, bad: [u32; 6]| {
        let set = set_by(&Balance::P2cEwma.into(), &instances(6));
        let telling = Arc::clone(&told);
        let detector = Detector::new(&policy).on_ejection(move |instance, change| {
            telling.lock().unwrap().push((instance.id.to_string(), change.why));
        });
        let start = time::now();
        record(&detector, &set, 0, &[(1, true)], start);
        for (at, bad) in bad.into_iter().enumerate() {
            // One good answer after two bad ones: never three in a row.
            let calls: Vec<_> = (0..100).map(|call| (1, call % 3 == 0 || call / 3 * 2 >= bad)).collect();
            record(&detector, &set, at, &calls, start + SECOND);
        }
        record(&detector, &set, 0, &[(1, true)], start + SECOND * 9);
        assert_eq!(ejected(&set, start + SECOND * 9), [0u16; 0], "the interval is not over");
        record(&detector, &set, 0, &[(1, true)], start + SECOND * 11);
        ejected(&set, start + SECOND * 11)
    };
    let rate = |percent| OutlierPolicy { failure_rate: Some(Share::from_percent(percent)), ..policy() };
    assert_eq!(judge(rate(30), [0, 10, 40, 20, 60, 0]), [2, 4]);
    let few = OutlierPolicy { instances_min: 7, ..rate(30) };
    assert_eq!(judge(few, [60; 6]), [0u16; 0], "too few to judge by");
    let idle = OutlierPolicy { calls_min: 200, ..rate(30) };
    assert_eq!(judge(idle, [60; 6]), [0u16; 0], "too few calls");
    let apart = OutlierPolicy { deviations: Some(Deviations::from_thousandths(1900)), ..policy() };
    assert_eq!(judge(apart.clone(), [2, 0, 2, 0, 30, 2]), [4]);
    assert_eq!(judge(apart, [30; 6]), [0u16; 0], "none is apart");
    // The worst first, where there is not room for all.
    let narrow = OutlierPolicy { ejected_max: Share::from_percent(34), ..rate(10) };
    assert_eq!(judge(narrow, [20, 60, 40, 30, 50, 12]), [1, 4]);
    let told = told.lock().unwrap();
    assert_eq!(told[0], ("i-00004".to_owned(), Why::FailureRate));
    assert_eq!(told[2], ("i-00004".to_owned(), Why::SuccessRate));
}

#[test]
fn threads_that_record_and_pick_while_the_set_changes_leave_it_whole() {
    let set: InstanceSet<()> = InstanceSet::new(Shape::default());
    set.update(&instances(40), |_| ());
    let fast = OutlierPolicy {
        interval: Duration::from_millis(1),
        eject_for: OpenFor::exactly(Duration::from_millis(2)),
        failure_rate: Some(Share::from_percent(50)),
        ..policy()
    };
    let (detector, balancer) = (Detector::new(&fast), Balancer::new(&Balance::P2cEwma.into()));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..3_u32 {
            let (set, detector, balancer, is_over) = (&set, &detector, &balancer, &is_over);
            scope.spawn(move || {
                for call in 0_u32.. {
                    if is_over.load(Relaxed) {
                        break;
                    }
                    let now = time::now();
                    let member = Arc::clone(balancer.pick(&set.load(), now, None, |_| true).expect("somebody"));
                    let is_good = !number(&member).is_multiple_of(4) || (call + thread) % 5 == 0;
                    detector.record(set, &member, is_good, now);
                }
            });
        }
        for round in 0..300_u16 {
            set.update(&instances(20 + round % 21), |_| ());
        }
        is_over.store(true, Relaxed);
    });
    assert!(detector.ejections()[0] > 0);
    // Nobody holds a place any more: all may be ejected that may be.
    set.recall();
    let now = time::now();
    let slow = Detector::new(&OutlierPolicy { eject_for: OpenFor::exactly(SECOND * 60), ..policy() });
    let count = set.load().members().len();
    (0..count).for_each(|at| record(&slow, &set, at, &[(3, false)], now));
    assert_eq!(ejected(&set, now).len(), count / 2);
}
