//! The bulkhead as its callers see it, over virtual time.

use bowline_model::policy::{BulkheadPolicy, Concurrency};
use bowline_resilience::{
    Bulkhead, Deadline,
    bulkhead::{Occupancy, Refused},
};
use bowline_runtime::{
    task,
    time::{self, Duration},
};

const SECOND: Duration = Duration::from_secs(1);

fn bulkhead(calls: u32, queue_max: u32) -> Bulkhead {
    let queue_timeout = if queue_max > 0 { SECOND } else { Duration::ZERO };
    Bulkhead::new(&BulkheadPolicy { calls_max: Concurrency::exactly(calls), queue_max, queue_timeout })
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_one_too_many_is_refused_at_once() {
    let bulkhead = bulkhead(2, 0);
    let now = time::now();
    let first = bulkhead.acquire(now).await.unwrap();
    let second = bulkhead.try_acquire(now).unwrap();
    assert_eq!(bulkhead.acquire(now).await.unwrap_err(), Refused::Full);
    assert!(bulkhead.try_acquire(now).is_none());
    drop(first);
    let third = bulkhead.acquire(now).await.unwrap();
    assert_eq!(bulkhead.occupancy(), Occupancy { in_flight: 2, waiting: 0, limit: 2 });
    drop((second, third));
    assert_eq!((bulkhead.occupancy().in_flight, time::now()), (0, now));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_its_order_and_nobody_overtakes() {
    let bulkhead = bulkhead(1, 10);
    let permit = bulkhead.acquire(time::now()).await.unwrap();
    let (tx, mut rx) = tokio::sync::mpsc::channel(10);
    for at in 0..5 {
        let (bulkhead, tx) = (bulkhead.clone(), tx.clone());
        task::spawn(async move {
            let permit = bulkhead.acquire_owned(None, time::now()).await.unwrap();
            tx.send(at).await.unwrap();
            drop(permit);
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(bulkhead.occupancy().waiting, 5);
    drop(permit);
    assert!(bulkhead.try_acquire(time::now()).is_none(), "the place is the first one's already");
    for at in 0..5 {
        assert_eq!(rx.recv().await, Some(at));
    }
}

#[tokio::test(start_paused = true)]
async fn one_waits_no_longer_than_the_queue_timeout_nor_than_its_deadline() {
    let bulkhead = bulkhead(1, 10);
    let began = time::now();
    let _held = bulkhead.acquire(began).await.unwrap();
    assert_eq!(bulkhead.acquire(began).await.unwrap_err(), Refused::TimedOut);
    assert_eq!(time::now() - began, SECOND);
    let now = time::now();
    let soon = Deadline::after(now, SECOND / 4);
    assert_eq!(bulkhead.acquire_by(soon, now).await.unwrap_err(), Refused::TimedOut);
    assert_eq!(time::now() - now, SECOND / 4);
    assert_eq!(bulkhead.occupancy().waiting, 0);
    let over = bulkhead.acquire_by(Deadline::at(now), now).await.unwrap_err();
    assert_eq!(over, Refused::TimedOut, "and not at all when it is over");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_dropped_while_it_waits_gives_its_turn_to_the_next() {
    let bulkhead = bulkhead(1, 10);
    let permit = bulkhead.acquire(time::now()).await.unwrap();
    let mut first = Box::pin(bulkhead.acquire(time::now()));
    let mut second = Box::pin(bulkhead.acquire(time::now()));
    assert!(futures_now(&mut first).is_none() && futures_now(&mut second).is_none());
    drop(permit);
    // The first was granted the place, and has not asked since.
    drop(first);
    let permit = futures_now(&mut second).expect("it is the second one's").unwrap();
    assert_eq!(bulkhead.occupancy(), Occupancy { in_flight: 1, waiting: 0, limit: 1 });
    drop(permit);
    assert_eq!(bulkhead.occupancy().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_serves_who_waits_and_one_that_is_lowered_turns_nobody_out() {
    let bulkhead = bulkhead(1, 10);
    let now = time::now();
    let held = bulkhead.acquire(now).await.unwrap();
    let mut waits = Box::pin(bulkhead.acquire(now));
    assert!(futures_now(&mut waits).is_none());
    bulkhead.set_limit(2);
    let second = futures_now(&mut waits).expect("there is a place").unwrap();
    bulkhead.set_limit(1);
    assert_eq!(bulkhead.occupancy(), Occupancy { in_flight: 2, waiting: 0, limit: 1 });
    drop(held);
    assert!(bulkhead.try_acquire(now).is_none());
    drop(second);
    assert!(bulkhead.try_acquire(now).is_some());
    bulkhead.set_limit(0);
    assert_eq!(bulkhead.occupancy().limit, 1, "one may always");
}

#[tokio::test(start_paused = true)]
async fn a_range_is_found_out_by_what_calls_take() {
    let policy =
        BulkheadPolicy { calls_max: Concurrency { min: 2, max: 100 }, queue_max: 0, queue_timeout: Duration::ZERO };
    let bulkhead = Bulkhead::new(&policy);
    let began = bulkhead.occupancy().limit;
    for _ in 0..100 {
        let now = time::now();
        let permits: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire(now)).collect();
        // It works at five at once.
        tokio::time::advance(Duration::from_millis(10) * u32::try_from(permits.len().div_ceil(5)).unwrap()).await;
        for permit in permits {
            permit.record(false, time::now());
        }
    }
    let limit = bulkhead.occupancy().limit;
    assert!(began == 2 && (5..=15).contains(&limit), "{began}, then {limit}");
}

fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
