//! Picks, at times that no test could wait for.

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::{
    Address, InstanceId, Protocol,
    instance::{METADATA_MESH, METADATA_MESH_MTLS},
    policy::{Balance, BreakerPolicy},
};
use bowline_resilience::breaker::{Outcome, OwnedPermit};
use bowline_runtime::rand;

use super::*;
use crate::{call, pick::Tried};

const SECOND: Duration = Duration::from_secs(1);

fn instance(id: &str) -> Instance {
    let address: Address = format!("unix:/nonexistent/{id}.sock").parse().unwrap();
    Instance::new(InstanceId::new(id).unwrap(), ServiceName::new("callee").unwrap(), address)
}

fn upstream(policy: CallPolicy, instances: &[Instance]) -> Arc<Upstream> {
    let upstream = Upstream::new(ServiceName::new("callee").unwrap(), policy, "client", &Registry::default());
    upstream.set_instances(instances);
    upstream
}

fn policy(timeout: Duration) -> CallPolicy {
    let breaker = BreakerPolicy { calls_min: 1, open_for: SECOND.into(), probes_max: 1, ..BreakerPolicy::default() };
    CallPolicy {
        timeout,
        retry: None,
        breaker: Some(breaker),
        balance: Balance::RoundRobin.into(),
        ..CallPolicy::default()
    }
}

fn record(member: &Entry<Member>, permit: Option<OwnedPermit>, outcome: Option<Outcome>, now: Instant) {
    member.state.breaker.as_ref().unwrap().record(permit, outcome, now);
}

/// Opens the only instance's breaker; gives the probe it grants when its time has come, and when that was.
fn probe(upstream: &Upstream) -> (Picked, Instant) {
    let now = time::now();
    let Picked { member, permit } = upstream.pick(now, &Wish::default()).unwrap();
    record(&member, permit, Some(Outcome::Failure), now);
    assert!(matches!(upstream.pick(now, &Wish::default()), Err(Error::BreakerOpen { .. })));
    let due = now + SECOND * 2;
    (upstream.pick(due, &Wish::default()).unwrap(), due)
}

#[test]
fn a_probe_is_not_lost_before_its_call_can_have_ended() {
    const LONG: Duration = Duration::from_mins(5);
    let upstream = upstream(policy(LONG), &[instance("a")]);
    let (_out, due) = probe(&upstream);
    // The permit that was leaked is taken for lost at last, which counts as a failure.
    for (after, is_rejected) in [(LONG / 2, true), (LONG, true), (LONG * 19 / 10, true), (LONG * 3, false)] {
        let picked = upstream.pick(due + after, &Wish::default());
        assert_eq!(picked.is_err(), is_rejected, "{after:?}");
    }
    upstream.set_policy(policy(LONG * 10));
    let (_out, due) = probe(&upstream);
    assert!(upstream.pick(due + LONG * 10, &Wish::default()).is_err(), "a longer timeout is a longer probe");
}

#[test]
fn the_longest_timeout_is_no_overflow() {
    let upstream = upstream(policy(Duration::MAX), &[instance("a")]);
    let (_out, due) = probe(&upstream);
    assert!(upstream.pick(due + call::TIMEOUT_MAX, &Wish::default()).is_err());
}

#[test]
fn an_instance_that_was_tried_is_known_again_after_an_update() {
    let (a, b) = (instance("a"), instance("b"));
    let upstream = upstream(policy(SECOND), &[a.clone(), b.clone()]);
    let tried = loop {
        let Picked { member, .. } = upstream.pick(time::now(), &Wish::default()).unwrap();
        if member.instance.id == a.id {
            break [Tried { member, is_unreachable: false }];
        }
    };
    upstream.set_instances(&[Instance { weight: 7, ..a.clone() }, b.clone()]);
    for _ in 0..10 {
        let picked = upstream.pick(time::now(), &Wish { tried: &tried, ..Wish::default() }).unwrap();
        assert_eq!(picked.member.instance.id, b.id);
    }
    // Of the same name, but elsewhere: it was not tried.
    upstream.set_instances(&[Instance { address: instance("c").address, ..a.clone() }]);
    assert_eq!(
        upstream.pick(time::now(), &Wish { tried: &tried, ..Wish::default() }).unwrap().member.instance.id,
        a.id
    );
}

