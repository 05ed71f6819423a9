//! What all that a process asks of another needs of their one HTTP/2 connection.

use std::{cell::Cell, convert::Infallible, rc::Rc, time::Duration};

use bowline_model::Protocol;
use bowline_runtime::{drain, net, task, time};
use bowline_transport::{
    Body, Endpoint, Error, HttpClient, Kind, LocalPool, PoolSettings, send,
    server::{self, Incoming, Settings, service_fn},
};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::{
    frames::{
        END_HEADERS, END_STREAM, Frames, GET, GET_WAIT, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
        serving,
    },
    http2::any_port,
    peer::{ask, read_request, run, run_with},
};

/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(20);

/// What no stream takes unread, in bytes.
const LARGE: usize = 1024 * 1024;

struct Server {
    endpoint: Endpoint,
    connections: Rc<Cell<usize>>,
    _drainer: drain::Drainer,
}

/// A server for processes of one system: `/large` is more than a window, `/wait` does not answer, nor read what is sent.
fn server() -> Server {
    let listener = net::listen(any_port()).unwrap();
    let endpoint = Endpoint::http2(listener.local_addr().unwrap());
    let (drainer, drain) = drain::channel();
    let connections = Rc::new(Cell::new(0));
    let counted = Rc::clone(&connections);
    let large = Bytes::from(vec![b'x'; LARGE]);
    task::spawn_local(server::serve_local(listener, Settings::of_system(), drain, move |_| {
        counted.set(counted.get() + 1);
        let large = large.clone();
        service_fn(move |request| answer(request, large.clone()))
    }));
    Server { endpoint, connections, _drainer: drainer }
}

