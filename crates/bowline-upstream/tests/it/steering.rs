//! Splits and mirrors over real sockets: what is copied, what is bounded, what nobody notices.

use std::{cell::Cell, cell::RefCell, collections::BTreeMap, future::pending, rc::Rc, sync::Arc, time::Duration};

use bowline_model::mesh::{Mirror, Steering};
use bowline_model::policy::CallPolicy;
use bowline_model::units::Share;
use bowline_model::{Instance, Protocol};
use bowline_resilience::breaker::State;
use bowline_runtime::metric::Registry;
use bowline_runtime::{rand, task, time};
use bowline_telemetry::{Always, Reporter, Span, SpanData, SpanKind, Tracer, Value, names};
use bowline_transport::server::Incoming;
use bowline_transport::{Body, BoxError, LocalPool};
use bowline_upstream::Upstream;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::Notify;

use crate::support::{Callee, HANGING, ask, dead, get, plain, retrying, run, serve, status, upstream};

fn of(version: &str, instance: &Instance) -> Instance {
    Instance { version: version.to_owned(), ..instance.clone() }
}

fn split(weights: &[(&str, u32)]) -> Steering {
    let split = weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect();
    Steering { split, ..Steering::default() }
}

/// All calls are answered by `v1`; a share of them is copied to `v2`.
fn mirrored(share: &str) -> Steering {
    let mirror = Mirror { version: "v2".to_owned(), share: Share::parse(share).unwrap() };
    Steering { mirror: Some(mirror), ..split(&[("v1", 1)]) }
}

/// What a callee was asked.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    headers: HeaderMap,
    body: Bytes,
}

type Seen = Rc<RefCell<Vec<Asked>>>;

fn keeping(id: &str, protocol: Protocol, seen: &Seen) -> Callee {
    let seen = Rc::clone(seen);
    serve(id, protocol, move |request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let line = format!("{} {}", head.method, head.uri.path_and_query().unwrap());
            seen.borrow_mut().push(Asked { line, headers: head.headers, body });
            status(200).await
        }
    })
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            task::yield_now().await;
        }
    };
    time::timeout(HANGING / 2, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn counted(metrics: &Registry, outcome: &str) -> u64 {
    let line = format!("bowline_mirrored_total{{reporter=\"client\",service=\"callee\",outcome=\"{outcome}\"}} ");
    let text = metrics.render();
    text.lines().find_map(|it| it.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_copy_is_the_same_request_and_marked() {
    run(async || {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let (seen, copies): (Seen, Seen) = Default::default();
            let (a, b) = (keeping("a", protocol, &seen), keeping("b", protocol, &copies));
            let metrics = Registry::default();
            let upstream = upstream(plain(), &metrics, &[of("v1", &a.instance), of("v2", &b.instance)]);
            upstream.set_steering(mirrored("100%"));
            let pool = LocalPool::default();
            let known = Body::stream(http_body_util::Full::new(Bytes::from_static(b"of a known length")));
            for body in [Body::empty(), Body::full("payload"), known] {
                let request = Request::put("/orders/7?dry=1").header("x-mine", "1").body(body).unwrap();
                let answer = upstream.call(&pool, request, &mut Span::disabled(), None).await.unwrap();
                assert_eq!(answer.status(), 200);
            }
            until("three copies", || copies.borrow().len() == 3 && counted(&metrics, "ok") == 3).await;
            let mut copies = copies.borrow().clone();
            copies.sort_by_key(|copy| copy.body.len());
            for (copy, original) in copies.iter().zip(seen.borrow().iter()) {
                assert_eq!((&copy.line, &copy.body), (&original.line, &original.body));
                assert_eq!(
                    (copy.line.as_str(), &copy.headers["x-mine"]),
                    ("PUT /orders/7?dry=1", &original.headers["x-mine"])
                );
                assert_eq!(copy.headers["traceparent"], original.headers["traceparent"]);
                assert_eq!(
                    (&copy.headers["x-bowline-mirror"], original.headers.get("x-bowline-mirror")),
                    (&"1".parse().unwrap(), None)
                );
                let millis: u64 = copy.headers["x-bowline-timeout-ms"].to_str().unwrap().parse().unwrap();
                assert!((4000..=5000).contains(&millis), "{millis}");
            }
        }
    });
}

#[test]
fn what_cannot_be_copied_reaches_its_service_all_the_same() {
    run(async || {
        let (seen, copies): (Seen, Seen) = Default::default();
        let (a, b) = (keeping("a", Protocol::Http1, &seen), keeping("b", Protocol::Http1, &copies));
        let metrics = Registry::default();
        let upstream = upstream(plain(), &metrics, &[of("v1", &a.instance), of("v2", &b.instance)]);
        upstream.set_steering(mirrored("100%"));
        let frames = [Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"x")))];
        let streamed = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
        let large = Body::stream(http_body_util::Full::new(Bytes::from(vec![b'x'; 64 * 1024 + 1])));
        for body in [streamed, large] {
            let request = Request::post("/").body(body).unwrap();
            let answer = upstream.call(&LocalPool::default(), request, &mut Span::disabled(), None).await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        let lengths: Vec<_> = seen.borrow().iter().map(|asked| asked.body.len()).collect();
        assert_eq!(lengths, [1, 64 * 1024 + 1]);
        assert_eq!((counted(&metrics, "streamed"), copies.borrow().len()), (2, 0));
    });
}

