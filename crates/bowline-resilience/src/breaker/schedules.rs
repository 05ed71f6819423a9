//! The breaker under shuttle: many schedules of the threads, each from a seed that a failure prints.

use bowline_model::policy::OpenFor;
use shuttle::thread;

use super::*;
use crate::sync::{Arc, Ordering::SeqCst};

const SCHEDULES: usize = 5_000;
const OPEN_FOR: Duration = Duration::from_secs(5);

/// A breaker, and how many probes are out by their own count.
struct Counted {
    breaker: Breaker,
    out: AtomicU64,
    now: Instant,
}

impl Counted {
    fn new(calls_min: u32, probes_max: u32) -> Self {
        let open_for = OpenFor::exactly(OPEN_FOR);
        let policy = BreakerPolicy { calls_min, probes_max, open_for, ..BreakerPolicy::default() };
        let breaker = Breaker::new(&policy).probe_timeout(Duration::MAX);
        Self { breaker, out: AtomicU64::new(0), now: time::now() }
    }

    fn report(&self, outcome: Outcome) {
        if let Ok(permit) = self.breaker.acquire(self.now) {
            permit.record(outcome, self.now);
        }
    }

    /// Asks when the breaker lets probes out; what becomes of one is given.
    fn probe(&self, outcome: Option<Outcome>) {
        let later = self.now + OPEN_FOR;
        let Ok(permit) = self.breaker.acquire(later) else { return };
        if permit.is_probe() {
            assert_eq!(self.out.fetch_add(1, SeqCst), 0, "one at a time");
            thread::yield_now();
            self.out.fetch_sub(1, SeqCst);
        }
        match outcome {
            Some(outcome) => permit.record(outcome, later),
            None => drop(permit),
        }
    }
}

/// Runs all of them on threads of their own, under many schedules, and looks at what has become of the breaker.
fn explore(make: fn() -> Counted, threads: &'static [fn(&Counted)], look: fn(&Counted)) {
    shuttle::check_pct(
        move || {
            let counted = Arc::new(make());
            let spawn = |run: &fn(&Counted)| {
                let (counted, run) = (Arc::clone(&counted), *run);
                thread::spawn(move || run(&counted))
            };
            let handles: Vec<_> = threads.iter().map(spawn).collect();
            handles.into_iter().for_each(|handle| handle.join().expect("no thread panics"));
            look(&counted);
        },
        SCHEDULES,
        3,
    );
}

fn fail(it: &Counted) {
    it.report(Outcome::Failure);
}

fn succeed(it: &Counted) {
    it.report(Outcome::Success);
}

/// As one that was granted before anything happened.
fn fail_late(it: &Counted) {
    let ticket = Ticket { epoch: Machine::START.epoch, is_probe: false, started: it.now };
    it.breaker.settle(&ticket, Outcome::Failure, it.now);
}

fn hold_closed(it: &Counted) {
    it.breaker.order(Order::Force(Forced::Closed), it.now);
}

fn state_is(it: &Counted, state: State) {
    assert_eq!(it.breaker.state(it.now), state);
}

#[test]
fn of_failures_that_come_at_once_none_is_overlooked() {
    let opened = |it: &Counted| state_is(it, State::Open);
    explore(|| Counted::new(3, 1), &[fail, fail, fail], opened);
    explore(
        || Counted::new(3, 1),
        &[fail, fail, succeed],
        |it| {
            // Who succeeded may have looked before both had failed, and they before it was counted: never all three.
            state_is(it, State::Open);
        },
    );
}

#[test]
fn what_was_granted_before_an_order_does_not_count_after_it() {
    explore(
        || Counted::new(100, 1),
        &[fail_late, fail_late, |it| it.breaker.order(Order::Reset, it.now)],
        |it| assert_eq!(it.breaker.figures(it.now), Figures::default()),
    );
    explore(
        || Counted::new(1, 1),
        &[fail_late, fail_late, hold_closed],
        |it| {
            assert_eq!(it.breaker.figures(it.now), Figures::default());
            state_is(it, State::ForcedClosed);
        },
    );
}

#[test]
fn one_probe_means_one() {
    let opened = || {
        let it = Counted::new(1, 1);
        it.report(Outcome::Failure);
        it
    };
    // No place is lost: whatever became of them, one is let through when the longest time is over.
    let lets_one_through = |it: &Counted| drop(it.breaker.acquire(it.now + OPEN_FOR * 10).expect("none is out"));
    explore(opened, &[|it| it.probe(None), |it| it.probe(Some(Outcome::Failure)), |it| it.probe(None)], |it| {
        assert_ne!(it.breaker.state(it.now), State::Closed, "nobody succeeded");
    });
    explore(opened, &[|it| it.probe(Some(Outcome::Success)), |it| it.probe(None), fail], lets_one_through);
}
