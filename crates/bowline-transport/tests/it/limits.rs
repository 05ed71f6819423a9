//! How many connections there are, how old they get, and those that are made ahead.

use std::{rc::Rc, time::Duration};

use bowline_model::Code;
use bowline_runtime::{metric::Registry, task};
use bowline_transport::{Body, Kind, LocalPool, PoolMetrics, PoolSettings, Side, connect_ahead, send};
use http::Request;
use tokio::{io::AsyncWriteExt as _, sync::Semaphore};

use crate::{
    http2::{any_port, echoing, get},
    peer::{Peer, ask, pause, read_request, run, run_with, until},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers each request when there is a permit.
fn gated() -> (Rc<Peer>, Rc<Semaphore>) {
    let gate = Rc::new(Semaphore::new(0));
    let opens = gate.clone();
    let peer = Peer::new(move |_, mut stream| {
        let gate = opens.clone();
        async move {
            while read_request(&mut stream).await.is_some() {
                gate.acquire().await.unwrap().forget();
                stream.write_all(OK).await.unwrap();
            }
        }
    });
    (Rc::new(peer), gate)
}

fn call(pool: &LocalPool, peer: &Rc<Peer>) -> task::JoinHandle<Result<bytes::Bytes, bowline_transport::Error>> {
    let (pool, peer) = (pool.clone(), peer.clone());
    task::spawn_local(async move { Ok(peer.get(&pool).await?.into_body().bytes) })
}

#[test]
fn beyond_the_cap_requests_wait_in_line_and_beyond_the_line_they_are_refused() {
    let registry = Registry::default();
    let metrics = PoolMetrics::new(&registry, "test");
    let settings = PoolSettings { open_per_endpoint_max: 2, waiting_per_endpoint_max: 3, metrics, ..<_>::default() };
    run_with(settings, async |pool| {
        let (peer, gate) = gated();
        let calls: Vec<_> = (0..5).map(|_| call(&pool, &peer)).collect();
        until(|| peer.accepted() == 2).await;
        let refused = call(&pool, &peer).await.unwrap().unwrap_err();
        assert_eq!(
            (refused.kind(), refused.side(), refused.code()),
            (Kind::PoolFull, Side::Internal, Code::Unavailable)
        );
        assert!(refused.is_unprocessed() && refused.retryable() && !refused.is_connect());
        assert_eq!(pool.metrics().open_http1.get(), 2);
        gate.add_permits(5);
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), "ok");
        }
        assert_eq!((peer.accepted(), pool.idle_count()), (2, 2));
        assert_eq!((pool.metrics().waited.count(), pool.metrics().refused_full.get()), (3, 1));
        // Another endpoint has places of its own.
        assert_eq!(Peer::answering(OK).get(&pool).await.unwrap().body().bytes, "ok");
    });
    let text = registry.render();
    assert!(text.contains("bowline_pool_connections{pool=\"test\",protocol=\"http1\"} 0\n"), "{text}");
    assert!(text.contains("bowline_pool_wait_seconds_count{pool=\"test\"} 3\n"), "{text}");
}

#[test]
fn who_gives_up_gives_back_its_place() {
    let settings = PoolSettings { open_per_endpoint_max: 1, ..PoolSettings::default() };
    run_with(settings, async |pool| {
        let (peer, gate) = gated();
        let (uses, waits, last) = (call(&pool, &peer), call(&pool, &peer), call(&pool, &peer));
        until(|| peer.accepted() == 1).await;
        waits.abort();
        uses.abort();
        gate.add_permits(2);
        assert_eq!(last.await.unwrap().unwrap(), "ok");
        assert_eq!((peer.accepted(), pool.metrics().open_http1.get()), (2, 1));
        assert_eq!(pool.metrics().waited.count(), 2, "who gave up has waited, too");
    });
}

