//! Many threads at once: limits are exact.

use bowline_resilience::rate::{Limit, Limiter};
use bowline_runtime::time::{self, Duration};

use crate::threads::{THREADS, together};

const INTERVAL: Duration = Duration::from_millis(10);

#[test]
fn at_one_instant_exactly_the_burst_is_let_through() {
    for round in 0..200 {
        let (limiter, now) = (Limiter::new(Limit::new(INTERVAL, 50), 100), time::now());
        let counts = together(|_| (0..50).filter(|_| limiter.check(b"a", now).is_allowed).count());
        assert_eq!(counts.iter().sum::<usize>(), 50, "round {round}");
        // And one more each interval later, however many ask.
        let later = now + INTERVAL;
        let counts = together(|_| (0..50).filter(|_| limiter.check(b"a", later).is_allowed).count());
        assert_eq!(counts.iter().sum::<usize>(), 1, "round {round}");
    }
}

#[test]
fn each_remaining_count_is_told_once() {
    let (limiter, now) = (Limiter::new(Limit::new(INTERVAL, 1000), 100), time::now());
    let told = together(|_| {
        let decisions = (0..1000).map(|_| limiter.check(b"a", now));
        decisions.filter(|decision| decision.is_allowed).map(|decision| decision.remaining).collect::<Vec<_>>()
    });
    let mut told: Vec<u32> = told.into_iter().flatten().collect();
    told.sort_unstable();
    assert_eq!(told, (0..1000).collect::<Vec<_>>());
}

#[test]
fn clocks_apart_do_not_add_up_to_more() {
    // Each thread's clock is as far as it has got; over the whole span the limit holds all the same.
    const STEPS: u32 = 2000;
    let (limiter, now) = (Limiter::new(Limit::new(INTERVAL, 5), 100), time::now());
    let counts = together(|_| {
        let at = |step: u32| now + INTERVAL / 4 * step;
        (0..STEPS).filter(|step| limiter.check(b"a", at(*step)).is_allowed).count()
    });
    let most = 5 + (STEPS as usize - 1) / 4;
    let count = counts.iter().sum::<usize>();
    assert!((1..=most).contains(&count), "{count} of at most {most}");
}

#[test]
fn keys_come_and_go_and_the_bound_stands() {
    const KEYS_MAX: usize = 2000;
    let limiter = Limiter::new(Limit::new(INTERVAL, 2), KEYS_MAX);
    let now = time::now();
    together(|thread| {
        for step in 0..20_000_usize {
            let key = (step * THREADS + thread) % 10_000;
            limiter.check(&key.to_le_bytes(), now + INTERVAL / 1000 * u32::try_from(step).unwrap());
            if step % 1000 == 0 {
                assert!(limiter.len() <= KEYS_MAX);
            }
        }
    });
    assert!(limiter.len() <= KEYS_MAX);
    assert!(limiter.len() > KEYS_MAX / 2);
}
