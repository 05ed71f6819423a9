//! One caller, time moved by hand.

use std::{
    mem,
    sync::{Arc, Mutex},
};

use bowline_model::{
    Code,
    policy::{BreakerPolicy, OpenFor, Window},
    units::Share,
};
use bowline_resilience::breaker::{
    Breaker, Figures, Forced, Order, Outcome, PROBE_TIMEOUT, State, TRANSITIONS_MAX, Why,
};
use bowline_runtime::time::{self, Duration, Instant};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// 50 % of at least 4 calls in 10 s; open for 5 s; 2 probes.
fn policy() -> BreakerPolicy {
    BreakerPolicy { calls_min: 4, probes_max: 2, ..BreakerPolicy::default() }
}

fn call(breaker: &Breaker, outcome: Outcome, now: Instant) {
    breaker.acquire(now).expect("it grants").record(outcome, now);
}

/// A breaker that has just opened, and the time.
fn opened(policy: &BreakerPolicy) -> (Arc<Breaker>, Instant) {
    let breaker = Arc::new(Breaker::new(policy));
    let now = time::now();
    (0..policy.calls_min).for_each(|_| call(&breaker, Outcome::Failure, now));
    assert_eq!(breaker.state(now), State::Open);
    (breaker, now)
}

#[test]
fn it_opens_at_the_rate_and_not_before_the_least_calls() {
    let (breaker, now) = (Breaker::new(&policy()), time::now());
    call(&breaker, Outcome::Failure, now);
    call(&breaker, Outcome::Success, now);
    call(&breaker, Outcome::Failure, now);
    assert_eq!(breaker.state(now), State::Closed, "three calls are too few");
    // A success can be what makes enough calls.
    call(&breaker, Outcome::Success, now);
    assert_eq!(breaker.state(now), State::Open);
}

#[test]
fn it_stays_closed_below_the_rate() {
    let (breaker, now) = (Breaker::new(&policy()), time::now());
    for i in 0..1000 {
        call(&breaker, if i % 10 < 4 { Outcome::Success } else { Outcome::Failure }, now + SECOND * 100 * i);
        assert_eq!(breaker.state(now), State::Closed, "one call at a time in a window");
    }
    for i in 0..1000 {
        call(&breaker, if i % 5 < 3 { Outcome::Success } else { Outcome::Failure }, now + SECOND * 200_000);
        assert_eq!(breaker.state(now), State::Closed, "two of five fail");
    }
}

#[test]
fn failures_leave_with_the_window() {
    let (breaker, now) = (Breaker::new(&policy()), time::now());
    (0..3).for_each(|_| call(&breaker, Outcome::Failure, now));
    call(&breaker, Outcome::Failure, now + SECOND * 11);
    assert_eq!(breaker.state(now + SECOND * 11), State::Closed);
    (0..3).for_each(|_| call(&breaker, Outcome::Failure, now + SECOND * 18));
    assert_eq!(breaker.state(now + SECOND * 18), State::Open);
}

#[test]
fn slow_answers_are_failures_where_the_policy_says_so() {
    let slow = BreakerPolicy { slow_call: Some(SECOND), ..policy() };
    for (policy, state) in [(slow, State::Open), (policy(), State::Closed)] {
        let (breaker, now) = (Breaker::new(&policy), time::now());
        for _ in 0..4 {
            breaker.acquire(now).unwrap().record(Outcome::Success, now + SECOND);
        }
        assert_eq!(breaker.state(now + SECOND), state);
    }
    let slow = BreakerPolicy { slow_call: Some(SECOND), ..self::policy() };
    let (breaker, now) = (Breaker::new(&slow), time::now());
    for _ in 0..100 {
        breaker.acquire(now).unwrap().record(Outcome::Success, now + SECOND - Duration::from_nanos(1));
    }
    assert_eq!(breaker.state(now + SECOND), State::Closed);
}

#[test]
fn a_rate_of_nothing_needs_a_failure_all_the_same() {
    let (breaker, now) = (Breaker::new(&BreakerPolicy { failure_rate: Share::ZERO, ..policy() }), time::now());
    (0..100).for_each(|_| call(&breaker, Outcome::Success, now));
    assert_eq!(breaker.state(now), State::Closed);
    call(&breaker, Outcome::Failure, now);
    assert_eq!(breaker.state(now), State::Open);
}

