//! The budget under load and over time; the bounds of the backoff; what is idempotent.

use std::{
    sync::{Barrier, atomic::AtomicU32},
    thread,
};

use bowline_model::units::Share;
use bowline_runtime::rand;
use proptest::prelude::*;

use super::*;

fn budget(percent: u32) -> Budget {
    Budget::new(&RetryPolicy { budget: Share::from_percent(percent), ..RetryPolicy::default() })
}

/// Takes out all there is.
fn drain(budget: &Budget, now: Instant) -> u32 {
    let most = 1_000_000;
    let count = (0..most).take_while(|_| budget.try_withdraw(now)).count();
    assert!(count < most, "the budget has no bottom");
    u32::try_from(count).unwrap()
}

#[test]
fn without_traffic_there_is_the_floor() {
    let budget = budget(20);
    let start = time::now();
    assert_eq!(drain(&budget, start), FLOOR_PER_SECOND);
    assert_eq!(drain(&budget, start + Duration::from_millis(99)), 0);
    assert_eq!(drain(&budget, start + Duration::from_millis(500)), FLOOR_PER_SECOND / 2);
    assert_eq!(drain(&budget, start + Duration::from_hours(1)), FLOOR_PER_SECOND, "idle time is not saved up");
}

#[test]
fn a_share_of_the_traffic_is_granted() {
    let budget = budget(20);
    let now = time::now();
    (0..1000).for_each(|_| budget.deposit(now));
    assert_eq!(drain(&budget, now), 200 + FLOOR_PER_SECOND);
    assert_eq!(drain(&budget, now), 0);
}

#[test]
fn a_share_of_nothing_leaves_the_floor() {
    let budget = budget(0);
    let now = time::now();
    (0..1000).for_each(|_| budget.deposit(now));
    assert_eq!(drain(&budget, now), FLOOR_PER_SECOND);
}

#[test]
fn what_is_not_used_fades() {
    let granted_after = |wait| {
        let budget = budget(20);
        let now = time::now();
        (0..10_000).for_each(|_| budget.deposit(now));
        drain(&budget, now + wait) - FLOOR_PER_SECOND
    };
    let after_window = granted_after(WINDOW);
    assert!((600..800).contains(&after_window), "of 2000, a 1/e is left: {after_window}");
    assert!(granted_after(WINDOW * 6) < 10);
    assert_eq!(granted_after(Duration::from_hours(24)), 0);
}

#[test]
fn a_storm_gets_its_share_and_no_more() {
    // 1000 calls a second for a minute, and every one would like to be tried again.
    let budget = budget(20);
    let start = time::now();
    let mut retries = 0;
    for millis in 0..60_000 {
        let now = start + Duration::from_millis(millis);
        budget.deposit(now);
        retries += u32::from(budget.try_withdraw(now));
    }
    let most = 60_000 / 5 + 61 * FLOOR_PER_SECOND;
    assert!(retries <= most, "{retries} > {most}");
    assert!(retries >= most - 2 * FLOOR_PER_SECOND, "{retries} is far from {most}");
}

#[test]
fn an_older_clock_reading_loses_nothing() {
    let budget = budget(100);
    let start = time::now();
    let later = start + Duration::from_secs(5);
    (0..100).for_each(|_| budget.deposit(later));
    (0..100).for_each(|_| budget.deposit(start));
    assert_eq!(drain(&budget, later), 200 + FLOOR_PER_SECOND);
}

#[test]
fn the_pot_is_bounded() {
    let pot = Pot { tick: 0, millionths: POT_MAX - 1 }.plus(RETRY);
    assert_eq!(pot.millionths, POT_MAX);
    assert_eq!(Pot::unpack(pot.pack()).millionths, POT_MAX);
}

