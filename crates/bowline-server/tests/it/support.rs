//! A node on a folder and a port of its own, and ways to ask it.

use std::{net::SocketAddr, time::Duration};

use bowline_model::{Instance, InstanceId, Secret, ServiceName};
use bowline_provider_remote::{
    Client, RemoteConfig, RemoteRegistry,
    wire::{AuditList, CreatedToken},
};
use bowline_runtime::{
    metric,
    net::TcpStream,
    time::{self, timeout},
};
use bowline_server::{Error, Node, Settings};
use bowline_testkit::TempDir;
use bowline_transport::{Body, HttpClient, ResponseBody, SharedPool, problem};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longer than anything here takes; a test that needs it has failed.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// A running node.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) node: Node,
    pub(crate) addr: SocketAddr,
}

pub(crate) fn settings(dir: &TempDir, listen: Option<SocketAddr>) -> Settings {
    Settings { listen, traces_bytes_max: 16 << 20, grace: BOUND, ..Settings::new(dir.path().join("data")) }
}

pub(crate) async fn start(settings: Settings) -> Result<Node, Error> {
    Node::start(settings, metric::Registry::default()).await
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_in(bowline_testkit::temp_dir()).await
    }

    pub(crate) async fn start_in(dir: TempDir) -> Self {
        Self::start_on(dir, [127, 0, 0, 1]).await
    }

    /// A node that listens on every address.
    pub(crate) async fn start_everywhere() -> Self {
        Self::start_on(bowline_testkit::temp_dir(), [0, 0, 0, 0]).await
    }

    async fn start_on(dir: TempDir, ip: [u8; 4]) -> Self {
        let node = start(settings(&dir, Some((ip, 0).into()))).await.unwrap();
        Self::of(dir, node)
    }

    pub(crate) fn of(dir: TempDir, node: Node) -> Self {
        let addr = ([127, 0, 0, 1], node.addr().unwrap().port()).into();
        Self { dir, node, addr }
    }

    /// The root token, as whoever may read the data folder knows it.
    pub(crate) fn root(&self) -> Secret {
        bowline_server::read_root_token(&self.dir.path().join("data")).unwrap()
    }

    /// Makes a token of that role.
    pub(crate) async fn token(&self, name: &str, role: &str) -> CreatedToken {
        let body = format!(r#"{{"name":"{name}","role":"{role}"}}"#);
        let answer = self.ask_as(&self.root(), "POST", "/v1/tokens", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// As [`Fixture::ask`], with a token.
    pub(crate) async fn ask_as(&self, token: &Secret, method: &str, target: &str, body: impl Into<Bytes>) -> Answer {
        let authorization = format!("Bearer {}", token.expose());
        let headers = [("content-type", "application/json"), ("authorization", &*authorization)];
        self.ask_with(method, target, &headers, body).await
    }

    /// The newest entries of the audit.
    pub(crate) async fn audit(&self, query: &str) -> AuditList {
        let answer = self.ask_as(&self.root(), "GET", &format!("/v1/audit{query}"), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Stops it, and starts another on the same folder.
    pub(crate) async fn restart(self) -> Self {
        let Self { dir, node, addr: _ } = self;
        node.stop().await;
        Self::start_in(dir).await
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.addr)
    }

    pub(crate) fn remote(&self) -> RemoteRegistry {
        RemoteRegistry::new(self.addr)
    }

    pub(crate) fn remote_config(&self) -> RemoteConfig {
        RemoteConfig::new(self.addr)
    }

    /// Sends a request with a JSON body, which is empty where it is `""`.
    pub(crate) async fn ask(&self, method: &str, target: &str, body: impl Into<Bytes>) -> Answer {
        self.ask_with(method, target, &[("content-type", "application/json")], body).await
    }

    pub(crate) async fn ask_with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::full(body)).unwrap();
        let (head, body) = HttpClient::new(self.addr).request(request).await.unwrap().into_parts();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, "").await
    }

    /// Opens a watch of instances; a refusal is read as a whole.
    pub(crate) async fn watch(&self, query: &str) -> Result<Lines, Answer> {
        let lines = self.lines(&format!("/v1/instances?watch=true{query}")).await?;
        assert_eq!(lines.begin["type"], "bookmark");
        Ok(lines)
    }

    /// Opens a watch of anything.
    pub(crate) async fn lines(&self, target: &str) -> Result<Lines, Answer> {
        let request = Request::get(target).body(Body::empty()).unwrap();
        let answer = timeout(BOUND, HttpClient::new(self.addr).stream(request)).await.unwrap().unwrap();
        Lines::of(answer).await
    }

    /// Joins a group.
    pub(crate) async fn subscribe(&self, target: &str, body: &Value) -> Lines {
        let request = Request::post(target).header("content-type", "application/json");
        let request = request.body(Body::full(body.to_string())).unwrap();
        let answer = timeout(BOUND, HttpClient::new(self.addr).stream(request)).await.unwrap().unwrap();
        Lines::of(answer).await.unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// Sends bytes as they are and reads to the end of the connection.
    pub(crate) async fn raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(BOUND, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    /// Registers `SERVICE-N` without a lease.
    pub(crate) async fn register(&self, id: &str) -> u64 {
        let answer = self.ask("PUT", &format!("/v1/instances/{id}"), registration(service_of(id))).await;
        answer.json()["revision"].as_u64().unwrap()
    }
}

/// The service of an id like `order-1`.
fn service_of(id: &str) -> &str {
    id.split('-').next().unwrap()
}

pub(crate) fn registration(service: &str) -> String {
    format!(r#"{{"service":"{service}","address":"127.0.0.1:9000"}}"#)
}

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub(crate) fn id(id: &str) -> InstanceId {
    InstanceId::new(id).unwrap()
}

pub(crate) fn instance(text: &str) -> Instance {
    Instance::new(id(text), service(service_of(text)), "127.0.0.1:9000".parse().unwrap())
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a problem document of that status and code; gives its detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), problem::CONTENT_TYPE, "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], status, "{json}");
        assert_eq!(json["code"], code, "{json}");
        let trace_id = json["trace_id"].as_str().unwrap_or_default();
        assert_eq!(trace_id.len(), 32, "{json}");
        assert_eq!(self.header("x-trace-id"), trace_id);
        json["detail"].as_str().unwrap().to_owned()
    }
}

/// The lines of a watch.
pub(crate) struct Lines {
    /// The first one: where it begins.
    pub(crate) begin: Value,
    body: ResponseBody<SharedPool>,
    read: Vec<u8>,
}

impl Lines {
    async fn of(answer: Response<ResponseBody<SharedPool>>) -> Result<Self, Answer> {
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            let body = body.collect().await.unwrap().to_bytes();
            return Err(Answer { status: head.status.as_u16(), headers: head.headers, body });
        }
        assert_eq!(head.headers["content-type"], "application/x-ndjson");
        assert_eq!(head.headers["cache-control"], "no-store");
        let mut lines = Self { begin: Value::Null, body, read: Vec::new() };
        lines.begin = lines.next().await.expect("a watch says where it begins");
        Ok(lines)
    }

    /// The next line; none at the end of the answer.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = timeout(BOUND, self.body.frame()).await.expect("a watch has something to tell");
            let Some(frame) = frame else {
                assert!(self.read.is_empty(), "the last line is whole");
                return None;
            };
            self.read.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
        }
    }

    /// The next line in short: `put order-1 @3`.
    pub(crate) async fn next_short(&mut self) -> String {
        let line = self.next().await.expect("the watch goes on");
        let id = line["id"].as_str().or(line["instance"]["id"].as_str()).unwrap_or("-");
        format!("{} {id} @{}", line["type"].as_str().unwrap(), line["revision"])
    }
}

/// Waits until an asked condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let deadline = time::now() + BOUND;
    while !holds().await {
        assert!(time::now() < deadline, "the condition did not hold within {BOUND:?}");
        // tidy: sleep: the pause between two looks at a condition that is asked for.
        time::sleep(Duration::from_millis(10)).await;
    }
}