#[test]
fn open_it_rejects_and_says_until_when() {
    let (breaker, now) = opened(&policy());
    assert!(!breaker.is_ready(now));
    let rejected = breaker.acquire(now + SECOND).unwrap_err();
    assert_eq!(rejected.retry_after, SECOND * 4);
    assert_eq!((rejected.code(), rejected.retryable()), (Code::Unavailable, true));
    assert!(!breaker.is_ready(now + SECOND * 5 - Duration::from_nanos(1)));
    assert!(breaker.is_ready(now + SECOND * 5));
    assert_eq!(breaker.state(now + SECOND * 5), State::HalfOpen);
}

#[test]
fn as_many_successes_as_probes_close_it_and_the_window_is_new() {
    let (breaker, now) = opened(&policy());
    let later = now + SECOND * 5;
    call(&breaker, Outcome::Success, later);
    assert_eq!(breaker.state(later), State::HalfOpen);
    call(&breaker, Outcome::Success, later);
    assert_eq!(breaker.state(later), State::Closed);
    (0..3).for_each(|_| call(&breaker, Outcome::Failure, later));
    assert_eq!(breaker.state(later), State::Closed, "the failures that opened it are forgotten");
    call(&breaker, Outcome::Failure, later);
    assert_eq!(breaker.state(later), State::Open);
}

#[test]
fn one_failed_or_slow_probe_opens_it_again() {
    let (breaker, now) = opened(&BreakerPolicy { slow_call: Some(SECOND), ..policy() });
    call(&breaker, Outcome::Success, now + SECOND * 5);
    call(&breaker, Outcome::Failure, now + SECOND * 6);
    assert_eq!(breaker.acquire(now + SECOND * 6).unwrap_err().retry_after, SECOND * 5);
    let probe = breaker.acquire(now + SECOND * 11).unwrap();
    probe.record(Outcome::Success, now + SECOND * 13);
    assert_eq!(breaker.acquire(now + SECOND * 13).unwrap_err().retry_after, SECOND * 5);
}

#[test]
fn a_cancelled_probe_gives_its_place_back_and_decides_nothing() {
    let (breaker, now) = opened(&policy());
    let later = now + SECOND * 5;
    for _ in 0..10 {
        let (first, second) = (breaker.acquire(later).unwrap(), breaker.acquire_owned(later).unwrap());
        assert!(!breaker.is_ready(later));
        let rejected = breaker.acquire(later).unwrap_err();
        assert!(rejected.retry_after > Duration::ZERO && rejected.retry_after <= SECOND, "{rejected:?}");
        drop((first, second));
        assert!(breaker.is_ready(later));
        assert_eq!(breaker.state(later), State::HalfOpen);
    }
}

#[test]
fn cancelled_calls_are_not_counted() {
    let (breaker, now) = (Breaker::new(&policy()), time::now());
    (0..100).for_each(|_| drop(breaker.acquire(now).unwrap()));
    (0..3).for_each(|_| call(&breaker, Outcome::Failure, now));
    assert_eq!(breaker.state(now), State::Closed);
}

#[test]
fn late_results_do_not_count_in_a_later_state() {
    let (breaker, now) = (Breaker::new(&policy()), time::now());
    let old: Vec<_> = (0..20).map(|_| breaker.acquire(now).unwrap()).collect();
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, now));
    let later = now + SECOND * 5;
    let probe = breaker.acquire(later).unwrap();
    let mut old = old.into_iter();
    old.next().unwrap().record(Outcome::Failure, later);
    old.next().unwrap().record(Outcome::Success, later);
    old.next().unwrap().record(Outcome::Success, later);
    assert_eq!(breaker.state(later), State::HalfOpen, "they are no probes");
    probe.record(Outcome::Success, later);
    call(&breaker, Outcome::Success, later);
    assert_eq!(breaker.state(later), State::Closed);
    old.for_each(|permit| permit.record(Outcome::Failure, later));
    assert_eq!(breaker.state(later), State::Closed, "they belong to the closed state before");
}

#[test]
fn probes_of_an_earlier_phase_keep_their_places() {
    let (breaker, now) = opened(&policy());
    let first = now + SECOND * 5;
    let hanging = breaker.acquire(first).unwrap();
    call(&breaker, Outcome::Failure, first);
    let second = first + SECOND * 5;
    let probe = breaker.acquire(second).unwrap();
    assert!(breaker.acquire(second).is_err(), "two are out");
    hanging.record(Outcome::Failure, second);
    assert_eq!(breaker.state(second), State::HalfOpen, "its failure is of the phase before");
    let other = breaker.acquire(second).unwrap();
    probe.record(Outcome::Success, second);
    other.record(Outcome::Success, second);
    assert_eq!(breaker.state(second), State::Closed);
}

