//! What of a call its vectors cannot show: cancellation, load, spans, metrics, headers.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{Future, Ready, ready},
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_model::{
    Address, Code, Health, Instance, InstanceId, Protocol, ServiceName,
    policy::{Backoff, Balance, BreakerPolicy, CallPolicy, RetryPolicy},
    units::Share,
};
use bowline_resilience::breaker::State;
use bowline_runtime::{
    drain::{self, Drainer},
    metric::Registry,
    net, task, time,
};
use bowline_telemetry::{Always, Reporter, Span, SpanData, SpanKind, Tracer, Value, names, propagation};
use bowline_transport::{
    Body, BoxError, LocalPool, SharedPool, Side,
    server::{self, Incoming, Settings, service_fn},
};
use bowline_upstream::{Error, Upstream};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{Notify, mpsc};

const HANGING: Duration = Duration::from_secs(20);

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let ended = task::core_runtime().unwrap().block_on(async { time::timeout(HANGING, test()).await });
    assert!(ended.is_ok(), "it hangs");
}

fn service() -> ServiceName {
    ServiceName::new("callee").unwrap()
}

/// Serves with a function; gone when dropped.
struct Callee {
    instance: Instance,
    _drainer: Drainer,
}

fn serve<F>(id: &str, protocol: Protocol, answer: impl Fn(Request<Incoming>) -> F + Clone + 'static) -> Callee
where
    F: Future<Output = Response<Body>> + 'static,
{
    let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let (drainer, drain) = drain::channel();
    task::spawn_local(server::serve_local(listener, Settings::default(), drain, move |_| {
        let answer = answer.clone();
        service_fn(move |request| {
            let answer = answer(request);
            async move { Ok::<_, Infallible>(answer.await) }
        })
    }));
    let instance = Instance { protocol, ..Instance::new(InstanceId::new(id).unwrap(), service(), address) };
    Callee { instance, _drainer: drainer }
}

fn status(status: u16) -> Ready<Response<Body>> {
    ready(Response::builder().status(status).body(Body::empty()).unwrap())
}

fn dead(id: &str) -> Instance {
    let address: Address = "unix:/nonexistent/bowline.sock".parse().unwrap();
    Instance::new(InstanceId::new(id).unwrap(), service(), address)
}

fn upstream(policy: CallPolicy, metrics: &Registry, instances: &[Instance]) -> Arc<Upstream> {
    let upstream = Upstream::new(service(), policy, "client", metrics);
    upstream.set_instances(instances);
    upstream
}

fn breaker() -> BreakerPolicy {
    BreakerPolicy { calls_min: 1, open_for: Duration::from_millis(20), probes_max: 1, ..BreakerPolicy::default() }
}

fn plain() -> CallPolicy {
    CallPolicy { timeout: Duration::from_secs(5), retry: None, breaker: Some(breaker()), balance: Balance::RoundRobin }
}

fn retrying() -> CallPolicy {
    let backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(2) };
    let retry = RetryPolicy { attempts_max: 3, backoff, budget: Share::from_percent(100), per_try_timeout: None };
    CallPolicy { retry: Some(retry), breaker: None, ..plain() }
}

fn get() -> Request<Body> {
    Request::get("/").body(Body::empty()).unwrap()
}

async fn ask(upstream: &Upstream, pool: &LocalPool) -> Result<u16, Error> {
    let response = upstream.call(pool, get(), &mut Span::disabled(), None).await?;
    Ok(response.status().as_u16())
}

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

/// Spans as they end.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Reporter for Kept {
    fn report(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

fn attribute<'a>(attributes: &'a [(bowline_telemetry::Key, Value)], key: &str) -> &'a Value {
    &attributes.iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("no {key}")).1
}

#[test]
fn the_span_tells_every_attempt_and_the_instance_is_told_the_trace() {
    run(async || {
        let seen: Rc<RefCell<Vec<HeaderMap>>> = Rc::default();
        let see = Rc::clone(&seen);
        let callee = serve("b", Protocol::Http2, move |request| {
            see.borrow_mut().push(request.headers().clone());
            status(if see.borrow().len() == 1 { 503 } else { 200 })
        });
        let upstream = upstream(retrying(), &Registry::default(), &[dead("a"), callee.instance.clone()]);
        let kept = Kept::default();
        let tracer = Tracer::new("caller", "caller-1", Always, kept.clone());
        let pool = LocalPool::default();
        // In turn: one of two calls begins at the dead instance.
        for _ in 0..2 {
            let mut span = tracer.start("call", SpanKind::Client, None);
            let context = span.context();
            let deadline = Some(time::now() + Duration::from_secs(3));
            upstream.call(&pool, get(), &mut span, deadline).await.unwrap();
            drop(span);
            let headers = seen.borrow().last().unwrap().clone();
            assert_eq!(propagation::extract(&headers), Some(context));
            let millis: u64 = headers["x-bowline-timeout-ms"].to_str().unwrap().parse().unwrap();
            assert!((2000..=3000).contains(&millis), "{millis}");
        }
        let spans = kept.0.lock().unwrap();
        let outcomes: Vec<Vec<String>> = spans
            .iter()
            .map(|span| {
                assert_eq!(*attribute(&span.attributes, names::BOWLINE_INSTANCE), Value::from("b"));
                let count = i64::try_from(span.events.len()).unwrap();
                assert_eq!(*attribute(&span.attributes, names::BOWLINE_ATTEMPTS), Value::from(count));
                let outcome = |event: &bowline_telemetry::Event| {
                    let Value::Text(instance) = attribute(&event.attributes, names::BOWLINE_INSTANCE) else { panic!() };
                    let Value::Text(outcome) = attribute(&event.attributes, names::BOWLINE_OUTCOME) else { panic!() };
                    format!("{instance} {outcome}")
                };
                span.events.iter().map(outcome).collect()
            })
            .collect();
        let all: Vec<&str> = outcomes.iter().flatten().map(String::as_str).collect();
        assert_eq!(all.iter().filter(|outcome| **outcome == "b ok").count(), 2, "{outcomes:?}");
        assert_eq!(all.iter().filter(|outcome| **outcome == "b server_error").count(), 1, "{outcomes:?}");
        assert!(all.contains(&"a connect"), "{outcomes:?}");
    });
}

