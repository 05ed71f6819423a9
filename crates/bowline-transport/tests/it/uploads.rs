//! Bodies that go out: each framing, while the answer is awaited, and when it comes first.

use std::time::Duration;

use bowline_runtime::{task, time};
use bowline_transport::{Body, BoxError, Kind, Side, send};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use crate::peer::{Peer, TcpStream, ask, pause, read_request, run, whole};

pub(crate) type Frames = mpsc::Sender<Result<Frame<Bytes>, BoxError>>;

/// A body of unknown length, given piece by piece.
pub(crate) fn channel() -> (Frames, Body) {
    let (sender, mut receiver) = mpsc::channel(1);
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, Body::stream(StreamBody::new(stream)))
}

/// Tells in its answer's body what it was sent, framing and all.
fn telling() -> Peer {
    Peer::new(|_, mut stream| async move {
        while let Some((head, body)) = read_request(&mut stream).await {
            let framing: Vec<_> =
                head.lines().filter(|l| l.starts_with("content-l") || l.starts_with("transfer")).collect();
            let told = format!("{}|{}", framing.join(","), String::from_utf8_lossy(&body).replace("\r\n", "$"));
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{told}", told.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
}

#[test]
fn each_body_has_its_framing() {
    run(async |pool| {
        let peer = telling();
        let (frames, unknown) = channel();
        task::spawn_local(async move {
            for piece in ["ab", "", "cde"] {
                frames.send(Ok(Frame::data(Bytes::from(piece)))).await.unwrap();
                task::yield_now().await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("5"));
            frames.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        let known = Body::stream(Full::new(Bytes::from_static(b"known")));
        for (body, expect) in [
            (Body::full("hello"), "content-length: 5|hello"),
            (Body::empty(), "content-length: 0|"),
            (known, "content-length: 5|known"),
            (unknown, "transfer-encoding: chunked|2$ab$3$cde$0$x-sum: 5$$"),
        ] {
            let request = Request::post("/").body(body).unwrap();
            let response = ask(&pool, &peer.endpoint, request).await.unwrap();
            assert_eq!(response.body().bytes, expect);
        }
        assert_eq!((peer.accepted(), pool.idle_count()), (1, 1));
    });
}

#[test]
fn a_small_request_is_one_piece_on_the_wire() {
    run(async |pool| {
        let peer = Peer::new(|_, mut stream| async move {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = stream.read(&mut buffer).await.unwrap();
                if count == 0 {
                    return;
                }
                let is_whole = buffer[..count].ends_with(b"\r\n\r\npayload") || buffer[..count].ends_with(b"0\r\n\r\n");
                let status = if is_whole { 200 } else { 500 };
                stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
            }
        });
        let known = Body::stream(Full::new(Bytes::from_static(b"payload")));
        let (frames, unknown) = channel();
        frames.send(Ok(Frame::data(Bytes::from_static(b"payload")))).await.unwrap();
        drop(frames);
        for body in [Body::full("payload"), known, unknown] {
            let request = Request::post("/").body(body).unwrap();
            assert_eq!(ask(&pool, &peer.endpoint, request).await.unwrap().status(), 200);
        }
        assert_eq!(peer.accepted(), 1);
    });
}

/// Counts the bytes of the body and answers when it has all of them.
async fn count_and_answer(stream: &mut TcpStream) -> Option<()> {
    let (_, body) = read_request(stream).await?;
    let answer = format!("HTTP/1.1 200 OK\r\nx-length: {}\r\ncontent-length: 0\r\n\r\n", body.len());
    stream.write_all(answer.as_bytes()).await.ok()
}

#[test]
fn big_bodies_go_out_whole() {
    const LENGTH: usize = 3_000_000;
    run(async |pool| {
        let peer = Peer::new(|_, mut stream| async move { while count_and_answer(&mut stream).await.is_some() {} });
        let bytes = Bytes::from(vec![b'x'; LENGTH]);
        for body in [Body::full(bytes.clone()), Body::stream(Full::new(bytes.clone()))] {
            let request = Request::put("/").body(body).unwrap();
            let response = ask(&pool, &peer.endpoint, request).await.unwrap();
            assert_eq!(response.headers()["x-length"], LENGTH.to_string());
        }
        let (frames, unknown) = channel();
        task::spawn_local(async move {
            for piece in bytes.chunks(50_000) {
                frames.send(Ok(Frame::data(bytes.slice_ref(piece)))).await.unwrap();
            }
        });
        let request = Request::put("/").body(unknown).unwrap();
        let response = ask(&pool, &peer.endpoint, request).await.unwrap();
        // 60 chunks, each with `c350`, two line ends, and the last one.
        assert_eq!(response.headers()["x-length"], (LENGTH + 60 * 8 + 5).to_string());
        assert_eq!((peer.accepted(), pool.idle_count()), (1, 1));
    });
}

#[test]
fn an_early_answer_ends_the_upload_and_the_connection() {
    run(async |pool| {
        let peer = Peer::new(|_, mut stream| async move {
            let mut buffer = [0; 1024];
            stream.read_buf(&mut buffer.as_mut_slice()).await.unwrap();
            stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await.unwrap();
            stream.shutdown().await.unwrap();
            // Waits for the client to give up, so that no reset overtakes the answer.
            while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        });
        let (frames, body) = channel();
        let feeding = task::spawn_local(async move {
            let piece = Bytes::from(vec![b'x'; 10_000]);
            while frames.send(Ok(Frame::data(piece.clone()))).await.is_ok() {}
        });
        let request = Request::post("/").body(body).unwrap();
        let response = ask(&pool, &peer.endpoint, request).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.body().bytes[..]), (413, &b"big"[..]));
        assert_eq!(pool.idle_count(), 0);
        time::timeout(Duration::from_secs(5), feeding).await.expect("the rest of the body is not asked for").unwrap();
    });
}

#[test]
fn an_answer_is_read_although_writing_failed() {
    run(async |pool| {
        let peer = Peer::new(|_, mut stream| async move {
            let mut buffer = [0; 10];
            stream.read_exact(&mut buffer).await.unwrap();
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
            // Closed with bytes unread: the client's writes meet a reset, behind which it finds the answer.
        });
        let request = Request::post("/").body(Body::full(vec![b'x'; 10_000_000])).unwrap();
        let response = ask(&pool, &peer.endpoint, request).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.body().bytes[..]), (403, &b"no"[..]));
        assert_eq!(pool.idle_count(), 0);
    });
}