#[test]
fn lost_probes_cannot_wedge_it() {
    let (breaker, now) = opened(&policy());
    let later = now + SECOND * 5;
    mem::forget(breaker.acquire(later).unwrap());
    mem::forget(breaker.acquire_owned(later + SECOND).unwrap());
    let due = later + SECOND + PROBE_TIMEOUT;
    assert!(breaker.acquire(due - Duration::from_nanos(1)).is_err());
    // Their silence is a failure: it opens from when they were due.
    assert!(breaker.acquire(due).is_err());
    assert!(!breaker.is_ready(due + SECOND * 5 - Duration::from_nanos(1)));
    let again = due + SECOND * 5;
    call(&breaker, Outcome::Success, again);
    call(&breaker, Outcome::Success, again);
    assert_eq!(breaker.state(again), State::Closed);
}

#[test]
fn the_probe_timeout_can_be_told() {
    let breaker = Breaker::new(&BreakerPolicy { probes_max: 1, ..policy() }).probe_timeout(SECOND * 2);
    let now = time::now();
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, now));
    let lost = breaker.acquire(now + SECOND * 5).unwrap();
    let again = now + SECOND * 12;
    let probe = breaker.acquire(again).unwrap();
    lost.record(Outcome::Failure, again);
    assert_eq!(breaker.state(again), State::HalfOpen, "what a lost probe reports does not count");
    assert!(!breaker.is_ready(again), "and frees no place");
    probe.record(Outcome::Success, again);
    assert_eq!(breaker.state(again), State::Closed);
}

