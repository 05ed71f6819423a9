//! The strategies that go by a key: who has it, what moves, and what is done where the one it belongs to refuses.

use std::collections::{BTreeMap, BTreeSet};

use bowline_balance::{Balancer, InstanceSet, Snapshot, hash};
use bowline_model::{
    Health, Instance,
    policy::{Balance, BalancePolicy, HashKey, Share},
};
use bowline_runtime::{rand, time};
use proptest::prelude::*;

use crate::{assert_even, instance, instances, number, seeded, set_by};

const HASHING: [Balance; 2] = [Balance::Maglev, Balance::Ring];
const KEYS: u64 = 20_000;

fn policy(by: Balance) -> BalancePolicy {
    BalancePolicy { key: Some(HashKey::Path), ..by.into() }
}

fn key(number: u64) -> u64 {
    hash(format!("user-{number}").as_bytes())
}

fn pick(balancer: &Balancer, set: &Snapshot<()>, key: u64) -> Option<u16> {
    balancer.pick(set, time::now(), Some(key), |_| true).map(|member| number(member))
}

/// Whom each key belongs to.
fn owners(by: Balance, set: &InstanceSet<()>) -> Vec<u16> {
    let (balancer, set) = (Balancer::new(&policy(by)), set.load());
    (0..KEYS).map(|at| pick(&balancer, &set, key(at)).expect("somebody is there")).collect()
}

fn counts(owners: &[u16]) -> BTreeMap<u16, u32> {
    let mut counts = BTreeMap::new();
    for owner in owners {
        *counts.entry(*owner).or_default() += 1;
    }
    counts
}

#[test]
fn a_key_stays_where_it_is_for_every_process() {
    for by in HASHING {
        let (one, other) = (set_by(&policy(by), &instances(50)), set_by(&policy(by), &instances(50)));
        assert_eq!(owners(by, &one), owners(by, &other), "{by:?}");
        one.update(&instances(50), |_| ());
        assert_eq!(owners(by, &one), owners(by, &other), "{by:?}");
    }
}

#[test]
fn maglev_gives_each_its_share() {
    assert_even(&counts(&owners(Balance::Maglev, &set_by(&policy(Balance::Maglev), &instances(50)))), 50);
}

#[test]
fn maglev_keeps_weights_to_a_hundredth() {
    let weights = [100, 200, 300, 400];
    let list: Vec<_> = (0..).zip(weights).map(|(at, weight)| Instance { weight, ..instance(at) }).collect();
    let set = set_by(&policy(Balance::Maglev), &list);
    let (balancer, snapshot) = (Balancer::new(&policy(Balance::Maglev)), set.load());
    // The table is asked at even steps, so that the keys themselves have no part in it.
    let mut counts = [0u32; 4];
    for at in 0..1_000_000 {
        counts[usize::from(pick(&balancer, &snapshot, at).unwrap())] += 1;
    }
    for (count, weight) in counts.into_iter().zip(weights) {
        let off = f64::from(count) / (f64::from(weight) * 1000.0) - 1.0;
        assert!(off.abs() < 0.01, "weight {weight} is off by {off}: {counts:?}");
    }
}

#[test]
fn when_one_goes_few_other_keys_move() {
    for (by, percent_max) in [(Balance::Maglev, 2), (Balance::Ring, 0)] {
        let set = set_by(&policy(by), &instances(100));
        let before = owners(by, &set);
        set.change(&[], &[instance(17).id], |_| ());
        let moved = before.iter().zip(owners(by, &set)).filter(|(was, is)| **was != 17 && *was != is).count();
        assert!(moved as u64 * 100 <= KEYS * percent_max, "{by:?}: {moved} of {KEYS} moved");
    }
}

#[test]
fn only_the_keys_of_the_ill_move_and_they_spread() {
    for by in HASHING {
        let set = set_by(&policy(by), &instances(50));
        let before = owners(by, &set);
        set.change(&[Instance { health: Health::Unhealthy, ..instance(9) }], &[], |_| ());
        let after = owners(by, &set);
        let mut heirs = BTreeSet::new();
        for (was, is) in before.iter().zip(&after) {
            assert!(*is != 9 && (*was == 9 || was == is), "{by:?}: {was} to {is}");
            heirs.extend((*was == 9).then_some(*is));
        }
        assert!(heirs.len() > 25, "{by:?}: {heirs:?}");
        set.change(&[instance(9)], &[], |_| ());
        assert_eq!(owners(by, &set), before, "{by:?}");
    }
}

