//! A service on a port of its own, as its callers know it.

use std::net::SocketAddr;

use axum::Router;
use bowline::{
    Error, Microservice, Settings,
    runtime::{net::TcpStream, task, time::Duration},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::Document;

/// The header of a body that is JSON.
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// A service that runs for as long as this is held.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    document: Document,
    _stop: oneshot::Sender<()>,
    _ended: task::Guarded<Result<(), Error>>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What its body is; empty where it has none.
    pub content_type: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// Its body, which is JSON; null where it has none.
    ///
    /// # Panics
    /// When it is no JSON.
    #[track_caller]
    pub fn value(&self) -> Value {
        if self.body.is_empty() { Value::Null } else { serde_json::from_str(&self.body).unwrap() }
    }

    /// [`Self::value`] of an answer with that status.
    ///
    /// # Panics
    /// When it has another, or is no JSON.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.value()
    }
}

impl Running {
    /// Starts a service of that name, whose answers this document (YAML) has to have.
    ///
    /// # Panics
    /// When it does not start, or the document cannot be read.
    pub async fn start(name: &str, app: Router, document: &str) -> Self {
        let service = Microservice::new(Settings::from_vars(name, []).unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let serving =
            service.serve_until(app, stopped, Duration::from_secs(1), |addr| tell.send(addr.to_string()).unwrap());
        let ended = task::spawn(serving);
        let addr = told.await.unwrap().parse().unwrap();
        Self { addr, document: Document::read(document), _stop: stop, _ended: task::Guarded::new(ended) }
    }

    /// Asks; the answer is one that the document has.
    ///
    /// # Panics
    /// When it is not, or there is none.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let _connection = task::Guarded::new(task::spawn(connection));
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let content_type = head.headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        let answer = Answer { status: head.status.as_u16(), content_type, body };
        self.document.check(method, path, &answer);
        answer
    }
}
