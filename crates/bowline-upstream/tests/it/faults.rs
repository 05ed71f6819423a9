//! Whose fault it was: what counts against an instance, and what does not.

use std::time::Duration;

use bowline_model::policy::{BreakerPolicy, CallPolicy, RetryPolicy};
use bowline_model::{Code, Protocol};
use bowline_resilience::breaker::State;
use bowline_runtime::metric::Registry;
use bowline_runtime::{task, time};
use bowline_telemetry::Span;
use bowline_transport::server::Incoming;
use bowline_transport::{Body, BoxError, LocalPool, Side};
use bowline_upstream::Upstream;
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;

use crate::support::{HANGING, breaker, get, plain, refusing, retrying, run, serve, status, upstream};

#[test]
fn a_body_that_fails_is_not_the_instances_fault() {
    run(async || {
        let callees = [Protocol::Http1, Protocol::Http2].map(|protocol| {
            serve("a", protocol, |request: Request<Incoming>| async {
                drop(request.into_body().collect().await);
                status(200).await
            })
        });
        let policies = [plain(), CallPolicy { breaker: Some(breaker()), ..retrying() }];
        for (policy, callee) in policies.iter().flat_map(|policy| callees.iter().map(move |callee| (policy, callee))) {
            let upstream = upstream(policy.clone(), &Registry::default(), std::slice::from_ref(&callee.instance));
            for _ in 0..3 {
                let frames = [Ok(Frame::data(Bytes::from_static(b"x"))), Err(BoxError::from("client went away"))];
                let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
                let request = Request::post("/").body(body).unwrap();
                let error =
                    upstream.call(&LocalPool::default(), request, &mut Span::disabled(), None).await.unwrap_err();
                assert_eq!((error.reason(), error.side()), ("request_body", Side::Downstream));
            }
            let status = &upstream.instances()[0];
            assert_eq!((status.breaker, status.in_flight), (Some(State::Closed), 0));
        }
    });
}

#[test]
fn what_an_instance_refused_unread_is_repeated_whatever_the_method() {
    run(async || {
        let streamed = || {
            let frames = [Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"x")))];
            Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
        };
        let pool = LocalPool::default();
        let post = async |upstream: &Upstream, body: Body| {
            let request = Request::post("/").body(body).unwrap();
            let answer = upstream.call(&pool, request, &mut Span::disabled(), None).await;
            answer.map(|response| response.status().as_u16())
        };
        let metrics = Registry::default();
        let upstream = |count| upstream(retrying(), &metrics, &[refusing("a", count)]);
        assert_eq!(post(&upstream(2), Body::full("x")).await.unwrap(), 200);
        let text = metrics.render();
        assert!(text.contains("outcome=\"refused\"} 2"), "{text}");
        let error = post(&upstream(3), Body::full("x")).await.unwrap_err();
        assert_eq!((error.reason(), error.code(), error.retryable()), ("upstream_refused", Code::Unavailable, true));
        // What is gone cannot be sent again.
        let error = post(&upstream(1), streamed()).await.unwrap_err();
        assert_eq!(error.reason(), "upstream_refused");
    });
}

#[test]
fn a_caller_that_does_not_wait_tells_nothing_of_the_instance() {
    run(async || {
        let callee = serve("a", Protocol::Http1, |_| std::future::pending());
        let call = async |policy: CallPolicy, deadline: Duration| {
            let upstream = upstream(policy, &Registry::default(), std::slice::from_ref(&callee.instance));
            let deadline = Some(time::now() + deadline);
            let pool = LocalPool::default();
            let error = upstream.call(&pool, get(), &mut Span::disabled(), deadline).await.unwrap_err();
            assert_eq!(error.reason(), "timeout");
            let status = upstream.instances().remove(0);
            assert_eq!(status.in_flight, 0);
            assert!(status.latency >= Duration::from_millis(20), "the balancer is told all the same");
            status.breaker.unwrap()
        };
        let breaker = || BreakerPolicy { open_for: HANGING.into(), ..breaker() };
        let policy = || CallPolicy { breaker: Some(breaker()), ..plain() };
        let short = Duration::from_millis(20);
        assert_eq!(call(policy(), short).await, State::Closed, "20 ms of the 5 s that it has");
        // Within the caller's time, but beyond the policy's own patience.
        let slow = CallPolicy { breaker: Some(BreakerPolicy { slow_call: Some(short / 2), ..breaker() }), ..policy() };
        assert_eq!(call(slow, short).await, State::Open, "it was slow already");
        let retry = RetryPolicy { attempts_max: 1, per_try_timeout: Some(short), ..retrying().retry.unwrap() };
        assert_eq!(call(CallPolicy { retry: Some(retry), ..policy() }, HANGING).await, State::Open, "its try was over");
        let brief = CallPolicy { timeout: short, ..policy() };
        assert_eq!(call(brief.clone(), HANGING).await, State::Open, "its time was over");
        assert_eq!(call(brief, short).await, State::Open, "its caller said the same");
    });
}

#[test]
fn a_caller_that_does_not_send_its_body_tells_nothing_of_the_instance() {
    run(async || {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let callee = serve("a", protocol, |request| async move {
                drop(request.into_body().collect().await);
                status(200).await
            });
            let policy = CallPolicy { timeout: Duration::from_millis(50), ..plain() };
            let upstream = upstream(policy, &Registry::default(), std::slice::from_ref(&callee.instance));
            let (frames, mut receiver) = mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
            frames.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.unwrap();
            let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
            let request = Request::post("/").body(Body::stream(StreamBody::new(stream))).unwrap();
            let pool = LocalPool::default();
            let error = upstream.call(&pool, request, &mut Span::disabled(), None).await.unwrap_err();
            assert_eq!((error.reason(), error.side()), ("request_body", Side::Downstream), "{protocol:?}");
            assert_eq!(upstream.instances()[0].breaker, Some(State::Closed));
        }
    });
}

#[test]
fn a_caller_that_sends_its_body_slowly_is_not_the_instances_slowness() {
    run(async || {
        let callee = serve("a", Protocol::Http1, |request| async move {
            drop(request.into_body().collect().await);
            status(200).await
        });
        let breaker =
            BreakerPolicy { slow_call: Some(Duration::from_millis(10)), open_for: HANGING.into(), ..breaker() };
        let policy = CallPolicy { breaker: Some(breaker), ..plain() };
        let upstream = upstream(policy, &Registry::default(), std::slice::from_ref(&callee.instance));
        let (frames, mut receiver) = mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
        task::spawn_local(async move {
            // tidy: sleep: a slow sender, beside real sockets
            time::sleep(Duration::from_millis(30)).await;
            drop(frames);
        });
        let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let request = Request::post("/").body(Body::stream(StreamBody::new(stream))).unwrap();
        let pool = LocalPool::default();
        let answer = upstream.call(&pool, request, &mut Span::disabled(), None).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(upstream.instances()[0].breaker, Some(State::Closed));
    });
}
