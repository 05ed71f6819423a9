//! Connections under TLS, between this crate's client and its server, and against raw peers.

mod world;

use std::{convert::Infallible, error::Error as _, sync::Arc, time::Duration};

use bowline_model::{Address, ServiceName, error::chain};
use bowline_runtime::{
    net::{self},
    task, time,
};
use bowline_transport::{
    Body, ClientTls, Endpoint, Kind, LocalPool, Pool, PoolSettings, ServerTls, SharedPool, Until, send_parts,
    server::Settings,
};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls, rustls::pki_types::ServerName};

use crate::authority::{Authority, Life::Current, Life::Expired};
use crate::peer::{pause, read_request, run, until};

use world::{World, pool, put, start, start_on, start_with};

async fn check_one_handshake<P: Pool>(world: &World, pool: P) {
    for is_http2 in [0, 1] {
        let server = start(world.server());
        let endpoint = &server.endpoints()[is_http2];
        let before = pool.settings().metrics.connected.get();
        for _ in 0..5 {
            assert_eq!(put(&pool, endpoint, "/", Body::full("hello")).await.unwrap(), "hello");
        }
        assert_eq!(pool.settings().metrics.connected.get() - before, 1, "one handshake for all");
        let seen = server.seen.borrow();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].as_deref(), Some(world.order.certificate.as_ref()));
        assert_eq!(server.metrics.tls_failed.get(), 0);
    }
}

#[test]
fn many_requests_share_one_handshake_and_the_service_is_told_the_certificate() {
    run(async |_| {
        let world = World::new();
        check_one_handshake(&world, world.pool()).await;
        let settings = PoolSettings { tls: Some(world.client()), ..PoolSettings::default() };
        check_one_handshake(&world, SharedPool::new(settings)).await;
    });
}

#[test]
fn large_bodies_pass_both_ways() {
    run(async |_| {
        let world = World::new();
        let (pool, server) = (world.pool(), start(world.server()));
        let large = Bytes::from((0..1024 * 1024).map(|n: u32| (n % 251) as u8).collect::<Vec<_>>());
        for endpoint in server.endpoints() {
            for _ in 0..2 {
                let back = put(&pool, &endpoint, "/", Body::full(large.clone())).await.unwrap();
                assert!(back == large, "{} bytes came back", back.len());
                let pieces = large
                    .chunks(100_000)
                    .map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::copy_from_slice(piece))));
                let pieces = http_body_util::StreamBody::new(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
                let back = put(&pool, &endpoint, "/", Body::stream(pieces)).await.unwrap();
                assert!(back == large, "{} bytes came back", back.len());
            }
        }
        assert_eq!(pool.metrics().connected.get(), 2);
    });
}

#[test]
fn a_client_that_is_not_believed_is_refused_unread() {
    run(async |_| {
        let world = World::new();
        let [foreign, posing] = ["theirs", "ours"].map(|name| Authority::new(name).leaf("order", Current));
        let expired = world.authority.leaf("order", Expired);
        for (shows, alert) in [
            (None, "CertificateRequired"),
            (Some(&foreign), "UnknownCA"),
            (Some(&posing), "DecryptError"),
            (Some(&expired), "CertificateExpired"),
        ] {
            let (pool, server) = (pool(world.authority.client(shows)), start(world.server()));
            for endpoint in server.endpoints() {
                let error = put(&pool, &endpoint, "/", Body::full("secret")).await.unwrap_err();
                assert_eq!(error.kind(), Kind::Refused, "{alert}: {}", chain(&error));
                assert!(error.is_unprocessed() && chain(&error).contains(alert), "{}", chain(&error));
            }
            assert!(server.metrics.tls_failed.get() >= 2);
            assert_eq!((server.asked.get(), server.seen.borrow().len(), pool.idle_count()), (0, 0, 0));
        }
    });
}

#[test]
fn what_died_under_a_request_may_have_seen_it_though_our_certificate_is_refused_now() {
    run(async |_| {
        let world = World::new();
        let (pool, stranger) = (world.pool(), Authority::new("theirs").server(&world.payment));
        let [believing, refusing] = [world.server(), stranger].map(|tls| TlsAcceptor::from(tls.config));
        let peer = crate::peer::Peer::new(move |number, stream| {
            let acceptor = if number == 1 { believing.clone() } else { refusing.clone() };
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                assert!(stream.read(&mut request).await.unwrap() > 0);
            }
        });
        let endpoint = Endpoint { tls: Some(ServiceName::new("payment").unwrap()), ..peer.endpoint.clone() };
        put(&pool, &endpoint, "/", Body::empty()).await.unwrap();
        let error = put(&pool, &endpoint, "/", Body::empty()).await.unwrap_err();
        assert_eq!((error.kind(), error.is_unprocessed(), peer.accepted()), (Kind::Reset, false, 2));
    });
}

