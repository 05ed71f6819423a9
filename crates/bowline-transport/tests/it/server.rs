//! The accept loop: both protocols, bounds, and draining.

use std::{cell::Cell, convert::Infallible, net::SocketAddr, rc::Rc, time::Duration};

use bowline_model::Address;
use bowline_runtime::{
    drain::{self, Drainer},
    net::{self, TcpStream, UnixStream},
    task, time,
};
use bowline_transport::{
    Body, Endpoint, LocalPool,
    server::{self, Incoming, Peer, Settings, service_fn},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
};

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GET, GET_WAIT, GOAWAY, HEADERS, PING, SETTINGS, WINDOW_UPDATE,
};
use crate::peer::{ask, pause, run, until};

/// A server that answers `/` at once, and `/wait` when it is let.
struct Server {
    addr: SocketAddr,
    drainer: Drainer,
    serving: task::JoinHandle<()>,
    gate: Rc<Notify>,
    waiting: Rc<Cell<usize>>,
}

fn start(settings: Settings) -> Server {
    let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = listener.local_addr().unwrap();
    let (drainer, drain) = drain::channel();
    let (gate, waiting) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
    let (gate_of, waiting_of) = (Rc::clone(&gate), Rc::clone(&waiting));
    let serving = task::spawn_local(server::serve_local(listener, settings, drain, move |peer: &Peer| {
        assert!(peer.remote.is_some() && peer.local.is_some());
        let (gate, waiting) = (Rc::clone(&gate_of), Rc::clone(&waiting_of));
        service_fn(move |request: Request<Incoming>| {
            let (gate, waiting) = (Rc::clone(&gate), Rc::clone(&waiting));
            async move {
                if request.uri().path() == "/wait" {
                    waiting.set(waiting.get() + 1);
                    gate.notified().await;
                }
                Ok::<_, Infallible>(Response::new(Body::full("ok")))
            }
        })
    }));
    Server { addr, drainer, serving, gate, waiting }
}

impl Server {
    fn endpoints(&self) -> [Endpoint; 2] {
        [Endpoint::http1(self.addr), Endpoint::http2(self.addr)]
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }
}

async fn get(pool: &LocalPool, endpoint: &Endpoint, path: &str) -> Result<u16, bowline_transport::Error> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    ask(pool, endpoint, request).await.map(|response| response.status().as_u16())
}

/// Everything until the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it too.
    drop(stream.read_to_end(&mut bytes).await);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn both_protocols_on_one_listener() {
    run(async |pool| {
        let server = start(Settings::default());
        for endpoint in server.endpoints() {
            for _ in 0..3 {
                assert_eq!(get(&pool, &endpoint, "/").await.unwrap(), 200);
            }
        }
        assert_eq!(pool.metrics().connected.get(), 2);
    });
}

#[test]
fn a_preface_in_pieces_is_recognised() {
    run(async |_| {
        let server = start(Settings::default());
        let mut stream = server.dial().await;
        stream.set_nodelay(true).unwrap();
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
            stream.write_all(&[*byte]).await.unwrap();
            task::yield_now().await;
        }
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[3], 4, "the server answers with its settings");
        // A method that begins like the preface is HTTP/1 all the same.
        let mut stream = server.dial().await;
        stream.write_all(b"PR").await.unwrap();
        task::yield_now().await;
        stream.write_all(b"OPFIND / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async |_| {
        let server = start(Settings::default());
        let mut stream = server.dial().await;
        let request =
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3) + "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await.matches("HTTP/1.1 200 OK\r\n").count(), 4);
    });
}

