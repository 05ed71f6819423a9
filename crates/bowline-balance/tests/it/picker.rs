//! Who is picked how often, by each strategy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_balance::{Balancer, InFlight, InstanceSet, LEAST_CONNECTIONS_SCAN_MAX};
use bowline_model::{Health, Instance, policy::Balance};
use bowline_runtime::{
    rand,
    time::{self, Duration, Instant},
};
use proptest::prelude::*;

use crate::{assert_even, instance, instances, number, seeded, set_by, set_of};

const STRATEGIES: [Balance; 5] =
    [Balance::RoundRobin, Balance::Random, Balance::Weighted, Balance::LeastConnections, Balance::P2cEwma];

fn pick(balancer: &Balancer, set: &InstanceSet<()>) -> Option<u16> {
    balancer.pick(&set.load(), time::now(), None, |_| true).map(|member| number(member))
}

/// How often each was picked in so many picks.
fn counts(balancer: &Balancer, set: &InstanceSet<()>, picks: u32) -> BTreeMap<u16, u32> {
    let mut counts = BTreeMap::new();
    for _ in 0..picks {
        *counts.entry(pick(balancer, set).expect("somebody is there")).or_default() += 1;
    }
    counts
}

#[test]
fn round_robin_goes_in_turn() {
    let set = set_of(&instances(7));
    let balancer = Balancer::new(&Balance::RoundRobin.into());
    let first = pick(&balancer, &set).unwrap();
    for i in 1..100 {
        assert_eq!(pick(&balancer, &set), Some((first + i) % 7));
    }
}

#[test]
fn round_robin_among_the_allowed_goes_in_turn() {
    let set = set_of(&instances(5));
    let balancer = Balancer::new(&Balance::RoundRobin.into());
    let next = || {
        let snapshot = set.load();
        balancer
            .pick(&snapshot, time::now(), None, |member| ![1, 2].contains(&number(member)))
            .map(|m| number(m))
            .unwrap()
    };
    let first: Vec<_> = (0..3).map(|_| next()).collect();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3);
    for i in 0..99 {
        assert_eq!(next(), first[i % 3]);
    }
}

#[test]
fn random_gives_each_the_same_chance() {
    seeded(1);
    assert_even(&counts(&Balancer::new(&Balance::Random.into()), &set_of(&instances(10)), 20_000), 10);
}

#[test]
fn equals_are_picked_evenly() {
    seeded(2);
    for strategy in [Balance::P2cEwma, Balance::LeastConnections] {
        for places in [2, 3, 50, 200] {
            assert_even(&counts(&Balancer::new(&strategy.into()), &set_of(&instances(places)), 20_000), places);
        }
    }
}

#[test]
fn weights_are_kept_within_a_hundredth() {
    let weights: [u32; 6] = [1, 10, 50, 100, 333, 1000];
    let list: Vec<_> = (0..).zip(weights).map(|(at, weight)| Instance { weight, ..instance(at) }).collect();
    let total: u32 = weights.iter().sum();
    let counts =
        counts(&Balancer::new(&Balance::Weighted.into()), &set_by(&Balance::Weighted.into(), &list), total * 400);
    for (at, weight) in (0..).zip(weights) {
        let off = f64::from(counts[&at]) / f64::from(weight * 400) - 1.0;
        assert!(off.abs() < 0.01, "weight {weight} is off by {off}: {counts:?}");
    }
}

#[test]
fn weighted_turns_are_smooth() {
    // Never more than a few picks off its share, at any time; never long without.
    let weights: [u32; 4] = [500, 250, 150, 100];
    let list: Vec<_> = (0..).zip(weights).map(|(at, weight)| Instance { weight, ..instance(at) }).collect();
    let (set, balancer) = (set_by(&Balance::Weighted.into(), &list), Balancer::new(&Balance::Weighted.into()));
    let (mut counts, mut gaps, mut last) = ([0u32; 4], [const { BTreeSet::new() }; 4], [None; 4]);
    for turn in 0..10_000u32 {
        let at = usize::from(pick(&balancer, &set).unwrap());
        counts[at] += 1;
        if let Some(before) = last[at].replace(turn) {
            gaps[at].insert(turn - before);
        }
        for (count, weight) in counts.iter().zip(weights) {
            let due = f64::from(turn + 1) * f64::from(weight) / 1000.0;
            assert!((f64::from(*count) - due).abs() < 5.0, "turn {turn}: {counts:?}");
        }
    }
    for (gaps, weight) in gaps.iter().zip(weights) {
        assert!(gaps.len() <= 3, "three gaps: {gaps:?}");
        assert!(gaps.last().unwrap() * weight < 3000, "at most thrice the mean: {gaps:?}");
    }
}

