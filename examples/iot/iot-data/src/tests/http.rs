//! The service as its callers know it.

use std::{net::SocketAddr, sync::Arc};

use bowline::{
    Error, Microservice, Settings,
    runtime::{net::TcpStream, task, time, time::Duration},
};
use bytes::Bytes;
use example_sql::{Db, on_both, testing::Fixture};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{data, document};
use crate::{api, reading::BATCH_MAX};

on_both!(readings_go_in_and_series_come_out, what_makes_no_sense_is_refused_as_the_document_says,);

/// The service, which runs for as long as it is held.
struct Running {
    addr: SocketAddr,
    _stop: oneshot::Sender<()>,
    _ended: task::Guarded<Result<(), Error>>,
}

impl Running {
    async fn start<DB: Db>(fixture: &Fixture<DB>) -> Self {
        let service = Microservice::new(Settings::from_vars("data", []).unwrap());
        let app = api::app(Arc::new(data(fixture).await));
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let serving =
            service.serve_until(app, stopped, Duration::from_secs(1), |addr| tell.send(addr.to_string()).unwrap());
        let ended = task::spawn(serving);
        let addr = told.await.unwrap().parse().unwrap();
        Self { addr, _stop: stop, _ended: task::Guarded::new(ended) }
    }

    /// Asks; the answer is one that the document has.
    async fn ask(&self, method: &str, template: &str, path: &str, body: String) -> (u16, Value) {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let _connection = task::Guarded::new(task::spawn(connection));
        let request = Request::builder().method(method).uri(path).header("host", "data");
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body))).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let (status, content_type) = (head.status.as_u16(), head.headers["content-type"].to_str().unwrap());
        document::check(method, template, status, content_type, &body);
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        self.ask("POST", "/readings", "/readings", body.to_string()).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", "/series/{device}", path, String::new()).await
    }
}

async fn readings_go_in_and_series_come_out<DB: Db>(fixture: Fixture<DB>) {
    let data = Running::start(&fixture).await;
    let now_ms = i64::try_from(time::unix_millis_now()).unwrap();
    let first_ms = now_ms / 3_600_000 * 3_600_000 - 3_600_000;
    let reading = |sequence: i64, at_ms: i64, value: f64| json!({"device": "d-1", "sequence": sequence, "at_ms": at_ms, "value": value});
    let batch = json!({"readings": [reading(2, first_ms + 1, 3.5), reading(1, first_ms, 2.5), reading(3, 0, 1.0)]});
    let refused = json!([{"device": "d-1", "sequence": 3, "reason": "too_old"}]);
    assert_eq!(data.post(&batch).await, (200, json!({"stored": 2, "duplicates": 0, "refused": refused})));
    assert_eq!(data.post(&batch).await, (200, json!({"stored": 0, "duplicates": 2, "refused": refused})));
    let (status, series) = data.get(&format!("/series/d-1?from={first_ms}&to={now_ms}&step=1h")).await;
    let rolled = json!({"at_ms": first_ms, "count": 2, "mean": 3.0, "min": 2.5, "max": 3.5});
    assert_eq!((status, series), (200, json!({"device": "d-1", "points": [rolled]})));
    let (_, series) = data.get(&format!("/series/d-1?from={}&to={now_ms}", first_ms + 1)).await;
    assert_eq!(series["points"], json!([{"at_ms": first_ms + 1, "sequence": 2, "value": 3.5}]));
    let (_, series) = data.get("/series/d-9?from=0&to=1&step=1m").await;
    assert_eq!(series["points"], json!([]));
}

async fn what_makes_no_sense_is_refused_as_the_document_says<DB: Db>(fixture: Fixture<DB>) {
    let data = Running::start(&fixture).await;
    let reading = json!({"device": "d-1", "sequence": 1, "at_ms": 0, "value": 1});
    for (body, status) in [
        (json!({"readings": []}), 422),
        (json!({"readings": vec![&reading; BATCH_MAX + 1]}), 422),
        (json!({"readings": [{"device": "d-1"}]}), 422),
        (json!({"readings": [], "more": 1}), 422),
        (json!({"readings": ["x".repeat(1 << 20)]}), 413),
    ] {
        assert_eq!(data.post(&body).await.0, status, "{body:.80}");
    }
    assert_eq!(data.ask("POST", "/readings", "/readings", "{".to_owned()).await.0, 400);
    for (path, status) in [
        ("/series/d-1", 400),
        ("/series/d-1?from=0&to=1&step=5m", 400),
        ("/series/d.1?from=0&to=1", 422),
        ("/series/d-1?from=1&to=1", 422),
        ("/series/d-1?from=-9223372036854775808&to=1&step=1m", 422),
    ] {
        assert_eq!(data.get(path).await.0, status, "{path}");
    }
}
