//! The room under shuttle: many schedules of the threads, each from a seed that a failure prints.

use shuttle::{future::block_on, thread};

use super::*;
use crate::sync::{Arc, Ordering::SeqCst};

const SCHEDULES: usize = 20_000;
const VISITOR: Visitor = Visitor { priority: Priority::Normal, until: None };

/// A room, and how many are inside by their own count.
struct Counted {
    room: Room,
    inside: AtomicU64,
}

impl Counted {
    fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { room: Room::fair(Concurrency::exactly(limit), 10), inside: AtomicU64::new(0) })
    }

    fn visit(&self, limit: u64) {
        let place = block_on(enter(&self.room, VISITOR, time::now())).expect("the queue has room for all");
        assert!(self.inside.fetch_add(1, SeqCst) < limit);
        thread::yield_now();
        self.inside.fetch_sub(1, SeqCst);
        drop(place);
    }

    /// It asks once, and then thinks better of it.
    fn look_in(&self) {
        let mut entering = pin!(enter(&self.room, VISITOR, time::now()));
        drop(entering.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        thread::yield_now();
    }

    fn widen_and_narrow(&self) {
        [2, 1].into_iter().for_each(|limit| self.room.set_limit(limit));
    }
}

/// Runs all of them under many schedules; shuttle fails where one waits for ever.
fn explore(limit: u32, threads: &'static [fn(&Counted)]) {
    shuttle::check_pct(
        move || {
            let counted = Counted::new(limit);
            let spawn = |run: &fn(&Counted)| {
                let (counted, run) = (Arc::clone(&counted), *run);
                thread::spawn(move || run(&counted))
            };
            let handles: Vec<_> = threads.iter().map(spawn).collect();
            handles.into_iter().for_each(|handle| handle.join().expect("no thread panics"));
            let Occupancy { in_flight, waiting, .. } = counted.room.occupancy();
            assert_eq!((in_flight, waiting), (0, 0));
        },
        SCHEDULES,
        3,
    );
}

#[test]
fn a_place_is_handed_over_and_nobody_is_forgotten() {
    explore(1, &[|it| it.visit(1), |it| it.visit(1), |it| it.visit(1)]);
}

#[test]
fn one_that_goes_away_gives_its_turn_to_the_next() {
    explore(1, &[|it| it.visit(1), |it| it.visit(1), Counted::look_in, Counted::look_in]);
}

#[test]
fn a_limit_that_changes_meanwhile_forgets_nobody() {
    explore(1, &[|it| it.visit(2), |it| it.visit(2), |it| it.visit(2), Counted::widen_and_narrow]);
}