#[test]
fn extreme_policies_do_not_panic() {
    let forever = Duration::MAX;
    for (window, open_for, calls_min, probes_max) in [
        (forever, forever, u32::MAX, u32::MAX),
        (Duration::ZERO, Duration::ZERO, 0, 0),
        (Duration::from_nanos(1), Duration::from_nanos(1), 1, 1),
    ] {
        let policy = BreakerPolicy {
            window: Window::Time(window),
            open_for: OpenFor::exactly(open_for),
            calls_min,
            probes_max,
            ..BreakerPolicy::default()
        };
        let (breaker, now) = (Breaker::new(&policy), time::now());
        for i in 0..100 {
            if let Ok(permit) = breaker.acquire(now + SECOND * i) {
                permit.record(Outcome::Failure, now + SECOND * i);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_follows_virtual_time() {
    let breaker = Breaker::new(&policy());
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, time::now()));
    assert!(!breaker.is_ready(time::now()));
    time::sleep(SECOND * 5).await;
    assert!(breaker.is_ready(time::now()));
}

proptest! {
    /// The cheap look, the permit and the state tell one story, whatever happens.
    #[test]
    fn looking_and_asking_agree(steps in proptest::collection::vec((0u8..6, 0u64..4000), 1..300)) {
        let breaker = Arc::new(Breaker::new(&policy()).probe_timeout(SECOND * 7));
        let (mut now, mut permits, mut probes) = (time::now(), Vec::new(), 0usize);
        for (step, millis) in steps {
            match step {
                0 | 1 => {
                    let is_ready = breaker.is_ready(now);
                    let permit = breaker.acquire_owned(now);
                    prop_assert_eq!(permit.is_ok(), is_ready);
                    if let Ok(permit) = permit {
                        probes += usize::from(breaker.state(now) == State::HalfOpen);
                        permits.push(permit);
                    }
                }
                2 => if let Some(permit) = permits.pop() { permit.record(Outcome::Success, now) },
                3 => if !permits.is_empty() { permits.remove(0).record(Outcome::Failure, now) },
                4 => drop(permits.pop()),
                _ => now += Duration::from_millis(millis),
            }
            let is_granting = breaker.is_ready(now);
            prop_assert!(is_granting || breaker.state(now) != State::Closed);
        }
        drop(permits);
        // Whatever happened, it recovers once its callee has.
        for _ in 0..20 {
            now += SECOND * 13;
            if let Ok(permit) = breaker.acquire(now) { permit.record(Outcome::Success, now) }
        }
        prop_assert_eq!(breaker.state(now), State::Closed, "after {} probes", probes);
    }
}

#[test]
fn slow_calls_have_a_rate_of_their_own_where_the_policy_gives_them_one() {
    let policy =
        BreakerPolicy { slow_call: Some(SECOND), slow_rate: Some(Share::from_percent(75)), calls_min: 8, ..policy() };
    let (breaker, now) = (Breaker::new(&policy), time::now());
    let slow = |outcome| breaker.acquire(now).unwrap().record(outcome, now + SECOND);
    // Two of eight fail, and five are slow: neither rate is reached.
    (0..5).for_each(|_| slow(Outcome::Success));
    (0..2).for_each(|_| call(&breaker, Outcome::Failure, now + SECOND));
    call(&breaker, Outcome::Success, now + SECOND);
    assert_eq!(breaker.state(now + SECOND), State::Closed, "slow ones are no failures");
    assert_eq!(breaker.figures(now + SECOND), Figures { calls: 8, failures: 2, slow: 5 });
    // The sixth to the ninth: nine of twelve are slow.
    (0..4).for_each(|_| slow(Outcome::Success));
    assert_eq!(breaker.state(now + SECOND), State::Open);
    assert_eq!(breaker.transitions().last().unwrap().why, Why::SlowRate);
}

#[test]
fn failures_in_a_row_open_it_whatever_the_rate() {
    let policy = BreakerPolicy { consecutive: Some(3), calls_min: 1000, ..policy() };
    let (breaker, now) = (Breaker::new(&policy), time::now());
    for _ in 0..50 {
        (0..2).for_each(|_| call(&breaker, Outcome::Failure, now));
        call(&breaker, Outcome::Success, now);
    }
    assert_eq!(breaker.state(now), State::Closed, "never three in a row");
    (0..3).for_each(|_| call(&breaker, Outcome::Failure, now));
    assert_eq!(breaker.state(now), State::Open);
    let last = *breaker.transitions().last().unwrap();
    assert_eq!((last.from, last.to, last.why), (State::Closed, State::Open, Why::Consecutive));
    // A row from before it opened is forgotten.
    let now = now + SECOND * 5;
    (0..2).for_each(|_| call(&breaker, Outcome::Success, now));
    (0..2).for_each(|_| call(&breaker, Outcome::Failure, now));
    assert_eq!(breaker.state(now), State::Closed);
}

#[test]
fn a_window_of_calls_forgets_by_calls_and_not_by_time() {
    let policy = BreakerPolicy { window: Window::Calls(10), calls_min: 10, ..policy() };
    let (breaker, now) = (Breaker::new(&policy), time::now());
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, now));
    let much_later = now + SECOND * 100_000;
    (0..6).for_each(|_| call(&breaker, Outcome::Success, much_later));
    assert_eq!(breaker.figures(much_later), Figures { calls: 10, failures: 4, slow: 0 }, "time takes none away");
    // Each further call takes the oldest's place.
    (0..4).for_each(|_| call(&breaker, Outcome::Success, much_later));
    assert_eq!(breaker.figures(much_later).failures, 0);
    (0..5).for_each(|_| call(&breaker, Outcome::Failure, much_later));
    assert_eq!(breaker.state(much_later), State::Open, "five of the last ten");
}

#[test]
fn a_window_of_few_calls_holds_no_more_than_these() {
    let policy = BreakerPolicy { window: Window::Calls(4), calls_min: 4, ..policy() };
    let (breaker, now) = (Breaker::new(&policy), time::now());
    (0..1000).for_each(|_| call(&breaker, Outcome::Success, now));
    assert_eq!(breaker.figures(now).calls, 4);
    (0..2).for_each(|_| call(&breaker, Outcome::Failure, now));
    assert_eq!(breaker.state(now), State::Open, "two of the last four");
}

