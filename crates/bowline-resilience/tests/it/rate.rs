//! One caller, time moved by hand.

use std::collections::BTreeMap;

use bowline_model::{
    gateway::{LIMIT_REFILL_MAX, Window},
    units::Rate,
};
use bowline_resilience::rate::{Decision, Limit, Limiter, SlidingLimit};
use bowline_runtime::{
    metric::Registry,
    time::{self, Duration, Instant},
};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const NS: Duration = Duration::from_nanos(1);

/// 100/s with a burst of 3.
fn limiter() -> (Limiter, Instant) {
    (Limiter::new(Limit::new(10 * MS, 3), 100), time::now())
}

fn allowed(remaining: u32, reset_after: Duration) -> Decision {
    Decision { is_allowed: true, remaining, reset_after, retry_after: Duration::ZERO }
}

fn refused(reset_after: Duration, retry_after: Duration) -> Decision {
    Decision { is_allowed: false, remaining: 0, reset_after, retry_after }
}

#[test]
fn a_burst_then_an_even_pace() {
    let (limiter, now) = limiter();
    assert_eq!(limiter.check(b"a", now), allowed(2, 10 * MS));
    assert_eq!(limiter.check(b"a", now), allowed(1, 20 * MS));
    assert_eq!(limiter.check(b"a", now), allowed(0, 30 * MS));
    assert_eq!(limiter.check(b"a", now), refused(30 * MS, 10 * MS));
    for step in 1..=100 {
        let then = now + 10 * MS * step;
        assert_eq!(limiter.check(b"a", then - NS), refused(20 * MS + NS, NS), "{step}: a nanosecond early");
        assert_eq!(limiter.check(b"a", then), allowed(0, 30 * MS), "{step}");
        assert_eq!(limiter.check(b"a", then), refused(30 * MS, 10 * MS), "{step}");
    }
}

#[test]
fn a_pause_gives_the_burst_back_and_no_more() {
    let (limiter, now) = limiter();
    (0..3).for_each(|_| assert!(limiter.check(b"a", now).is_allowed));
    assert_eq!(limiter.peek(b"a", now + 20 * MS - NS), allowed(1, 10 * MS + NS));
    assert_eq!(limiter.peek(b"a", now + 20 * MS), allowed(2, 10 * MS));
    assert_eq!(limiter.peek(b"a", now + 30 * MS - NS), allowed(2, NS));
    assert_eq!(limiter.peek(b"a", now + 30 * MS), allowed(3, Duration::ZERO));
    let much_later = now + Duration::from_hours(24 * 365);
    let count = (0..10).filter(|_| limiter.check(b"a", much_later).is_allowed).count();
    assert_eq!(count, 3);
}

#[test]
fn keys_do_not_touch_each_other() {
    let (limiter, now) = limiter();
    (0..3).for_each(|_| assert!(limiter.check(b"a", now).is_allowed));
    assert!(!limiter.check(b"a", now).is_allowed);
    for key in [&b"b"[..], b"", b"a\0", &vec![b'a'; 100_000]] {
        assert_eq!(limiter.check(key, now), allowed(2, 10 * MS));
    }
    assert_eq!(limiter.len(), 5);
}

#[test]
fn a_look_takes_nothing() {
    let (limiter, now) = limiter();
    (0..10).for_each(|_| assert_eq!(limiter.peek(b"a", now), allowed(3, Duration::ZERO)));
    assert!(limiter.is_empty(), "nobody has asked yet");
    (0..3).for_each(|_| assert!(limiter.check(b"a", now).is_allowed));
    (0..10).for_each(|_| assert_eq!(limiter.peek(b"a", now), refused(30 * MS, 10 * MS)));
}

#[test]
fn a_refusal_does_not_put_the_next_off() {
    let (limiter, now) = limiter();
    (0..3).for_each(|_| assert!(limiter.check(b"a", now).is_allowed));
    (0..1000).for_each(|_| assert!(!limiter.check(b"a", now).is_allowed));
    assert!(limiter.check(b"a", now + 10 * MS).is_allowed);
}

