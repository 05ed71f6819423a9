//! What goes wrong behind us or before us, and what is said of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_model::{instance::Protocol, policy::BreakerPolicy};
use bowline_runtime::{net::TcpStream, time};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, mpsc},
};

use crate::{
    logs,
    support::{BOUND, Fake, Proxy, answer, attribute, channel, full, http1, http2, instance, route},
};

#[tokio::test]
async fn a_dead_instance_is_passed_over() {
    let fake = Fake::named("alive");
    let dead = bowline_testkit::free_addr();
    let instances = [fake.instance("a", "a-1"), instance("a", "a-2", dead, Protocol::Http1)];
    let proxy = Proxy::start(&[route("a", "/**")], &instances);
    for _ in 0..50 {
        let request = Request::post("/").body(full("x")).unwrap();
        assert_eq!(proxy.send(request).await.text(), "alive");
    }
}

#[tokio::test]
async fn nobody_there_is_said() {
    let dead = instance("dead", "d-1", bowline_testkit::free_addr(), Protocol::Http1);
    let proxy = Proxy::start(&[route("none", "/none"), route("dead", "/dead")], &[dead]);
    proxy.get("/none").await.assert_refused(503, "unavailable", "no_instance");
    proxy.get("/dead").await.assert_refused(503, "unavailable", "upstream_connect");
    assert_eq!((proxy.counted("none", 503), proxy.counted("dead", 503)), (1, 1));
}

#[tokio::test]
async fn an_upstream_that_hangs_up_before_its_answer_is_a_502() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let fake = Fake::raw(move |mut stream: TcpStream| {
        let count = Arc::clone(&count);
        async move {
            let mut bytes = [0; 4096];
            let _read = stream.read(&mut bytes).await;
            count.fetch_add(1, SeqCst);
        }
    });
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let request = Request::post("/").body(full("x")).unwrap();
    proxy.send(request).await.assert_refused(502, "bad_gateway", "upstream_reset");
    assert_eq!(seen.load(SeqCst), 1, "a POST is not repeated");
    let span = proxy.spans.only().await;
    assert_eq!(attribute(&span, "bowline.reason").as_deref(), Some("upstream_reset"));
    assert!(matches!(span.status, bowline_telemetry::Status::Error(_)), "{span:?}");
    proxy.get("/").await.assert_refused(502, "bad_gateway", "upstream_reset");
    assert_eq!(seen.load(SeqCst), 4, "a GET is tried three times");
}

#[tokio::test]
async fn an_upstream_that_answers_garbage_is_a_502() {
    let fake = Fake::raw(|mut stream: TcpStream| async move {
        let mut bytes = [0; 4096];
        let _read = stream.read(&mut bytes).await;
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await.ok();
    });
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let request = Request::post("/").body(full("x")).unwrap();
    proxy.send(request).await.assert_refused(502, "bad_gateway", "upstream_malformed");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_whole() {
    for is_chunked in [false, true] {
        let fake = Fake::raw(move |mut stream: TcpStream| async move {
            let mut bytes = [0; 4096];
            let _read = stream.read(&mut bytes).await;
            let head = if is_chunked { "transfer-encoding: chunked" } else { "content-length: 100" };
            let body = if is_chunked { "5\r\nhello\r\n" } else { "hello" };
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes()).await.ok();
        });
        let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
        let request = || Request::get("http://a/").header("host", "a").body(full("")).unwrap();
        // Where it breaks off before the head was written, the client gets nothing at all.
        let is_whole = async |response: hyper::Result<Response<hyper::body::Incoming>>| match response {
            Ok(response) => response.into_body().collect().await.is_ok(),
            Err(_) => false,
        };
        assert!(!is_whole(http1(proxy.addr()).await.send_request(request()).await).await, "chunked: {is_chunked}");
        assert!(!is_whole(http2(proxy.addr()).await.send_request(request()).await).await, "chunked: {is_chunked}");
        bowline_testkit::eventually(BOUND, || proxy.counted("a", 502) == 2).await;
    }
}