#[test]
fn security_says_who_is_called_under_tls_and_a_change_begins_anew() {
    let mesh = (METADATA_MESH.to_owned(), METADATA_MESH_MTLS.to_owned());
    let (a, b) = (instance("a"), Instance { metadata: [mesh].into(), ..instance("b") });
    let upstream = upstream(policy(SECOND), &[a.clone(), b.clone()]);
    let members = || upstream.members.snapshot();
    let under_tls = || members().members().iter().map(|entry| entry.state.endpoint.tls.clone()).collect::<Vec<_>>();
    let name = Some(ServiceName::new("callee").unwrap());
    assert_eq!(under_tls(), [None, None]);
    for (security, expect) in [
        (Security::Strict, [name.clone(), name.clone()]),
        (Security::Permissive, [None, name.clone()]),
        (Security::Plain, [None, None]),
        (Security::Permissive, [None, name.clone()]),
    ] {
        let before = members();
        upstream.set_security(security);
        assert_eq!(under_tls(), expect, "{security:?}");
        for (before, after) in before.members().iter().zip(members().members()) {
            assert!(!Arc::ptr_eq(&before.state, &after.state), "breakers begin anew");
        }
        let before = members();
        upstream.set_security(security);
        upstream.set_policy(CallPolicy { timeout: SECOND * 2, ..upstream.policy() });
        upstream.set_policy(policy(SECOND));
        assert_eq!(under_tls(), expect, "{security:?} stays");
        assert!(Arc::ptr_eq(&before.members()[0].state, &members().members()[0].state));
    }
    // What an instance says of itself may change: then it is another to us.
    let before = members();
    upstream.set_instances(&[Instance { metadata: b.metadata.clone(), ..a }, b]);
    assert_eq!(under_tls(), [name.clone(), name]);
    let is_same = |at: usize| Arc::ptr_eq(&before.members()[at].state, &members().members()[at].state);
    assert_eq!([is_same(0), is_same(1)], [false, true]);
}

#[test]
fn who_speaks_both_is_called_over_what_is_preferred_and_stays_the_same() {
    let (name, metrics) = (ServiceName::new("callee").unwrap(), Registry::default());
    let preferring = Upstream::multiplexed(name.clone(), policy(SECOND), "client", &metrics);
    let other = Upstream::new(name, policy(SECOND), "gateway", &metrics);
    let dialled = |upstream: &Upstream, protocol| {
        upstream.set_instances(&[Instance { protocol, ..instance("a") }]);
        let members = upstream.members.snapshot();
        let member = &members.members()[0];
        (Member::endpoint_of(member).protocol, Arc::as_ptr(&member.state))
    };
    let (protocol, state) = dialled(&preferring, Protocol::Http1);
    assert_eq!(protocol, Protocol::Http1);
    assert_eq!(dialled(&preferring, Protocol::Both), (Protocol::Http2, state));
    assert_eq!(dialled(&preferring, Protocol::Http1), (Protocol::Http1, state));
    for (told, expect) in [(Protocol::Both, Protocol::Http1), (Protocol::Http2, Protocol::Http2)] {
        assert_eq!(dialled(&other, told).0, expect);
    }
}

fn of(version: &str, count: usize) -> Vec<Instance> {
    let of = |n| Instance { version: version.to_owned(), ..instance(&format!("{version}-{n}")) };
    (0..count).map(of).collect()
}

fn split(weights: &[(&str, u32)]) -> Steering {
    let split = weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect();
    Steering { split, ..Steering::default() }
}

/// Who is picked, by id, in so many calls of one attempt each.
fn tally(upstream: &Upstream, calls: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..calls {
        let Picked { member, .. } = upstream.pick(time::now(), &Wish::default()).unwrap();
        *tally.entry(member.instance.id.to_string()).or_default() += 1;
    }
    tally
}

fn of_version(tally: &BTreeMap<String, usize>, version: &str) -> usize {
    tally.iter().filter(|(id, _)| id.starts_with(version)).map(|(_, count)| count).sum()
}

fn seeded() {
    let seed = rand::u64();
    println!("seed {seed}");
    rand::seed(seed);
}

#[test]
fn a_canary_of_one_among_a_hundred_has_its_share_by_every_strategy() {
    const CALLS: usize = 20_000;
    seeded();
    for (balance, _) in Balance::NAMES.map(|(name, balance)| (balance, name)) {
        let upstream =
            upstream(CallPolicy { balance: balance.into(), ..policy(SECOND) }, &[of("v1", 99), of("v2", 1)].concat());
        upstream.set_steering(split(&[("v1", 95), ("v2", 5)]));
        let tally = tally(&upstream, CALLS);
        let canary = of_version(&tally, "v2");
        // 1,000 are due, with a standard deviation of 31.
        assert!((800..=1200).contains(&canary), "{balance:?}: {canary}");
        // 192 are due to each of the others, with one of 14.
        let others = tally.iter().filter(|(id, _)| id.starts_with("v1"));
        let uneven: Vec<_> = others.filter(|(_, count)| !(110..=280).contains(*count)).collect();
        assert!(uneven.is_empty() && tally.len() == 100, "{balance:?}: {uneven:?}");
    }
}

