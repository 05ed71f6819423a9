//! The lock-free detector in every order of its threads (`shuttle`), and its judgement.

use std::sync::{Arc, Mutex};

use bowline_model::policy::OpenFor;
use shuttle::{check_dfs, check_random, sync::atomic::AtomicU64 as Word, thread};

use super::*;

const SECOND: u64 = 1_000_000_000;
const EJECT_FOR: OpenFor = OpenFor { min: Duration::from_secs(30), max: Duration::from_mins(5) };

/// How many orders are tried where there are too many to try all.
const ORDERS: usize = 20_000;

/// What one thread does.
type Act = Box<dyn FnOnce(&Set) + Send>;

struct Set {
    records: Vec<Record<Word>>,
    room: Room<Word>,
}

impl Set {
    fn of(count: usize) -> Arc<Self> {
        Arc::new(Self { records: (0..count).map(|_| Record::new()).collect(), room: Room::new() })
    }

    fn eject(&self, at: usize, out_max: u64, now: u64) -> bool {
        self.records[at].eject(&self.room, out_max, EJECT_FOR, Why::Consecutive, now)
    }

    fn found(&self, at: usize, out_max: u64, now: u64) {
        self.eject(at, out_max, now);
    }

    fn swept(&self, at: usize, now: u64) {
        self.records[at].sweep(&self.room, now);
    }

    fn out(&self) -> u64 {
        self.records.iter().filter(|record| matches!(record.standing().phase, Phase::Out { .. })).count() as u64
    }
}

/// Runs these at once, and then looks at what has become of the set.
fn at_once(set: &Arc<Set>, all: Vec<Act>) {
    let threads: Vec<_> = all
        .into_iter()
        .map(|one| {
            let set = Arc::clone(set);
            thread::spawn(move || one(&set))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(set.room.out(), set.out(), "the set knows how many are out");
}

#[test]
fn two_that_are_found_at_once_do_not_both_take_the_last_place() {
    check_dfs(
        || {
            let set = Set::of(2);
            let eject = |at| -> Act { Box::new(move |set| set.found(at, 1, 0)) };
            at_once(&set, vec![eject(0), eject(1)]);
            assert_eq!(set.out(), 1);
        },
        None,
    );
}

#[test]
fn one_that_is_found_twice_at_once_is_ejected_once() {
    check_random(
        || {
            let set = Set::of(1);
            let eject = || -> Act { Box::new(|set| set.found(0, 5, 0)) };
            at_once(&set, vec![eject(), eject(), eject()]);
            assert_eq!((set.out(), set.records[0].standing().ejections), (1, 1));
        },
        ORDERS,
    );
}

#[test]
fn whoever_leaves_while_it_is_ejected_or_swept_holds_no_place() {
    check_random(
        || {
            let set = Set::of(2);
            assert!(set.eject(1, 2, 0));
            let late = SECOND * 31;
            at_once(
                &set,
                vec![
                    Box::new(move |set| set.found(0, 2, late)),
                    Box::new(|set| set.records[0].leave(&set.room)),
                    Box::new(move |set| set.swept(1, late)),
                    Box::new(|set| set.records[1].leave(&set.room)),
                ],
            );
            assert_eq!(set.room.out(), 0);
        },
        ORDERS,
    );
}

#[test]
fn who_is_found_again_while_a_sweep_takes_it_back_is_counted_right() {
    check_random(
        || {
            let set = Set::of(1);
            assert!(set.eject(0, 2, 0));
            let late = SECOND * 31;
            at_once(
                &set,
                vec![
                    Box::new(move |set| set.found(0, 2, late)),
                    Box::new(move |set| set.swept(0, late)),
                    Box::new(|set| set.records[0].recall(&set.room)),
                ],
            );
            assert!(set.room.out() <= 1);
        },
        ORDERS,
    );
}

#[test]
fn no_answer_is_lost_between_two_sweeps() {
    check_random(
        || {
            let set = Set::of(1);
            let counted = Arc::new(Mutex::new(Calls { all: 0, bad: 0 }));
            let add = |counted: &Mutex<Calls>, calls: Calls| {
                let mut sum = counted.lock().unwrap();
                *sum = Calls { all: sum.all + calls.all, bad: sum.bad + calls.bad };
            };
            let (one, other) = (Arc::clone(&counted), Arc::clone(&counted));
            let count = |ok| -> Act {
                Box::new(move |set| {
                    set.records[0].count(ok);
                    set.records[0].count(ok);
                })
            };
            at_once(
                &set,
                vec![
                    count(true),
                    count(false),
                    Box::new(move |set| add(&one, set.records[0].take_calls())),
                    Box::new(move |set| add(&other, set.records[0].take_calls())),
                ],
            );
            add(&counted, set.records[0].take_calls());
            assert_eq!(*counted.lock().unwrap(), Calls { all: 4, bad: 2 });
        },
        ORDERS,
    );
}

#[test]
fn a_share_of_the_set_may_be_out_and_one_always() {
    for (percent, count, expect) in [(10, 0, 1), (10, 5, 1), (10, 19, 1), (10, 20, 2), (50, 3, 1), (100, 7, 7)] {
        assert_eq!(out_max(Share::from_percent(percent), count), expect, "{percent} % of {count}");
    }
}
