//! What survives an update, and who may be picked after it.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use bowline_balance::InstanceSet;
use bowline_model::{Health, Instance, Protocol};
use bowline_runtime::time::{self, Duration};

use crate::{instance, instances, set_of};

fn ids<T>(set: &InstanceSet<T>) -> Vec<String> {
    set.load().members().iter().map(|member| member.instance.id.to_string()).collect()
}

#[test]
fn members_are_sorted_and_found_by_id() {
    let mut list = instances(10);
    list.reverse();
    let set = set_of(&list);
    assert_eq!(ids(&set), instances(10).iter().map(|i| i.id.to_string()).collect::<Vec<_>>());
    let snapshot = set.snapshot();
    assert_eq!(snapshot.get(&instance(7).id).unwrap().instance, instance(7));
    assert!(snapshot.get(&instance(10).id).is_none());
}

#[test]
fn the_last_of_one_id_counts() {
    let set = set_of(&[instance(1), Instance { weight: 7, ..instance(1) }]);
    assert_eq!(set.load().members().len(), 1);
    assert_eq!(set.load().members()[0].instance.weight, 7);
}

#[test]
fn members_keep_state_and_load_across_updates() {
    let set: InstanceSet<AtomicU32> = InstanceSet::default();
    let made = Cell::new(0);
    let make = |_: &Instance| {
        made.set(made.get() + 1);
        AtomicU32::new(0)
    };
    set.update(&instances(3), make);
    let before = set.snapshot();
    before.members()[0].state.store(42, Relaxed);
    let now = time::now();
    before.members()[0].begin(now).finish(now + Duration::from_secs(1), true);
    let in_flight = before.members()[0].begin(now);

    // All but who and where it is has changed; another came, another went.
    let changed = Instance { weight: 5, health: Health::Unhealthy, version: "2".to_owned(), ..instance(0) };
    set.update(&[changed.clone(), instance(1), instance(5)], make);
    assert_eq!(made.get(), 4);
    let after = set.snapshot();
    assert_eq!(after.members()[0].instance, changed);
    assert_eq!(after.members()[0].state.load(Relaxed), 42);
    assert_eq!(after.members()[0].in_flight(), 1);
    assert!(after.members()[0].latency(now) >= Duration::from_millis(900));
    assert!(Arc::ptr_eq(&after.members()[1], &before.members()[1]), "the unchanged is the same member");
    // A request that began before the update ends after it.
    drop(in_flight);
    assert_eq!(after.members()[0].in_flight(), 0);
}

#[test]
fn another_place_is_another_member() {
    let set: InstanceSet<AtomicU32> = InstanceSet::default();
    set.update(&instances(2), |_| AtomicU32::new(0));
    let held = set.snapshot().members()[0].begin(time::now());
    for member in set.load().members() {
        member.state.store(1, Relaxed);
    }
    let moved = Instance { address: "127.0.0.1:60000".parse().unwrap(), ..instance(0) };
    let upgraded = Instance { protocol: Protocol::Http2, ..instance(1) };
    set.update(&[moved, upgraded], |_| AtomicU32::new(0));
    for member in set.load().members() {
        assert_eq!((member.state.load(Relaxed), member.in_flight()), (0, 0));
    }
    drop(held);
    assert_eq!(set.load().members()[0].in_flight(), 0);
}

#[test]
fn who_speaks_http2_beside_http1_is_the_same_member() {
    let set: InstanceSet<AtomicU32> = InstanceSet::default();
    let protocols = [Protocol::Http1, Protocol::Both, Protocol::Http1, Protocol::Http2, Protocol::Both];
    let states = protocols.map(|protocol| {
        set.update(&[Instance { protocol, ..instance(1) }], |_| AtomicU32::new(0));
        assert_eq!(set.load().members()[0].instance.protocol, protocol);
        set.load().members()[0].state.fetch_add(1, Relaxed)
    });
    assert_eq!(states, [0, 1, 2, 0, 0]);
}