#[test]
fn without_a_key_anybody_is_picked() {
    seeded(21);
    for by in HASHING {
        let (set, balancer) = (set_by(&policy(by), &instances(10)), Balancer::new(&policy(by)));
        let mut counts = BTreeMap::new();
        for _ in 0..KEYS {
            let snapshot = set.load();
            let member = balancer.pick(&snapshot, time::now(), None, |_| true).unwrap();
            *counts.entry(number(member)).or_default() += 1;
        }
        assert_even(&counts, 10);
    }
}

/// One hot key, and all that is in flight stays there.
#[test]
fn no_instance_of_a_ring_has_more_than_it_can_bear() {
    seeded(22);
    let weights = [100, 100, 100, 100, 200, 400];
    let list: Vec<_> = (0..).zip(weights).map(|(at, weight)| Instance { weight, ..instance(at) }).collect();
    for percent in [1, 25, 100] {
        let policy = BalancePolicy { headroom: Some(Share::from_percent(percent)), ..policy(Balance::Ring) };
        let (set, balancer, now) = (set_by(&policy, &list), Balancer::new(&policy), time::now());
        let snapshot = set.load();
        let mut guards = Vec::new();
        for at in 0..2000 {
            let hot = if at % 4 == 0 { key(at) } else { key(0) };
            guards.push(balancer.pick(&snapshot, now, Some(hot), |_| true).unwrap().begin(now));
            if at % 3 == 0 {
                drop(guards.swap_remove(rand::below(guards.len())));
            }
            let total = guards.len() as u64;
            assert_eq!(snapshot.members().iter().map(|m| m.in_flight()).sum::<u64>(), total);
        }
        // Now none goes, so that what is in flight is what was let through.
        guards.clear();
        for at in 0..3000_u64 {
            guards.push(balancer.pick(&snapshot, now, Some(key(0)), |_| true).unwrap().begin(now));
            for (member, weight) in snapshot.members().iter().zip(weights) {
                let bound = ((at + 1) * u64::from(100 + percent) * u64::from(weight)).div_ceil(100 * 1000);
                assert!(member.in_flight() <= bound, "{} of {bound} at {weight}", member.in_flight());
            }
        }
    }
}

#[test]
fn a_ring_bounds_each_version_by_what_its_own_have() {
    let policy = BalancePolicy { headroom: Some(Share::from_percent(10)), ..policy(Balance::Ring) };
    let list: Vec<_> =
        (0..20).map(|at| Instance { version: if at < 18 { "1" } else { "2" }.to_owned(), ..instance(at) }).collect();
    let (set, balancer, now) = (set_by(&policy, &list), Balancer::new(&policy), time::now());
    let second = set.load().subset(|instance| instance.version == "2");
    let guards: Vec<_> = (0..100).map(|_| balancer.pick(&second, now, Some(7), |_| true).unwrap().begin(now)).collect();
    let loads: Vec<_> = second.members().iter().map(|member| member.in_flight()).collect();
    assert!(loads.iter().all(|load| *load <= 55), "{loads:?}");
    drop(guards);
}

proptest! {
    #[test]
    fn each_is_asked_at_most_once_and_a_key_asks_the_same(
        by in prop::sample::select(HASHING.as_slice()),
        weights in proptest::collection::vec(1u32..=1000, 1..60),
        key: u64,
        headroom in proptest::option::of(1u32..=100),
        allowed in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let list: Vec<_> = (0..).zip(&weights).map(|(at, weight)| Instance { weight: *weight, ..instance(at) }).collect();
        let headroom = headroom.filter(|_| by == Balance::Ring).map(Share::from_percent);
        let policy = BalancePolicy { headroom, ..policy(by) };
        let (set, balancer) = (set_by(&policy, &list), Balancer::new(&policy));
        let allowed = allowed.map(|index| u16::try_from(index.index(weights.len())).unwrap());
        let snapshot = set.load();
        let ask = || {
            let mut asked = Vec::new();
            let picked = balancer.pick(&snapshot, time::now(), Some(key), |member| {
                asked.push(number(member));
                Some(number(member)) == allowed
            });
            (picked.map(|member| number(member)), asked)
        };
        let (picked, asked) = ask();
        prop_assert_eq!(picked, allowed);
        prop_assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "{:?}", asked);
        prop_assert!(allowed.is_some() || asked.len() == weights.len());
        prop_assert_eq!(ask(), (picked, asked));
    }
}
