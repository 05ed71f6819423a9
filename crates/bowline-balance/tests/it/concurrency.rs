//! Picks from many threads, while the set is updated under them.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use bowline_balance::{Balancer, InstanceSet, Shape};
use bowline_model::{Instance, policy::Balance};
use bowline_runtime::time;

use crate::{instances, set_of};

const THREADS: u32 = 4;

#[test]
fn round_robin_is_exact_over_threads() {
    let set: InstanceSet<AtomicU32> = InstanceSet::default();
    set.update(&instances(10), |_| AtomicU32::new(0));
    let (balancer, barrier) = (Balancer::new(&Balance::RoundRobin.into()), Barrier::new(THREADS as usize));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..10_000 {
                    let snapshot = set.load();
                    let member = balancer.pick(&snapshot, time::now(), None, |_| true).expect("there are ten");
                    member.state.fetch_add(1, Relaxed);
                }
            });
        }
    });
    let counts: Vec<_> = set.load().members().iter().map(|member| member.state.load(Relaxed)).collect();
    assert_eq!(counts, [THREADS * 1000; 10]);
}

#[test]
fn weights_hold_over_threads() {
    let set: InstanceSet<AtomicU32> = InstanceSet::new(Shape::of(&Balance::Weighted.into(), None, ""));
    let weights = [100, 200, 700];
    let list: Vec<_> = instances(3).into_iter().zip(weights).map(|(i, weight)| Instance { weight, ..i }).collect();
    set.update(&list, |_| AtomicU32::new(0));
    let balancer = Balancer::new(&Balance::Weighted.into());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let snapshot = set.load();
                    let member = balancer.pick(&snapshot, time::now(), None, |_| true).expect("there are three");
                    member.state.fetch_add(1, Relaxed);
                }
            });
        }
    });
    for (member, weight) in set.load().members().iter().zip(weights) {
        let due = THREADS * 10 * weight;
        assert!(member.state.load(Relaxed).abs_diff(due) < 10, "{} of {due}", member.state.load(Relaxed));
    }
}

#[test]
fn picks_go_on_during_updates_and_no_request_is_lost() {
    const ROUNDS: u32 = 400;
    let set = set_of(&instances(50));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for strategy in [Balance::RoundRobin, Balance::Weighted, Balance::LeastConnections, Balance::P2cEwma] {
            let (set, is_over) = (&set, &is_over);
            scope.spawn(move || {
                let balancer = Balancer::new(&strategy.into());
                for i in 0u32.. {
                    if is_over.load(Relaxed) {
                        break;
                    }
                    let now = time::now();
                    let guard =
                        balancer.pick(&set.load(), now, None, |_| true).expect("somebody is always there").begin(now);
                    if i % 2 == 0 { guard.finish(now, true) } else { drop(guard) }
                }
            });
        }
        // The first ten stay all the time with changing weights; the others come and go.
        for round in 0..ROUNDS {
            let count = 10 + u16::try_from(round % 41).expect("small");
            let weight = 1 + round % 1000;
            let list: Vec<_> = instances(count).into_iter().map(|i| Instance { weight, ..i }).collect();
            set.update(&list, |_| ());
        }
        is_over.store(true, Relaxed);
    });
    assert!(set.load().members().iter().all(|member| member.in_flight() == 0));
}

#[test]
fn updates_at_once_make_each_state_once() {
    let set: InstanceSet<u32> = InstanceSet::default();
    let made = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| set.update(&instances(100), |_| made.fetch_add(1, Relaxed)));
        }
    });
    assert_eq!(made.load(Relaxed), 100);
}