#[test]
fn a_refused_weight_goes_to_the_others_by_weight() {
    seeded(3);
    let weights: [u32; 4] = [600, 100, 100, 200];
    let list: Vec<_> = (0..).zip(weights).map(|(at, weight)| Instance { weight, ..instance(at) }).collect();
    let (set, balancer) = (set_by(&Balance::Weighted.into(), &list), Balancer::new(&Balance::Weighted.into()));
    let mut counts = [0u32; 4];
    for _ in 0..40_000 {
        let snapshot = set.load();
        let member = balancer.pick(&snapshot, time::now(), None, |member| number(member) != 0).unwrap();
        counts[usize::from(number(member))] += 1;
    }
    for (count, share) in counts.into_iter().zip([0.0, 0.25, 0.25, 0.5]) {
        assert!((f64::from(count) / 40_000.0 - share).abs() < 0.02, "{counts:?}");
    }
}

#[test]
fn the_fewest_connections_win() {
    seeded(4);
    let set = set_of(&instances(20));
    let (balancer, now) = (Balancer::new(&Balance::LeastConnections.into()), time::now());
    let mut guards = Vec::new();
    for _ in 0..20 * 5 {
        let snapshot = set.load();
        guards.push(balancer.pick(&snapshot, now, None, |_| true).unwrap().begin(now));
    }
    assert!(set.load().members().iter().all(|member| member.in_flight() == 5));
    // With the best refused it is the next best's turn.
    let snapshot = set.snapshot();
    let (best, second) = (&snapshot.members()[3], &snapshot.members()[8]);
    guards.extend(snapshot.members().iter().filter(|m| !Arc::ptr_eq(m, best)).map(|m| m.begin(now)));
    guards.extend(
        snapshot.members().iter().filter(|m| !Arc::ptr_eq(m, best) && !Arc::ptr_eq(m, second)).map(|m| m.begin(now)),
    );
    for _ in 0..50 {
        assert!(Arc::ptr_eq(balancer.pick(&snapshot, now, None, |_| true).unwrap(), best));
        let other = balancer.pick(&snapshot, now, None, |member| number(member) != 3).unwrap();
        assert!(Arc::ptr_eq(other, second));
    }
}

#[test]
fn many_are_levelled_out_too() {
    seeded(5);
    let count = u16::try_from(LEAST_CONNECTIONS_SCAN_MAX * 10).unwrap();
    let set = set_of(&instances(count));
    let (balancer, now) = (Balancer::new(&Balance::LeastConnections.into()), time::now());
    let guards: Vec<_> = (0..u32::from(count) * 10)
        .map(|_| balancer.pick(&set.load(), now, None, |_| true).unwrap().begin(now))
        .collect();
    let most = set.load().members().iter().map(|member| member.in_flight()).max();
    assert!(most <= Some(12), "{most:?} of a mean of 10");
    drop(guards);
}

/// A service under a request each millisecond, answered after each instance's own latency.
struct Traffic {
    set: InstanceSet<()>,
    balancer: Balancer,
    now: Instant,
    out: BTreeMap<(Instant, u32), InFlight>,
}

impl Traffic {
    /// Goes on for so long; how many requests each instance got.
    fn run(&mut self, millis: u32, latency: impl Fn(u16) -> Duration) -> BTreeMap<u16, u32> {
        let mut counts = BTreeMap::new();
        for i in 0..millis {
            self.now += Duration::from_millis(1);
            while let Some(first) = self.out.first_entry().filter(|first| first.key().0 <= self.now) {
                let ((end, _), guard) = first.remove_entry();
                guard.finish(end, true);
            }
            let snapshot = self.set.load();
            let member = self.balancer.pick(&snapshot, self.now, None, |_| true).expect("somebody is there");
            *counts.entry(number(member)).or_default() += 1;
            self.out.insert((self.now + latency(number(member)), i), member.begin(self.now));
        }
        counts
    }
}

#[test]
fn p2c_leaves_the_slow_one_alone_and_comes_back_to_it() {
    seeded(6);
    let balancer = Balancer::new(&Balance::P2cEwma.into());
    let mut traffic = Traffic { set: set_of(&instances(2)), balancer, now: time::now(), out: BTreeMap::new() };
    let fast = Duration::from_millis(8);
    let slow = traffic.run(20_000, |number| if number == 0 { fast } else { fast * 25 });
    assert!((1..2000).contains(&slow[&1]), "the slow one got {slow:?}");
    // Once it is fast again it gets its half, when what it was has faded.
    traffic.run(60_000, |_| fast);
    let recovered = traffic.run(20_000, |_| fast);
    assert!(recovered[&1] > 8000, "the one that was slow got {recovered:?}");
}