#[test]
fn a_server_that_is_not_believed_is_sent_nothing() {
    run(async |_| {
        let world = World::new();
        let foreign = Authority::new("theirs").leaf("payment", Current);
        let [expired, other] =
            [("payment", Expired), ("order", Current)].map(|(name, life)| world.authority.leaf(name, life));
        for shows in [foreign, expired, other] {
            let (pool, server) = (world.pool(), start(world.authority.server(&shows)));
            for endpoint in server.endpoints() {
                let (head, ()) = Request::put("/").body(()).unwrap().into_parts();
                let mut body = Body::full("secret");
                let error = send_parts(&pool, &endpoint, &head, &mut body).await.unwrap_err();
                assert!(error.is_connect(), "{}", chain(&error));
                let cause = error.source().and_then(|handshake| handshake.source()).unwrap();
                let cause = cause.downcast_ref::<rustls::Error>().unwrap();
                assert!(matches!(cause, rustls::Error::InvalidCertificate(_)), "{cause}");
                assert_eq!(body.collect().await.unwrap().to_bytes(), "secret", "it is still whole");
            }
            assert_eq!(pool.metrics().connect_failed.get(), 2);
            until(|| server.metrics.tls_failed.get() == 2).await;
            assert_eq!(server.asked.get(), 0);
        }
    });
}

#[test]
fn without_a_certificate_nobody_is_dialled() {
    run(async |pool| {
        let server = start(World::new().server());
        for endpoint in server.endpoints() {
            let error = put(&pool, &endpoint, "/", Body::empty()).await.unwrap_err();
            assert!(error.is_connect());
            let says = "cannot connect: `payment` demands TLS, and there is no certificate yet to show it";
            assert_eq!(chain(&error), says);
        }
        assert_eq!((pool.metrics().connect_failed.get(), server.metrics.tls_failed.get()), (2, 0));
    });
}

#[test]
fn a_server_that_is_slow_to_shake_hands_is_a_timeout() {
    run(async |_| {
        let silent = crate::peer::Peer::new(|_, mut stream| async move {
            // Until the client hangs up.
            drop(stream.read_to_end(&mut Vec::new()).await);
        });
        let (tls, connect_timeout) = (Some(World::new().client()), Duration::from_millis(200));
        let pool = LocalPool::new(PoolSettings { connect_timeout, tls, ..PoolSettings::default() });
        let endpoint = Endpoint { tls: Some(ServiceName::new("payment").unwrap()), ..silent.endpoint.clone() };
        let error = put(&pool, &endpoint, "/", Body::empty()).await.unwrap_err();
        assert_eq!((error.kind(), silent.accepted()), (Kind::ConnectTimeout, 1));
    });
}

