//! One client's connection: requests one after the other, made anew when it breaks.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bowline_runtime::{net::TcpStream, task, time};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

/// The shop's host at the gateway.
pub(crate) const SHOP: &str = "shop.localhost";

/// The largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the gateway.
#[derive(Debug)]
pub(crate) struct Connection {
    gateway: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(crate) fn new(gateway: SocketAddr) -> Self {
        Self { gateway, sender: None }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = time::timeout(TIMEOUT, self.exchange(request)).await.context("no answer within 30 s");
        let answer = answer.and_then(|answer| answer);
        if answer.is_err() {
            self.sender = None;
        }
        answer
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

/// A GET through the gateway.
pub(crate) fn get(host: &str, path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(path).header("host", host).body(Full::default());
    request.expect("host and path are given in the code or by the service")
}

/// A POST of JSON through the gateway.
pub(crate) fn post(host: &str, path: &str, body: &serde_json::Value) -> Request<Full<Bytes>> {
    let request = Request::post(path)
        .header("host", host)
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()));
    request.expect("host and path are given in the code")
}