#[test]
fn heads_are_bounded() {
    run(async |_| {
        let server = start(Settings::default());
        for head in [format!("a: {}\r\n", "x".repeat(64 * 1024)), "a: b\r\n".repeat(101)] {
            let mut stream = server.dial().await;
            stream.write_all(format!("GET / HTTP/1.1\r\nhost: a\r\n{head}\r\n").as_bytes()).await.unwrap();
            let answer = rest(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    });
}

#[test]
fn a_head_that_takes_too_long_ends_the_connection() {
    let settings = Settings { header_timeout: Duration::from_millis(40), ..Settings::default() };
    let metrics = settings.metrics.clone();
    run(async |_| {
        let server = start(settings);
        for begun in ["", "GET / HTTP/1.1\r\nho", "PRI * HT"] {
            let mut stream = server.dial().await;
            stream.write_all(begun.as_bytes()).await.unwrap();
            let started = time::now();
            assert_eq!(rest(&mut stream).await, "");
            assert!(started.elapsed() >= Duration::from_millis(35), "{begun:?} {:?}", started.elapsed());
        }
        // Who says nothing at all has no head that takes too long.
        assert_eq!(metrics.header_timeout.get(), 2);
        // A second request's head as well; the first one's time does not count for it.
        let mut stream = server.dial().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        pause(100).await;
        stream.write_all(b"GET / HT").await.unwrap();
        rest(&mut stream).await;
        assert_eq!(metrics.header_timeout.get(), 3);
    });
}

#[test]
fn a_request_being_served_is_not_timed() {
    let settings = Settings {
        header_timeout: Duration::from_millis(20),
        idle_timeout: Duration::from_millis(20),
        ..Settings::default()
    };
    run(async |pool| {
        let server = start(settings);
        for endpoint in server.endpoints() {
            let gate = Rc::clone(&server.gate);
            task::spawn_local(async move {
                pause(100).await;
                gate.notify_one();
            });
            assert_eq!(get(&pool, &endpoint, "/wait").await.unwrap(), 200);
        }
    });
}

#[test]
fn an_idle_connection_is_closed() {
    let settings = Settings {
        header_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let metrics = settings.metrics.clone();
    run(async |_| {
        let server = start(settings);
        let started = time::now();
        let mut stream = server.dial().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(rest(&mut stream).await.ends_with("\r\n\r\nok"));
        assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
        assert_eq!(metrics.header_timeout.get(), 0);
    });
}

#[test]
fn an_idle_http2_connection_is_told_to_go() {
    let settings = Settings {
        header_timeout: Duration::from_millis(40),
        idle_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let metrics = settings.metrics.clone();
    run(async |_| {
        let server = start(settings);
        let started = time::now();
        let mut client = Frames::connect(server.addr).await;
        client.write(HEADERS, END_STREAM | END_HEADERS, 1, GET).await;
        client.until(DATA).await.unwrap();
        // Not about a request: it begins no head, and keeps nothing open.
        client.write(PING, 0, 0, &[0; 8]).await;
        client.until(GOAWAY).await.expect("it is told, not cut off");
        assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
        assert_eq!(metrics.header_timeout.get(), 0);
        // Which it does not confirm, nor does it leave.
        while client.frame().await.is_some() {}
        assert!(started.elapsed() >= Duration::from_millis(240), "{:?}", started.elapsed());
    });
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let settings = Settings {
        header_timeout: Duration::from_millis(40),
        stall_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    let metrics = settings.metrics.clone();
    run(async |_| {
        let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let addr = listener.local_addr().unwrap();
        let (_drainer, drain) = drain::channel();
        task::spawn_local(server::serve_local(listener, settings, drain, |_: &Peer| {
            service_fn(async |_: Request<Incoming>| {
                let piece = Bytes::from(vec![b'x'; 64 * 1024]);
                let endless =
                    futures_util::stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(piece.clone())));
                Ok::<_, Infallible>(Response::new(StreamBody::new(endless)))
            })
        }));
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut some = vec![0; 1024 * 1024];
        for _ in 0..20 {
            // Who reads slowly is not cut off.
            stream.read_exact(&mut some).await.unwrap();
            pause(10).await;
        }
        assert_eq!(metrics.stalled.get(), 0);
        until(|| metrics.stalled.get() == 1).await;
    });
}

#[test]
fn an_http2_client_that_vanished_is_found_out() {
    let settings = Settings {
        header_timeout: Duration::from_millis(40),
        http2_ping_interval: Duration::from_millis(40),
        ..Settings::default()
    };
    run(async |_| {
        let server = start(settings);
        let mut client = Frames::connect(server.addr).await;
        client.write(HEADERS, END_STREAM | END_HEADERS, 1, &GET_WAIT).await;
        client.until(PING).await.unwrap();
        // A request is under way, but nobody answers the ping.
        while client.frame().await.is_some() {}
    });
}

#[test]
fn an_http2_client_that_does_not_read_fills_no_memory() {
    const STREAMS: u32 = 100;
    run(async |_| {
        let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let addr = listener.local_addr().unwrap();
        let (_drainer, drain) = drain::channel();
        let given = Rc::new(Cell::new(0));
        let counted = Rc::clone(&given);
        let piece = Bytes::from(vec![b'x'; 4096]);
        task::spawn_local(server::serve_local(listener, Settings::default(), drain, move |_: &Peer| {
            let (given, piece) = (Rc::clone(&counted), piece.clone());
            service_fn(move |_: Request<Incoming>| {
                let (given, piece) = (Rc::clone(&given), piece.clone());
                let endless = futures_util::stream::repeat_with(move || {
                    given.set(given.get() + piece.len());
                    Ok::<_, Infallible>(Frame::data(piece.clone()))
                });
                async move { Ok::<_, Infallible>(Response::new(StreamBody::new(endless))) }
            })
        }));
        let mut client = Frames::connect(addr).await;
        // SETTINGS_INITIAL_WINDOW_SIZE, and the same for the connection.
        client.write(SETTINGS, 0, 0, &[0, 4, 0x7f, 0, 0, 0]).await;
        client.write(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]).await;
        for request in 0..STREAMS {
            client.write(HEADERS, END_STREAM | END_HEADERS, 2 * request + 1, GET).await;
        }
        pause(200).await;
        assert!(given.get() > 100_000, "all of them are being served: {}", given.get());
        assert!(given.get() < 12_000_000, "beside what the kernel holds: {}", given.get());
    });
}

#[test]
fn connections_are_bounded() {
    let settings = Settings { connections_max: 2, ..Settings::default() };
    let metrics = settings.metrics.clone();
    run(async |_| {
        let server = start(settings);
        let mut held = vec![server.dial().await, server.dial().await];
        let mut refused = server.dial().await;
        assert_eq!(rest(&mut refused).await, "");
        assert_eq!(metrics.refused.get(), 1);
        for stream in &mut held {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            assert!(rest(stream).await.ends_with("ok"));
        }
        let mut stream = server.dial().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(rest(&mut stream).await.ends_with("ok"), "places are given back");
    });
}

#[test]
fn draining_lets_requests_finish() {
    run(async |pool| {
        let mut server = start(Settings::default());
        let mut idle = server.dial().await;
        let mut used = server.dial().await;
        used.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        used.read_exact(&mut [0; 15]).await.unwrap();
        let calls: Vec<_> = server
            .endpoints()
            .into_iter()
            .map(|endpoint| {
                let pool = pool.clone();
                task::spawn_local(async move {
                    let request = Request::get("/wait").body(Body::empty()).unwrap();
                    ask(&pool, &endpoint, request).await.unwrap()
                })
            })
            .collect();
        until(|| server.waiting.get() == 2).await;
        server.drainer.start();
        assert_eq!(rest(&mut idle).await, "", "those without a request are closed at once");
        assert!(rest(&mut used).await.ends_with("ok"));
        assert!(TcpStream::connect(server.addr).await.is_err(), "nobody listens any more");
        assert!(!server.serving.is_finished());
        server.gate.notify_waiters();
        let mut is_closing = Vec::new();
        for call in calls {
            let response = call.await.unwrap();
            assert_eq!(response.body().bytes, "ok");
            is_closing.push(response.headers().get("connection").is_some_and(|value| value == "close"));
        }
        assert_eq!(is_closing, [true, false], "HTTP/2 says it by GOAWAY");
        server.drainer.drain().await;
        server.serving.await.unwrap();
        assert_eq!(pool.idle_count(), 0);
    });
}

#[test]
fn draining_takes_what_is_on_its_way_and_says_that_it_is_the_last() {
    run(async |pool| {
        let mut server = start(Settings { linger: Duration::from_mins(1), ..Settings::default() });
        let (mut used, mut fresh) = (server.dial().await, server.dial().await);
        used.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        used.read_exact(&mut [0; 15]).await.unwrap();
        let [_, http2] = server.endpoints();
        assert_eq!(get(&pool, &http2, "/").await.unwrap(), 200);
        server.drainer.start();
        // Who is in the backlog is not taken, either.
        while TcpStream::connect(server.addr).await.is_ok() {
            task::yield_now().await;
        }
        for stream in [&mut used, &mut fresh] {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let answer = rest(stream).await;
            assert!(answer.contains("connection: close\r\n") && answer.ends_with("ok"), "{answer}");
        }
        // Nobody is left, so that nobody is waited for.
        server.drainer.drain().await;
        server.serving.await.unwrap();
    });
}

#[test]
fn draining_ends_with_the_grace() {
    run(async |pool| {
        let mut server = start(Settings { grace: Duration::from_millis(30), ..Settings::default() });
        let calls: Vec<_> = server
            .endpoints()
            .into_iter()
            .map(|endpoint| {
                let pool = pool.clone();
                task::spawn_local(async move { get(&pool, &endpoint, "/wait").await })
            })
            .collect();
        until(|| server.waiting.get() == 2).await;
        server.drainer.drain().await;
        server.serving.await.unwrap();
        for call in calls {
            assert!(call.await.unwrap().is_err());
        }
    });
}

#[test]
fn unix_sockets_are_served() {
    run(async |pool| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = net::listen_unix(&path).unwrap();
        let (mut drainer, drain) = drain::channel();
        let serving = task::spawn_local(server::serve_local(listener, Settings::default(), drain, |peer: &Peer| {
            assert!(peer.remote.is_none());
            service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Body::full("ok"))))
        }));
        for endpoint in [Endpoint::http1(Address::Unix(path.clone())), Endpoint::http2(Address::Unix(path.clone()))] {
            assert_eq!(get(&pool, &endpoint, "/").await.unwrap(), 200);
        }
        drop(UnixStream::connect(&path).await.unwrap());
        drainer.drain().await;
        serving.await.unwrap();
    });
}

/// Set in the process that has few file descriptors.
const FEW_DESCRIPTORS: &str = "BOWLINE_TEST_FEW_DESCRIPTORS";

#[test]
fn accepting_goes_on_after_the_descriptors_ran_out() {
    if std::env::var_os(FEW_DESCRIPTORS).is_some() {
        return run_out_of_descriptors();
    }
    let test = "server::accepting_goes_on_after_the_descriptors_ran_out";
    let status = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(FEW_DESCRIPTORS, "1")
        .status();
    assert!(status.unwrap().success());
}

fn run_out_of_descriptors() {
    let settings = Settings::default();
    let metrics = settings.metrics.clone();
    run(async |_| {
        let server = start(settings);
        let mut held = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            held.push(file);
        }
        // One for the client's end: there is none for the server's.
        held.pop();
        let mut stream = server.dial().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        until(|| metrics.accept_failed.get() > 0).await;
        drop(held);
        assert!(rest(&mut stream).await.ends_with("ok"));
    });
}
