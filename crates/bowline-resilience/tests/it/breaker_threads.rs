//! Many threads at once: what is exact must be exact.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use bowline_model::policy::{BreakerPolicy, OpenFor};
use bowline_resilience::breaker::{Breaker, Outcome, Permit, State};
use bowline_runtime::time::{self, Duration};

use crate::threads::{THREADS, together};

const OPEN_FOR: Duration = Duration::from_secs(5);

fn policy() -> BreakerPolicy {
    BreakerPolicy { calls_min: 100, probes_max: 3, open_for: OpenFor::exactly(OPEN_FOR), ..BreakerPolicy::default() }
}

#[test]
fn three_probes_means_three() {
    // The case of tower-resilience issue 382: all ask before the first probe has ended.
    for round in 0..200 {
        let (breaker, now) = (Breaker::new(&policy()), time::now());
        (0..100).for_each(|_| breaker.acquire(now).unwrap().record(Outcome::Failure, now));
        let later = now + OPEN_FOR;
        let asked = together(|_| (0..4).map(|_| breaker.acquire(later)).collect::<Vec<_>>());
        let granted: Vec<Permit<'_>> = asked.into_iter().flatten().flatten().collect();
        assert_eq!(granted.len(), 3, "round {round}");
        assert!(!breaker.is_ready(later));
        for permit in granted {
            permit.record(Outcome::Success, later);
        }
        assert_eq!(breaker.state(later), State::Closed, "round {round}");
    }
}

#[test]
fn no_moment_sees_a_fourth_probe() {
    // Probes end, fail and are cancelled all the time, and the breaker opens and closes between them.
    // The threads' clocks are far apart here, so that none may be taken for lost.
    let breaker = Breaker::new(&BreakerPolicy { calls_min: 1, ..policy() }).probe_timeout(Duration::MAX);
    let now = time::now();
    let (out, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    together(|at| {
        for i in 0..20_000u32 {
            let time = now + OPEN_FOR / 50 * i;
            let Ok(permit) = breaker.acquire(time) else { continue };
            if permit.is_probe() {
                most.fetch_max(out.fetch_add(1, SeqCst) + 1, SeqCst);
                thread::yield_now();
                out.fetch_sub(1, SeqCst);
            }
            match (i as usize + at) % 3 {
                0 => permit.record(Outcome::Success, time),
                1 => permit.record(Outcome::Failure, time),
                _ => drop(permit),
            }
        }
    });
    let most = most.load(SeqCst);
    assert!((1..=3).contains(&most), "{most} at once");
}

#[test]
fn no_result_is_lost_or_counted_twice() {
    // One failure short of the rate, from all threads; then the one.
    const EACH: usize = 1000;
    let policy = BreakerPolicy { calls_min: u32::try_from(THREADS * EACH).unwrap(), ..policy() };
    for _ in 0..20 {
        let (breaker, now) = (Breaker::new(&policy), time::now());
        let breaker = &breaker;
        together(|at| {
            for i in 0..EACH - usize::from(at == 0) {
                let outcome = if i % 2 == 0 { Outcome::Failure } else { Outcome::Success };
                breaker.acquire(now).unwrap().record(outcome, now);
            }
        });
        assert_eq!(breaker.state(now), State::Closed, "one call short");
        breaker.acquire(now).unwrap().record(Outcome::Success, now);
        assert_eq!(breaker.state(now), State::Open);
    }
}

#[test]
fn it_opens_once_however_many_see_it() {
    for _ in 0..200 {
        let (breaker, now) = (Breaker::new(&BreakerPolicy { calls_min: 1, ..policy() }), time::now());
        let permits: Vec<_> = (0..THREADS).map(|_| breaker.acquire(now).unwrap()).collect();
        let permits = std::sync::Mutex::new(permits);
        together(|_| {
            let permit = permits.lock().unwrap().pop().unwrap();
            permit.record(Outcome::Failure, now);
        });
        // Twice opened it would be in a later epoch, and its probes' results would not count.
        let later = now + OPEN_FOR;
        (0..3).for_each(|_| breaker.acquire(later).unwrap().record(Outcome::Success, later));
        assert_eq!(breaker.state(later), State::Closed);
    }
}
