//! A call's life: cancelled, in flight, out of time, and while instances change.

use std::{cell::Cell, future::ready, rc::Rc, sync::Arc, time::Duration};

use bowline_model::policy::{BreakerPolicy, CallPolicy, FallbackPolicy, OutcomePolicy, RetryPolicy};
use bowline_model::{Health, Instance, Protocol};
use bowline_resilience::breaker::State;
use bowline_runtime::metric::Registry;
use bowline_runtime::{task, time};
use bowline_telemetry::Span;
use bowline_transport::{Body, BoxError, LocalPool, PoolSettings, SharedPool};
use bowline_upstream::Error;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{Notify, mpsc};

use crate::support::{HANGING, ask, breaker, dead, get, plain, retrying, run, serve, status, upstream};

#[test]
fn over_the_shared_pool_a_call_is_send() {
    fn is_send<T: Send>(_: &T) {}
    let upstream = upstream(plain(), &Registry::default(), &[]);
    let pool = SharedPool::default();
    let mut span = Span::disabled();
    is_send(&upstream.call(&pool, get(), &mut span, None));
    is_send(&async {
        let response = upstream.call(&pool, get(), &mut Span::disabled(), None).await;
        is_send(&response);
    });
}

#[test]
fn a_call_that_is_dropped_gives_back_what_it_took() {
    run(async || {
        let is_failing = Rc::new(Cell::new(true));
        let failing = Rc::clone(&is_failing);
        let callee = serve("a", Protocol::Http1, move |_| {
            let is_failing = failing.get();
            async move { if is_failing { status(500).await } else { std::future::pending().await } }
        });
        let (upstream, pool) =
            (upstream(plain(), &Registry::default(), std::slice::from_ref(&callee.instance)), LocalPool::default());
        assert_eq!(ask(&upstream, &pool).await.unwrap(), 500);
        assert!(matches!(ask(&upstream, &pool).await, Err(Error::BreakerOpen { .. })));
        is_failing.set(false);
        for _ in 0..3 {
            // Each is the one probe there is: the one before gave its place back.
            // tidy: sleep: the breaker's own wait, beside real sockets
            time::sleep(Duration::from_millis(25)).await;
            let probe = time::timeout(Duration::from_millis(20), ask(&upstream, &pool)).await;
            assert!(probe.is_err(), "{probe:?}");
            assert_eq!(upstream.instances()[0].in_flight, 0);
        }
    });
}

#[test]
fn a_request_is_in_flight_until_its_answer_ends() {
    run(async || {
        let (frames, stream) = mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
        let stream = Rc::new(Cell::new(Some(stream)));
        let callee = serve("a", Protocol::Http1, move |_| {
            let mut stream = stream.take().unwrap();
            let stream = futures_util::stream::poll_fn(move |cx| stream.poll_recv(cx));
            async { Response::new(Body::stream(StreamBody::new(stream))) }
        });
        let (upstream, pool) =
            (upstream(plain(), &Registry::default(), std::slice::from_ref(&callee.instance)), LocalPool::default());
        let response = upstream.call(&pool, get(), &mut Span::disabled(), None).await.unwrap();
        assert_eq!(upstream.instances()[0].in_flight, 1);
        let reading = task::spawn_local(response.into_body().collect());
        frames.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.unwrap();
        task::yield_now().await;
        assert_eq!(upstream.instances()[0].in_flight, 1);
        drop(frames);
        assert_eq!(reading.await.unwrap().unwrap().to_bytes(), "x");
        assert_eq!(upstream.instances()[0].in_flight, 0);
        assert!(upstream.instances()[0].latency > Duration::ZERO);
    });
}

#[test]
fn a_deadline_that_has_passed_reaches_nobody() {
    run(async || {
        let callee = serve("a", Protocol::Http1, |_| async { panic!("it was called") });
        let upstream = upstream(plain(), &Registry::default(), std::slice::from_ref(&callee.instance));
        let error =
            upstream.call(&LocalPool::default(), get(), &mut Span::disabled(), Some(time::now())).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }));
        assert_eq!(upstream.instances()[0].breaker, Some(State::Closed), "the instance is not to blame");
    });
}