#[test]
fn threads_together_get_no_more_than_there_is() {
    const THREADS: usize = 4;
    let budget = budget(50);
    let now = time::now();
    let (barrier, granted) = (Barrier::new(THREADS), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                (0..1000).for_each(|_| budget.deposit(now));
                barrier.wait();
                granted.fetch_add(drain(&budget, now), Relaxed);
            });
        }
    });
    assert_eq!(granted.load(Relaxed), 2000 + FLOOR_PER_SECOND);
}

#[test]
fn the_bound_of_the_wait_doubles() {
    let bounds = Backoff { min: Duration::from_millis(25), max: Duration::from_millis(250) };
    let most = |retry| backoff(&bounds, retry, 1.0).as_millis();
    assert_eq!([0, 1, 2, 3, 4, 5, 33, u32::MAX].map(most), [25, 25, 50, 100, 200, 250, 250, 250]);
    assert_eq!(backoff(&bounds, 3, 0.0), Duration::ZERO);
    assert_eq!(backoff(&bounds, 3, 0.5), Duration::from_millis(50));
    assert_eq!(backoff(&bounds, 3, f64::NAN), Duration::from_millis(100));
}

#[test]
fn the_whole_range_is_used() {
    let seed = 7;
    println!("seed {seed}");
    rand::seed(seed);
    let bounds = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(1) };
    let waits: Vec<_> = (0..10_000).map(|_| backoff(&bounds, 1, rand::unit())).collect();
    let mean = waits.iter().sum::<Duration>() / 10_000;
    assert!((Duration::from_millis(48)..Duration::from_millis(52)).contains(&mean), "{mean:?}");
    assert!(waits.iter().any(|wait| *wait < Duration::from_millis(1)));
    assert!(waits.iter().any(|wait| *wait > Duration::from_millis(99)));
}

proptest! {
    #[test]
    fn no_wait_exceeds_its_bounds(min in 1u64..10_000, more in 0u64..10_000, retry: u32, unit in 0.0f64..1.0) {
        let bounds = Backoff { min: Duration::from_millis(min), max: Duration::from_millis(min + more) };
        prop_assert!(backoff(&bounds, retry, unit) <= bounds.max);
        prop_assert!(backoff(&bounds, 1, unit) <= bounds.min);
    }
}

#[test]
fn only_what_may_be_repeated_is() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(is_idempotent(method, false), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "BREW", ""] {
        assert!(!is_idempotent(method, false), "{method}");
        assert!(is_idempotent(method, true), "{method}");
    }
}

#[test]
fn a_retry_after_is_seconds_or_a_date() {
    // Sun, 06 Nov 1994 08:49:37 GMT.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let read = |text: &str| retry_after(text.as_bytes(), now);
    let after = |seconds| Some(Pushback::After(Duration::from_secs(seconds)));
    assert_eq!(read("0"), after(0));
    assert_eq!(read(" 120 "), after(120));
    assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), after(0));
    assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT"), after(30));
    assert_eq!(read("Mon, 07 Nov 1994 08:49:37 GMT"), after(86_400));
    assert_eq!(read("Sat, 06 Nov 1993 08:49:37 GMT"), after(0), "it is over");
    assert_eq!(read("Thu, 01 Jan 1970 00:00:00 GMT"), after(0));
    for far in ["86401", "99999999999999999999999", "Tue, 08 Nov 1994 08:49:37 GMT", "Wed, 29 Feb 2096 00:00:00 GMT"] {
        assert_eq!(read(far), Some(Pushback::Never), "{far}");
    }
    for bad in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994"] {
        assert_eq!(read(bad), None, "{bad}");
    }
    assert_eq!(retry_after(b"\xff", now), None);
}

#[test]
fn a_pushback_of_grpc_is_milliseconds_or_forbids() {
    assert_eq!(grpc_pushback(b"250"), Pushback::After(Duration::from_millis(250)));
    assert_eq!(grpc_pushback(b"0"), Pushback::After(Duration::ZERO));
    for never in ["-1", "", "soon", "86400001"] {
        assert_eq!(grpc_pushback(never.as_bytes()), Pushback::Never, "{never}");
    }
}