#[tokio::test]
async fn a_silent_upstream_is_a_504() {
    let fake = Fake::http1(|_| async { std::future::pending().await });
    let mut quick = route("quick", "/**");
    quick.policy.timeout = Duration::from_millis(50);
    let proxy = Proxy::start(&[quick], &[fake.instance("quick", "q-1")]);
    proxy.get("/").await.assert_refused(504, "deadline_exceeded", "timeout");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    struct Gone(mpsc::UnboundedSender<()>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.send(()).ok();
        }
    }
    #[expect(clippy::disallowed_methods, reason = "a drop cannot wait, and a test sends a few")]
    let (gone, mut is_gone) = mpsc::unbounded_channel();
    let arrived = Arc::new(Notify::new());
    let arriving = Arc::clone(&arrived);
    let fake = Fake::http1(move |_| {
        let (gone, arriving) = (Gone(gone.clone()), Arc::clone(&arriving));
        async move {
            let _gone = gone;
            arriving.notify_one();
            std::future::pending().await
        }
    });
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    arrived.notified().await;
    assert_eq!(proxy.in_flight(), 1);
    drop(stream);
    time::timeout(BOUND, is_gone.recv()).await.expect("the call upstream is cancelled");
    bowline_testkit::eventually(BOUND, || proxy.counted("a", 499) == 1).await;
    assert_eq!(proxy.in_flight(), 0);
    let span = proxy.spans.only().await;
    assert_eq!(attribute(&span, "bowline.reason").as_deref(), Some("client_gone"));
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_the_answer_is_counted() {
    let (sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let fake = Fake::http1(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    });
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let mut client = http1(proxy.addr()).await;
    let request = Request::get("/").header("host", "a").body(full("")).unwrap();
    let mut response = client.send_request(request).await.unwrap();
    sender.send(Ok(Bytes::from_static(b"part"))).await.unwrap();
    response.frame().await.unwrap().unwrap();
    drop((response, client));
    // The upstream's connection is closed when the client's is: sending fails in the end.
    time::timeout(BOUND, async { while sender.send(Ok(Bytes::from_static(&[0; 8192]))).await.is_ok() {} })
        .await
        .unwrap();
    bowline_testkit::eventually(BOUND, || proxy.counted("a", 499) == 1).await;
}

#[tokio::test]
async fn an_outage_does_not_flood_the_log() {
    let lines = logs::of("outage");
    let other = logs::of("outage-too");
    let proxy = Proxy::start(&[route("outage", "/a"), route("outage-too", "/b")], &[]);
    let began = time::now();
    for _ in 0..100 {
        proxy.get("/a").await.assert_refused(503, "unavailable", "no_instance");
    }
    proxy.get("/b").await.assert_refused(503, "unavailable", "no_instance");
    let lines = lines.take();
    let most = 2 + began.elapsed().as_secs();
    assert!((1..=most).contains(&(lines.len() as u64)), "{lines:?}");
    let expected = [("message", "request failed"), ("reason", "no_instance"), ("left_out", "0")];
    for (key, value) in expected {
        assert_eq!(lines[0][key], value, "{lines:?}");
    }
    assert_eq!(other.take().len(), 1, "each route has its own line");
}

#[tokio::test]
async fn workers_share_the_breaker() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let fake = Fake::http1(move |_| {
        count.fetch_add(1, SeqCst);
        async { answer(500, "broken") }
    });
    let mut broken = route("broken", "/**");
    broken.policy.retry = None;
    broken.policy.breaker =
        Some(BreakerPolicy { calls_min: 10, open_for: Duration::from_mins(10).into(), ..BreakerPolicy::default() });
    let proxy = Proxy::start(&[broken], &[fake.instance("broken", "b-1")]);
    // New connections land on either worker; together they may fail ten times, not twenty.
    let mut refused = 0;
    for _ in 0..60 {
        let got = proxy.get("/").await;
        if got.status == 503 {
            got.assert_refused(503, "unavailable", "breaker_open");
            assert!(got.headers.contains_key("retry-after"), "{got:?}");
            refused += 1;
        } else {
            assert_eq!(got.status, 500);
        }
    }
    assert_eq!((calls.load(SeqCst), refused), (10, 50));
}
