//! The layers of tower, each around a service that the test plays.

use std::sync::Arc;

use bowline_model::policy::{
    Backoff, BreakerPolicy, BulkheadPolicy, Concurrency, HedgePolicy, Priority, RetryPolicy, Share, ShedPolicy,
};
use bowline_resilience::{
    Breaker, Bulkhead, Hedge, Shedder,
    breaker::State,
    bulkhead,
    layer::{
        self, Breaking, DeadlineExceeded, Error, Fallback, Guarded, Hedging, Limiting, Retrying, Shedding, Timeout,
    },
    outcome::Verdict,
    rate::{Limit, Limiter},
    shed,
};
use bowline_runtime::time::{self, Duration};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_test::{assert_request_eq, mock};

const SECOND: Duration = Duration::from_secs(1);

type Mock = mock::Mock<&'static str, u32>;
type Handle = mock::Handle<&'static str, u32>;

/// A pattern around a service that the test plays.
fn around<P: Clone>(pattern: P) -> (Guarded<P, Mock>, Handle) {
    let (mock, handle) = mock::pair();
    (layer::of(pattern).layer(mock), handle)
}

fn judge<T, E>(result: &Result<T, E>) -> Verdict {
    if result.is_ok() { Verdict::Good } else { Verdict::Bad }
}

/// Sends it once the service is ready.
async fn send<S: Service<&'static str>>(service: &mut S, request: &'static str) -> S::Future {
    let ready = service.ready().await;
    assert!(ready.is_ok());
    service.call(request)
}