#[test]
fn it_stays_open_for_longer_each_time_in_a_row_and_for_no_longer_than_it_may() {
    let open_for = OpenFor { min: SECOND, max: SECOND * 10 };
    let (breaker, mut now) = opened(&BreakerPolicy { open_for, ..policy() });
    let mut before = SECOND;
    assert_eq!(breaker.acquire(now).unwrap_err().retry_after, SECOND, "the first time as it is written");
    for bound in [2, 4, 8, 10, 10, 10] {
        now += before;
        call(&breaker, Outcome::Failure, now);
        let open = breaker.acquire(now).unwrap_err().retry_after;
        assert!(open >= SECOND * bound * 3 / 4 && open <= SECOND * bound, "{bound}: {open:?}");
        before = open;
    }
    // It closes, and stays so for as long as it was open: that is recovery.
    now += before;
    (0..2).for_each(|_| call(&breaker, Outcome::Success, now));
    assert_eq!(breaker.state(now), State::Closed);
    now += SECOND * 10;
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, now));
    assert_eq!(breaker.acquire(now).unwrap_err().retry_after, SECOND);
}

#[test]
fn one_that_fails_as_soon_as_it_is_closed_has_not_recovered() {
    let open_for = OpenFor { min: SECOND * 4, max: SECOND * 100 };
    let (breaker, now) = opened(&BreakerPolicy { open_for, ..policy() });
    let now = now + SECOND * 4;
    (0..2).for_each(|_| call(&breaker, Outcome::Success, now));
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, now));
    assert!(breaker.acquire(now).unwrap_err().retry_after > SECOND * 4, "it opened a second time in a row");
}

#[test]
fn an_operator_holds_it_open_closed_or_off_until_told_otherwise() {
    let (breaker, now) = (Breaker::new(&policy()), time::now());
    let fail = |now| (0..100).for_each(|_| call(&breaker, Outcome::Failure, now));
    breaker.order(Order::Force(Forced::Closed), now);
    fail(now);
    assert_eq!((breaker.state(now), breaker.figures(now).failures), (State::ForcedClosed, 100), "it counts");
    breaker.order(Order::Force(Forced::Disabled), now);
    fail(now);
    assert_eq!((breaker.state(now), breaker.figures(now).calls), (State::Disabled, 0), "it does not");
    breaker.order(Order::Force(Forced::Open), now);
    let in_a_year = now + SECOND * 31_536_000;
    for at in [now, in_a_year] {
        assert_eq!(breaker.state(at), State::ForcedOpen);
        assert!(!breaker.is_ready(at));
        assert_eq!(breaker.acquire(at).unwrap_err().retry_after, SECOND * 5, "worth asking again some time");
    }
    breaker.order(Order::Reset, in_a_year);
    assert_eq!((breaker.state(in_a_year), breaker.figures(in_a_year).calls), (State::Closed, 0));
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, in_a_year));
    assert_eq!(breaker.state(in_a_year), State::Open, "it judges for itself again");
    let reasons: Vec<_> = breaker.transitions().iter().map(|transition| transition.why).collect();
    assert_eq!(reasons, [Why::Ordered, Why::Ordered, Why::Ordered, Why::Ordered, Why::FailureRate]);
}

#[test]
fn what_was_granted_before_an_order_counts_no_more() {
    let (breaker, now) = (Breaker::new(&policy()), time::now());
    let granted: Vec<_> = (0..100).map(|_| breaker.acquire(now).unwrap()).collect();
    breaker.order(Order::Reset, now);
    for permit in granted {
        permit.record(Outcome::Failure, now);
    }
    assert_eq!((breaker.state(now), breaker.figures(now).calls), (State::Closed, 0));
}

#[test]
fn results_of_before_take_no_place_in_a_window_of_calls() {
    let policy = BreakerPolicy { window: Window::Calls(10), calls_min: 10, ..policy() };
    let (breaker, now) = (Breaker::new(&policy), time::now());
    let granted: Vec<_> = (0..100).map(|_| breaker.acquire(now).unwrap()).collect();
    breaker.order(Order::Reset, now);
    (0..5).for_each(|_| call(&breaker, Outcome::Failure, now));
    for permit in granted {
        permit.record(Outcome::Success, now);
    }
    assert_eq!(breaker.figures(now), Figures { calls: 5, failures: 5, slow: 0 });
}

#[test]
fn the_largest_window_is_counted_exactly() {
    let most = bowline_model::policy::CALLS_MIN_MAX;
    for window in [Window::Calls(most), Window::Time(SECOND)] {
        let policy = BreakerPolicy { window, calls_min: most, ..policy() };
        let (breaker, now) = (Breaker::new(&policy), time::now());
        (1..most).for_each(|_| call(&breaker, Outcome::Failure, now));
        assert_eq!(breaker.state(now), State::Closed, "{window}");
        call(&breaker, Outcome::Failure, now);
        assert_eq!(breaker.state(now), State::Open, "{window}");
    }
}