#[test]
fn a_failed_call_says_why_on_its_span() {
    run(async || {
        let upstream = upstream(plain(), &Registry::default(), &[]);
        let kept = Kept::default();
        let tracer = Tracer::new("caller", "caller-1", Always, kept.clone());
        let mut span = tracer.start("call", SpanKind::Client, None);
        let error = upstream.call(&LocalPool::default(), get(), &mut span, None).await.unwrap_err();
        assert_eq!((error.reason(), error.side(), error.retryable()), ("no_instance", Side::Upstream, true));
        assert_eq!(error.to_string(), "service callee has no instance");
        drop(span);
        let spans = kept.0.lock().unwrap();
        assert_eq!(*attribute(&spans[0].attributes, names::BOWLINE_REASON), Value::from("no_instance"));
    });
}

#[test]
fn attempts_retries_and_breakers_are_counted() {
    run(async || {
        let metrics = Registry::default();
        let callee = serve("b", Protocol::Http1, |_| status(503));
        let policy = CallPolicy { breaker: Some(BreakerPolicy { calls_min: 2, ..breaker() }), ..retrying() };
        let upstream = upstream(policy, &metrics, std::slice::from_ref(&callee.instance));
        assert_eq!(ask(&upstream, &LocalPool::default()).await.unwrap(), 503);
        let text = metrics.render();
        for line in [
            "bowline_attempts_total{reporter=\"client\",service=\"callee\",outcome=\"server_error\"} 2",
            "bowline_retries_total{reporter=\"client\",service=\"callee\",granted=\"true\"} 2",
            "bowline_breakers{reporter=\"client\",service=\"callee\",state=\"open\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        upstream.set_instances(&[]);
        let text = metrics.render();
        assert!(text.contains("state=\"open\"} 0"), "an instance that is gone is not counted\n{text}");
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

/// An HTTP/2 server that refuses its first streams unread, and answers the others.
fn refusing(id: &str, count: usize) -> Instance {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    task::spawn_local(async move {
        let mut stream = listener.accept().await.unwrap().0;
        stream.read_exact(&mut [0; 24]).await.unwrap();
        stream.write_all(SETTINGS).await.unwrap();
        let (mut head, mut seen) = ([0; 9], 0);
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
            if head[3] != 1 {
                continue;
            }
            seen += 1;
            let id = &head[5..];
            let answer = if seen <= count {
                [&[0, 0, 4, 3, 0], id, &[0, 0, 0, 7]].concat()
            } else {
                [&[0, 0, 1, 1, 5], id, &[0x88]].concat()
            };
            stream.write_all(&answer).await.unwrap();
        }
    });
    Instance { protocol: Protocol::Http2, ..Instance::new(InstanceId::new(id).unwrap(), service(), address) }
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
fn a_slow_success_that_opens_the_breaker_is_counted_at_once() {
    run(async || {
        let metrics = Registry::default();
        let callee = serve("a", Protocol::Http1, |_| async {
            // tidy: sleep: slowness is what it is about
            time::sleep(Duration::from_millis(20)).await;
            status(200).await
        });
        let slow_call = Some(Duration::from_millis(10));
        let breaker = BreakerPolicy { slow_call, open_for: HANGING, ..breaker() };
        let policy = CallPolicy { breaker: Some(breaker), ..plain() };
        let upstream = upstream(policy, &metrics, std::slice::from_ref(&callee.instance));
        assert_eq!(ask(&upstream, &LocalPool::default()).await.unwrap(), 200);
        assert_eq!(upstream.instances()[0].breaker, Some(State::Open));
        let text = metrics.render();
        assert!(text.contains("state=\"open\"} 1"), "{text}");
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
        let breaker = || BreakerPolicy { open_for: HANGING, ..breaker() };
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
        let breaker = BreakerPolicy { slow_call: Some(Duration::from_millis(10)), open_for: HANGING, ..breaker() };
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

#[test]
fn what_is_known_of_an_instance_outlives_updates() {
    run(async || {
        let callee = serve("a", Protocol::Http1, |_| status(500));
        let policy = CallPolicy { breaker: Some(BreakerPolicy { open_for: HANGING, ..breaker() }), ..plain() };
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