#[test]
fn the_latency_is_known_with_the_head() {
    run(async || {
        let callee = serve("a", Protocol::Http1, |_| async {
            let never = futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>();
            Response::new(Body::stream(StreamBody::new(never)))
        });
        let upstream = upstream(plain(), &Registry::default(), std::slice::from_ref(&callee.instance));
        let answer = upstream.call(&LocalPool::default(), get(), &mut Span::disabled(), None).await.unwrap();
        let status = || upstream.instances().remove(0);
        assert_eq!(status().in_flight, 1);
        assert!(status().latency > Duration::ZERO, "before the body has ended");
        drop(answer);
        assert_eq!(status().in_flight, 0);
    });
}

#[test]
fn what_is_known_of_an_instance_outlives_updates() {
    run(async || {
        let callee = serve("a", Protocol::Http1, |_| status(500));
        let policy = CallPolicy { breaker: Some(BreakerPolicy { open_for: HANGING.into(), ..breaker() }), ..plain() };
        let upstream = upstream(policy.clone(), &Registry::default(), std::slice::from_ref(&callee.instance));
        let pool = LocalPool::default();
        ask(&upstream, &pool).await.unwrap();
        let breaker = || upstream.instances()[0].breaker;
        assert_eq!(breaker(), Some(State::Open));
        let heavier = Instance { weight: 7, health: Health::Unhealthy, ..callee.instance.clone() };
        upstream.set_instances(&[dead("b"), heavier]);
        assert_eq!(upstream.instances().len(), 2);
        assert_eq!((upstream.instances()[0].instance.weight, breaker()), (7, Some(State::Open)));
        upstream.set_policy(CallPolicy { timeout: Duration::from_secs(9), ..policy.clone() });
        assert_eq!((upstream.policy().timeout, breaker()), (Duration::from_secs(9), Some(State::Open)));
        let stricter = BreakerPolicy { calls_min: 9, ..policy.breaker.unwrap() };
        upstream.set_policy(CallPolicy { breaker: Some(stricter), ..plain() });
        assert_eq!((upstream.instances().len(), breaker()), (2, Some(State::Closed)), "it begins anew");
        upstream.set_policy(CallPolicy { breaker: None, ..plain() });
        assert_eq!(breaker(), None);
    });
}

#[test]
fn an_update_does_not_disturb_calls_under_way() {
    run(async || {
        let gate = Rc::new(Notify::new());
        let wait = Rc::clone(&gate);
        let callee = serve("a", Protocol::Http1, move |_| {
            let wait = Rc::clone(&wait);
            async move {
                wait.notified().await;
                status(200).await
            }
        });
        let upstream = upstream(plain(), &Registry::default(), std::slice::from_ref(&callee.instance));
        let called = Arc::clone(&upstream);
        let call = task::spawn_local(async move { ask(&called, &LocalPool::default()).await });
        while upstream.instances()[0].in_flight == 0 {
            task::yield_now().await;
        }
        upstream.set_instances(&[]);
        gate.notify_one();
        // The permit is kept should the answer come first.
        assert_eq!(call.await.unwrap().unwrap(), 200);
    });
}

/// Another upstream's call of an instance that does not answer, which has a place of the pool until it is aborted.
async fn taking_a_place(pool: &LocalPool, instance: &Instance) -> task::JoinHandle<Result<u16, Error>> {
    let (other, holder) = (upstream(plain(), &Registry::default(), std::slice::from_ref(instance)), pool.clone());
    let held = task::spawn_local(async move { ask(&other, &holder).await });
    while pool.metrics().open_http1.get() + pool.metrics().streams.get() == 0 {
        task::yield_now().await;
    }
    held
}

#[test]
fn waiting_in_our_own_line_tells_nothing_of_the_instance() {
    run(async || {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let callee = serve("a", protocol, |_| std::future::pending());
            let policy = CallPolicy { timeout: Duration::from_millis(30), ..plain() };
            let upstream = upstream(policy, &Registry::default(), std::slice::from_ref(&callee.instance));
            let settings =
                PoolSettings { open_per_endpoint_max: 1, streams_per_endpoint_max: 1, ..PoolSettings::default() };
            let pool = LocalPool::new(settings);
            let held = taking_a_place(&pool, &callee.instance).await;
            let error = ask(&upstream, &pool).await.unwrap_err();
            assert!(matches!(error, Error::Timeout { .. }), "{error}");
            assert_eq!(upstream.instances()[0].breaker, Some(State::Closed), "the instance is not to blame");
            assert_eq!(pool.metrics().waited.count(), 1);
            held.abort();
        }
    });
}