#[test]
fn copies_under_way_are_bounded_and_hold_up_nobody() {
    run(async || {
        let is_open = Rc::new((Cell::new(false), Notify::new()));
        let gate = Rc::clone(&is_open);
        let (a, b) = (
            serve("a", Protocol::Http1, |_| status(200)),
            serve("b", Protocol::Http1, move |_| {
                let gate = Rc::clone(&gate);
                async move {
                    while !gate.0.get() {
                        gate.1.notified().await;
                    }
                    status(200).await
                }
            }),
        );
        let metrics = Registry::default();
        let upstream = upstream(plain(), &metrics, &[of("v1", &a.instance), of("v2", &b.instance)]);
        upstream.set_steering(mirrored("100%"));
        let pool = LocalPool::default();
        for _ in 0..100 {
            assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
        }
        assert_eq!((counted(&metrics, "dropped"), counted(&metrics, "ok")), (36, 0), "64 are under way");
        // Another steering does not begin to count anew.
        upstream.set_steering(mirrored("99.9999%"));
        upstream.set_steering(mirrored("100%"));
        assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
        assert_eq!(counted(&metrics, "dropped"), 37);
        let b = upstream.instances().remove(1);
        assert_eq!((b.in_flight, b.latency), (0, Duration::ZERO), "its load is not told");
        is_open.0.set(true);
        is_open.1.notify_waiters();
        until("all have ended", || counted(&metrics, "ok") == 64).await;
        assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
        until("the places are free", || counted(&metrics, "ok") == 65).await;
    });
}

#[test]
fn copies_that_fail_tell_nothing_of_their_instance() {
    run(async || {
        let metrics = Registry::default();
        let (a, failing) = (serve("a", Protocol::Http1, |_| status(200)), serve("b", Protocol::Http1, |_| status(503)));
        let hanging = serve("c", Protocol::Http1, |_| pending());
        let policy = CallPolicy { timeout: Duration::from_millis(300), ..plain() };
        let upstream = upstream(policy, &metrics, &[of("v1", &a.instance)]);
        upstream.set_steering(mirrored("100%"));
        let pool = LocalPool::default();
        let cases = [
            ("server_error", of("v2", &failing.instance)),
            ("timeout", of("v2", &hanging.instance)),
            ("connect", of("v2", &dead("d"))),
        ];
        for (outcome, instance) in cases {
            upstream.set_instances(&[of("v1", &a.instance), instance]);
            for _ in 0..3 {
                assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
            }
            until(outcome, || counted(&metrics, outcome) == 3).await;
            let breakers: Vec<_> = upstream.instances().iter().map(|instance| instance.breaker).collect();
            assert_eq!(breakers, [Some(State::Closed); 2], "{outcome}");
        }
        upstream.set_instances(&[of("v1", &a.instance)]);
        assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
        assert_eq!(counted(&metrics, "no_instance"), 1);
    });
}