#[tokio::test(start_paused = true)]
async fn a_timeout_drops_what_takes_too_long() {
    let (mut service, mut handle) = around(Timeout::new(SECOND));
    let call = send(&mut service, "quick").await;
    assert_request_eq!(handle, "quick").send_response(1);
    assert_eq!(call.await.unwrap(), 1);
    let call = send(&mut service, "slow").await;
    let (_, _respond) = handle.next_request().await.unwrap();
    assert!(matches!(call.await, Err(Error::Refused(DeadlineExceeded))));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_is_told_of_each_call_and_asked_before() {
    let breaker = Arc::new(Breaker::new(&BreakerPolicy { calls_min: 1, ..BreakerPolicy::default() }));
    let (mut service, mut handle) = around(Breaking::new(Arc::clone(&breaker), judge));
    let call = send(&mut service, "good").await;
    assert_request_eq!(handle, "good").send_response(1);
    assert_eq!(call.await.unwrap(), 1);
    let call = send(&mut service, "bad").await;
    assert_request_eq!(handle, "bad").send_error("no");
    assert!(matches!(call.await, Err(Error::Inner(_))));
    assert_eq!(breaker.state(time::now()), State::Open);
    assert!(matches!(send(&mut service, "rejected").await.await, Err(Error::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_holds_its_place_until_the_answer() {
    let policy = BulkheadPolicy { calls_max: Concurrency::exactly(1), queue_max: 0, queue_timeout: Duration::ZERO };
    let bulkhead = Bulkhead::new(&policy);
    let (mut service, mut handle) = around(bulkhead.clone());
    let mut first = by_hand(send(&mut service, "first").await);
    assert!(first.poll_now().is_none());
    let refused = send(&mut service, "second").await.await;
    assert!(matches!(refused, Err(Error::Refused(bulkhead::Refused::Full))));
    assert_request_eq!(handle, "first").send_response(1);
    assert_eq!(first.0.await.unwrap(), 1);
    assert_eq!(bulkhead.occupancy().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_by_the_key_of_the_request() {
    let limiter = Arc::new(Limiter::new(Limit::new(SECOND, 1), 10));
    let key: for<'a> fn(&'a &'static str) -> &'a [u8] = |request| &request.as_bytes()[..1];
    let answer = service_fn(|_: &'static str| async { Ok::<_, &str>(1) });
    let mut service = layer::of(Limiting::new(limiter, key)).layer(answer);
    assert_eq!(send(&mut service, "a1").await.await, Ok(1));
    let refused = send(&mut service, "a2").await.await.unwrap_err();
    assert!(matches!(refused, Error::Refused(limited) if limited.retry_after == SECOND));
    assert_eq!(send(&mut service, "b1").await.await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn shedding_asks_at_the_door() {
    let shedder =
        Shedder::new(&ShedPolicy { calls_max: Concurrency::exactly(1), queue_max: 0, ..ShedPolicy::default() });
    let door: fn(&&'static str) -> (Priority, Option<bowline_resilience::Deadline>) = |_| (Priority::High, None);
    let (mut service, mut handle) = around(Shedding::new(shedder, door));
    let mut first = by_hand(send(&mut service, "first").await);
    assert!(first.poll_now().is_none());
    let refused = send(&mut service, "second").await.await;
    assert!(matches!(refused, Err(Error::Refused(shed::Refused::Full { .. }))));
    assert_request_eq!(handle, "first").send_response(1);
    assert_eq!(first.0.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again() {
    let backoff = Backoff { min: SECOND, max: SECOND };
    let policy = RetryPolicy { attempts_max: 2, backoff, budget: Share::ALL, ..RetryPolicy::default() };
    let (mut service, mut handle) = around(Retrying::new(&policy, judge));
    let (call, ()) = tokio::join!(send(&mut service, "a").await, async {
        assert_request_eq!(handle, "a").send_error("no");
        assert_request_eq!(handle, "a").send_response(2);
    });
    assert_eq!(call.unwrap(), 2);
    let (call, ()) = tokio::join!(send(&mut service, "b").await, async {
        assert_request_eq!(handle, "b").send_error("no");
        assert_request_eq!(handle, "b").send_error("no, again");
    });
    assert!(matches!(call, Err(Error::Inner(error)) if error.to_string() == "no, again"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_is_sent_once_more() {
    let hedge = Arc::new(Hedge::new(&HedgePolicy { after: SECOND, attempts_max: 2, budget: Share::ALL }));
    let (mut service, mut handle) = around(Hedging::new(hedge, judge));
    let (call, _first) = tokio::join!(send(&mut service, "a").await, async {
        let (_, first) = handle.next_request().await.unwrap();
        assert_request_eq!(handle, "a").send_response(2);
        first
    });
    assert_eq!(call.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn layers_compose_and_the_fallback_answers_for_all_of_them() {
    let breaker = Arc::new(Breaker::new(&BreakerPolicy { calls_min: 1, ..BreakerPolicy::default() }));
    let hang = service_fn(|_: &'static str| std::future::pending::<Result<u32, &str>>());
    let mut service = ServiceBuilder::new()
        .layer(layer::of(Fallback::new(|_error| Ok(7))))
        .layer(layer::of(Breaking::new(Arc::clone(&breaker), judge)))
        .layer(layer::of(Timeout::new(SECOND)))
        .service(hang);
    let now = time::now();
    assert_eq!(send(&mut service, "a").await.await, Ok(7));
    assert_eq!(send(&mut service, "b").await.await, Ok(7));
    assert_eq!((time::now() - now, breaker.state(time::now())), (SECOND, State::Open));
}

#[tokio::test(start_paused = true)]
async fn what_an_outer_timeout_cuts_off_is_a_failure_to_the_breaker_and_what_is_dropped_is_not() {
    let breaker = Arc::new(Breaker::new(&BreakerPolicy { calls_min: 2, ..BreakerPolicy::default() }));
    let hang = service_fn(|_: &'static str| std::future::pending::<Result<u32, &str>>());
    let mut service = ServiceBuilder::new()
        .layer(layer::of(Timeout::new(SECOND)))
        .layer(layer::of(Breaking::new(Arc::clone(&breaker), judge)))
        .service(hang);
    for _ in 0..5 {
        assert!(time::timeout(SECOND / 2, send(&mut service, "a").await).await.is_err());
    }
    assert_eq!(breaker.figures(time::now()).calls, 0, "nobody waited for them any more");
    for _ in 0..2 {
        assert!(matches!(send(&mut service, "a").await.await, Err(Error::Refused(DeadlineExceeded))));
    }
    assert_eq!(breaker.state(time::now()), State::Open);
}

/// Sends so many at once, and waits for all.
async fn send_all<S>(service: &mut S, request: &'static str, count: u32)
where
    S: Service<&'static str, Future: Send + 'static, Response: Send, Error: Send> + 'static,
{
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..count {
        calls.spawn(send(service, request).await);
    }
    while calls.join_next().await.is_some() {}
}

/// A tenth of a second of work, or a failure at once, or none.
async fn work(request: &'static str) -> Result<u32, &'static str> {
    match request {
        "good" => {
            time::sleep(SECOND / 10).await;
            Ok(1)
        }
        "bad" => Err("no"),
        _ => std::future::pending().await,
    }
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_learns_of_what_is_cut_off_and_nothing_of_what_fails() {
    let calls_max = Concurrency { min: 10, max: 1000 };
    let bulkhead = Bulkhead::new(&BulkheadPolicy { calls_max, queue_max: 0, queue_timeout: Duration::ZERO });
    let mut service = ServiceBuilder::new()
        .layer(layer::of(Timeout::new(SECOND)))
        .layer(layer::of(bulkhead.clone()))
        .service(service_fn(work));
    for _ in 0..5 {
        send_all(&mut service, "bad", 10).await;
        tokio::time::advance(SECOND / 10).await;
    }
    assert_eq!(bulkhead.occupancy().limit, 10, "what fails at once is not how long work takes");
    for _ in 0..6 {
        send_all(&mut service, "good", bulkhead.occupancy().limit).await;
    }
    let grown = bulkhead.occupancy().limit;
    assert!(grown > 30, "{grown}");
    send_all(&mut service, "hang", grown).await;
    send_all(&mut service, "hang", 20).await;
    let lowered = bulkhead.occupancy().limit;
    assert!(lowered < grown, "{lowered} of {grown}");
}

#[tokio::test(start_paused = true)]
async fn a_shedder_learns_of_what_is_cut_off_and_nothing_of_what_fails() {
    let calls_max = Concurrency { min: 10, max: 1000 };
    let shedder = Shedder::new(&ShedPolicy { calls_max, queue_max: 0, ..ShedPolicy::default() });
    let door: fn(&&'static str) -> (Priority, Option<bowline_resilience::Deadline>) = |_| (Priority::High, None);
    let mut service = ServiceBuilder::new()
        .layer(layer::of(Timeout::new(SECOND)))
        .layer(layer::of(Shedding::new(shedder.clone(), door)))
        .service(service_fn(work));
    for _ in 0..5 {
        send_all(&mut service, "bad", 10).await;
        tokio::time::advance(SECOND / 10).await;
    }
    for _ in 0..6 {
        send_all(&mut service, "good", shedder.occupancy().limit).await;
    }
    let grown = shedder.occupancy().limit;
    assert!(grown > 30, "{grown}");
    send_all(&mut service, "hang", grown).await;
    send_all(&mut service, "hang", 20).await;
    assert!(shedder.occupancy().limit < grown, "{grown}");
}

/// A future that is polled by hand, and then awaited.
struct ByHand<F>(F);

fn by_hand<F: Future + Unpin>(future: F) -> ByHand<F> {
    ByHand(future)
}

impl<F: Future + Unpin> ByHand<F> {
    fn poll_now(&mut self) -> Option<F::Output> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(&mut self.0).poll(&mut cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
