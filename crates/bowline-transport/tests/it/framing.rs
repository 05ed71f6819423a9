//! Each way in which an answer's body is delimited.

use bowline_transport::Body;
use http::Request;

use crate::peer::{Peer, ask, run, run_with};

#[test]
fn a_length_delimits_and_the_connection_is_used_again() {
    run(async |pool| {
        let peer = Peer::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello");
        for _ in 0..3 {
            let response = peer.get(&pool).await.unwrap();
            assert_eq!((response.status().as_u16(), &response.body().bytes[..]), (200, &b"hello"[..]));
            assert_eq!(response.headers()["x-a"], "b");
            assert_eq!(pool.idle_count(), 1);
        }
        assert_eq!(peer.accepted(), 1);
    });
}

#[test]
fn chunks_delimit_and_the_connection_is_used_again() {
    run(async |pool| {
        let peer =
            Peer::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
        for _ in 0..3 {
            let response = peer.get(&pool).await.unwrap();
            assert_eq!(response.body().bytes, "hello");
            assert!(!response.headers().contains_key("transfer-encoding"), "the framing is ours");
        }
        assert_eq!((peer.accepted(), pool.idle_count()), (1, 1));
    });
}

#[test]
fn trailers_arrive() {
    run(async |pool| {
        for body in ["1\r\na\r\n0\r\nx-sum: 7\r\n\r\n", "0\r\nx-sum: 7\r\n\r\n"] {
            let peer = Peer::answering(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"));
            for _ in 0..2 {
                let response = peer.get(&pool).await.unwrap();
                assert_eq!(response.body().trailers.as_ref().unwrap()["x-sum"], "7");
            }
            assert_eq!(peer.accepted(), 1);
        }
    });
}

#[test]
fn the_close_delimits() {
    run(async |pool| {
        for version in ["1.0", "1.1"] {
            let peer = Peer::answering_once(format!("HTTP/{version} 200 OK\r\n\r\nhello"));
            for _ in 0..2 {
                assert_eq!(peer.get(&pool).await.unwrap().body().bytes, "hello");
            }
            assert_eq!((peer.accepted(), pool.idle_count()), (2, 0));
        }
    });
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    run(async |pool| {
        for status in ["204 No Content", "304 Not Modified"] {
            let peer = Peer::answering(format!("HTTP/1.1 {status}\r\ncontent-length: 10\r\n\r\n"));
            for _ in 0..2 {
                assert!(peer.get(&pool).await.unwrap().body().bytes.is_empty());
            }
            assert_eq!(peer.accepted(), 1, "{status}");
        }
        let peer = Peer::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..2 {
            let request = Request::head("/").body(Body::empty()).unwrap();
            assert!(ask(&pool, &peer.endpoint, request).await.unwrap().body().bytes.is_empty());
        }
        assert_eq!(peer.accepted(), 1);
    });
}

#[test]
fn interim_answers_are_skipped() {
    run(async |pool| {
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(3);
        let peer = Peer::answering(format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
        for _ in 0..2 {
            let response = peer.get(&pool).await.unwrap();
            assert_eq!((response.status().as_u16(), &response.body().bytes[..]), (200, &b"ok"[..]));
        }
        assert_eq!(peer.accepted(), 1);
    });
}

#[test]
fn an_answer_in_single_bytes_is_the_same() {
    run(async |pool| {
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\na: 1\r\n\r\n";
        let peer = Peer::new(move |_, mut stream| async move {
            use tokio::io::AsyncWriteExt as _;
            stream.set_nodelay(true).unwrap();
            while crate::peer::read_request(&mut stream).await.is_some() {
                for byte in answer {
                    stream.write_all(&[*byte]).await.unwrap();
                    bowline_runtime::task::yield_now().await;
                }
            }
        });
        for _ in 0..2 {
            let response = peer.get(&pool).await.unwrap();
            assert_eq!(response.body().bytes, "hello");
            assert!(response.body().trailers.is_some());
        }
        assert_eq!(peer.accepted(), 1);
    });
}

#[test]
fn big_bodies_come_in_whole() {
    run(async |pool| {
        let body: Vec<u8> = (0..3_000_000u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
        let by_length =
            [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes(), body.clone()];
        let mut by_chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(70_001) {
            by_chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            by_chunks.extend_from_slice(chunk);
            by_chunks.extend_from_slice(b"\r\n");
        }
        by_chunks.extend_from_slice(b"0\r\n\r\n");
        for answer in [by_length.concat(), by_chunks] {
            let peer = Peer::answering(answer);
            for _ in 0..2 {
                assert!(peer.get(&pool).await.unwrap().body().bytes == body);
            }
            assert_eq!(peer.accepted(), 1);
        }
    });
}

#[test]
fn the_connection_is_closed_where_the_server_says_so() {
    run(async |pool| {
        let peer = Peer::answering("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
        for _ in 0..2 {
            peer.get(&pool).await.unwrap();
        }
        assert_eq!((peer.accepted(), pool.idle_count()), (2, 0));
    });
}

#[test]
fn what_is_behind_the_body_is_nobodys() {
    run(async |pool| {
        let peer = Peer::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n");
        for _ in 0..2 {
            assert_eq!(peer.get(&pool).await.unwrap().body().bytes, "ok");
        }
        assert_eq!((peer.accepted(), pool.idle_count()), (2, 0));
    });
}

#[test]
fn heads_are_bounded_by_the_settings() {
    let settings = bowline_transport::PoolSettings { head_bytes_max: 100, ..Default::default() };
    run_with(settings, async |pool| {
        let peer = Peer::answering(format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(100)));
        let error = peer.get(&pool).await.unwrap_err();
        assert_eq!(error.kind(), bowline_transport::Kind::HeadTooLarge);
    });
}
