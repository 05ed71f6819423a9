//! What replaces a set, and what does not.

use bowline_runtime::time;

use super::*;

const A: Option<HistoryId> = Some(HistoryId(1));
const B: Option<HistoryId> = Some(HistoryId(2));

fn instance(id: &str) -> Instance {
    Instance::new(id.parse().unwrap(), "svc".parse().unwrap(), "127.0.0.1:80".parse().unwrap())
}

fn discovered(history: Option<HistoryId>, revision: Revision, ids: &[&str]) -> Discovered {
    Discovered { revision, history, instances: ids.iter().map(|id| instance(id)).collect(), more: false }
}

fn put(revision: Revision, id: &str) -> InstanceEvent {
    InstanceEvent { revision, change: InstanceChange::Put(instance(id)) }
}

fn delete(revision: Revision, id: &str) -> InstanceEvent {
    let change = InstanceChange::Delete { id: id.parse().unwrap(), service: "svc".parse().unwrap() };
    InstanceEvent { revision, change }
}

fn ids(set: &Set) -> Vec<String> {
    set.instances().iter().map(|instance| instance.id.to_string()).collect()
}

/// A set that was listed at revision 10 of history A.
fn full() -> Set {
    let mut set = Set::default();
    set.list(discovered(A, 10, &["a", "b"]), time::now());
    set
}

#[test]
fn a_list_of_the_same_history_that_is_not_older_replaces() {
    for (revision, listed) in [(10, &["b", "c"][..]), (11, &["c"]), (10, &[]), (99, &[])] {
        let mut set = full();
        set.list(discovered(A, revision, listed), time::now());
        assert_eq!(ids(&set), listed, "at revision {revision}");
        assert_eq!(set.timer(), None);
    }
}

#[test]
fn an_empty_list_without_proof_replaces_nothing() {
    for (history, revision) in [(A, 9), (B, 0), (B, 10), (B, 1000), (None, 9)] {
        let mut set = full();
        set.list(discovered(history, revision, &[]), time::now());
        assert_eq!(ids(&set), ["a", "b"], "{history:?} at {revision}");
        // Hearing the same again proves no more.
        set.list(discovered(history, revision, &[]), time::now());
        set.tick(time::now() + RETURN_WITHIN * 100);
        assert_eq!(ids(&set), ["a", "b"], "{history:?} at {revision}");
    }
}

#[test]
fn a_registry_that_tells_no_history_is_believed_by_its_revision() {
    let mut set = full();
    set.list(discovered(None, 10, &[]), time::now());
    assert_eq!(ids(&set), [""; 0]);
}

#[test]
fn events_are_proof_up_to_the_last_instance() {
    let mut set = full();
    set.apply(put(11, "c"), time::now());
    set.apply(delete(12, "a"), time::now());
    assert_eq!(ids(&set), ["b", "c"]);
    set.apply(delete(13, "b"), time::now());
    set.apply(delete(14, "c"), time::now());
    assert_eq!(ids(&set), [""; 0]);
    assert_eq!(set.seen(), Some(Position { history: A, revision: 14 }));
}

#[test]
fn instances_of_a_lost_registry_have_time_to_return() {
    let mut set = full();
    let start = time::now();
    set.list(discovered(B, 3, &[]), start);
    assert_eq!(set.timer(), None, "no time runs while nothing is listed");
    set.apply(put(4, "c"), start);
    assert_eq!(ids(&set), ["a", "b", "c"]);
    assert_eq!(set.timer(), Some(start + RETURN_WITHIN));
    // One returns; the time of the other is not prolonged.
    set.apply(put(5, "b"), start + RETURN_WITHIN / 2);
    set.tick(start + RETURN_WITHIN - Duration::from_nanos(1));
    assert_eq!(ids(&set), ["a", "b", "c"]);
    set.tick(start + RETURN_WITHIN);
    assert_eq!(ids(&set), ["b", "c"]);
    assert_eq!(set.timer(), None);
}

#[test]
fn what_the_new_registry_loses_again_leaves_the_old_ones() {
    let mut set = full();
    let start = time::now();
    set.list(discovered(B, 3, &["c"]), start);
    set.apply(delete(4, "c"), start);
    assert_eq!(set.timer(), None, "nothing is listed");
    set.tick(start + RETURN_WITHIN * 2);
    assert_eq!(ids(&set), ["a", "b"]);
    // An event is proof of its own instance.
    set.apply(delete(5, "a"), start);
    assert_eq!(ids(&set), ["b"]);
}

#[test]
fn a_registry_that_comes_back_with_its_data_is_believed() {
    let mut set = full();
    set.list(discovered(B, 3, &["c"]), time::now());
    set.list(discovered(A, 10, &["b"]), time::now());
    // c was listed by B, whose history A's list does not cover.
    assert_eq!(ids(&set), ["b", "c"]);
    set.tick(time::now() + RETURN_WITHIN * 2);
    assert_eq!(ids(&set), ["b"]);
}

#[test]
fn a_set_from_the_folder_is_covered_as_one_that_was_listed() {
    let restored = || Set::restored(vec![instance("a")], Position { history: A, revision: 10 });
    let mut set = restored();
    set.list(discovered(A, 10, &[]), time::now());
    assert_eq!(ids(&set), [""; 0]);
    let mut set = restored();
    set.list(discovered(B, 20, &[]), time::now());
    assert_eq!(ids(&set), ["a"]);
}

#[test]
fn a_listed_instance_hides_the_one_kept() {
    let mut set = full();
    let moved = Instance { address: "127.0.0.1:99".parse().unwrap(), ..instance("a") };
    set.list(Discovered { instances: vec![moved.clone()], ..discovered(B, 1, &[]) }, time::now());
    assert_eq!(set.instances()[0], moved);
    assert_eq!(ids(&set), ["a", "b"]);
}