#[test]
fn a_share_of_the_calls_is_copied() {
    run(async || {
        let seed = rand::u64();
        println!("seed {seed}");
        rand::seed(seed);
        let metrics = Registry::default();
        let (a, b) = (serve("a", Protocol::Http1, |_| status(200)), serve("b", Protocol::Http1, |_| status(200)));
        let upstream = upstream(plain(), &metrics, &[of("v1", &a.instance), of("v2", &b.instance)]);
        let pool = LocalPool::default();
        let copied = || ["ok", "dropped"].iter().map(|outcome| counted(&metrics, outcome)).sum::<u64>();
        // Of 600 calls a quarter is 150, with a standard deviation of 11.
        for (share, least, most) in [("0%", 0, 0), ("25%", 90, 210), ("100%", 600, 600)] {
            upstream.set_steering(mirrored(share));
            let before = copied();
            for _ in 0..600 {
                assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
            }
            until("enough copies", || copied() >= before + least).await;
            assert!(copied() - before <= most, "{share}: {}", copied() - before);
        }
    });
}

#[test]
fn steering_changes_under_load_without_a_failure() {
    run(async || {
        let callees = ["a", "b", "c"].map(|id| serve(id, Protocol::Http1, |_| status(200)));
        let all: Vec<_> =
            callees.iter().zip(["v1", "v2", "v3"]).map(|(it, version)| of(version, &it.instance)).collect();
        let upstream = upstream(retrying(), &Registry::default(), &all);
        let is_over = Rc::new(Cell::new(false));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (upstream, is_over): (Arc<Upstream>, _) = (Arc::clone(&upstream), Rc::clone(&is_over));
                task::spawn_local(async move {
                    let (pool, mut count) = (LocalPool::default(), 0);
                    while !is_over.get() {
                        assert_eq!(ask(&upstream, &pool).await.unwrap(), 200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let steerings =
            [split(&[("v1", 1), ("v2", 3)]), Steering::default(), mirrored("50%"), split(&[("v1", 0), ("v3", 1)])];
        for round in 0..200 {
            upstream.set_steering(steerings[round % steerings.len()].clone());
            // `v1` and `v3` are always there; `v2` comes and goes.
            let there: Vec<_> = all.iter().filter(|it| round % 3 > 0 || it.version != "v2").cloned().collect();
            upstream.set_instances(&there);
            upstream.set_policy(CallPolicy { timeout: Duration::from_secs(5 + round as u64 % 2), ..retrying() });
            for _ in 0..20 {
                task::yield_now().await;
            }
        }
        is_over.set(true);
        for client in clients {
            assert!(client.await.unwrap() > 0);
        }
    });
}

/// Spans as they end.
#[derive(Clone, Default)]
struct Kept(Arc<std::sync::Mutex<Vec<SpanData>>>);

impl Reporter for Kept {
    fn report(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

#[test]
fn the_span_names_the_version_where_there_is_a_split() {
    run(async || {
        let a = serve("a", Protocol::Http1, |_| status(200));
        let upstream = upstream(plain(), &Registry::default(), &[of("v1", &a.instance)]);
        let kept = Kept::default();
        let tracer = Tracer::new("caller", "caller-1", Always, kept.clone());
        let mut expected = Vec::new();
        for (steering, version) in [(Steering::default(), None), (split(&[("v1", 1), ("v2", 1)]), Some("v1"))] {
            upstream.set_steering(steering);
            let mut span = tracer.start("call", SpanKind::Client, None);
            upstream.call(&LocalPool::default(), get(), &mut span, None).await.unwrap();
            drop(span);
            expected.push(version.map(Value::from));
        }
        let version = |span: &SpanData| {
            let attributes: BTreeMap<String, Value> =
                span.attributes.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
            attributes.get(names::BOWLINE_VERSION).cloned()
        };
        assert_eq!(kept.0.lock().unwrap().iter().map(version).collect::<Vec<_>>(), expected);
    });
}
