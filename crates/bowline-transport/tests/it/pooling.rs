//! Connections that wait, are used again, and die while they wait.

use std::{cell::Cell, rc::Rc, time::Duration};

use bowline_runtime::{net, task, time};
use bowline_transport::{Body, Endpoint, Kind, LocalPool, PoolSettings, SharedPool, send};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use tokio::{io::AsyncWriteExt as _, sync::Semaphore};

use crate::peer::{Peer, ask, pause, read_request, run, run_with, until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_connection_that_was_closed_while_idle_is_not_used() {
    run(async |pool| {
        let peer = Peer::answering_once(OK);
        for count in 1..=3 {
            peer.get(&pool).await.unwrap();
            assert_eq!(peer.accepted(), count);
            // The close reaches us while nobody waits for it.
            pause(20).await;
        }
        assert_eq!(pool.metrics().closed_stale.get(), 2);
    });
}

#[test]
fn bytes_that_nobody_asked_for_make_a_connection_useless() {
    run(async |pool| {
        let peer = Peer::new(|_, mut stream| async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
                pause(5).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await.unwrap();
            }
        });
        for _ in 0..2 {
            assert_eq!(peer.get(&pool).await.unwrap().body().bytes, "ok");
            pause(30).await;
        }
        assert_eq!(peer.accepted(), 2);
    });
}

/// Answers once on each connection; closes at the second request without a word.
fn dying() -> Peer {
    Peer::new(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        read_request(&mut stream).await;
    })
}

#[test]
fn what_dies_as_it_is_used_again_is_replaced_if_the_request_can_be_repeated() {
    run(async |pool| {
        let peer = dying();
        for _ in 0..3 {
            assert_eq!(peer.get(&pool).await.unwrap().body().bytes, "ok");
        }
        assert_eq!(peer.accepted(), 3);
        assert_eq!(pool.metrics().closed_stale.get(), 2);
        let request = Request::post("/").header("idempotency-key", "k").body(Body::full("x")).unwrap();
        assert_eq!(ask(&pool, &peer.endpoint, request).await.unwrap().body().bytes, "ok");
    });
}

#[test]
fn what_dies_as_it_is_used_again_is_a_reset_otherwise() {
    run(async |pool| {
        for body in [Body::full("x"), Body::stream(http_body_util::Full::new(bytes::Bytes::from_static(b"x")))] {
            let peer = dying();
            peer.get(&pool).await.unwrap();
            let method = if body.as_replayable().is_some() { Method::POST } else { Method::PUT };
            let request = Request::builder().method(method).uri("/").body(body).unwrap();
            let error = ask(&pool, &peer.endpoint, request).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Reset);
            assert_eq!(peer.accepted(), 1);
        }
    });
}

/// Asks for each of these at once; who asks for `/hold` waits until the gate lets it.
async fn ask_at_once(pool: &LocalPool, peer: &Peer, paths: &[&str]) -> Vec<Result<(), Kind>> {
    let asked = paths.iter().map(async |path| {
        let request = Request::get(*path).body(Body::empty()).unwrap();
        ask(pool, &peer.endpoint, request).await.map(drop).map_err(|error| error.kind())
    });
    futures_util::future::join_all(asked).await
}

/// Answers but for `/kill`, which ends each connection, and `/kill-1`, which ends one, once the gate lets it.
fn mortal(gate: &Rc<Semaphore>) -> Peer {
    let (gate, killed) = (Rc::clone(gate), Rc::new(Cell::new(false)));
    Peer::new(move |_, mut stream| {
        let (gate, killed) = (Rc::clone(&gate), Rc::clone(&killed));
        async move {
            while let Some((head, _)) = read_request(&mut stream).await {
                if head.starts_with("GET /kill ") {
                    return;
                }
                if head.starts_with("GET /kill-1 ") && !killed.replace(true) {
                    gate.acquire().await.unwrap().forget();
                    return;
                }
                if head.starts_with("GET /hold ") {
                    gate.acquire().await.unwrap().forget();
                }
                stream.write_all(OK).await.unwrap();
            }
        }
    })
}

#[test]
fn a_request_that_connections_die_of_ends_no_other() {
    run(async |pool| {
        let peer = mortal(&Rc::new(Semaphore::new(0)));
        assert_eq!(ask_at_once(&pool, &peer, &["/"; 4]).await, [Ok(()); 4]);
        assert_eq!(ask_at_once(&pool, &peer, &["/kill"]).await, [Err(Kind::Reset)]);
        assert_eq!((peer.accepted(), pool.idle_count(), pool.metrics().closed_stale.get()), (5, 3, 0));
        assert_eq!(ask_at_once(&pool, &peer, &["/"; 3]).await, [Ok(()); 3]);
        assert_eq!(peer.accepted(), 5, "the others are used on");
    });
}

