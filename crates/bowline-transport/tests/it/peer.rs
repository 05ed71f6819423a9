//! A server of raw sockets that does as it is told.

use std::{cell::Cell, future::Future, net::SocketAddr, rc::Rc, time::Duration};

use bowline_runtime::{net, task, time};
use bowline_transport::{Body, Endpoint, Error, LocalPool, PoolSettings, ResponseBody, send};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) use bowline_runtime::net::TcpStream;

/// Nothing here takes longer, unless it hangs.
const HANGING: Duration = Duration::from_secs(20);

/// A peer that runs a script on each connection.
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    accepted: Rc<Cell<usize>>,
}

impl Peer {
    /// `script` gets the number of the connection, from 1.
    pub(crate) fn new<F: Future<Output = ()> + 'static>(script: impl Fn(usize, TcpStream) -> F + 'static) -> Self {
        let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let endpoint = Endpoint::http1(listener.local_addr().unwrap());
        let accepted = Rc::new(Cell::new(0));
        let counted = Rc::clone(&accepted);
        task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.set(counted.get() + 1);
                task::spawn_local(script(counted.get(), stream));
            }
        });
        Self { endpoint, accepted }
    }

    /// Answers every request on every connection with these bytes.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Rc<[u8]> = answer.into().into();
        Self::new(move |_, mut stream| {
            let answer = Rc::clone(&answer);
            async move {
                while read_request(&mut stream).await.is_some() {
                    stream.write_all(&answer).await.unwrap();
                }
            }
        })
    }

    /// Answers the first request with these bytes and closes.
    pub(crate) fn answering_once(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Rc<[u8]> = answer.into().into();
        Self::new(move |_, mut stream| {
            let answer = Rc::clone(&answer);
            async move {
                read_request(&mut stream).await;
                stream.write_all(&answer).await.unwrap();
            }
        })
    }

    /// Connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.get()
    }

    pub(crate) async fn get(&self, pool: &LocalPool) -> Result<Response<Whole>, Error> {
        ask(pool, &self.endpoint, Request::get("/").body(Body::empty()).unwrap()).await
    }
}

/// A request as it was on the wire: its head, and its body with its framing.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut body = bytes.split_off(head_end);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |l| l.parse().unwrap());
    let is_chunked = head.contains("transfer-encoding: chunked");
    while body.len() < length || (is_chunked && !ends_chunked(&body)) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn ends_chunked(body: &[u8]) -> bool {
    body == b"0\r\n\r\n"
        || body.ends_with(b"\r\n0\r\n\r\n")
        || (find(body, b"\r\n0\r\n").is_some() && body.ends_with(b"\r\n\r\n"))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A body that was read to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Sends a request and reads its whole answer.
pub(crate) async fn ask(
    pool: &LocalPool,
    endpoint: &Endpoint,
    request: Request<Body>,
) -> Result<Response<Whole>, Error> {
    let (head, body) = send(pool, endpoint, request).await?.into_parts();
    Ok(Response::from_parts(head, whole(body).await?))
}

pub(crate) async fn whole(body: ResponseBody<LocalPool>) -> Result<Whole, Error> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    Ok(Whole { bytes: collected.to_bytes(), trailers })
}

/// Runs a test on one core.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(LocalPool) -> F) {
    run_with(PoolSettings::default(), test);
}

pub(crate) fn run_with<F: Future<Output = ()>>(settings: PoolSettings, test: impl FnOnce(LocalPool) -> F) {
    let runtime = task::core_runtime().unwrap();
    runtime.block_on(async {
        let ended = time::timeout(HANGING, test(LocalPool::new(settings))).await;
        assert!(ended.is_ok(), "it hangs");
    });
}

/// Waits until something is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        task::yield_now().await;
    }
}

/// Lets real time pass: for what a real socket or a real timer does meanwhile.
pub(crate) async fn pause(millis: u64) {
    // tidy: sleep: that the kernel passed on a close, and that a bound on time holds, has no event to wait for
    time::sleep(Duration::from_millis(millis)).await;
}
