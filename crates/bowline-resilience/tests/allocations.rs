//! What is said not to allocate does not: counted by the allocator, of this thread alone.

#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands on to the system's")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    pin::pin,
    task::{Context, Waker},
};

use bowline_model::policy::{
    BreakerPolicy, BulkheadPolicy, CallPolicy, Concurrency, HedgePolicy, Priority, RetryPolicy, ShedPolicy,
};
use bowline_resilience::{
    Breaker, Bulkhead, Guard, Hedge, Shedder,
    breaker::Outcome,
    rate::{Limit, Limiter, SlidingLimit, SlidingLimiter},
    retry::Budget,
};
use bowline_runtime::time::{self, Duration};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all of it is the system allocator's, which keeps the promises; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations the hundred turns after the first take.
fn allocations(mut turn: impl FnMut()) -> u64 {
    turn();
    let before = COUNT.with(Cell::get);
    (0..100).for_each(|_| turn());
    COUNT.with(Cell::get) - before
}

fn ready<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it is ready at once"),
    }
}

fn bulkhead(calls: u32, queue_max: u32) -> BulkheadPolicy {
    BulkheadPolicy { calls_max: Concurrency::exactly(calls), queue_max, queue_timeout: Duration::from_secs(1) }
}

#[test]
fn a_guarded_call_that_is_ready_allocates_nothing() {
    let all = CallPolicy {
        retry: Some(RetryPolicy::default()),
        breaker: Some(BreakerPolicy::default()),
        bulkhead: Some(bulkhead(10, 10)),
        ..CallPolicy::default()
    };
    let guard = Guard::new(&all);
    assert_eq!(allocations(|| ready(guard.call(|_| async { Ok::<_, ()>(()) })).unwrap()), 0);
}

#[test]
fn no_pattern_alone_allocates_where_it_lets_through() {
    let now = time::now();
    let breaker = Breaker::new(&BreakerPolicy::default());
    assert_eq!(allocations(|| breaker.acquire(now).unwrap().record(Outcome::Success, now)), 0);
    let bulkhead = Bulkhead::new(&bulkhead(1, 0));
    assert_eq!(allocations(|| drop(ready(bulkhead.acquire(now)).unwrap())), 0);
    let shedder = Shedder::new(&ShedPolicy::default());
    let admit = || ready(shedder.admit(Priority::Normal, None, now)).unwrap().record(false, now);
    assert_eq!(allocations(admit), 0);
    let budget = Budget::new(&RetryPolicy::default());
    assert_eq!(allocations(|| budget.deposit(now)), 0);
    let hedge = Hedge::new(&HedgePolicy::default());
    assert_eq!(allocations(|| ready(hedge.call(now, |_| async {}, |()| true))), 0);
    let limiter = Limiter::new(Limit::new(Duration::from_nanos(1), 1000), 10);
    assert_eq!(allocations(|| assert!(limiter.check(b"key", now).is_allowed)), 0);
    let limiter = SlidingLimiter::new(SlidingLimit::new(1000, Duration::from_secs(1)), 10);
    assert_eq!(allocations(|| assert!(limiter.check(b"key", now).is_allowed)), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_takes_a_slot_that_was_used_before() {
    let bulkhead = Bulkhead::new(&bulkhead(1, 10));
    let turn = || {
        let now = time::now();
        let held = ready(bulkhead.acquire(now)).unwrap();
        let mut waits = pin!(bulkhead.acquire(now));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        drop(held);
        assert!(waits.as_mut().poll(&mut cx).is_ready());
    };
    assert_eq!(allocations(turn), 0);
}
