//! The HTTP/2 client, against our own server.

use std::{
    cell::Cell,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_model::Code;
use bowline_runtime::{drain, net, task, time};
use bowline_transport::{
    Body, BoxError, Endpoint, Error, Kind, LocalPool, SharedPool, Side, send,
    server::{self, Incoming, Settings, service_fn},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use crate::{
    frames::{Frames, GOAWAY, RST_STREAM, serving},
    peer::{ask, run},
};

/// A server that echoes; counts its connections.
pub(crate) struct Echo {
    pub(crate) endpoint: Endpoint,
    pub(crate) connections: Rc<Cell<usize>>,
    drainer: drain::Drainer,
    serving: task::JoinHandle<()>,
}

async fn echo(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    assert!(!head.headers.contains_key("connection"));
    let mut response = Response::new(Body::incoming(body));
    let headers = response.headers_mut();
    headers.insert("x-version", HeaderValue::from_static(if head.version == Version::HTTP_2 { "2" } else { "1" }));
    headers.insert("x-uri", HeaderValue::from_str(&head.uri.to_string()).unwrap());
    headers.insert("x-method", HeaderValue::from_str(head.method.as_str()).unwrap());
    Ok(response)
}

pub(crate) fn echoing(addr: SocketAddr) -> Echo {
    let listener = net::listen(addr).unwrap();
    let endpoint = Endpoint::http2(listener.local_addr().unwrap());
    let (drainer, drain) = drain::channel();
    let connections = Rc::new(Cell::new(0));
    let counted = Rc::clone(&connections);
    let serving = task::spawn_local(server::serve_local(listener, Settings::default(), drain, move |_| {
        counted.set(counted.get() + 1);
        service_fn(echo)
    }));
    Echo { endpoint, connections, drainer, serving }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[test]
fn requests_share_one_connection() {
    run(async |pool| {
        let server = echoing(any_port());
        let calls: Vec<_> = (0..20)
            .map(|i| {
                let (pool, endpoint) = (pool.clone(), server.endpoint.clone());
                task::spawn_local(async move {
                    let request = Request::post("/a?b").header("host", "shop.test").header("connection", "x");
                    let request = request.body(Body::full(format!("body {i}"))).unwrap();
                    let response = ask(&pool, &endpoint, request).await.unwrap();
                    assert_eq!(response.headers()["x-version"], "2");
                    assert_eq!(response.headers()["x-uri"], "http://shop.test/a?b");
                    assert_eq!(response.body().bytes, format!("body {i}"));
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(server.connections.get(), 1);
        assert_eq!(pool.metrics().connected.get(), 1);
    });
}

#[test]
fn trailers_and_streams_pass() {
    run(async |pool| {
        let server = echoing(any_port());
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("5"));
        trailers.insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        trailers.insert("authorization", HeaderValue::from_static("x"));
        let piece = Bytes::from(vec![b'x'; 300_000]);
        let frames = (0..10).map(|_| Frame::data(piece.clone())).chain([Frame::trailers(trailers)]);
        let frames: Vec<Result<_, Infallible>> = frames.map(Ok).collect();
        let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
        let response = ask(&pool, &server.endpoint, Request::put("/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.body().bytes.len(), 3_000_000);
        let trailers = response.body().trailers.as_ref().unwrap();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("5")));
    });
}

pub(crate) async fn get(pool: &LocalPool, server: &Echo) -> Result<(), bowline_transport::Error> {
    ask(pool, &server.endpoint, Request::get("/").body(Body::empty()).unwrap()).await.map(drop)
}

#[test]
fn a_server_that_came_back_is_found_again() {
    run(async |pool| {
        let mut server = echoing(any_port());
        get(&pool, &server).await.unwrap();
        server.drainer.drain().await;
        server.serving.await.unwrap();
        let bowline_model::Address::Tcp(addr) = server.endpoint.address else { unreachable!() };
        let server = echoing(addr);
        for _ in 0..3 {
            get(&pool, &server).await.unwrap();
        }
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn where_nobody_listens_nothing_is_sent() {
    run(async |pool| {
        let server = echoing(any_port());
        server.serving.abort();
        assert!(server.serving.await.unwrap_err().is_cancelled());
        let calls: Vec<_> = (0..5)
            .map(|_| {
                let (pool, endpoint) = (pool.clone(), server.endpoint.clone());
                task::spawn_local(async move {
                    let (head, ()) = Request::post("/").body(()).unwrap().into_parts();
                    let mut body = Body::full("x");
                    let error = bowline_transport::send_parts(&pool, &endpoint, &head, &mut body).await.unwrap_err();
                    assert!(error.is_connect());
                    assert_eq!(body.len_hint(), Some(1));
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    });
}

#[test]
fn who_waits_for_a_dead_endpoint_waits_once() {
    let settings = bowline_transport::PoolSettings {
        connect_timeout: Duration::from_millis(200),
        ..bowline_transport::PoolSettings::default()
    };
    let runtime = task::core_runtime().unwrap();
    runtime.block_on(async {
        let pool = LocalPool::new(settings);
        // A queue of one that is full: the kernel answers nothing more.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(any_port()).unwrap();
        let listener = socket.listen(0).unwrap();
        let addr = listener.local_addr().unwrap();
        let _held = tokio::net::TcpStream::connect(addr).await.unwrap();
        let endpoint = Endpoint::http2(addr);
        let started = time::now();
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let (pool, endpoint) = (pool.clone(), endpoint.clone());
                task::spawn_local(async move { post(&pool, &endpoint, Body::full("x")).await.unwrap_err().kind() })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Kind::ConnectTimeout);
        }
        assert!(started.elapsed() < Duration::from_millis(600), "{:?}", started.elapsed());
        assert_eq!(pool.metrics().connect_failed.get(), 1);
    });
}

#[test]
fn a_connection_with_an_answer_under_way_is_not_forgotten() {
    let idle_timeout = Duration::from_millis(20);
    let settings = bowline_transport::PoolSettings { idle_timeout, ..bowline_transport::PoolSettings::default() };
    crate::peer::run_with(settings, async |pool| {
        let server = echoing(any_port());
        let (frames, body) = crate::uploads::channel();
        let response = send(&pool, &server.endpoint, Request::post("/").body(body).unwrap()).await.unwrap();
        let other = echoing(any_port());
        for _ in 0..3 {
            crate::peer::pause(30).await;
            get(&pool, &other).await.unwrap();
        }
        get(&pool, &server).await.unwrap();
        assert_eq!(server.connections.get(), 1);
        drop(frames);
        assert_eq!(crate::peer::whole(response.into_body()).await.unwrap().bytes, "");
        crate::peer::pause(30).await;
        get(&pool, &other).await.unwrap();
        get(&pool, &server).await.unwrap();
        assert_eq!(server.connections.get(), 2, "without one it is");
    });
}

#[test]
fn a_peer_that_speaks_no_http2_is_told_apart() {
    run(async |pool| {
        let peer = crate::peer::Peer::answering_once("HTTP/1.1 400 Bad Request\r\n\r\n");
        let endpoint = Endpoint { protocol: bowline_model::Protocol::Http2, ..peer.endpoint.clone() };
        let request = Request::get("/").body(Body::empty()).unwrap();
        let error = time::timeout(Duration::from_secs(5), ask(&pool, &endpoint, request)).await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), Kind::Reset | Kind::Connect));
    });
}

#[test]
fn the_shared_pool_carries_http2_between_threads() {
    let runtime = task::shared_runtime(2).unwrap();
    runtime.block_on(async {
        let listener = net::listen(any_port()).unwrap();
        let endpoint = Endpoint::http2(listener.local_addr().unwrap());
        let (_drainer, drain) = drain::channel();
        task::spawn(server::serve(listener, Settings::default(), drain, |_| service_fn(echo)));
        let pool = SharedPool::default();
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let (pool, endpoint) = (pool.clone(), endpoint.clone());
                task::spawn(async move {
                    for _ in 0..20 {
                        let request = Request::post("/").body(Body::full("ping")).unwrap();
                        let response = send(&pool, &endpoint, request).await.unwrap();
                        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ping");
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(pool.metrics().connected.get(), 1);
    });
}

/// What came of a `POST` with that body.
async fn post(pool: &LocalPool, endpoint: &Endpoint, body: Body) -> Result<u16, Error> {
    ask(pool, endpoint, Request::post("/").body(body).unwrap()).await.map(|response| response.status().as_u16())
}

fn streamed(frames: Vec<Result<&'static str, BoxError>>) -> Body {
    let frames = frames.into_iter().map(|frame| frame.map(|text| Frame::data(Bytes::from(text))));
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

#[test]
fn a_stream_that_is_refused_was_not_looked_at() {
    run(async |pool| {
        // REFUSED_STREAM; of an INTERNAL_ERROR that is not known.
        for (code, kind) in [(7, Kind::Refused), (2, Kind::Reset)] {
            let peer = serving(move |_, mut frames: Frames| async move {
                while let Some(stream) = frames.request().await {
                    frames.write(RST_STREAM, 0, stream, &[0, 0, 0, code]).await;
                }
            });
            let error = post(&pool, &peer.endpoint, Body::full("x")).await.unwrap_err();
            assert_eq!((error.kind(), error.is_unprocessed()), (kind, kind == Kind::Refused));
            assert!(error.retryable() && !error.is_connect() && error.side() == Side::Upstream);
            let expected = if kind == Kind::Refused { Code::Unavailable } else { Code::BadGateway };
            assert_eq!(error.code(), expected);
            assert_eq!(peer.accepted(), 1, "it is the caller's to look for another server");
        }
    });
}

/// Says goodbye to the first `count` connections' requests, with that last stream and reason.
fn leaving(count: usize, last_stream: u8, reason: u8) -> crate::peer::Peer {
    serving(move |number, mut frames: Frames| async move {
        while let Some(stream) = frames.request().await {
            if number <= count {
                frames.write(GOAWAY, 0, 0, &[0, 0, 0, last_stream, 0, 0, 0, reason]).await;
                return;
            }
            frames.answer(stream).await;
        }
    })
}

#[test]
fn what_a_goodbye_leaves_out_goes_over_a_new_connection() {
    run(async |pool| {
        let peer = leaving(1, 0, 0);
        assert_eq!(post(&pool, &peer.endpoint, Body::full("x")).await.unwrap(), 200);
        assert_eq!(post(&pool, &peer.endpoint, Body::full("x")).await.unwrap(), 200);
        assert_eq!(peer.accepted(), 2);
        // Once: whoever says goodbye twice is gone.
        let peer = leaving(2, 0, 0);
        let error = post(&pool, &peer.endpoint, Body::full("x")).await.unwrap_err();
        assert_eq!((error.kind(), peer.accepted()), (Kind::Refused, 2));
        // A body that is gone cannot be sent again, but the caller may have it still.
        let peer = leaving(1, 0, 0);
        let error = post(&pool, &peer.endpoint, streamed(vec![Ok("x")])).await.unwrap_err();
        assert_eq!((error.kind(), peer.accepted()), (Kind::Refused, 1));
    });
}

#[test]
fn a_connection_that_leaves_many_out_is_counted_once() {
    run(async |pool| {
        let peer = serving(|number, mut frames: Frames| async move {
            for count in 1.. {
                let Some(stream) = frames.request().await else { return };
                if number == 1 && count == 5 {
                    frames.write(GOAWAY, 0, 0, &[0; 8]).await;
                    return;
                }
                if number > 1 {
                    frames.answer(stream).await;
                }
            }
        });
        let posts = (0..5).map(|_| post(&pool, &peer.endpoint, Body::full("x")));
        for answer in futures_util::future::join_all(posts).await {
            assert_eq!(answer.unwrap(), 200);
        }
        assert_eq!((peer.accepted(), pool.metrics().closed_stale.get()), (2, 1));
    });
}

#[test]
fn what_a_goodbye_takes_in_may_have_been_done() {
    run(async |pool| {
        // Be it in peace (NO_ERROR) or not (INTERNAL_ERROR).
        for reason in [0, 2] {
            let peer = leaving(1, 1, reason);
            let error = post(&pool, &peer.endpoint, Body::full("x")).await.unwrap_err();
            assert_eq!((error.kind(), error.is_unprocessed(), peer.accepted()), (Kind::Reset, false, 1));
        }
    });
}

#[test]
fn a_body_that_fails_is_its_callers_fault() {
    run(async |pool| {
        for failing in [vec![Err("it left".into())], vec![Ok("x"), Err("it left".into())]] {
            let failing = streamed(failing);
            let peer = serving(|_, mut frames: Frames| async move { while frames.request().await.is_some() {} });
            let error = post(&pool, &peer.endpoint, failing).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.side(), error.code()),
                (Kind::RequestBody, Side::Downstream, Code::Cancelled)
            );
            let cause = std::error::Error::source(&error).unwrap();
            assert_eq!(cause.to_string(), "it left", "the cause is the body's own");
        }
    });
}

/// A body of two bytes that says another length.
struct Liar(Option<Bytes>, u64);

impl http_body::Body for Liar {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.1)
    }
}

#[test]
fn a_body_is_held_to_its_length() {
    run(async |pool| {
        let peer = serving(|_, mut frames: Frames| async move { while frames.request().await.is_some() {} });
        for length in [1, 3] {
            let body = Body::stream(Liar(Some(Bytes::from_static(b"ab")), length));
            let error = post(&pool, &peer.endpoint, body).await.unwrap_err();
            assert_eq!(error.kind(), Kind::RequestBody, "{length}");
        }
        assert_eq!(peer.accepted(), 1, "the connection is not to blame");
    });
}