#[test]
fn a_clock_that_is_behind_is_no_harm() {
    let (limiter, now) = limiter();
    let later = now + Duration::from_secs(1);
    assert_eq!(limiter.check(b"a", later), allowed(2, 10 * MS));
    assert_eq!(limiter.check(b"a", now), refused(1010 * MS, 990 * MS));
    assert_eq!(limiter.check(b"a", later), allowed(1, 20 * MS));
    let before_it_was_made = now.checked_sub(Duration::from_secs(5)).unwrap_or(now);
    assert!(limiter.check(b"b", before_it_was_made).is_allowed);
}

#[test]
fn a_policy_is_taken_as_it_is_written() {
    let paced = |rate, burst| Limit::new(Rate::parse(rate).unwrap().interval(), burst);
    let limit = paced("100/s", 200);
    assert_eq!((limit.interval(), limit.burst()), (10 * MS, 200));
    assert_eq!(paced("5000/h", 1).interval(), 720 * MS);
    assert_eq!(paced("1000000/s", 1_000_000).interval(), Duration::from_micros(1));
    let window = SlidingLimit::from(Window::parse("100 in 1m").unwrap());
    assert_eq!((window.count(), window.window()), (100, Duration::from_mins(1)));
}

#[test]
fn what_a_limit_must_not_hold_is_taken_for_the_nearest() {
    let limit = Limit::new(Duration::ZERO, 0);
    assert_eq!((limit.interval(), limit.burst()), (NS, 1));
    let limit = Limit::new(Duration::from_hours(24), u32::MAX);
    assert_eq!(limit.burst(), 30);
    let limit = Limit::new(Duration::MAX, 5);
    assert_eq!((limit.interval(), limit.burst()), (LIMIT_REFILL_MAX, 1));
    let limiter = Limiter::new(limit, 0);
    let now = time::now();
    assert!(limiter.check(b"a", now).is_allowed);
    assert_eq!(limiter.check(b"a", now).retry_after, LIMIT_REFILL_MAX);
    assert!(limiter.check(b"b", now).is_allowed, "room for one key there is always");
    assert_eq!(limiter.len(), 1);
}

// === bounds ===

#[test]
fn there_are_never_more_keys_than_it_may_keep() {
    for keys_max in [1, 2, 100, 1000, 5000] {
        let limiter = Limiter::new(Limit::new(10 * MS, 3), keys_max);
        let now = time::now();
        for key in 0..20_000_u32 {
            assert!(limiter.check(&key.to_le_bytes(), now).is_allowed, "one never seen has its burst");
            assert!(limiter.len() <= keys_max);
        }
        assert!(limiter.len() > keys_max * 9 / 10, "{} of {keys_max}", limiter.len());
    }
}

#[test]
fn what_has_its_burst_again_gives_way_first() {
    let limiter = Limiter::new(Limit::new(10 * MS, 3), 2);
    let now = time::now();
    limiter.check(b"rested", now);
    let later = now + 10 * MS;
    (0..3).for_each(|_| assert!(limiter.check(b"busy", later).is_allowed));
    limiter.check(b"new", later);
    assert_eq!((limiter.len(), limiter.forgotten()), (2, 0), "nothing was lost");
    assert!(!limiter.check(b"busy", later).is_allowed, "it is still known");
}

#[test]
fn then_what_will_have_it_the_soonest_and_that_is_counted() {
    let cell = Registry::default().counter("test_total", "", &[]);
    let limiter = Limiter::new(Limit::new(10 * MS, 3), 2).forgotten_in(cell.clone());
    let now = time::now();
    (0..2).for_each(|_| assert!(limiter.check(b"calm", now).is_allowed));
    (0..3).for_each(|_| assert!(limiter.check(b"busy", now).is_allowed));
    limiter.check(b"new", now);
    assert_eq!((limiter.forgotten(), cell.get()), (1, 1));
    assert!(!limiter.check(b"busy", now).is_allowed, "a flood of new keys does not free who is at the limit");
    assert_eq!(limiter.peek(b"calm", now).remaining, 3, "its debt was forgotten");
    (0..1000_u32).for_each(|key| assert!(limiter.check(&key.to_le_bytes(), now).is_allowed));
    assert!(!limiter.check(b"busy", now).is_allowed);
    assert_eq!(limiter.forgotten(), 1001);
}

