//! Applications that run in the test, and ways to ask them.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use bowline::{Error, Microservice, ServiceClient, Settings};
use bowline_model::{Address, Instance, InstanceId, ServiceName};
use bowline_runtime::{
    task::{self, JoinHandle},
    time,
};
use bowline_testkit::TempDir;
use bowline_transport::{Body, HttpClient};
use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::api::Api;

/// Longer than anything here takes; a test that needs it has failed.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// The service of that name, instance `NAME-1`, on a data folder of its own.
pub(crate) struct Place {
    dir: TempDir,
    vars: Vec<(String, String)>,
    name: &'static str,
}

impl Place {
    pub(crate) fn new(name: &'static str) -> Self {
        let dir = bowline_testkit::temp_dir();
        let place = Self { dir, vars: Vec::new(), name };
        let data_dir = place.dir.path().display().to_string();
        place.with("BOWLINE_INSTANCE", &format!("{name}-1")).with("BOWLINE_DATA_DIR", &data_dir)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Beside that server.
    pub(crate) fn beside(self, api: SocketAddr) -> Self {
        self.with("BOWLINE_API", &format!("http://{api}"))
    }

    pub(crate) fn service(&self) -> Microservice {
        Microservice::new(Settings::from_vars(self.name, self.vars.clone()).unwrap())
    }

    pub(crate) fn path(&self, relative: &str) -> std::path::PathBuf {
        self.dir.path().join(relative)
    }
}

/// A client of `callee` in a service `caller` beside that server, with that policy as JSON.
pub(crate) struct Caller {
    pub(crate) client: ServiceClient,
    _service: Microservice,
    _place: Place,
}

impl Caller {
    pub(crate) fn new(api: &Api, policy: &str) -> Self {
        let calls = format!(r#"{{"callee":{policy}}}"#);
        let place = Place::new("caller").beside(api.addr).with("BOWLINE_CALLS", &calls);
        let service = place.service();
        Self { client: service.client("callee"), _service: service, _place: place }
    }
}

/// An application that runs until it is stopped.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) async fn start(service: Microservice, app: Router) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let ended = task::spawn(service.serve_until(app, stopped, BOUND, |addr| tell.send(addr).unwrap()));
        let Address::Tcp(addr) = told.await.unwrap() else { panic!("it was told an IP") };
        Self { addr, stop, ended }
    }

    /// Alone: without a server.
    pub(crate) async fn alone(app: Router) -> Self {
        Self::start(Place::new("hello").service(), app).await
    }

    /// Says stop; the end can be waited for.
    pub(crate) fn begin_stop(self) -> JoinHandle<Result<(), Error>> {
        self.stop.send(()).unwrap();
        self.ended
    }

    pub(crate) async fn stop(self) {
        self.begin_stop().await.unwrap().unwrap();
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        ask(self.addr, "GET", target, &[], "").await
    }

    pub(crate) async fn post(&self, target: &str, json: &str) -> Answer {
        ask(self.addr, "POST", target, &[("content-type", "application/json")], json.to_owned()).await
    }
}

pub(crate) async fn ask(
    addr: impl Into<Address>,
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
    let (head, body) = HttpClient::new(addr).request(request).await.unwrap().into_parts();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a problem document of that status and code; gives its detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!((&json["status"], &json["code"]), (&Value::from(status), &Value::from(code)), "{json}");
        json["detail"].as_str().unwrap().to_owned()
    }

    /// The same of a request that is traced: with its trace id.
    #[track_caller]
    pub(crate) fn traced_problem(&self, status: u16, code: &str) -> String {
        let detail = self.problem(status, code);
        let json: Value = serde_json::from_slice(&self.body).unwrap();
        let trace_id = json["trace_id"].as_str().unwrap_or_default();
        assert_eq!(trace_id.len(), 32, "{json}");
        assert_eq!(self.header("x-trace-id"), trace_id);
        detail
    }
}

/// The instance of that id, like `callee-1`, there.
pub(crate) fn instance(id: &str, addr: SocketAddr) -> Instance {
    let service = id.split('-').next().unwrap();
    Instance::new(InstanceId::new(id).unwrap(), ServiceName::new(service).unwrap(), addr.into())
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
