//! The bank as it is asked through the gateway, and one client's connection to it.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bowline_runtime::{net::TcpStream, task, time};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

/// The bank's host at the gateway.
const HOST: &str = "bank.localhost";

/// The largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How often a question that is not answered, or badly, is asked again before it is given up.
pub(crate) const ASKED_AGAIN_MAX: u32 = 120;

/// How long is waited before it is asked again.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// Where the bank is, and in whose name it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Bank {
    gateway: SocketAddr,
    /// It shows itself in no log.
    key: HeaderValue,
}

impl Bank {
    pub(crate) fn new(gateway: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let mut key = HeaderValue::try_from(key).context("the key is no header's value")?;
        key.set_sensitive(true);
        Ok(Self { gateway, key })
    }

    /// A connection of one's own.
    pub(crate) fn connect(&self) -> Connection {
        Connection { gateway: self.gateway, sender: None }
    }

    /// A question.
    pub(crate) fn get(&self, path: &str) -> Request<Full<Bytes>> {
        self.request(Method::GET, path, Full::default())
    }

    /// A POST of JSON, under a key where it has one.
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value, key: Option<&str>) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::POST, path, Full::from(body.to_string()));
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        if let Some(key) = key.and_then(|key| HeaderValue::try_from(key).ok()) {
            request.headers_mut().insert("idempotency-key", key);
        }
        request
    }

    fn request(&self, method: Method, path: &str, body: Full<Bytes>) -> Request<Full<Bytes>> {
        let request = Request::builder().method(method).uri(path).header("host", HOST);
        let request = request.header("x-api-key", &self.key).body(body);
        request.expect("paths are given in the code or by the services")
    }
}

/// A connection to the gateway: requests one after the other, made anew when it breaks.
#[derive(Debug)]
pub(crate) struct Connection {
    gateway: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = time::timeout(TIMEOUT, self.exchange(request)).await.context("no answer within 30 s");
        let answer = answer.and_then(|answer| answer);
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    /// Sends a request that may be repeated, until it is answered with success.
    pub(crate) async fn insist(&mut self, request: &Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        let mut last = String::new();
        for _ in 0..ASKED_AGAIN_MAX {
            match self.send(request.clone()).await {
                Ok((StatusCode::OK | StatusCode::CREATED, body)) => return Ok(body),
                // No repetition helps.
                Ok((status, body)) if is_final(status) => {
                    anyhow::bail!("{} answered {status}: {}", request.uri(), String::from_utf8_lossy(&body))
                }
                Ok((status, _)) => last = status.to_string(),
                Err(error) => last = format!("{error:#}"),
            }
            time::sleep(PAUSE).await;
        }
        anyhow::bail!("{} is not answered, asked {ASKED_AGAIN_MAX} times, the last time: {last}", request.uri())
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.gateway).await.context("cannot connect to the gateway")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        task::spawn(async move {
            let _closed = connection.await;
        });
        Ok(sender)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?;
        self.sender = Some(sender);
        Ok((status, body.to_bytes()))
    }
}

/// Whether a refusal is the same each time.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error() && ![StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}