#[test]
fn p2c_prefers_the_idle_one_of_equals() {
    seeded(7);
    let set = set_of(&instances(10));
    let (balancer, now) = (Balancer::new(&Balance::P2cEwma.into()), time::now());
    let snapshot = set.snapshot();
    for member in snapshot.members() {
        member.begin(now).finish(now + Duration::from_millis(5), true);
    }
    let guards: Vec<_> = (0..1000).map(|_| balancer.pick(&snapshot, now, None, |_| true).unwrap().begin(now)).collect();
    let loads: Vec<_> = snapshot.members().iter().map(|member| member.in_flight()).collect();
    assert!(loads.iter().all(|load| (95..=105).contains(load)), "{loads:?}");
    drop(guards);
}

#[test]
fn nobody_is_picked_of_nobody() {
    for strategy in STRATEGIES {
        let balancer = Balancer::new(&strategy.into());
        assert_eq!(pick(&balancer, &set_of(&[])), None);
        assert_eq!(pick(&balancer, &set_of(&[Instance { health: Health::Draining, ..instance(1) }])), None);
        assert_eq!(pick(&balancer, &set_of(&instances(1))), Some(0));
    }
}

#[test]
fn health_is_respected_by_all() {
    for strategy in STRATEGIES {
        let mut list = instances(9);
        list[0].health = Health::Unhealthy;
        list[1].health = Health::Draining;
        let found = counts(&Balancer::new(&strategy.into()), &set_by(&strategy.into(), &list), 2000);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), (2..9).collect::<Vec<_>>(), "{strategy:?}");
        for instance in &mut list[2..] {
            instance.health = Health::Draining;
        }
        let found = counts(&Balancer::new(&strategy.into()), &set_by(&strategy.into(), &list), 10);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0], "{strategy:?}");
    }
}

#[test]
fn the_load_of_the_refused_is_spread_over_all_others() {
    seeded(8);
    for strategy in [Balance::Random, Balance::P2cEwma, Balance::LeastConnections] {
        let (set, balancer) = (set_of(&instances(11)), Balancer::new(&strategy.into()));
        let mut counts = BTreeMap::new();
        for _ in 0..20_000 {
            let snapshot = set.load();
            let member = balancer.pick(&snapshot, time::now(), None, |member| number(member) != 10).unwrap();
            *counts.entry(number(member)).or_default() += 1;
        }
        assert_even(&counts, 10);
    }
}

proptest! {
    #[test]
    fn each_is_asked_at_most_once_and_all_before_giving_up(
        strategy in proptest::sample::select(STRATEGIES.as_slice()),
        weights in proptest::collection::vec(1u32..=1000, 1..150),
        seed: u64,
        allowed in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        rand::seed(seed);
        let list: Vec<_> = (0..).zip(&weights).map(|(at, weight)| Instance { weight: *weight, ..instance(at) }).collect();
        let (set, balancer) = (set_by(&strategy.into(), &list), Balancer::new(&strategy.into()));
        let allowed = allowed.map(|index| u16::try_from(index.index(weights.len())).unwrap());
        let mut asked = Vec::new();
        let snapshot = set.load();
        let picked = balancer.pick(&snapshot, time::now(), None, |member| {
            asked.push(number(member));
            Some(number(member)) == allowed
        });
        prop_assert_eq!(picked.map(|member| number(member)), allowed);
        prop_assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "{:?}", asked);
        prop_assert!(allowed.is_some() || asked.len() == weights.len());
        prop_assert!(allowed.is_none() || asked.last() == allowed.as_ref(), "nobody is asked after the grant");
    }

    #[test]
    fn weights_hold_whatever_they_are(weights in proptest::collection::vec(1u32..=1000, 1..20)) {
        let list: Vec<_> = (0..).zip(&weights).map(|(at, weight)| Instance { weight: *weight, ..instance(at) }).collect();
        let counts = counts(&Balancer::new(&Balance::Weighted.into()), &set_by(&Balance::Weighted.into(), &list), 5000);
        let total: u32 = weights.iter().sum();
        for (at, weight) in (0..).zip(&weights) {
            let due = 5000.0 * f64::from(*weight) / f64::from(total);
            let found = f64::from(counts.get(&at).copied().unwrap_or_default());
            prop_assert!((found - due).abs() < 10.0, "weight {} has {} of {}", weight, found, due);
        }
    }
}
