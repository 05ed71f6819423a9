//! The service as its callers know it.

use std::net::SocketAddr;

use bowline::{
    Error, Microservice, Settings,
    runtime::{net::TcpStream, task, time::Duration},
};
use bytes::Bytes;
use example_sql::{Db, on_both, testing::Fixture};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{INTERVAL_MS, START_MS, document, plain};
use crate::{api, reading::BATCH_MAX};

on_both!(readings_go_in_and_anomalies_come_out, what_makes_no_sense_is_refused_as_the_document_says);

/// The service, which runs for as long as it is held.
struct Running {
    addr: SocketAddr,
    _stop: oneshot::Sender<()>,
    _ended: task::Guarded<Result<(), Error>>,
}

impl Running {
    async fn start<DB: Db>(fixture: &Fixture<DB>) -> Self {
        let service = Microservice::new(Settings::from_vars("analytics", []).unwrap());
        let app = api::app(plain(fixture).await);
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
    async fn ask(&self, method: &str, path: &str, body: String) -> (u16, Value) {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let _connection = task::Guarded::new(task::spawn(connection));
        let request = Request::builder().method(method).uri(path).header("host", "analytics");
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body))).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let (status, content_type) = (head.status.as_u16(), head.headers["content-type"].to_str().unwrap());
        let template = path.split('?').next().unwrap();
        document::check(method, template, status, content_type, &body);
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        self.ask("POST", "/observations", body.to_string()).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, String::new()).await
    }
}

async fn readings_go_in_and_anomalies_come_out<DB: Db>(fixture: Fixture<DB>) {
    let analytics = Running::start(&fixture).await;
    let reading = |device: &str, number: i64, value: f64| json!({"device": device, "sequence": number, "at_ms": START_MS + number * INTERVAL_MS, "value": value});
    let mut readings: Vec<Value> = (0..20).map(|number| reading("d-1", number, 2.5)).collect();
    readings.push(reading("d.1", 1, 0.0));
    readings.push(json!({"device": "d-1", "sequence": 99, "at_ms": i64::MAX, "value": 1.0}));
    let receipt = json!({"taken": 20, "duplicates": 0, "late": 0, "ahead": 1, "malformed": 1, "crowded": 0});
    assert_eq!(analytics.post(&json!({"readings": readings})).await, (200, receipt));
    assert_eq!(analytics.get("/anomalies").await, (200, json!({"anomalies": []})));
    analytics.post(&json!({"readings": [reading("d-1", 40, 1.0), reading("d-1", 42, 1.5)]})).await;
    let (_, found) = analytics.get("/anomalies?device=d-1&open=false&after=0&limit=10").await;
    let found = found["anomalies"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["kind"], &found[0]["by"]), (1, &json!("dropout"), &json!("fallback")));
    let id = found[0]["id"].as_i64().unwrap();
    let (_, after) = analytics.get(&format!("/anomalies?after={id}")).await;
    assert_eq!(after, json!({"anomalies": []}));
}

async fn what_makes_no_sense_is_refused_as_the_document_says<DB: Db>(fixture: Fixture<DB>) {
    let analytics = Running::start(&fixture).await;
    let reading = json!({"device": "d-1", "sequence": 1, "at_ms": 0, "value": 1});
    for (body, status) in [
        (json!({"readings": []}), 422),
        (json!({"readings": vec![&reading; BATCH_MAX + 1]}), 422),
        (json!({"readings": [{"device": "d-1"}]}), 422),
        (json!({"readings": [], "more": 1}), 422),
        (json!({"readings": ["x".repeat(1 << 20)]}), 413),
    ] {
        assert_eq!(analytics.post(&body).await.0, status, "{body:.80}");
    }
    assert_eq!(analytics.ask("POST", "/observations", "{".to_owned()).await.0, 400);
    for (path, status) in [
        ("/anomalies?open=maybe", 400),
        ("/anomalies?more=1", 400),
        ("/anomalies?device=d.1", 422),
        ("/anomalies?limit=0", 422),
        ("/anomalies?limit=1001", 422),
    ] {
        assert_eq!(analytics.get(path).await.0, status, "{path}");
    }
}
