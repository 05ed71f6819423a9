//! Stopping, and changing routes, while requests are under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_model::instance::Protocol;
use bowline_proxy::matcher::Matcher;
use bowline_runtime::{net::TcpStream, task, time};
use http::Request;
use tokio::sync::Semaphore;

use crate::support::{BOUND, Fake, Proxy, answer, full, http1, http2, read, route};

/// Answers when there is a permit for it.
fn waiting() -> (Arc<Semaphore>, Arc<Semaphore>, Fake) {
    let (arrivals, permits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (arriving, permitted) = (Arc::clone(&arrivals), Arc::clone(&permits));
    let fake = Fake::http1(move |_| {
        let (arriving, permitted) = (Arc::clone(&arriving), Arc::clone(&permitted));
        async move {
            arriving.add_permits(1);
            permitted.acquire().await.unwrap().forget();
            answer(200, "done")
        }
    });
    (arrivals, permits, fake)
}

fn get() -> Request<crate::support::TestBody> {
    Request::get("http://a/").header("host", "a").body(full("")).unwrap()
}

#[tokio::test]
async fn what_is_in_flight_finishes() {
    let (arrivals, permits, fake) = waiting();
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let (addr, metrics) = (proxy.addr(), proxy.metrics.clone());
    let idle = http1(addr).await;
    let mut one = http1(addr).await;
    let mut two = http2(addr).await;
    let asking = task::spawn(async move {
        let (one, two) = tokio::join!(one.send_request(get()), two.send_request(get()));
        (read(one.unwrap()).await, read(two.unwrap()).await)
    });
    arrivals.acquire_many(2).await.unwrap().forget();
    let draining = task::spawn(proxy.engine.drain(BOUND));
    bowline_testkit::eventually(BOUND, || idle.is_closed()).await;
    time::timeout(BOUND, async { while TcpStream::connect(addr).await.is_ok() {} }).await.expect("no more is accepted");
    assert!(!draining.is_finished());
    permits.add_permits(2);
    let (one, two) = asking.await.unwrap();
    assert_eq!((one.text(), two.text()), ("done", "done"));
    assert!(draining.await.unwrap(), "everything finished in time");
    drop(metrics);
}

#[tokio::test]
async fn after_the_grace_the_rest_is_cut() {
    let (arrivals, _permits, fake) = waiting();
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let mut client = http1(proxy.addr()).await;
    let asking = task::spawn(async move { client.send_request(get()).await.is_err() });
    arrivals.acquire().await.unwrap().forget();
    assert!(!proxy.engine.drain(Duration::from_millis(20)).await);
    assert!(time::timeout(BOUND, asking).await.unwrap().unwrap(), "the client is told by the closed connection");
}

#[tokio::test]
async fn draining_under_load_fails_no_request() {
    let fake = Fake::named("ok");
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let addr = proxy.addr();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            task::spawn(async move {
                let (mut answered, mut client) = (0_u32, http1(addr).await);
                // A connection that we closed between two requests is no failure: the next one is
                // not sent. One that was sent is answered.
                while client.ready().await.is_ok() {
                    match client.try_send_request(get()).await {
                        Ok(response) => {
                            assert_eq!(read(response).await.text(), "ok");
                            answered += 1;
                        }
                        Err(mut error) => assert!(
                            error.take_message().is_some() || error.error().is_incomplete_message(),
                            "{error:?}"
                        ),
                    }
                }
                answered
            })
        })
        .collect();
    bowline_testkit::eventually(BOUND, || proxy.counted("a", 200) > 500).await;
    let metrics = proxy.metrics.clone();
    assert!(proxy.engine.drain(BOUND).await);
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    let text = metrics.render();
    assert!(!text.contains("code=\"499\""), "{text}");
    assert!(text.contains(&format!("code=\"200\"}} {answered}\n")), "{answered} were answered: {text}");
}

#[tokio::test]
async fn new_routes_under_load_fail_no_request() {
    let (old, new) = (Fake::named("old"), Fake::named("new"));
    let mut proxy = Proxy::start(&[route("old", "/**")], &[old.instance("old", "o-1")]);
    let addr = proxy.addr();
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            task::spawn(async move {
                let (mut client, mut last) = (http1(addr).await, String::new());
                while !is_over.load(SeqCst) {
                    client.ready().await.unwrap();
                    let got = read(client.send_request(get()).await.unwrap()).await;
                    assert_eq!(got.status, 200);
                    last = got.text().to_owned();
                }
                last
            })
        })
        .collect();
    for round in 1..=50 {
        let (name, fake) = if round % 2 == 0 { ("old", &old) } else { ("new", &new) };
        let before = proxy.counted(name, 200);
        proxy.set_routes(&[route(name, "/**")], &[fake.instance(name, "x-1")]);
        bowline_testkit::eventually(BOUND, || proxy.counted(name, 200) > before + 20).await;
    }
    proxy.set_routes(&[route("new", "/**")], &[new.instance("new", "x-1")]);
    let before = proxy.counted("new", 200);
    bowline_testkit::eventually(BOUND, || proxy.counted("new", 200) > before + 100).await;
    is_over.store(true, SeqCst);
    for client in clients {
        assert_eq!(client.await.unwrap(), "new");
    }
    assert_eq!(new.protocol, Protocol::Http1);
}

#[tokio::test]
async fn routes_that_were_replaced_are_let_go_of_without_a_request() {
    let mut proxy = Proxy::start(&[route("old", "/**")], &[]);
    let old: Vec<_> = std::mem::take(&mut proxy.upstreams).values().map(Arc::downgrade).collect();
    assert!(old[0].upgrade().is_some());
    proxy.set_routes(&[route("new", "/**")], &[]);
    bowline_testkit::eventually(BOUND, || old[0].upgrade().is_none()).await;
    proxy.get("/").await.assert_refused(503, "unavailable", "no_instance");
}

#[tokio::test]
async fn a_taken_port_is_found_out() {
    let taken = bowline_runtime::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let metrics = bowline_runtime::metric::Registry::default();
    let settings = bowline_proxy::Settings::new(taken.local_addr().unwrap(), "gateway");
    let never = |_: &bowline_model::route::Route, _| unreachable!();
    let snapshot = Arc::new(bowline_proxy::Snapshot::new(Matcher::default(), &[], "gateway", &metrics, never));
    let tracer = bowline_telemetry::Tracer::disabled();
    let error = bowline_proxy::Engine::start(&settings, snapshot, &tracer, &metrics).unwrap_err();
    assert!(
        matches!(&error, bowline_proxy::StartError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
    );
}
