//! What is kept, what is forgotten, and what a restart reads.

use bytes::Bytes;

use super::*;

/// What a store would hold after all that was told to it.
#[derive(Default)]
struct Kept(BTreeMap<String, Vec<u8>>);

impl Kept {
    fn take(&mut self, changes: Changes) {
        for (key, value) in changes.0 {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    fn restored(&self) -> Log {
        let mut log = Log::default();
        for (key, value) in &self.0 {
            let value = Bytes::copy_from_slice(value);
            log.restore(&Entry { key: key.as_str().into(), value, created: 1, modified: 1, lease: None });
        }
        log
    }
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn seen(at_unix_ms: u64, instance: &str, health: HealthState) -> Seen {
    let of = instance.split('-').next().unwrap();
    let instance = InstanceId::new(instance).unwrap();
    Seen { at_unix_ms, instance, service: service(of), health, why: Some("why".to_owned()), probe: None }
}

/// `order-1 unknown>healthy` each, newest first.
fn told(log: &Log, of: &str) -> Vec<String> {
    let line = |t: HealthTransition| {
        let after = t.after_ms.map_or(String::new(), |after| format!(" after {after}"));
        format!("{} {}>{}{after}", t.instance, t.from.as_str(), t.to.as_str())
    };
    log.transitions(&service(of)).into_iter().map(line).collect()
}

#[test]
fn changes_are_kept_with_how_long_it_had_been_so() {
    let (mut log, mut kept) = (Log::default(), Kept::default());
    for (at, health) in [
        (100, HealthState::Healthy),
        (150, HealthState::Healthy),
        (300, HealthState::Unhealthy),
        (900, HealthState::Gone),
        (950, HealthState::Gone),
    ] {
        let mut changes = Changes::default();
        log.see(seen(at, "order-1", health), &mut changes);
        assert_eq!(changes.is_empty(), at % 100 == 50, "only changes are told to the store");
        kept.take(changes);
    }
    let expect = ["order-1 unhealthy>gone after 600", "order-1 healthy>unhealthy after 200", "order-1 unknown>healthy"];
    assert_eq!(told(&log, "order"), expect);
    assert_eq!(told(&kept.restored(), "order"), expect);
    assert!(log.counts().is_empty());
}

#[test]
fn a_restart_knows_how_instances_are_and_since_when() {
    let (mut log, mut kept, mut changes) = (Log::default(), Kept::default(), Changes::default());
    log.see(seen(100, "order-1", HealthState::Healthy), &mut changes);
    log.see(seen(100, "order-2", HealthState::Draining), &mut changes);
    kept.take(changes);
    let mut log = kept.restored();
    let counts = Counts { healthy: 1, unhealthy: 0, draining: 1 };
    assert_eq!(log.counts(), BTreeMap::from([(service("order"), counts)]));
    let there = InstanceId::new("order-2").unwrap();
    let missing = log.missing(&BTreeSet::from([&there]));
    assert_eq!(missing, [(InstanceId::new("order-1").unwrap(), service("order"))]);
    let mut changes = Changes::default();
    log.see(seen(350, "order-1", HealthState::Unhealthy), &mut changes);
    assert_eq!(told(&log, "order")[0], "order-1 healthy>unhealthy after 250");
    kept.take(changes);
    assert_eq!(kept.restored().transitions(&service("order")).len(), 3, "numbers go on");
}

#[test]
fn an_instance_that_moved_while_nobody_looked_leaves_the_service_it_was_of() {
    let (mut log, mut kept, mut changes) = (Log::default(), Kept::default(), Changes::default());
    log.see(seen(100, "order-1", HealthState::Healthy), &mut changes);
    kept.take(changes);
    let (mut log, mut changes) = (kept.restored(), Changes::default());
    let moved = Seen { service: service("user"), ..seen(350, "order-1", HealthState::Healthy) };
    log.see(moved, &mut changes);
    assert!(changes.0.len() <= 5, "as many as a batch counts on");
    log.see(seen(360, "order-1", HealthState::Gone), &mut changes);
    kept.take(changes);
    let counts = Counts { healthy: 1, unhealthy: 0, draining: 0 };
    for log in [&log, &kept.restored()] {
        assert_eq!(log.counts(), BTreeMap::from([(service("user"), counts)]));
        assert_eq!(told(log, "order")[0], "order-1 healthy>gone after 250");
        assert_eq!(told(log, "user"), ["order-1 unknown>healthy"]);
    }
}

#[test]
fn a_service_keeps_its_last_changes_and_no_other_s_are_forgotten_for_them() {
    let (mut log, mut kept) = (Log::default(), Kept::default());
    let mut see = |at, instance, health| {
        let mut changes = Changes::default();
        log.see(seen(at, instance, health), &mut changes);
        kept.take(changes);
    };
    see(1, "user-1", HealthState::Healthy);
    for at in 0..OF_SERVICE_MAX as u64 + 7 {
        see(at, "order-1", if at % 2 == 0 { HealthState::Healthy } else { HealthState::Unhealthy });
    }
    assert_eq!(told(&log, "order").len(), OF_SERVICE_MAX);
    assert_eq!(told(&log, "user"), ["user-1 unknown>healthy"]);
    assert_eq!(kept.0.len(), OF_SERVICE_MAX + 1 + 2, "and the store what memory has");
}

#[test]
fn there_is_a_bound_for_all_together() {
    let mut log = Log::default();
    for at in 0..PAST_MAX as u64 + 10 {
        log.see(seen(at, &format!("s{at}-1"), HealthState::Healthy), &mut Changes::default());
    }
    assert_eq!((log.past.len(), log.of_service.len()), (PAST_MAX, PAST_MAX));
    assert!(told(&log, "s9").is_empty() && !told(&log, "s10").is_empty(), "the oldest goes first");
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let mut kept = Kept::default();
    kept.0.insert("health/now/order-1".to_owned(), b"{".to_vec());
    kept.0.insert("health/past/zz".to_owned(), b"{}".to_vec());
    kept.0.insert("health/elsewhere".to_owned(), b"".to_vec());
    let log = kept.restored();
    assert!(log.counts().is_empty() && log.past.is_empty());
}