#[test]
fn a_client_that_is_slow_to_shake_hands_is_cut_off_and_holds_up_nobody() {
    run(async |_| {
        let world = World::new();
        let header_timeout = Duration::from_secs(1);
        let server = start_with(Settings { header_timeout, tls: Some(world.server()), ..Settings::default() });
        let (mut silent, mut begun, gone) = (server.dial().await, server.dial().await, server.dial().await);
        begun.write_all(&[0x16, 3]).await.unwrap();
        drop(gone);
        let pool = world.pool();
        for endpoint in server.endpoints() {
            put(&pool, &endpoint, "/", Body::empty()).await.unwrap();
        }
        assert_eq!(server.metrics.tls_failed.get(), 0, "the others wait still");
        for stream in [&mut silent, &mut begun] {
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
        assert_eq!(server.metrics.tls_failed.get(), 2, "who went without a word is no failure");
    });
}

#[test]
fn both_are_taken_where_plain_is() {
    run(async |_| {
        let world = World::new();
        let server = start(ServerTls { takes_plain: true, ..world.server() });
        let pool = world.pool();
        for endpoint in server.endpoints().iter().chain(&server.plain()) {
            for _ in 0..2 {
                assert_eq!(put(&pool, endpoint, "/", Body::full("x")).await.unwrap(), "x");
            }
        }
        let shown: Vec<bool> = server.seen.borrow().iter().map(Option::is_some).collect();
        assert_eq!(shown, [true, true, false, false]);
        assert_eq!(pool.metrics().connected.get(), 4);
        // In pieces, too.
        let mut stream = server.dial().await;
        for byte in b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" {
            stream.write_all(&[*byte]).await.unwrap();
            task::yield_now().await;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(server.metrics.tls_failed.get(), 0);
    });
}

#[test]
fn plain_is_refused_where_it_is_not_taken() {
    run(async |_| {
        let world = World::new();
        let (pool, server) = (world.pool(), start(world.server()));
        for endpoint in server.plain() {
            assert!(put(&pool, &endpoint, "/", Body::full("x")).await.is_err());
        }
        assert_eq!((server.asked.get(), server.seen.borrow().len()), (0, 0));
        assert!(server.metrics.tls_failed.get() >= 2);
    });
}

#[test]
fn draining_lets_requests_finish_and_closes_the_idle() {
    run(async |_| {
        let world = World::new();
        let (pool, idle) = (world.pool(), world.pool());
        let mut server = start(world.server());
        put(&idle, &server.endpoints()[0], "/", Body::empty()).await.unwrap();
        let begun = server.dial().await;
        let calls = server.endpoints().map(|endpoint| {
            let pool = pool.clone();
            task::spawn_local(async move { put(&pool, &endpoint, "/wait", Body::full("x")).await })
        });
        until(|| server.asked.get() == 3).await;
        server.drainer.start();
        drop(begun);
        pause(20).await;
        assert!(!server.serving.is_finished());
        server.gate.notify_waiters();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), "x");
        }
        server.drainer.drain().await;
        server.serving.await.unwrap();
        assert_eq!((pool.idle_count(), server.metrics.tls_failed.get()), (0, 0));
        put(&idle, &server.endpoint, "/", Body::empty()).await.unwrap_err();
    });
}

#[test]
fn what_was_closed_while_idle_is_noticed() {
    run(async |_| {
        let world = World::new();
        let (idle_timeout, header_timeout) = (Duration::from_millis(20), Duration::from_millis(400));
        let tls = Some(world.server());
        let settings = Settings { idle_timeout, header_timeout, tls, ..Settings::default() };
        let (pool, server) = (world.pool(), start_with(settings));
        let endpoint = &server.endpoints()[0];
        for count in 1..=3 {
            // A body that could not be sent twice.
            let once = Body::stream(http_body_util::Full::new(Bytes::from_static(b"x")));
            assert_eq!(put(&pool, endpoint, "/", once).await.unwrap(), "x");
            assert_eq!(pool.metrics().connected.get(), count);
            // The gauge follows the clock of the listener.
            until(|| server.metrics.connections.get() == 1).await;
            until(|| server.metrics.connections.get() == 0).await;
            // The close reaches us while nobody waits for it.
            pause(20).await;
        }
        assert_eq!(pool.metrics().closed_stale.get(), 2);
    });
}

#[test]
fn a_client_uses_a_connection_for_as_long_as_it_may() {
    run(async |_| {
        let world = World::new();
        for (lasts, count) in [(Duration::ZERO, 3), (Duration::from_hours(1), 1)] {
            let showed = world.payment.certificate.clone();
            let until: Until = Arc::new(move |shown| {
                assert_eq!(shown, showed.as_ref());
                Some(time::now() + lasts)
            });
            let pool = pool(ClientTls { until: Some(until), ..world.client() });
            let server = start(world.server());
            for endpoint in server.endpoints() {
                let before = pool.metrics().connected.get();
                for _ in 0..3 {
                    assert_eq!(put(&pool, &endpoint, "/", Body::full("x")).await.unwrap(), "x");
                }
                assert_eq!(pool.metrics().connected.get() - before, count, "{endpoint:?} for {lasts:?}");
            }
            assert_eq!(pool.metrics().closed_over.get(), 2 * (count - 1), "each of both protocols");
        }
    });
}