#[test]
fn what_is_sent_again_keeps_its_place_and_who_waits_stays_in_line() {
    let settings = PoolSettings { open_per_endpoint_max: 1, waiting_per_endpoint_max: 1, ..<_>::default() };
    run_with(settings, async |pool| {
        let gate = Rc::new(Semaphore::new(0));
        let opens = gate.clone();
        let peer = Rc::new(Peer::new(move |number, mut stream| {
            let gate = opens.clone();
            async move {
                let mut count = 0;
                while read_request(&mut stream).await.is_some() {
                    count += 1;
                    // The first connection ends without a word once it is used again.
                    if (number, count) == (1, 2) {
                        gate.acquire().await.unwrap().forget();
                        return;
                    }
                    stream.write_all(OK).await.unwrap();
                }
            }
        }));
        assert_eq!(peer.get(&pool).await.unwrap().body().bytes, "ok");
        let (first, second) = (call(&pool, &peer), call(&pool, &peer));
        // Both are where they are to be: one on the connection, one in the line, which is full.
        until(|| pool.metrics().open_http1.get() == 1 && pool.idle_count() == 0).await;
        assert_eq!(call(&pool, &peer).await.unwrap().unwrap_err().kind(), Kind::PoolFull);
        gate.add_permits(1);
        assert_eq!(first.await.unwrap().unwrap(), "ok");
        assert_eq!(second.await.unwrap().unwrap(), "ok");
        assert_eq!((peer.accepted(), pool.metrics().closed_stale.get()), (2, 1));
    });
}

#[test]
fn what_could_not_connect_gives_back_its_place() {
    let settings = PoolSettings { open_per_endpoint_max: 1, ..PoolSettings::default() };
    run_with(settings, async |pool| {
        let closed = bowline_transport::Endpoint::http1(any_port_closed());
        for _ in 0..3 {
            let request = Request::get("/").body(Body::empty()).unwrap();
            assert_eq!(send(&pool, &closed, request).await.unwrap_err().kind(), Kind::Connect);
        }
    });
}

/// An address at which nobody listens.
fn any_port_closed() -> std::net::SocketAddr {
    bowline_runtime::net::listen(any_port()).unwrap().local_addr().unwrap()
}

#[test]
fn a_connection_that_is_old_is_replaced_and_no_request_is_lost() {
    let settings = PoolSettings { age_max: Duration::from_millis(40), ..PoolSettings::default() };
    run_with(settings, async |pool| {
        let (peer, server) = (Peer::answering(OK), echoing(any_port()));
        for _ in 0..25 {
            assert_eq!(peer.get(&pool).await.unwrap().body().bytes, "ok");
            get(&pool, &server).await.unwrap();
            pause(10).await;
        }
        let closed = usize::try_from(pool.metrics().closed_age.get()).unwrap();
        assert!(peer.accepted() >= 4 && server.connections.get() >= 4);
        assert_eq!(closed, peer.accepted() - 1 + server.connections.get() - 1);
        until(|| pool.metrics().open_http2.get() == 1).await;
        assert_eq!((pool.metrics().open_http1.get(), pool.metrics().streams.get()), (1, 0));
    });
}

#[test]
fn a_connection_made_ahead_is_the_one_that_is_used() {
    run(async |pool| {
        let (peer, server) = (Peer::answering(OK), echoing(any_port()));
        for _ in 0..2 {
            connect_ahead(&pool, &peer.endpoint).await.unwrap();
            connect_ahead(&pool, &server.endpoint).await.unwrap();
        }
        assert_eq!(pool.idle_count(), 1);
        let request = Request::get("/").body(Body::empty()).unwrap();
        ask(&pool, &peer.endpoint, request).await.unwrap();
        get(&pool, &server).await.unwrap();
        assert_eq!((peer.accepted(), server.connections.get(), pool.metrics().connected.get()), (1, 1, 2));
    });
}

#[test]
fn idle_connections_are_shown_a_second_later() {
    let metrics = PoolMetrics::default();
    let settings = PoolSettings { metrics: metrics.clone(), ..PoolSettings::default() };
    run_with(settings, async |pool| {
        let peer = Peer::answering(OK);
        peer.get(&pool).await.unwrap();
        pause(1100).await;
        peer.get(&pool).await.unwrap();
        assert_eq!(pool.metrics().idle.get(), 1);
    });
    assert_eq!(metrics.idle.get(), 0, "a pool that is gone has none");
}
