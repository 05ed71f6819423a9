//! Servers that answer wrongly, or not to the end.

use std::time::Duration;

use bowline_model::Code;
use bowline_runtime::net;
use bowline_transport::{Body, Endpoint, Kind, PoolSettings, Side, send};
use http::Request;
use http_body_util::BodyExt as _;

use crate::peer::{Peer, ask, run, run_with};

#[test]
fn malformed_heads_are_refused() {
    run(async |pool| {
        for answer in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\na\u{7f}: b\r\n\r\n",
        ] {
            let peer = Peer::answering(answer);
            let error = peer.get(&pool).await.unwrap_err();
            assert_eq!((error.kind(), error.code(), error.side()), (Kind::Malformed, Code::BadGateway, Side::Upstream));
            assert!(!error.retryable() && !error.is_connect());
            assert_eq!(pool.idle_count(), 0);
        }
        let flood = Peer::answering("HTTP/1.1 100 Continue\r\n\r\n".repeat(17));
        assert_eq!(flood.get(&pool).await.unwrap_err().kind(), Kind::Malformed);
        let long = Peer::answering(format!("HTTP/1.1 200 OK\r\na: {}\r\n", "x".repeat(70_000)));
        assert_eq!(long.get(&pool).await.unwrap_err().kind(), Kind::HeadTooLarge);
        let many = Peer::answering(format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101)));
        assert_eq!(many.get(&pool).await.unwrap_err().kind(), Kind::HeadTooLarge);
    });
}

#[test]
fn a_close_before_the_head_is_a_reset() {
    run(async |pool| {
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
            let peer = Peer::answering_once(answer);
            let error = peer.get(&pool).await.unwrap_err();
            assert_eq!((error.kind(), error.code()), (Kind::Reset, Code::BadGateway));
            assert_eq!(peer.accepted(), 1, "a fresh connection is not tried twice");
        }
    });
}

#[test]
fn a_close_within_the_body_is_told() {
    run(async |pool| {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ] {
            let peer = Peer::answering_once(answer);
            let request = Request::get("/").body(Body::empty()).unwrap();
            let response = send(&pool, &peer.endpoint, request).await.unwrap();
            let error = response.into_body().collect().await.unwrap_err();
            assert_eq!(error.kind(), Kind::Body, "{answer:?}");
            assert_eq!(pool.idle_count(), 0);
        }
    });
}

#[test]
fn loose_chunks_are_told() {
    run(async |pool| {
        for body in ["5\nhello\r\n0\r\n\r\n", "5\r\nhello!\r\n", "zz\r\n", "5\r\nhello\r\n0\r\n\n"] {
            let peer = Peer::answering(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"));
            let error = peer.get(&pool).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Body, "{body:?}");
            assert_eq!(pool.idle_count(), 0);
        }
    });
}

#[test]
fn an_error_ends_the_body() {
    run(async |pool| {
        let peer = Peer::answering_once("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello");
        let request = Request::get("/").body(Body::empty()).unwrap();
        let mut body = send(&pool, &peer.endpoint, request).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    });
}

#[test]
fn where_nobody_listens_nothing_is_sent() {
    run(async |pool| {
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let gone = Endpoint::http1(listener.local_addr().unwrap());
        drop(listener);
        let nowhere = Endpoint::http1("unix:/nonexistent/socket".parse::<bowline_model::Address>().unwrap());
        for endpoint in [gone, nowhere] {
            let (head, ()) = Request::post("/").body(()).unwrap().into_parts();
            let mut body = Body::full("payload");
            let error = bowline_transport::send_parts(&pool, &endpoint, &head, &mut body).await.unwrap_err();
            assert!(error.is_connect() && error.retryable());
            assert_eq!(error.code(), Code::Unavailable);
            assert_eq!(body.len_hint(), Some(7), "the body is whole still");
            assert!(std::error::Error::source(&error).is_some());
        }
    });
}

/// A listener that accepts nothing, with its queue full: connecting to it takes forever.
fn deaf() -> (socket2::Socket, Vec<socket2::Socket>) {
    let tcp = |kind: socket2::Type| socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
    let listener = tcp(socket2::Type::STREAM);
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let queued = (0..3).map(|_| tcp(socket2::Type::STREAM.nonblocking())).collect::<Vec<_>>();
    for socket in &queued {
        drop(socket.connect(&addr));
    }
    (listener, queued)
}

#[test]
fn a_connection_that_is_not_made_in_time_is_given_up() {
    let settings = PoolSettings { connect_timeout: Duration::from_millis(30), ..PoolSettings::default() };
    run_with(settings, async |pool| {
        let (listener, _queued) = deaf();
        let endpoint = Endpoint::http1(listener.local_addr().unwrap().as_socket().unwrap());
        let request = Request::get("/").body(Body::empty()).unwrap();
        let error = ask(&pool, &endpoint, request).await.unwrap_err();
        assert_eq!((error.kind(), error.is_connect()), (Kind::ConnectTimeout, true));
        assert_eq!((pool.metrics().connected.get(), pool.metrics().connect_failed.get()), (0, 1));
    });
}

#[test]
fn tunnels_are_not_opened() {
    run(async |pool| {
        let peer = Peer::answering("HTTP/1.1 200 OK\r\n\r\n");
        let request = Request::connect("a.test:443").body(Body::empty()).unwrap();
        let error = ask(&pool, &peer.endpoint, request).await.unwrap_err();
        assert_eq!((error.kind(), error.side()), (Kind::Unsupported, Side::Internal));
    });
}