#[test]
fn a_state_that_no_longer_fits_begins_anew() {
    let set: InstanceSet<AtomicU32> = InstanceSet::default();
    let update = |limit: u32| {
        let fits = |state: &AtomicU32, _: &Instance| state.load(Relaxed) < limit;
        set.update_fitting(&instances(2), fits, |_| AtomicU32::new(0));
    };
    update(1);
    let before = set.snapshot();
    before.members()[0].state.store(7, Relaxed);
    update(8);
    assert!(Arc::ptr_eq(&set.load().members()[0], &before.members()[0]));
    update(7);
    let after = set.snapshot();
    assert_eq!(after.members()[0].state.load(Relaxed), 0);
    assert!(Arc::ptr_eq(&after.members()[1], &before.members()[1]), "the other is the same member");
}

#[test]
fn an_update_that_changes_nothing_replaces_nothing() {
    let set = set_of(&instances(5));
    let before = set.snapshot();
    set.update(&instances(5), |_| ());
    assert!(Arc::ptr_eq(&before, &set.snapshot()));
    set.update(&instances(4), |_| ());
    assert_eq!(set.load().members().len(), 4);
    set.update(&[], |_| ());
    assert_eq!((set.load().members().len(), set.load().eligible_count()), (0, 0));
    assert_eq!(before.members().len(), 5, "who holds a snapshot keeps it");
}

#[test]
fn healthy_first_unhealthy_only_without_them_draining_never() {
    let with = |number, health| Instance { health, ..instance(number) };
    let (healthy, unhealthy, draining) =
        (with(0, Health::Healthy), with(1, Health::Unhealthy), with(2, Health::Draining));
    for (list, eligible) in [
        (vec![healthy.clone(), unhealthy.clone(), draining.clone()], 1),
        (vec![unhealthy.clone(), draining.clone()], 1),
        (vec![draining], 0),
        (vec![healthy.clone(), healthy, unhealthy], 1),
    ] {
        let set = set_of(&list);
        assert_eq!(set.load().eligible_count(), eligible, "{list:?}");
    }
}

#[test]
fn a_change_leaves_the_others_as_they_are() {
    let set: InstanceSet<AtomicU32> = InstanceSet::default();
    let made = Cell::new(0);
    let make = |_: &Instance| {
        made.set(made.get() + 1);
        AtomicU32::new(0)
    };
    set.change(&instances(1000), &[], make);
    let before = set.snapshot();
    let heavier = Instance { weight: 9, ..instance(500) };
    set.change(&[heavier.clone(), instance(2000)], &[instance(7).id, instance(3000).id], make);
    assert_eq!(made.get(), 1001);
    let after = set.snapshot();
    assert_eq!(after.members().len(), 1000);
    assert!(after.get(&instance(7).id).is_none() && after.get(&instance(2000).id).is_some());
    assert_eq!(after.get(&instance(500).id).unwrap().instance, heavier);
    let shared = before
        .members()
        .iter()
        .filter(|member| after.get(&member.instance.id).is_some_and(|now| Arc::ptr_eq(now, member)));
    assert_eq!(shared.count(), 998);
    set.change(&[heavier], &[instance(7).id], make);
    assert!(Arc::ptr_eq(&after, &set.snapshot()), "nothing has changed");
}

proptest::proptest! {
    #[test]
    fn updates_and_changes_come_to_the_same(
        first in proptest::collection::btree_map(0u16..900, 1u32..3, 0..900),
        second in proptest::collection::btree_map(0u16..900, 1u32..3, 0..900),
    ) {
        let list = |map: &std::collections::BTreeMap<u16, u32>| -> Vec<Instance> {
            map.iter().map(|(at, weight)| Instance { weight: *weight, ..instance(*at) }).collect()
        };
        let (updated, changed) = (set_of(&list(&first)), set_of(&list(&first)));
        updated.update(&list(&second), |_| ());
        let gone: Vec<_> = first.keys().filter(|at| !second.contains_key(at)).map(|at| instance(*at).id).collect();
        changed.change(&list(&second), &gone, |_| ());
        for set in [&updated, &changed] {
            let held: Vec<_> = set.load().members().iter().map(|member| member.instance.clone()).collect();
            proptest::prop_assert_eq!(&held, &list(&second));
            proptest::prop_assert_eq!(set.load().eligible_count(), second.len());
            for at in (0..900).step_by(37) {
                proptest::prop_assert_eq!(set.load().get(&instance(at).id).is_some(), second.contains_key(&at));
            }
        }
    }
}
