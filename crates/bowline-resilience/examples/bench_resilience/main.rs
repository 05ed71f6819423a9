//! What the patterns cost, beside failsafe, recloser and tower: for `cargo xtask bench resilience`.
//!
//! `bench_resilience alone|threads|call` prints a line of JSON for each figure: nanoseconds of a turn, or how much faster two
//! threads are than one. Turns of ours and of the peer's alternate. A guarded call that is ready is asserted to allocate
//! nothing.

#![expect(clippy::print_stdout, reason = "who starts it reads the figures")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands on to the system's")]

mod peers;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::{poll_fn, ready},
    hint::black_box,
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
};

use bowline_model::policy::{
    BreakerPolicy, BulkheadPolicy, CallPolicy, Concurrency, GrpcCode, HedgePolicy, OutcomePolicy, Priority,
    RetryPolicy, ShedPolicy,
};
use bowline_resilience::{
    Breaker, Bulkhead, Deadline, Guard, Hedge, Shedder,
    breaker::Outcome,
    outcome::Classifier,
    rate::{Limit, Limiter, SlidingLimit, SlidingLimiter},
    retry::Budget,
};
use bowline_runtime::{
    task,
    time::{self, Duration, Instant},
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all of it is the system allocator's, which keeps the promises; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
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

/// Calls of one turn, and turns of each.
const CALLS: u32 = 50_000;
const TURNS: usize = 15;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("alone") => alone(),
        Some("threads") => threads(),
        Some("call") => call_only(),
        _ => panic!("say what to measure: alone, threads or call"),
    }
}

fn alone() {
    // A timer is armed by who runs in a runtime.
    let runtime = task::core_runtime().expect("a runtime can be made");
    runtime.block_on(yielding());
    let _entered = runtime.enter();
    calls();
    breakers();
    limits();
    rest();
}

fn say(id: &str, ours: f64, peer: Option<f64>) {
    let peer = peer.map_or_else(|| "null".to_owned(), |peer| peer.to_string());
    println!("{{\"id\":\"{id}\",\"ours\":{ours},\"peer\":{peer}}}");
}

/// Nanoseconds of a call, the median of the turns.
fn say_one(id: &str, mut ours: impl FnMut()) {
    say(id, median((0..TURNS).map(|_| timed(&mut ours)).collect()), None);
}

/// Nanoseconds of a call of each, the medians of turns that alternate.
fn say_both(id: &str, mut ours: impl FnMut(), mut peer: impl FnMut()) {
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        figures[0].push(timed(&mut ours));
        figures[1].push(timed(&mut peer));
    }
    let [ours, peer] = figures.map(median);
    say(id, ours, Some(peer));
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Nanoseconds of this thread's CPU for each call: what else runs on the machine does not count.
fn timed(call: &mut impl FnMut()) -> f64 {
    let begin = spent();
    for _ in 0..CALLS {
        call();
    }
    (spent() - begin) / f64::from(CALLS)
}

/// What this thread has run until now, in nanoseconds.
fn spent() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
}