async fn answer(request: Request<Incoming>, large: Bytes) -> Result<Response<Body>, Infallible> {
    match request.uri().path() {
        "/large" => Ok(Response::new(Body::full(large))),
        "/wait" => {
            let _unread = request;
            std::future::pending().await
        }
        _ => {
            request.into_body().collect().await.unwrap();
            Ok(Response::new(Body::full("ok")))
        }
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn is_well(pool: &LocalPool, server: &Server) {
    let answer = time::timeout(BOUND, ask(pool, &server.endpoint, get("/"))).await.expect("others go on").unwrap();
    assert_eq!(answer.body().bytes, "ok");
}

#[test]
fn answers_that_nobody_reads_hold_up_no_other() {
    run(async |pool| {
        let server = server();
        let mut unread = Vec::new();
        for _ in 0..1000 {
            unread.push(send(&pool, &server.endpoint, get("/large")).await.unwrap().into_body());
        }
        is_well(&pool, &server).await;
        // Neither is what is unread lost.
        let whole = unread.pop().unwrap().collect().await.unwrap().to_bytes();
        assert_eq!((whole.len(), server.connections.get()), (LARGE, 1));
    });
}

#[test]
fn what_nobody_reads_of_a_connection_is_bounded() {
    for settings in [PoolSettings::default(), PoolSettings::of_proxy()] {
        run_with(settings, async |pool| {
            let (tell, told) = tokio::sync::oneshot::channel();
            let tell = Rc::new(Cell::new(Some(tell)));
            let peer = serving(move |_, mut frames: Frames| {
                let tell = tell.take().unwrap();
                async move {
                    let settings = frames.payload(SETTINGS).await.unwrap();
                    let update = frames.payload(WINDOW_UPDATE).await.unwrap();
                    tell.send((settings, update)).unwrap();
                }
            });
            send(&pool, &peer.endpoint, get("/")).await.unwrap_err();
            let (settings, update) = told.await.unwrap();
            let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
            let stream = settings.chunks(6).find(|setting| setting[..2] == [0, 4]).map(|setting| number(&setting[2..]));
            // What a connection has from its beginning, and what is added.
            let connection = 65_535 + number(&update);
            assert_eq!(connection, 64 * LARGE);
            assert_eq!(stream.unwrap() * 1024, connection);
        });
    }
}

/// So many uploads to who does not read them.
fn upload_unread(pool: &LocalPool, server: &Server, count: usize) -> task::JoinSet<Result<(), Error>> {
    let (mut sending, large) = (task::JoinSet::new(), Bytes::from(vec![b'x'; LARGE]));
    for _ in 0..count {
        let (pool, endpoint) = (pool.clone(), server.endpoint.clone());
        let request = Request::post("/wait").body(Body::full(large.clone())).unwrap();
        sending.spawn_local(async move { send(&pool, &endpoint, request).await.map(drop) });
    }
    sending
}

/// A request with a body, to who reads it.
async fn post(pool: &LocalPool, server: &Server) {
    let request = Request::post("/").body(Body::full("x")).unwrap();
    assert_eq!(ask(pool, &server.endpoint, request).await.unwrap().body().bytes, "ok");
}

#[test]
fn bodies_that_nobody_reads_hold_up_no_other() {
    run(async |pool| {
        let server = server();
        let mut sending = upload_unread(&pool, &server, 60);
        for _ in 0..50 {
            post(&pool, &server).await;
        }
        assert!(sending.try_join_next().is_none(), "they wait still");
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn more_bodies_that_nobody_reads_hold_up_bodies_alone_until_one_is_given_up() {
    run(async |pool| {
        let server = server();
        let mut first = upload_unread(&pool, &server, 1);
        let others = upload_unread(&pool, &server, 63);
        while time::timeout(Duration::from_millis(300), post(&pool, &server)).await.is_ok() {}
        is_well(&pool, &server).await;
        first.shutdown().await;
        post(&pool, &server).await;
        assert_eq!((others.len(), server.connections.get()), (63, 1));
    });
}

#[test]
fn who_gives_up_on_all_at_once_keeps_the_connection() {
    run(async |_| {
        let server = server();
        let bowline_model::Address::Tcp(addr) = server.endpoint.address else { unreachable!() };
        let mut frames = Frames::connect(addr).await;
        // In one piece, as they are found by a server whose thread had no turn for a while.
        let mut all = Vec::new();
        for stream in (1..600).step_by(2) {
            let path = GET_WAIT.as_slice();
            for (kind, flags, payload) in [(HEADERS, END_STREAM | END_HEADERS, path), (RST_STREAM, 0, &[0, 0, 0, 8])] {
                let length = u8::try_from(payload.len()).unwrap();
                all.extend([0, 0, length, kind, flags]);
                all.extend(u32::to_be_bytes(stream));
                all.extend(payload);
            }
        }
        frames.write_raw(&all).await;
        frames.write(HEADERS, END_STREAM | END_HEADERS, 601, GET).await;
        time::timeout(BOUND, frames.until(HEADERS)).await.unwrap().expect("it is answered");
        frames.write(PING, 0, 0, &[0; 8]).await;
        time::timeout(BOUND, frames.until(PING)).await.unwrap().expect("the connection goes on");
    });
}

#[test]
fn answers_that_come_to_requests_given_up_are_no_fault_of_the_connection() {
    run(async |pool| {
        let peer = serving(|_, mut frames: Frames| async move {
            let mut streams = Vec::new();
            while let Some(stream) = frames.request().await {
                streams.push(stream);
                // All that were given up are answered late, before the one that waits.
                if stream > 2 * 1500 {
                    for stream in streams.drain(..) {
                        frames.answer(stream).await;
                    }
                }
            }
        });
        for _ in 0..1500 {
            let asked = send(&pool, &peer.endpoint, get("/"));
            let given_up = time::timeout(Duration::from_micros(1), asked).await;
            assert!(given_up.is_err());
        }
        let answer = time::timeout(BOUND, ask(&pool, &peer.endpoint, get("/"))).await.unwrap().unwrap();
        assert_eq!((answer.status().as_u16(), peer.accepted()), (200, 1));
        let answer = time::timeout(BOUND, ask(&pool, &peer.endpoint, get("/"))).await.unwrap().unwrap();
        assert_eq!((answer.status().as_u16(), peer.accepted()), (200, 1));
    });
}

#[test]
fn what_dies_as_it_is_used_again_is_replaced_if_the_request_can_be_repeated() {
    run(async |pool| {
        let dying = || {
            serving(|_, mut frames: Frames| async move {
                let stream = frames.request().await.unwrap();
                frames.answer(stream).await;
                frames.request().await;
            })
        };
        let ask = async |endpoint: &Endpoint, method: Method| {
            let request = Request::builder().method(method).uri("/").body(Body::full("x")).unwrap();
            time::timeout(BOUND, ask(&pool, endpoint, request)).await.unwrap().map(|answer| answer.status().as_u16())
        };
        let peer = dying();
        for count in 1..4 {
            assert_eq!(ask(&peer.endpoint, Method::PUT).await.unwrap(), 200);
            assert_eq!(peer.accepted(), count);
        }
        let peer = dying();
        assert_eq!(ask(&peer.endpoint, Method::POST).await.unwrap(), 200);
        let error = ask(&peer.endpoint, Method::POST).await.unwrap_err();
        assert_eq!((error.kind(), peer.accepted()), (Kind::Reset, 1));
        // A connection that was made for it is not replaced: whoever dies of a request would die again.
        let peer = serving(|_, mut frames: Frames| async move {
            frames.request().await;
        });
        let error = ask(&peer.endpoint, Method::PUT).await.unwrap_err();
        assert_eq!((error.kind(), peer.accepted()), (Kind::Reset, 1));
    });
}

#[test]
fn what_died_under_a_request_may_have_seen_it_though_nobody_is_there_now() {
    run(async |pool| {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let listener = net::listen(any_port()).unwrap();
            let endpoint = Endpoint { protocol, ..Endpoint::http1(listener.local_addr().unwrap()) };
            task::spawn_local(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                drop(listener);
                if protocol == Protocol::Http1 {
                    read_request(&mut stream).await;
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    read_request(&mut stream).await;
                } else {
                    let mut frames = Frames::accept(stream).await.unwrap();
                    let stream = frames.request().await.unwrap();
                    frames.answer(stream).await;
                    frames.request().await;
                }
            });
            assert_eq!(ask(&pool, &endpoint, get("/")).await.unwrap().status(), 200);
            let error = ask(&pool, &endpoint, get("/")).await.unwrap_err();
            assert_eq!((error.kind(), error.is_unprocessed()), (Kind::Reset, false), "{protocol:?}");
        }
    });
}

#[test]
fn what_died_under_a_request_may_have_seen_it_though_another_refuses_it() {
    run(async |pool| {
        // By its stream (REFUSED_STREAM), or by a goodbye that leaves it out.
        for refuses in [RST_STREAM, GOAWAY] {
            let peer = serving(move |number, mut frames: Frames| async move {
                let stream = frames.request().await.unwrap();
                if number == 1 {
                    frames.answer(stream).await;
                    frames.request().await;
                } else if refuses == RST_STREAM {
                    frames.write(RST_STREAM, 0, stream, &[0, 0, 0, 7]).await;
                    frames.request().await;
                } else {
                    frames.write(GOAWAY, 0, 0, &[0; 8]).await;
                }
            });
            assert_eq!(ask(&pool, &peer.endpoint, get("/")).await.unwrap().status(), 200);
            let error = ask(&pool, &peer.endpoint, get("/")).await.unwrap_err();
            assert_eq!((error.kind(), error.is_unprocessed(), peer.accepted()), (Kind::Reset, false, 2));
        }
    });
}

#[test]
fn beyond_the_cap_requests_wait_in_line_and_beyond_the_line_they_are_refused() {
    let settings = PoolSettings { streams_per_endpoint_max: 2, waiting_per_endpoint_max: 1, ..<_>::default() };
    run_with(settings, async |pool| {
        let server = server();
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(send(&pool, &server.endpoint, get("/large")).await.unwrap());
        }
        let (waiting, endpoint) = (pool.clone(), server.endpoint.clone());
        let waiting = task::spawn_local(async move { ask(&waiting, &endpoint, get("/")).await });
        task::yield_now().await;
        assert!(!waiting.is_finished());
        let error = send(&pool, &server.endpoint, get("/")).await.unwrap_err();
        assert_eq!((error.kind(), error.is_unprocessed()), (Kind::PoolFull, true));
        held.pop();
        time::timeout(BOUND, waiting).await.unwrap().unwrap().unwrap();
    });
}

#[test]
fn clones_of_a_multiplexed_client_ask_over_one_connection() {
    run(async |_| {
        let server = server();
        let client = HttpClient::multiplexed(server.endpoint.address.clone());
        let unread = client.clone().stream(get("/large")).await.unwrap();
        let asked = (0..50).map(|_| client.request(get("/")));
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer.unwrap().body(), "ok");
        }
        drop(unread);
        assert_eq!(server.connections.get(), 1);
    });
}