// === against a brute force ===

/// All requests that were let through, and the rule by its definition.
#[derive(Debug, Default)]
struct Oracle {
    allowed: BTreeMap<u8, Vec<u64>>,
}

impl Oracle {
    /// Whether no span that ends now would have more than it may.
    fn check(&mut self, interval: u64, burst: u32, key: u8, now: u64) -> bool {
        let allowed = self.allowed.entry(key).or_default();
        allowed.push(now);
        let count_from = |at: usize| (allowed.len() - at) as u64;
        let is_within = |(at, begin): (usize, &u64)| count_from(at) <= u64::from(burst) + (now - begin) / interval;
        let is_allowed = allowed.iter().enumerate().all(is_within);
        if !is_allowed {
            allowed.pop();
        }
        is_allowed
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_lets_through_what_the_definition_lets_through(
        interval in 1..50_u64,
        burst in 1..6_u32,
        steps in prop::collection::vec((0..4_u8, prop_oneof![Just(0_u64), 0..60_u64]), 1..200),
    ) {
        let limiter = Limiter::new(Limit::new(Duration::from_nanos(interval), burst), 100);
        let (start, mut now, mut oracle) = (time::now(), 0, Oracle::default());
        for (key, pause) in steps {
            now += pause;
            let at = start + Duration::from_nanos(now);
            let looked = limiter.peek(&[key], at);
            let decision = limiter.check(&[key], at);
            prop_assert_eq!(decision.is_allowed, oracle.check(interval, burst, key, now));
            prop_assert_eq!(looked.is_allowed, decision.is_allowed);
            prop_assert_eq!(looked.remaining, decision.remaining + u32::from(decision.is_allowed));
            if !decision.is_allowed {
                let retry_at = at + decision.retry_after;
                prop_assert!(!limiter.peek(&[key], retry_at - NS).is_allowed);
                prop_assert!(limiter.peek(&[key], retry_at).is_allowed);
            }
        }
    }

    #[test]
    fn who_gives_way_is_who_a_search_finds(
        keys_max in 1..12_usize,
        steps in prop::collection::vec((0..24_u8, 1..40_u64), 1..300),
    ) {
        let (interval, burst) = (100, 3);
        let limiter = Limiter::new(Limit::new(Duration::from_nanos(interval), burst), keys_max);
        let (start, mut now) = (time::now(), 0);
        // When each key that is kept has its full burst again.
        let mut kept: BTreeMap<u8, u64> = BTreeMap::new();
        let mut forgotten = 0;
        for (key, pause) in steps {
            now += pause;
            let full_at = kept.get(&key).map_or(now, |full_at| (*full_at).max(now)) + interval;
            let is_allowed = full_at - now <= interval * u64::from(burst);
            let decision = limiter.check(&[key], start + Duration::from_nanos(now));
            prop_assert_eq!(decision.is_allowed, is_allowed);
            if !is_allowed {
                continue;
            }
            if !kept.contains_key(&key) && kept.len() == keys_max {
                let (least, least_at) = kept.iter().min_by_key(|(_, at)| **at).map(|(k, at)| (*k, *at)).unwrap();
                // Of two that are equal either may go.
                prop_assume!(kept.values().filter(|at| **at == least_at).count() == 1);
                kept.remove(&least);
                forgotten += u64::from(least_at > now);
            }
            kept.insert(key, full_at);
            prop_assert_eq!((limiter.len(), limiter.forgotten()), (kept.len(), forgotten));
        }
    }
}