#[test]
fn a_server_keeps_a_connection_for_as_long_as_it_may() {
    run(async |_| {
        let world = World::new();
        let showed = world.order.certificate.clone();
        let until_over: Until = Arc::new(move |shown| {
            assert_eq!(shown, showed.as_ref());
            Some(time::now())
        });
        let tls = Some(ServerTls { until: Some(until_over), ..world.server() });
        // It is looked over eight times in this.
        let settings = Settings { header_timeout: Duration::from_millis(400), tls, ..Settings::default() };
        let (pool, server) = (world.pool(), start_with(settings));
        let calls = server.endpoints().map(|endpoint| {
            let pool = pool.clone();
            task::spawn_local(async move { put(&pool, &endpoint, "/wait", Body::full("x")).await })
        });
        until(|| server.asked.get() == 2).await;
        until(|| server.metrics.connections.get() == 2).await;
        pause(120).await;
        server.gate.notify_waiters();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), "x", "a request that came before is answered");
        }
        until(|| server.metrics.connections.get() == 0).await;
        assert_eq!(pool.idle_count(), 0);
    });
}

#[test]
fn session_tickets_do_not_cost_a_connection() {
    run(async |_| {
        let world = World::new();
        let mut tls = world.server();
        Arc::get_mut(&mut tls.config).unwrap().send_tls13_tickets = 4;
        let (pool, server) = (world.pool(), start(tls));
        for endpoint in server.endpoints() {
            for _ in 0..5 {
                put(&pool, &endpoint, "/", Body::empty()).await.unwrap();
            }
        }
        assert_eq!(pool.metrics().connected.get(), 2);
        assert_eq!(pool.metrics().closed_stale.get(), 0);
    });
}

/// A server of TLS over raw sockets that answers without a length, and says goodbye or not.
fn without_length(tls: ServerTls, says_goodbye: bool) -> Endpoint {
    let acceptor = TlsAcceptor::from(tls.config);
    let peer = crate::peer::Peer::new(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await.unwrap();
            stream.flush().await.unwrap();
            if says_goodbye {
                stream.shutdown().await.unwrap();
            }
        }
    });
    Endpoint { tls: Some(ServiceName::new("payment").unwrap()), ..peer.endpoint }
}

#[test]
fn an_answer_that_is_cut_off_is_not_taken_for_whole() {
    run(async |_| {
        let world = World::new();
        let pool = world.pool();
        let whole = put(&pool, &without_length(world.server(), true), "/", Body::empty()).await;
        assert_eq!(whole.unwrap(), "half");
        let cut = put(&pool, &without_length(world.server(), false), "/", Body::empty()).await;
        assert_eq!(cut.unwrap_err().kind(), Kind::Body);
    });
}

#[test]
fn a_server_that_speaks_no_tls_is_no_connection() {
    run(async |_| {
        let peer = crate::peer::Peer::new(|_, mut stream| async move {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            read_request(&mut stream).await;
        });
        let endpoint = Endpoint { tls: Some(ServiceName::new("payment").unwrap()), ..peer.endpoint.clone() };
        let error = put(&World::new().pool(), &endpoint, "/", Body::empty()).await.unwrap_err();
        assert!(error.is_connect(), "{}", chain(&error));
    });
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut_off() {
    run(async |_| {
        let world = World::new();
        let (header_timeout, stall_timeout) = (Duration::from_millis(400), Duration::from_millis(100));
        let tls = Some(world.server());
        let server = start_with(Settings { header_timeout, stall_timeout, tls, ..Settings::default() });
        let connector = TlsConnector::from(world.client().config);
        let name = ServerName::try_from("payment").unwrap();
        let stream = connector.connect(name, server.dial().await).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        // What it sends comes back, and it sends until nobody takes more of it.
        let sending = task::spawn_local(async move {
            writer.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").await?;
            loop {
                writer.write_all(&vec![b'x'; 64 * 1024]).await?;
            }
            #[expect(unreachable_code, reason = "it says what fails")]
            Ok::<_, std::io::Error>(())
        });
        until(|| server.metrics.stalled.get() == 1).await;
        assert!(sending.await.unwrap().is_err());
        drop(reader.read_to_end(&mut Vec::new()).await);
    });
}

#[test]
fn unix_sockets_are_secured_too() {
    run(async |_| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let world = World::new();
        let settings = Settings { tls: Some(world.server()), ..Settings::default() };
        let server = start_on(net::listen_unix(&path).unwrap(), Address::Unix(path), settings);
        let pool = world.pool();
        for endpoint in server.endpoints() {
            assert_eq!(put(&pool, &endpoint, "/", Body::full("x")).await.unwrap(), "x");
        }
        assert!(server.seen.borrow().iter().all(Option::is_some));
    });
}