#[test]
fn who_waits_in_line_for_as_long_as_a_try_may_take_is_tried_at_another_instance() {
    run(async || {
        let busy = serve("a", Protocol::Http1, |_| std::future::pending());
        let free = serve("b", Protocol::Http1, |_| status(200));
        let pool = LocalPool::new(PoolSettings { open_per_endpoint_max: 1, ..PoolSettings::default() });
        let held = taking_a_place(&pool, &busy.instance).await;
        let per_try_timeout = Some(Duration::from_millis(20));
        let retry = retrying().retry.map(|retry| RetryPolicy { per_try_timeout, ..retry });
        let policy = CallPolicy { retry, ..retrying() };
        let both = upstream(policy, &Registry::default(), &[busy.instance.clone(), free.instance.clone()]);
        for _ in 0..4 {
            assert_eq!(ask(&both, &pool).await.unwrap(), 200);
        }
        assert!(pool.metrics().waited.count() > 0);
        held.abort();
    });
}

#[test]
fn where_the_line_to_one_instance_is_full_another_is_asked() {
    run(async || {
        let busy = serve("a", Protocol::Http1, |_| std::future::pending());
        let free = serve("b", Protocol::Http1, |_| status(200));
        let settings = PoolSettings { open_per_endpoint_max: 1, waiting_per_endpoint_max: 0, ..<_>::default() };
        let pool = LocalPool::new(settings);
        let held = taking_a_place(&pool, &busy.instance).await;
        let both = upstream(retrying(), &Registry::default(), &[busy.instance.clone(), free.instance.clone()]);
        for _ in 0..10 {
            assert_eq!(ask(&both, &pool).await.unwrap(), 200);
        }
        let only_busy = upstream(retrying(), &Registry::default(), std::slice::from_ref(&busy.instance));
        let error = ask(&only_busy, &pool).await.unwrap_err();
        assert_eq!(error.reason(), "pool_full", "at once, where there is no other");
        held.abort();
    });
}

#[test]
fn who_turns_a_request_away_for_want_of_capacity_is_not_broken_and_another_is_asked() {
    run(async || {
        let shedding = serve("a", Protocol::Http1, |_| {
            let answer = Response::builder().status(503).header("x-bowline-reason", "shed");
            ready(answer.body(Body::empty()).unwrap())
        });
        let other = serve("b", Protocol::Http1, |_| status(200));
        let metrics = Registry::default();
        let policy = CallPolicy { breaker: Some(breaker()), ..retrying() };
        let upstream = upstream(policy, &metrics, &[shedding.instance.clone(), other.instance.clone()]);
        let pool = LocalPool::default();
        for _ in 0..4 {
            assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
        }
        let states: Vec<_> = upstream.instances().iter().map(|it| it.breaker).collect();
        assert_eq!(states, [Some(State::Closed); 2]);
        assert!(metrics.render().contains("outcome=\"shed\""), "{}", metrics.render());
        // What may not be sent twice comes back as it is.
        upstream.set_instances(std::slice::from_ref(&shedding.instance));
        let post = Request::post("/").body(Body::empty()).unwrap();
        let answer = upstream.call(&pool, post, &mut Span::disabled(), None).await.unwrap();
        assert_eq!((answer.status().as_u16(), upstream.instances()[0].breaker), (503, Some(State::Closed)));
    });
}

#[test]
fn the_latency_of_what_is_ignored_is_nobodys() {
    run(async || {
        let callee = serve("a", Protocol::Http1, |_| status(404));
        let outcome = OutcomePolicy { ignored: vec!["404".to_owned().try_into().unwrap()], ..OutcomePolicy::default() };
        let policy = CallPolicy { outcome, ..plain() };
        let upstream = upstream(policy, &Registry::default(), std::slice::from_ref(&callee.instance));
        assert_eq!(ask(&upstream, &LocalPool::default()).await.unwrap(), 404);
        assert_eq!(upstream.instances()[0].latency, Duration::ZERO);
    });
}

#[test]
fn a_request_in_grpc_gets_no_fallback() {
    run(async || {
        let fallback = FallbackPolicy { body: "[]".to_owned(), ..FallbackPolicy::default() };
        let policy = CallPolicy { fallback: Some(fallback), ..plain() };
        let upstream = upstream(policy, &Registry::default(), &[dead("a")]);
        let pool = LocalPool::default();
        assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
        let grpc = Request::post("/").header("content-type", "application/grpc").body(Body::empty()).unwrap();
        assert!(upstream.call(&pool, grpc, &mut Span::disabled(), None).await.is_err());
    });
}
