//! All patterns around one call, over virtual time.

use std::{cell::Cell, sync::Arc};

use bowline_model::policy::{
    Backoff, BreakerPolicy, BulkheadPolicy, CallPolicy, Concurrency, FallbackPolicy, HedgePolicy, RetryPolicy, Share,
};
use bowline_resilience::{
    Deadline, Guard,
    breaker::State,
    bulkhead,
    guard::{Call, Error},
    outcome::Verdict,
};
use bowline_runtime::{
    task,
    time::{self, Duration},
};

const SECOND: Duration = Duration::from_secs(1);

/// A second in all, and nothing else.
fn bare() -> CallPolicy {
    CallPolicy { timeout: SECOND, retry: None, breaker: None, ..CallPolicy::default() }
}

fn retry() -> RetryPolicy {
    let backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_millis(10) };
    RetryPolicy { attempts_max: 3, backoff, budget: Share::ALL, ..RetryPolicy::default() }
}

fn judge<T, E>(result: &Result<T, E>) -> Verdict {
    if result.is_ok() { Verdict::Good } else { Verdict::Bad }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_patterns_is_bounded_by_its_deadline() {
    let (guard, now) = (Guard::new(&bare()), time::now());
    assert_eq!(guard.call(|_| async { Ok::<_, ()>(7) }).await, Ok(7));
    assert_eq!(guard.call(|_| async { Err::<(), _>("no") }).await, Err(Error::Failed("no")));
    assert_eq!(guard.call(|_| std::future::pending::<Result<(), ()>>()).await, Err(Error::DeadlineExceeded));
    assert_eq!(time::now() - now, SECOND);
    let theirs = Call { deadline: Some(Deadline::after(time::now(), SECOND / 4)), ..Call::default() };
    let now = time::now();
    let late = guard.call_as(theirs, judge, |_| std::future::pending::<Result<(), ()>>()).await;
    assert_eq!((late, time::now() - now), (Err(Error::DeadlineExceeded), SECOND / 4));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_where_it_may_be() {
    let guard = Guard::new(&CallPolicy { retry: Some(retry()), ..bare() });
    let attempts = Cell::new(0);
    let third = |attempt| {
        attempts.set(attempt);
        async move { if attempt == 3 { Ok(attempt) } else { Err("no") } }
    };
    assert_eq!(guard.call(third).await, Ok(3));
    let once = Call { is_repeatable: false, ..Call::default() };
    assert_eq!(guard.call_as(once, judge, third).await, Err(Error::Failed("no")));
    assert_eq!(attempts.get(), 1);
    let ignored = guard.call_as(Call::default(), |_: &Result<u32, &str>| Verdict::Ignored, third).await;
    assert_eq!((ignored, attempts.get()), (Err(Error::Failed("no")), 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_rather_than_the_breaker_that_it_opened() {
    let breaker = Some(BreakerPolicy { calls_min: 1, ..BreakerPolicy::default() });
    let hedge = Some(HedgePolicy { after: SECOND, ..HedgePolicy::default() });
    for hedge in [None, hedge] {
        let policy = CallPolicy { retry: Some(retry()), breaker: breaker.clone(), hedge, ..bare() };
        let guard = Guard::new(&policy);
        let fails = |_| async { Err::<(), _>("no") };
        assert_eq!(guard.call(fails).await, Err(Error::Failed("no")));
        assert!(matches!(guard.call(fails).await, Err(Error::Breaker(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_time_and_all_have_the_deadline() {
    let per_try_timeout = Some(SECOND / 4);
    let guard = Guard::new(&CallPolicy { retry: Some(RetryPolicy { per_try_timeout, ..retry() }), ..bare() });
    let hangs_twice =
        |attempt| async move { if attempt < 3 { std::future::pending().await } else { Ok::<_, ()>(attempt) } };
    assert_eq!(guard.call(hangs_twice).await, Ok(3));
    let now = time::now();
    let soon = Call { deadline: Some(Deadline::after(now, SECOND / 5 * 2)), ..Call::default() };
    assert_eq!(guard.call_as(soon, judge, hangs_twice).await, Err(Error::DeadlineExceeded));
    assert_eq!(time::now() - now, SECOND / 5 * 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_is_a_failure_to_the_breaker_and_what_is_dropped_is_not() {
    let breaker = BreakerPolicy { calls_min: 2, ..BreakerPolicy::default() };
    let guard = Guard::new(&CallPolicy { breaker: Some(breaker), ..bare() });
    let hang = || guard.call(|_| std::future::pending::<Result<(), ()>>());
    for _ in 0..5 {
        assert!(time::timeout(SECOND / 2, hang()).await.is_err());
    }
    assert_eq!(guard.breaker().unwrap().state(time::now()), State::Closed);
    for _ in 0..2 {
        assert_eq!(hang().await, Err(Error::DeadlineExceeded));
    }
    assert!(matches!(hang().await, Err(Error::Breaker(_))));
    assert_eq!(guard.breaker().unwrap().state(time::now()), State::Open);
}

#[tokio::test(start_paused = true)]
async fn places_are_of_calls_and_are_given_back() {
    let bulkhead = BulkheadPolicy { calls_max: Concurrency::exactly(1), queue_max: 1, queue_timeout: SECOND / 10 };
    let policy = CallPolicy { bulkhead: Some(bulkhead), ..bare() };
    let guard = Arc::new(Guard::new(&policy));
    let other = Arc::clone(&guard);
    let held = task::spawn(async move { other.call(|_| std::future::pending::<Result<(), ()>>()).await });
    tokio::task::yield_now().await;
    let refused = guard.call(|_| async { Ok::<_, ()>(()) }).await;
    assert_eq!(refused, Err(Error::Bulkhead(bulkhead::Refused::TimedOut)));
    held.abort();
    held.await.unwrap_err();
    assert_eq!(guard.call(|_| async { Ok::<_, ()>(()) }).await, Ok(()));
    assert_eq!(guard.bulkhead().unwrap().occupancy().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn hedged_attempts_are_each_counted_by_the_breaker() {
    let hedge = HedgePolicy { after: SECOND / 10, attempts_max: 2, budget: Share::ALL };
    let guard = Guard::new(&CallPolicy { hedge: Some(hedge), breaker: Some(BreakerPolicy::default()), ..bare() });
    let now = time::now();
    let second = guard
        .call(|attempt| async move { if attempt == 1 { std::future::pending().await } else { Ok::<_, ()>(attempt) } })
        .await;
    assert_eq!((second, time::now() - now), (Ok(2), SECOND / 10));
    let figures = guard.breaker().unwrap().figures(time::now());
    assert_eq!((figures.calls, figures.failures), (1, 0), "the one that was dropped says nothing");
}

#[tokio::test(start_paused = true)]
async fn the_fallback_answers_in_the_place_of_refusals_too() {
    let breaker = BreakerPolicy { calls_min: 1, ..BreakerPolicy::default() };
    let fallback = FallbackPolicy { status: 203, ..FallbackPolicy::default() };
    let guard = Guard::new(&CallPolicy { breaker: Some(breaker), fallback: Some(fallback), ..bare() });
    for expected in ["Failed", "Breaker"] {
        let call = |_| async { Err::<(u16, String), _>("no") };
        let answer = |policy: &FallbackPolicy, error: Error<&str>| (policy.status, format!("{error:?}"));
        let (status, why) = guard.call_or(Call::default(), judge, call, answer).await.unwrap();
        assert!(status == 203 && why.starts_with(expected), "{why}");
    }
}

/// So many calls at once that each take that long, or fail at once.
async fn call_all(guard: &Arc<Guard>, count: u32, is_good: bool) {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..count {
        let guard = Arc::clone(guard);
        calls.spawn(async move {
            let work = |_| async {
                if is_good {
                    time::sleep(SECOND / 10).await;
                }
                is_good.then_some(()).ok_or(())
            };
            drop(guard.call(work).await);
        });
    }
    while calls.join_next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn what_fails_says_nothing_of_how_long_work_takes() {
    let calls_max = Concurrency { min: 10, max: 1000 };
    let bulkhead = BulkheadPolicy { calls_max, queue_max: 0, queue_timeout: Duration::ZERO };
    let guard = Arc::new(Guard::new(&CallPolicy { bulkhead: Some(bulkhead), ..bare() }));
    let limit = || guard.bulkhead().unwrap().occupancy().limit;
    for _ in 0..5 {
        call_all(&guard, 10, false).await;
        tokio::time::advance(SECOND / 10).await;
    }
    for _ in 0..6 {
        call_all(&guard, limit(), true).await;
    }
    assert!(limit() > 30, "{}", limit());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_place_is_no_time_of_the_callees_but_is_of_the_calls() {
    let bulkhead = BulkheadPolicy { calls_max: Concurrency::exactly(1), queue_max: 10, queue_timeout: SECOND };
    let slow_call = Some(SECOND / 5);
    for breaker in [BreakerPolicy { calls_min: 1, slow_call, ..BreakerPolicy::default() }, BreakerPolicy::default()] {
        let policy = CallPolicy { bulkhead: Some(bulkhead.clone()), breaker: Some(breaker), ..bare() };
        let guard = Arc::new(Guard::new(&policy));
        call_all(&guard, 5, true).await;
        let figures = guard.breaker().unwrap().figures(time::now());
        assert_eq!((figures.calls, figures.failures), (5, 0), "{figures:?}");
        let other = Arc::clone(&guard);
        let held = task::spawn(async move {
            let work = async {
                time::sleep(SECOND / 2).await;
                Ok::<_, ()>(())
            };
            let mut work = Some(work);
            other.call(move |_| work.take().unwrap()).await
        });
        tokio::task::yield_now().await;
        let now = time::now();
        assert_eq!(guard.call(|_| std::future::pending::<Result<(), ()>>()).await, Err(Error::DeadlineExceeded));
        assert_eq!(time::now() - now, SECOND, "the wait counts for the deadline");
        held.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_counted_once_for_the_budget_of_hedging() {
    let hedge = HedgePolicy { after: SECOND / 100, attempts_max: 2, budget: Share::from_percent(10) };
    let retry = RetryPolicy { attempts_max: 3, budget: Share::ALL, ..retry() };
    let guard = Guard::new(&CallPolicy { retry: Some(retry), hedge: Some(hedge), ..bare() });
    for _ in 0..100 {
        assert_eq!(guard.call(|_| async { Err::<(), _>("no") }).await, Err(Error::Failed("no")));
    }
    let sent = Cell::new(0);
    let hang_a_while = |_| {
        sent.set(sent.get() + 1);
        async {
            time::sleep(SECOND / 50).await;
            Ok::<_, ()>(())
        }
    };
    // No time passes between them, so that only what was paid in is there, and ten a second whatever the calls.
    let calls = (0..100).map(|_| guard.call(hang_a_while));
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        calls.retain_mut(|call| call.as_mut().poll(cx).is_pending());
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert!((100..=130).contains(&sent.get()), "{}", sent.get());
}