#[test]
fn both_bodies_flow_at_once() {
    const LENGTH: usize = 2_000_000;
    run(async |pool| {
        // Sends back what it gets, from the first byte on.
        let peer = Peer::new(|_, mut stream| async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        });
        let body = Body::full(vec![b'x'; LENGTH]);
        let response = send(&pool, &peer.endpoint, Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(whole(response.into_body()).await.unwrap().bytes.len(), LENGTH);
        assert_eq!(pool.idle_count(), 1);
    });
}

#[test]
fn a_body_that_fails_behind_the_answers_head_ends_the_answer() {
    run(async |pool| {
        let peer = Peer::new(|_, mut stream| async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            // Waits for the rest of the request, as an echo does.
            while stream.read_u8().await.is_ok() {}
        });
        let (frames, body) = channel();
        let request = Request::post("/").body(body).unwrap();
        let response = send(&pool, &peer.endpoint, request).await.unwrap();
        frames.send(Err("too large".into())).await.unwrap();
        let error = time::timeout(Duration::from_secs(5), whole(response.into_body())).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.side()), (Kind::RequestBody, Side::Downstream));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "too large");
        assert_eq!(pool.idle_count(), 0);
    });
}

#[test]
fn trailers_say_nothing_that_the_head_must_say() {
    run(async |pool| {
        let peer = telling();
        let (frames, body) = channel();
        let mut trailers = HeaderMap::new();
        for name in ["x-forwarded-for", "host", "content-length", "authorization", "x-bowline-timeout-ms", "x-sum"] {
            trailers.insert(name, HeaderValue::from_static("5"));
        }
        task::spawn_local(async move {
            frames.send(Ok(Frame::data(Bytes::from_static(b"a")))).await.unwrap();
            frames.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        let response = ask(&pool, &peer.endpoint, Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.body().bytes, "transfer-encoding: chunked|1$a$0$x-sum: 5$$");
    });
}

#[test]
fn a_body_that_fails_is_the_callers_fault() {
    run(async |pool| {
        let peer = telling();
        let (frames, body) = channel();
        frames.send(Err("disk on fire".into())).await.unwrap();
        let error = ask(&pool, &peer.endpoint, Request::post("/").body(body).unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.side()), (Kind::RequestBody, Side::Downstream));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "disk on fire");
        assert_eq!(pool.idle_count(), 0);
    });
}

/// A body whose length is not what it says.
struct Liar(u64, Option<Bytes>);

impl http_body::Body for Liar {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        std::task::Poll::Ready(self.1.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0)
    }
}

#[test]
fn a_body_of_another_length_is_not_sent() {
    run(async |pool| {
        let peer = telling();
        for said in [3, 7] {
            let body = Body::stream(Liar(said, Some(Bytes::from_static(b"hello"))));
            let error = ask(&pool, &peer.endpoint, Request::post("/").body(body).unwrap()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::RequestBody);
        }
        assert_eq!(pool.idle_count(), 0);
    });
}

#[test]
fn a_slow_reader_holds_the_server_back() {
    run(async |pool| {
        let (progress, mut sent) = mpsc::channel(1024);
        let peer = Peer::new(move |_, mut stream| {
            let progress = progress.clone();
            async move {
                read_request(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let piece = vec![b'x'; 1024 * 1024];
                while stream.write_all(&piece).await.is_ok() {
                    progress.send(()).await.unwrap();
                }
            }
        });
        let request = Request::get("/").body(Body::empty()).unwrap();
        let mut body = send(&pool, &peer.endpoint, request).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        pause(50).await;
        let mut pieces = 0;
        while sent.try_recv().is_ok() {
            pieces += 1;
        }
        assert!(pieces < 32, "the socket's buffers hold a few MiB, we hold none: {pieces}");
        drop(body);
    });
}
