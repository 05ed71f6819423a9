//! Bodies: streamed both ways, never whole in memory, never longer than allowed.

use std::time::Duration;

use bowline_model::route::BODY_MAX_DEFAULT;
use bowline_runtime::{net::TcpStream, time};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use crate::support::{BOUND, Fake, Proxy, TestBody, answer, channel, full, http1, http2, raw, read, route};

/// Answers with the body it got.
fn echo() -> Fake {
    Fake::http1(|request| async move {
        let body = request.into_body().map_err(Into::into).boxed_unsync();
        Response::new(body)
    })
}

fn post(body: TestBody) -> Request<TestBody> {
    Request::post("/").header("host", "a").body(body).unwrap()
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let fake = echo();
    let proxy = Proxy::start(&[route("echo", "/**")], &[fake.instance("echo", "e-1")]);
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
    let got = proxy.send(post(full(bytes.clone()))).await;
    assert!(got.body == bytes, "{} bytes came back", got.body.len());
    let (sender, body) = channel();
    let sending = async {
        for chunk in bytes.chunks(70_000) {
            sender.send(Ok(Bytes::copy_from_slice(chunk))).await.unwrap();
        }
        drop(sender);
    };
    let (got, ()) = tokio::join!(proxy.send(post(body)), sending);
    assert!(got.body == bytes, "{} bytes came back", got.body.len());
}

#[tokio::test]
async fn an_answer_streams_as_it_comes() {
    let (parts, to_answer) = mpsc::channel(1);
    let to_answer = std::sync::Arc::new(tokio::sync::Mutex::new(to_answer));
    let fake = Fake::http1(move |_| {
        let to_answer = to_answer.clone();
        async move { Response::new(to_answer.lock().await.recv().await.unwrap()) }
    });
    let proxy = Proxy::start(&[route("slow", "/**")], &[fake.instance("slow", "s-1")]);
    for is_http2 in [false, true] {
        let (sender, body) = channel();
        parts.send(body).await.unwrap();
        let request = Request::get("http://a/").header("host", "a").body(full("")).unwrap();
        let mut response = if is_http2 {
            http2(proxy.addr()).await.send_request(request).await.unwrap()
        } else {
            http1(proxy.addr()).await.send_request(request).await.unwrap()
        };
        // The second part is sent only when the first has come.
        for part in ["first", "second", "third"] {
            sender.send(Ok(Bytes::from_static(part.as_bytes()))).await.unwrap();
            let frame = response.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), part);
        }
        drop(sender);
        let end = response.frame().await;
        assert!(
            end.as_ref()
                .is_none_or(|frame| frame.as_ref().is_ok_and(|frame| frame.data_ref().is_some_and(Bytes::is_empty))),
            "{is_http2}: {end:?}"
        );
    }
    bowline_testkit::eventually(BOUND, || proxy.counted("slow", 200) == 2).await;
}

#[tokio::test]
async fn a_request_streams_as_it_comes() {
    let (heard, mut hear) = mpsc::channel(1);
    let fake = Fake::http1(move |mut request| {
        let heard = heard.clone();
        async move {
            while let Some(frame) = request.body_mut().frame().await {
                heard.send(frame.unwrap().into_data().unwrap()).await.unwrap();
            }
            answer(200, "done")
        }
    });
    let proxy = Proxy::start(&[route("slow", "/**")], &[fake.instance("slow", "s-1")]);
    let (sender, body) = channel();
    let sending = async {
        for part in ["first", "second", "third"] {
            sender.send(Ok(Bytes::from_static(part.as_bytes()))).await.unwrap();
            assert_eq!(hear.recv().await.unwrap(), part);
        }
        drop(sender);
    };
    let (got, ()) = tokio::join!(proxy.send(post(body)), sending);
    assert_eq!(got.text(), "done");
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_refused_at_once() {
    let fake = echo();
    let proxy = Proxy::start(&[route("echo", "/**")], &[fake.instance("echo", "e-1")]);
    let length = BODY_MAX_DEFAULT + 1;
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n");
    let text = raw(proxy.addr(), head.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "no 100 before it: {text}");
    assert!(text.contains("x-bowline-reason: body_too_large\r\n"), "{text}");
    assert!(text.contains("connection: close\r\n"), "{text}");
    let just_right = proxy.send(post(full(vec![b'x'; usize::try_from(BODY_MAX_DEFAULT).unwrap()]))).await;
    assert_eq!((just_right.status.as_u16(), just_right.body.len() as u64), (200, BODY_MAX_DEFAULT));
    bowline_testkit::eventually(BOUND, || proxy.counted("echo", 413) == 1).await;
}

#[tokio::test]
async fn a_client_that_sends_first_and_reads_later_sees_the_refusal() {
    let proxy = Proxy::start(&[route("echo", "/**")], &[]);
    let length = usize::try_from(BODY_MAX_DEFAULT).unwrap() + 1;
    let mut request = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    request.resize(request.len() + length, b'x');
    let text = time::timeout(BOUND, raw(proxy.addr(), &request)).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
}

/// Twelve megabytes that are sent before anything is read.
fn eager(request_line: &str, framing: &str) -> Vec<u8> {
    const LENGTH: usize = 12 << 20;
    let is_chunked = framing.starts_with("transfer-encoding");
    let size = if is_chunked { format!("{LENGTH:x}\r\n") } else { String::new() };
    let mut request = format!("{request_line} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{size}").into_bytes();
    request.resize(request.len() + LENGTH, b'x');
    request.extend_from_slice(if is_chunked { b"\r\n0\r\n\r\n" } else { b"" });
    request
}

#[tokio::test]
async fn whatever_the_refusal_it_arrives_before_the_connection_is_closed() {
    let mut picky = route("picky", "/picky");
    picky.matches[0].methods = vec!["GET".to_owned()];
    let mut large = route("large", "/large");
    large.body_max = 100 << 20;
    let proxy = Proxy::start(&[picky, large], &[]);
    for (request_line, status, reason) in [
        ("POST /nowhere", 404, "no_route"),
        ("POST /picky", 405, "method_not_allowed"),
        ("POST /a/../b", 400, "bad_path"),
        ("POST /large", 503, "no_instance"),
    ] {
        for framing in ["content-length: 12582912", "transfer-encoding: chunked"] {
            let request = eager(request_line, framing);
            let text = time::timeout(BOUND, raw(proxy.addr(), &request)).await.unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request_line} {framing}: {text}");
            assert!(text.contains(&format!("x-bowline-reason: {reason}\r\n")), "{request_line} {framing}: {text}");
            assert!(text.contains("connection: close\r\n"), "{request_line} {framing}: {text}");
        }
    }
}