#[test]
fn where_a_connection_died_as_it_waited_those_that_waited_longer_are_closed() {
    run(async |pool| {
        let gate = Rc::new(Semaphore::new(0));
        let peer = mortal(&gate);
        let held = {
            let (pool, endpoint) = (pool.clone(), peer.endpoint.clone());
            let request = Request::get("/hold").body(Body::empty()).unwrap();
            task::spawn_local(async move { ask(&pool, &endpoint, request).await.map(drop) })
        };
        until(|| peer.accepted() == 1).await;
        assert_eq!(ask_at_once(&pool, &peer, &["/"; 2]).await, [Ok(()); 2]);
        let dying = {
            let (pool, endpoint) = (pool.clone(), peer.endpoint.clone());
            let request = Request::get("/kill-1").body(Body::empty()).unwrap();
            task::spawn_local(async move { ask(&pool, &endpoint, request).await.map(drop) })
        };
        until(|| pool.idle_count() == 1).await;
        // In their order at the gate.
        gate.add_permits(1);
        held.await.unwrap().unwrap();
        assert_eq!(pool.idle_count(), 2);
        gate.add_permits(1);
        dying.await.unwrap().unwrap();
        assert_eq!((peer.accepted(), pool.idle_count(), pool.metrics().closed_stale.get()), (4, 2, 2));
    });
}

#[test]
fn the_connection_goes_back_when_the_body_was_read_and_not_before() {
    run(async |pool| {
        let body = "x".repeat(100_000);
        let peer = Peer::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{body}"));
        let request = || Request::get("/").body(Body::empty()).unwrap();
        let mut response = send(&pool, &peer.endpoint, request()).await.unwrap();
        response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(pool.idle_count(), 0);
        drop(response);
        assert_eq!(pool.idle_count(), 0, "an abandoned body closes its connection");
        ask(&pool, &peer.endpoint, request()).await.unwrap();
        assert_eq!((peer.accepted(), pool.idle_count()), (2, 1));
    });
}

#[test]
fn a_call_that_is_dropped_closes_its_connection() {
    run(async |pool| {
        let peer = Peer::new(|_, mut stream| async move {
            read_request(&mut stream).await;
            std::future::pending::<()>().await;
        });
        let answer = time::timeout(Duration::from_millis(20), peer.get(&pool)).await;
        assert!(answer.is_err());
        assert_eq!(pool.idle_count(), 0);
    });
}

#[test]
fn idle_connections_are_bounded() {
    let settings = PoolSettings { idle_per_endpoint_max: 2, idle_max: 3, ..PoolSettings::default() };
    run_with(settings, async |pool| {
        let peers = [Peer::answering(OK), Peer::answering(OK)];
        for peer in &peers {
            let calls: Vec<_> = (0..4)
                .map(|_| {
                    let (pool, endpoint) = (pool.clone(), peer.endpoint.clone());
                    task::spawn_local(async move {
                        let request = Request::get("/").body(Body::empty()).unwrap();
                        ask(&pool, &endpoint, request).await.unwrap();
                    })
                })
                .collect();
            for call in calls {
                call.await.unwrap();
            }
        }
        assert_eq!(pool.idle_count(), 3);
        assert_eq!(pool.metrics().closed_full.get(), 5);
    });
}

#[test]
fn connections_idle_for_too_long_are_closed() {
    let settings = PoolSettings { idle_timeout: Duration::from_millis(10), ..PoolSettings::default() };
    run_with(settings, async |pool| {
        let peer = Peer::answering(OK);
        peer.get(&pool).await.unwrap();
        pause(15).await;
        peer.get(&pool).await.unwrap();
        assert_eq!(peer.accepted(), 2);
        pause(15).await;
        let other = Peer::answering(OK);
        other.get(&pool).await.unwrap();
        assert_eq!(pool.idle_count(), 1, "another endpoint's are swept too");
        assert_eq!(pool.metrics().closed_idle.get(), 2);
    });
}

#[test]
fn unix_sockets_are_endpoints_too() {
    run(async |pool| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = net::listen_unix(&path).unwrap();
        task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            loop {
                let mut buffer = [0; 1024];
                let count = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
                if count == 0 {
                    return;
                }
                assert!(String::from_utf8_lossy(&buffer[..count]).contains("host: localhost\r\n"));
                stream.write_all(OK).await.unwrap();
            }
        });
        let endpoint = Endpoint::http1(bowline_model::Address::Unix(path));
        for _ in 0..3 {
            let request = Request::get("/").body(Body::empty()).unwrap();
            assert_eq!(ask(&pool, &endpoint, request).await.unwrap().body().bytes, "ok");
        }
        assert_eq!((pool.idle_count(), pool.metrics().connected.get()), (1, 1));
    });
}

#[test]
fn the_shared_pool_serves_many_threads() {
    let runtime = task::shared_runtime(2).unwrap();
    let pool = SharedPool::default();
    let metrics = pool.metrics().clone();
    runtime.block_on(async move {
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = Endpoint::http1(listener.local_addr().unwrap());
        task::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                task::spawn(async move {
                    while read_request(&mut stream).await.is_some() {
                        stream.write_all(OK).await.unwrap();
                    }
                });
            }
        });
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let (pool, endpoint) = (pool.clone(), endpoint.clone());
                task::spawn(async move {
                    for _ in 0..50 {
                        let request = Request::get("/").body(Body::empty()).unwrap();
                        let response = send(&pool, &endpoint, request).await.unwrap();
                        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert!(pool.idle_count() <= 8);
    });
    assert!(metrics.connected.get() <= 8, "connections are used again");
}