#[test]
fn transitions_are_told_in_their_order_and_the_last_are_remembered() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let breaker = Breaker::new(&policy()).listener(Box::new(move |transition| heard.lock().unwrap().push(*transition)));
    let mut now = time::now();
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, now));
    for _ in 0..20 {
        now += SECOND * 5;
        call(&breaker, Outcome::Failure, now);
    }
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 41, "open, and twenty times half open and open again");
    assert_eq!(breaker.transitions(), told[told.len() - TRANSITIONS_MAX..]);
    let first = told[0];
    assert_eq!((first.why, first.figures), (Why::FailureRate, Figures { calls: 4, failures: 4, slow: 0 }));
    assert!(told.windows(2).all(|pair| pair[0].to == pair[1].from), "{told:?}");
}

#[test]
fn one_whose_probes_were_all_lost_tells_that_it_opened_in_between() {
    let policy = BreakerPolicy { probes_max: 1, ..policy() };
    let breaker = Breaker::new(&policy).probe_timeout(SECOND);
    let now = time::now();
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, now));
    let lost = breaker.acquire(now + SECOND * 5).unwrap();
    // Overdue, and the time of being open is over as well: the next is granted a probe at once.
    let next = breaker.acquire(now + SECOND * 20).unwrap();
    let states: Vec<_> = breaker.transitions().iter().map(|transition| (transition.from, transition.to)).collect();
    let expect = [State::Closed, State::Open, State::HalfOpen, State::Open, State::HalfOpen];
    assert_eq!(states, expect.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>());
    drop((lost, next));
}

#[test]
fn a_listener_that_panics_does_not_give_a_probe_back_twice() {
    let policy = BreakerPolicy { probes_max: 1, ..policy() };
    let panics = |transition: &bowline_resilience::breaker::Transition| {
        assert!(transition.from != State::HalfOpen, "told on purpose");
    };
    let breaker = Breaker::new(&policy).listener(Box::new(panics));
    let now = time::now();
    (0..4).for_each(|_| call(&breaker, Outcome::Failure, now));
    let probe = breaker.acquire(now + SECOND * 5).unwrap();
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        probe.record(Outcome::Failure, now + SECOND * 5);
    }));
    assert!(told.is_err());
    let later = now + SECOND * 10;
    let one = breaker.acquire(later).unwrap();
    assert!(breaker.acquire(later).is_err(), "one probe is one");
    drop(one);
}

#[test]
fn held_closed_it_counts_slow_calls_too_and_takes_no_lock_for_them() {
    let (slow_call, slow_rate) = (Some(SECOND), Some(Share::from_percent(50)));
    let policy = BreakerPolicy { slow_call, slow_rate, consecutive: Some(3), ..policy() };
    let (breaker, now) = (Breaker::new(&policy), time::now());
    breaker.order(Order::Force(Forced::Closed), now);
    for _ in 0..10 {
        breaker.acquire(now).unwrap().record(Outcome::Failure, now + SECOND);
    }
    assert_eq!(breaker.figures(now + SECOND), Figures { calls: 10, failures: 10, slow: 10 });
    assert_eq!(breaker.transitions().len(), 1);
}

proptest! {
    #[test]
    fn whatever_window_of_calls_is_accepted_opens_where_all_calls_fail(calls in 1u32..300, share in 1u32..=100) {
        let calls_min = (calls * share / 100).max(1);
        let policy = BreakerPolicy { window: Window::Calls(calls), calls_min, ..policy() };
        let (breaker, now) = (Breaker::new(&policy), time::now());
        (1..calls_min).for_each(|_| call(&breaker, Outcome::Failure, now));
        prop_assert_eq!(breaker.state(now), State::Closed);
        call(&breaker, Outcome::Failure, now);
        prop_assert_eq!(breaker.state(now), State::Open);
        // Also after a long good time.
        let breaker = Breaker::new(&BreakerPolicy { failure_rate: Share::ALL, ..policy });
        (0..calls * 2 + share).for_each(|_| call(&breaker, Outcome::Success, now));
        for _ in 0..calls * 2 {
            if let Ok(permit) = breaker.acquire(now) {
                permit.record(Outcome::Failure, now);
            }
        }
        prop_assert_eq!(breaker.state(now), State::Open);
    }
}