#[test]
fn turns_within_a_version_are_exact() {
    seeded();
    let upstream = upstream(policy(SECOND), &[of("v1", 2), of("v2", 2)].concat());
    upstream.set_steering(split(&[("v1", 1), ("v2", 1)]));
    let tally = tally(&upstream, 1000);
    for version in ["v1", "v2"] {
        let [a, b] = [0, 1].map(|n| tally[&format!("{version}-{n}")]);
        assert!(a.abs_diff(b) <= 1, "{tally:?}");
    }
}

#[test]
fn the_share_of_a_version_that_is_gone_falls_to_the_others_by_their_weights() {
    seeded();
    let upstream = upstream(policy(SECOND), &[of("v1", 3), of("v2", 3), of("v3", 3), of("v4", 1)].concat());
    upstream.set_steering(split(&[("v1", 60), ("v2", 30), ("v3", 10), ("v5", 100)]));
    let shares = |upstream: &Upstream| {
        let tally = tally(upstream, 10_000);
        ["v1", "v2", "v3", "v4"].map(|version| of_version(&tally, version))
    };
    let near = |seen: [usize; 4], due: [usize; 4]| seen.iter().zip(due).all(|(seen, due)| seen.abs_diff(due) < 300);
    let seen = shares(&upstream);
    assert!(near(seen, [6000, 3000, 1000, 0]) && seen[3] == 0, "{seen:?}");
    // While calls are made: the instances, then the policy, then the weights.
    upstream.set_instances(&[of("v2", 1), of("v3", 1), of("v4", 1)].concat());
    let seen = shares(&upstream);
    assert!(near(seen, [0, 7500, 2500, 0]) && seen[3] == 0, "{seen:?}");
    upstream.set_policy(CallPolicy { balance: Balance::Random.into(), breaker: None, ..policy(SECOND) });
    let seen = shares(&upstream);
    assert!(near(seen, [0, 7500, 2500, 0]) && seen[3] == 0, "{seen:?}");
    upstream.set_steering(split(&[("v4", 1), ("v3", 1)]));
    let seen = shares(&upstream);
    assert!(near(seen, [0, 0, 5000, 5000]), "{seen:?}");
    upstream.set_steering(Steering::default());
    let seen = shares(&upstream);
    assert!(near(seen, [0, 3333, 3333, 3333]), "{seen:?}");
}

#[test]
fn a_version_whose_breakers_are_open_passes_its_calls_on() {
    seeded();
    let upstream = upstream(policy(SECOND), &[of("v1", 1), of("v2", 1)].concat());
    upstream.set_steering(split(&[("v1", 1), ("v2", 1)]));
    let now = time::now();
    let fail = |version: &str| loop {
        let Picked { member, permit } = upstream.pick(now, &Wish::default()).unwrap();
        let is_it = member.instance.version == version;
        record(&member, permit, is_it.then_some(Outcome::Failure), now);
        if is_it {
            break;
        }
    };
    fail("v1");
    for _ in 0..50 {
        let Picked { member, permit } = upstream.pick(now, &Wish::default()).unwrap();
        assert_eq!(member.instance.version, "v2");
        record(&member, permit, None, now);
    }
    // What is known of an instance outlives another steering.
    upstream.set_steering(split(&[("v1", 1), ("v2", 0)]));
    assert!(matches!(upstream.pick(now, &Wish::default()), Err(Error::BreakerOpen { retry_after: Some(_), .. })));
    upstream.set_steering(split(&[("v3", 1)]));
    assert!(matches!(upstream.pick(now, &Wish::default()), Err(Error::NoInstance { .. })));
}

#[test]
fn retries_stay_in_their_version_and_leave_it_when_all_were_tried() {
    seeded();
    let upstream = upstream(policy(SECOND), &[of("v1", 3), of("v2", 3), of("v3", 3)].concat());
    upstream.set_steering(split(&[("v1", 1), ("v2", 1), ("v3", 0)]));
    for _ in 0..100 {
        let mut tried: Vec<Tried> = Vec::new();
        let mut ids = BTreeSet::new();
        for attempt in 0..6 {
            let Picked { member, .. } = upstream.pick(time::now(), &Wish { tried: &tried, ..Wish::default() }).unwrap();
            let first = tried.first().map_or(&member.instance.version, |tried| &tried.member.instance.version);
            assert_eq!(member.instance.version == *first, attempt < 3, "attempt {attempt}");
            assert_ne!(member.instance.version, "v3");
            assert!(ids.insert(member.instance.id.clone()), "one is asked twice");
            tried.push(Tried { member, is_unreachable: false });
        }
        assert_eq!(upstream.eligible_count(), 6);
        // All were tried: its own again, even where its instance was another then.
        let Picked { member, .. } = upstream.pick(time::now(), &Wish { tried: &tried, ..Wish::default() }).unwrap();
        assert_eq!(member.instance.version, tried[0].member.instance.version);
    }
}