#[tokio::test]
async fn a_small_body_that_is_refused_does_not_cost_the_connection() {
    let proxy = Proxy::start(&[], &[]);
    let mut client = http1(proxy.addr()).await;
    for _ in 0..3 {
        client.ready().await.unwrap();
        let got = read(client.send_request(post(full(vec![b'x'; 60_000]))).await.unwrap()).await;
        got.assert_refused(404, "not_found", "no_route");
        assert!(!got.headers.contains_key("connection"), "{got:?}");
    }
}

#[tokio::test]
async fn who_is_refused_before_the_100_is_not_asked_for_the_body() {
    let proxy = Proxy::start(&[], &[]);
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    let text = time::timeout(BOUND, raw(proxy.addr(), head)).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 404 ") && text.contains("connection: close\r\n"), "{text}");
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_behind_the_answers_head_ends_the_exchange() {
    let fake = echo();
    let mut small = route("small", "/**");
    small.body_max = 100_000;
    let proxy = Proxy::start(&[small], &[fake.instance("small", "s-1")]);
    for (round, is_http2) in [(1, false), (2, true)] {
        let (sender, body) = channel();
        let request = Request::post("http://a/").header("host", "a").body(body).unwrap();
        let first = async {
            sender.send(Ok(Bytes::from_static(b"first"))).await.unwrap();
        };
        let asking = async {
            if is_http2 {
                http2(proxy.addr()).await.send_request(request).await.unwrap()
            } else {
                http1(proxy.addr()).await.send_request(request).await.unwrap()
            }
        };
        let (response, ()) = time::timeout(BOUND, async { tokio::join!(asking, first) }).await.unwrap();
        assert_eq!(response.status(), 200);
        let sending = async { while sender.send(Ok(Bytes::from_static(&[b'x'; 10_000]))).await.is_ok() {} };
        let reading = async { response.into_body().collect().await.is_err() };
        let ended = time::timeout(BOUND, async {
            tokio::select! {
                is_cut = reading => is_cut,
                () = async { sending.await; std::future::pending().await } => unreachable!(),
            }
        });
        assert!(ended.await.unwrap(), "http2: {is_http2}: what was cut off is not passed on as whole");
        bowline_testkit::eventually(BOUND, || proxy.counted("small", 413) == round).await;
        assert_eq!(proxy.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_is_refused() {
    // An upstream that reads everything before it answers: the response has not begun.
    let fake = Fake::http1(|request| async move {
        let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
        answer(200, length.to_string())
    });
    let mut small = route("small", "/**");
    small.body_max = 100_000;
    let proxy = Proxy::start(&[small], &[fake.instance("small", "s-1")]);
    for is_http2 in [false, true] {
        let (sender, body) = channel();
        let sending = async {
            for _ in 0..1000 {
                if sender.send(Ok(Bytes::from_static(&[b'x'; 1000]))).await.is_err() {
                    break;
                }
            }
            drop(sender);
        };
        let request = Request::post("http://a/").header("host", "a").body(body).unwrap();
        let asking = async {
            let response = if is_http2 {
                http2(proxy.addr()).await.send_request(request).await.unwrap()
            } else {
                http1(proxy.addr()).await.send_request(request).await.unwrap()
            };
            read(response).await
        };
        let (got, ()) = time::timeout(BOUND, async { tokio::join!(asking, sending) }).await.unwrap();
        got.assert_refused(413, "payload_too_large", "body_too_large");
    }
    assert_eq!(proxy.counted("small", 413), 2);
}

#[tokio::test]
async fn who_expects_a_100_gets_it() {
    let fake = echo();
    let proxy = Proxy::start(&[route("echo", "/**")], &[fake.instance("echo", "e-1")]);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("hello"), "{text}");
}

#[tokio::test]
async fn answers_without_a_body_end_at_once() {
    let fake = Fake::http1(|request| async move {
        match request.uri().path() {
            "/204" => answer(204, ""),
            "/304" => Response::builder().status(304).header("etag", "\"1\"").body(full("")).unwrap(),
            _ => answer(200, "hello"),
        }
    });
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let mut client = http1(proxy.addr()).await;
    for (method, path, length) in [("GET", "/204", None), ("GET", "/304", None), ("HEAD", "/", Some("5"))] {
        client.ready().await.unwrap();
        let request = Request::builder().method(method).uri(path).header("host", "a").body(full("")).unwrap();
        let got = time::timeout(Duration::from_secs(5), client.send_request(request)).await.unwrap().unwrap();
        assert_eq!(got.headers().get("content-length").map(|value| value.to_str().unwrap()), length, "{method} {path}");
        assert_eq!(read(got).await.body, "");
    }
    for code in [200, 204, 304] {
        assert_eq!(proxy.counted("a", code), 1, "{code}");
    }
    assert_eq!(proxy.in_flight(), 0);
}