/// Polls it until it is ready, without a task around it: what wakes it is not measured.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// Is pending once, so that every timer around it is armed; it is polled again at once.
async fn yields<E>() -> Result<u32, E> {
    let mut is_ready = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_ready, true) {
            return Poll::Ready(Ok(black_box(1)));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Calls that yield once, as a task makes them. Another timer is armed for earlier, as there mostly is: else each new one
/// would wake the driver.
async fn yielding() {
    let mut earlier = pin!(time::sleep(Duration::from_mins(1)));
    let is_ready = poll_fn(|cx| Poll::Ready(earlier.as_mut().poll(cx).is_ready())).await;
    assert!(!is_ready);
    let policy = CallPolicy { timeout: Duration::from_mins(15), ..policy() };
    let (guard, mut stack) = (Guard::new(&policy), peers::stack(Duration::from_mins(15), |()| yields()));
    let mut figures: [Vec<f64>; 3] = Default::default();
    for _ in 0..TURNS {
        let begin = spent();
        for _ in 0..CALLS {
            drop(black_box(guard.call(|_| yields::<()>()).await));
        }
        figures[0].push((spent() - begin) / f64::from(CALLS));
        let begin = spent();
        for _ in 0..CALLS {
            drop(black_box(stack.call().await));
        }
        figures[1].push((spent() - begin) / f64::from(CALLS));
        let begin = spent();
        for _ in 0..CALLS {
            _ = black_box(yields::<()>().await);
        }
        figures[2].push((spent() - begin) / f64::from(CALLS));
    }
    let [ours, peer, bare] = figures.map(median);
    say("resilience.call.yield", ours, Some(peer));
    say("resilience.yield", bare, None);
}

fn bulkhead(calls: u32) -> BulkheadPolicy {
    let calls_max = Concurrency::exactly(calls);
    BulkheadPolicy { calls_max, queue_max: 100, queue_timeout: Duration::from_secs(1) }
}

/// Breaker, bulkhead and timeout.
fn policy() -> CallPolicy {
    let timeout = Duration::from_secs(15);
    CallPolicy { timeout, retry: None, bulkhead: Some(bulkhead(100)), ..CallPolicy::default() }
}

fn calls() {
    let guard = Guard::new(&policy());
    let call = || drop(black_box(run(guard.call(|_| ready(Ok::<u32, ()>(black_box(1)))))));
    call();
    let before = ALLOCATIONS.with(Cell::get);
    (0..1000).for_each(|_| call());
    assert_eq!(ALLOCATIONS.with(Cell::get), before, "a guarded call that is ready allocates nothing");
    let mut stack = peers::stack(Duration::from_secs(15), |()| ready(Ok(black_box(1))));
    say_both("resilience.call", call, || drop(black_box(run(stack.call()))));
    let all = Guard::new(&CallPolicy { bulkhead: Some(bulkhead(100)), ..CallPolicy::default() });
    say_one("resilience.call.retry", || drop(black_box(run(all.call(|_| ready(Ok::<u32, ()>(black_box(1))))))));
    say_one("resilience.clock", || _ = black_box(time::now()));
    say_one("resilience.clock.coarse", || _ = black_box(time::coarse()));
}

/// To be looked at with a profiler.
fn call_only() {
    let guard = Guard::new(&policy());
    for _ in 0..20 {
        say_one("resilience.call", || drop(black_box(run(guard.call(|_| ready(Ok::<u32, ()>(black_box(1))))))));
    }
}

fn breakers() {
    let (breaker, now) = (Breaker::new(&BreakerPolicy::default()), time::now());
    let ours = || breaker.acquire(black_box(now)).expect("it is closed").record(Outcome::Success, black_box(now));
    let clocked = || {
        let permit = breaker.acquire(time::now()).expect("it is closed");
        permit.record(Outcome::Success, time::now());
    };
    let failsafe = peers::failsafe();
    say_both("resilience.breaker.failsafe", clocked, || peers::call_failsafe(&failsafe));
    let recloser = peers::recloser();
    say_both("resilience.breaker.recloser", ours, || peers::call_recloser(&recloser));
}

fn limits() {
    let now = time::now();
    let bulkhead = Bulkhead::new(&bulkhead(100));
    let permits = peers::semaphore(100);
    let ours = || drop(black_box(run(bulkhead.acquire(now))).expect("there is a place"));
    say_both("resilience.bulkhead", ours, || drop(black_box(run(permits.acquire())).expect("there is a place")));
    let (one, one_permit) = (Bulkhead::new(&self::bulkhead(1)), peers::semaphore(1));
    say_both("resilience.bulkhead.handed", || hand_over(&one, now), || peers::hand_over(&one_permit));
    let shedder = Shedder::new(&ShedPolicy::default());
    let admit = || drop(black_box(run(shedder.admit(Priority::Normal, None, now))).expect("there is a place"));
    say_both("resilience.shed", admit, || drop(black_box(run(permits.acquire())).expect("there is a place")));
    let limiter = Limiter::new(Limit::new(Duration::from_nanos(1), 1_000_000), 1000);
    let sliding = SlidingLimiter::new(SlidingLimit::new(u32::MAX, Duration::from_secs(1)), 1000);
    let check = || _ = black_box(limiter.check(b"customer-17", now));
    say_one("resilience.rate", check);
    say_one("resilience.rate.sliding", || _ = black_box(sliding.check(b"customer-17", now)));
}

/// One waits for the place that another holds, and gets it.
fn hand_over(bulkhead: &Bulkhead, now: Instant) {
    let place = bulkhead.try_acquire(now).expect("nobody has it");
    let mut cx = Context::from_waker(Waker::noop());
    let mut waits = pin!(bulkhead.acquire(now));
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    drop(place);
    assert!(waits.as_mut().poll(&mut cx).is_ready());
}

fn rest() {
    let now = time::now();
    let deadline = Deadline::after(now, Duration::from_secs(10));
    let tower = |future| tokio::time::timeout(Duration::from_secs(10), future);
    say_both(
        "resilience.timeout",
        || _ = black_box(run(deadline.within(ready(black_box(1))))),
        || drop(black_box(run(tower(ready(black_box(1)))))),
    );
    let (budget, theirs) = (Budget::new(&RetryPolicy::default()), peers::budget());
    let ours = || {
        budget.deposit(now);
        black_box(budget.try_withdraw(now));
    };
    say_both("resilience.budget", ours, || peers::take(&theirs));
    let hedge = Hedge::new(&HedgePolicy::default());
    let classifier = Classifier::of(&OutcomePolicy::default());
    let classify = || {
        black_box(classifier.verdict(black_box(503), black_box(None::<GrpcCode>)));
    };
    say_one("resilience.hedge", || _ = black_box(run(hedge.call(now, |_| ready(1), |_| true))));
    say_one("resilience.outcome", classify);
}

/// How many times the calls of one thread two make in the same time, of one breaker and of one guard.
fn threads() {
    let now = time::now();
    let breaker = Breaker::new(&BreakerPolicy::default());
    let ours = || breaker.acquire(black_box(now)).expect("it is closed").record(Outcome::Success, black_box(now));
    let (failsafe, recloser) = (peers::failsafe(), peers::recloser());
    let mut figures: [Vec<f64>; 4] = Default::default();
    let guard = Guard::new(&policy());
    for _ in 0..TURNS {
        figures[0].push(factor(&ours));
        figures[1].push(factor(&|| peers::call_recloser(&recloser)));
        figures[2].push(factor(&|| peers::call_failsafe(&failsafe)));
        figures[3].push(factor(&|| drop(black_box(run(guard.call(|_| ready(Ok::<u32, ()>(1))))))));
    }
    let [ours, recloser, failsafe, guarded] = figures.map(median);
    say("resilience.breaker.threads2", ours, Some(recloser));
    say("resilience.breaker.threads2.failsafe", ours, Some(failsafe));
    say("resilience.call.threads2", guarded, None);
}

/// By the wall clock: what two do together in the time of one.
fn factor(call: &(impl Fn() + Sync)) -> f64 {
    let elapsed = |threads: usize| {
        let barrier = Barrier::new(threads + 1);
        thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|_| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        (0..2 * CALLS).for_each(|_| call());
                    })
                })
                .collect();
            barrier.wait();
            let began = time::now();
            for handle in handles {
                handle.join().expect("no thread panics");
            }
            (time::now() - began).as_secs_f64()
        })
    };
    2.0 * elapsed(1) / elapsed(2)
}
