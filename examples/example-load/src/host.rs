//! A host at the gateway as it is asked, and one client's connection to it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use bowline_runtime::{net::TcpStream, task, time};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

/// The largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How often a question that is not answered, or badly, is asked before it is given up.
pub const ASKED_AGAIN_MAX: u32 = 120;

/// How long is waited before it is asked again.
pub const PAUSE: Duration = Duration::from_millis(500);

/// A request with its whole body.
pub type Request = http::Request<Full<Bytes>>;

/// A host at the gateway, and in whose name it is asked.
#[derive(Debug, Clone)]
pub struct Host {
    gateway: SocketAddr,
    name: &'static str,
    /// It shows itself in no log.
    key: Option<HeaderValue>,
}

impl Host {
    /// A host that asks nobody who they are.
    pub fn new(gateway: SocketAddr, name: &'static str) -> Self {
        Self { gateway, name, key: None }
    }

    /// The same, asked with an API key.
    ///
    /// # Errors
    /// When the key is no value of a header.
    pub fn with_key(self, key: &str) -> anyhow::Result<Self> {
        let mut key = HeaderValue::try_from(key).context("the key is no header's value")?;
        key.set_sensitive(true);
        Ok(Self { key: Some(key), ..self })
    }

    /// A connection of one's own.
    pub fn connect(&self) -> Connection {
        Connection::new(self.gateway)
    }

    /// A question.
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path, Full::default())
    }

    /// A POST of JSON.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Request {
        let mut request = self.request(Method::POST, path, Full::from(body.to_string()));
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        request
    }

    /// A POST of JSON that may be repeated under its key.
    ///
    /// # Panics
    /// When the key is no value of a header: keys are made by the programs.
    pub fn post_once(&self, path: &str, body: &serde_json::Value, key: &str) -> Request {
        let mut request = self.post(path, body);
        let key = HeaderValue::try_from(key).expect("keys are made by the programs");
        request.headers_mut().insert("idempotency-key", key);
        request
    }

    fn request(&self, method: Method, path: &str, body: Full<Bytes>) -> Request {
        let mut request = http::Request::builder().method(method).uri(path).header("host", self.name);
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        request.body(body).expect("paths are given in the code or by the services")
    }
}

/// A connection to the gateway: requests one after the other, made anew when it breaks.
#[derive(Debug)]
pub struct Connection {
    gateway: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// One that connects with its first request.
    pub fn new(gateway: SocketAddr) -> Self {
        Self { gateway, sender: None }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When none comes within 30 s.
    pub async fn send(&mut self, request: Request) -> anyhow::Result<(StatusCode, Bytes)> {
        let (head, body) = self.answer(request).await?.into_parts();
        Ok((head.status, body))
    }

    /// The same, with the answer's headers.
    ///
    /// # Errors
    /// When none comes within 30 s.
    ///
    /// # Cancel safety
    /// Dropped before the answer is there, it takes the connection with it: the gateway sees that nobody waits any more.
    pub async fn answer(&mut self, request: Request) -> anyhow::Result<http::Response<Bytes>> {
        time::timeout(TIMEOUT, self.exchange(request)).await.context("no answer within 30 s")?
    }

    /// Sends a request that may be repeated, until the answer would be the same each time.
    ///
    /// Who comes too often, or meets a failure, has not found out, and asks again after a while.
    ///
    /// # Errors
    /// When no such answer comes.
    pub async fn ask(&mut self, request: &Request) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut last = String::new();
        for _ in 0..ASKED_AGAIN_MAX {
            match self.send(request.clone()).await {
                Ok((status, body)) if is_final(status) => return Ok((status, body)),
                Ok((status, _)) => last = status.to_string(),
                Err(error) => last = format!("{error:#}"),
            }
            time::sleep(PAUSE).await;
        }
        bail!("{} is not answered, asked {ASKED_AGAIN_MAX} times, the last time: {last}", request.uri())
    }

    /// The same, where everything but success is an error.
    ///
    /// # Errors
    /// When it is refused, or not answered.
    pub async fn insist(&mut self, request: &Request) -> anyhow::Result<Bytes> {
        match self.ask(request).await? {
            (status, body) if status.is_success() => Ok(body),
            (status, body) => bail!("{} answered {status}: {}", request.uri(), String::from_utf8_lossy(&body)),
        }
    }

    /// The same, for what may not be there.
    ///
    /// # Errors
    /// When it is refused, or not answered.
    pub async fn find(&mut self, request: &Request) -> anyhow::Result<Option<Bytes>> {
        match self.ask(request).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) if status.is_success() => Ok(Some(body)),
            (status, body) => bail!("{} answered {status}: {}", request.uri(), String::from_utf8_lossy(&body)),
        }
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

    /// The connection is put back with the whole answer only.
    async fn exchange(&mut self, request: Request) -> anyhow::Result<http::Response<Bytes>> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?;
        self.sender = Some(sender);
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }
}

/// Whether an answer is the same each time. What is accepted only is not done.
fn is_final(status: StatusCode) -> bool {
    let is_refusal = status.is_client_error();
    let is_later = [StatusCode::ACCEPTED, StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    (status.is_success() || is_refusal) && !is_later
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bowline_testkit::{Answer, HttpServer};
    use serde_json::json;

    use super::*;

    /// One that answers the first questions as they stand, and all others with the last.
    fn server(answers: &'static [(u16, &'static str)]) -> HttpServer {
        let asked = AtomicUsize::new(0);
        HttpServer::start(move |_| {
            let (status, body) = answers[asked.fetch_add(1, Relaxed).min(answers.len() - 1)];
            if status == 0 { Answer::Close } else { Answer::Status(status, body.to_owned()) }
        })
    }

    fn host(server: &HttpServer) -> Host {
        Host::new(server.addr(), "example.localhost")
    }

    #[tokio::test]
    async fn who_comes_too_often_or_meets_a_failure_asks_again() {
        let server = server(&[(429, ""), (503, ""), (200, "yes")]);
        let host = host(&server);
        assert_eq!(host.connect().insist(&host.get("/it")).await.unwrap(), "yes");
        assert_eq!(server.requests().len(), 3);
        assert!(server.requests().iter().all(|request| request.headers["host"] == "example.localhost"));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_made_anew() {
        let server = server(&[(200, "1"), (0, ""), (201, "2")]);
        let host = host(&server);
        let mut connection = host.connect();
        assert_eq!(connection.insist(&host.get("/it")).await.unwrap(), "1");
        assert_eq!(connection.insist(&host.get("/it")).await.unwrap(), "2");
    }

    #[tokio::test]
    async fn what_is_refused_is_not_asked_again() {
        let server = server(&[(404, "{}"), (403, "no")]);
        let host = host(&server);
        let mut connection = host.connect();
        assert_eq!(connection.find(&host.get("/it")).await.unwrap(), None);
        let error = connection.find(&host.get("/it")).await.unwrap_err();
        assert_eq!(error.to_string(), "/it answered 403 Forbidden: no");
        assert!(connection.insist(&host.get("/it")).await.is_err());
        assert_eq!(server.requests().len(), 3);
    }

    #[tokio::test]
    async fn the_key_is_sent_and_not_shown() {
        let server = server(&[(200, "")]);
        let host = host(&server).with_key("secret").unwrap();
        host.connect().insist(&host.post_once("/it", &json!({"a": 1}), "k1")).await.unwrap();
        let request = &server.requests()[0];
        let header = |name| request.headers.get(name).map(String::as_str);
        assert_eq!((header("x-api-key"), header("idempotency-key")), (Some("secret"), Some("k1")));
        assert_eq!((header("content-type"), request.body.as_slice()), (Some("application/json"), &br#"{"a":1}"#[..]));
        assert!(!format!("{host:?}").contains("secret"));
    }
}
