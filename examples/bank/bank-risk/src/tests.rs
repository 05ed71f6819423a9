//! The service over HTTP, alone: no ml, no server; and its document.

use std::{net::SocketAddr, time::Duration};

use bowline::{
    Settings,
    runtime::{net::TcpStream, task, time},
};
use example_sql::{Db, on_both, testing::Fixture};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
};

use super::*;
use crate::repository::tests::opened;

on_both!(where_there_is_no_ml_a_transfer_is_judged_all_the_same);

const DOCUMENT: &str = include_str!("../../openapi/risk.yaml");

/// The service on a port of its own, until it is dropped.
async fn running<DB: Db>(fixture: &Fixture<DB>) -> (SocketAddr, task::Guarded<()>) {
    let vars = [("BOWLINE_CALLS".to_owned(), r#"{"ml":{"timeout":"100ms"}}"#.to_owned())];
    let mut service = Microservice::new(Settings::from_vars("risk", vars).unwrap());
    let app = application(&mut service, opened(fixture).await).await.unwrap();
    let (tell, told) = oneshot::channel();
    let serving = async move {
        let on_listen = |addr| tell.send(addr).unwrap();
        service.serve_until(app, std::future::pending(), Duration::ZERO, on_listen).await.unwrap();
    };
    let guard = task::Guarded::new(task::spawn(serving));
    let addr = told.await.unwrap().to_string().parse().unwrap();
    (addr, guard)
}

/// As the teller.
async fn post(addr: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    let (status, body) = ask(addr, "POST", path, &body.to_string()).await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn ask(addr: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: risk\r\nconnection: close\r\n");
    let head = format!("{head}x-bowline-subject: teller\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn where_there_is_no_ml_a_transfer_is_judged_all_the_same<DB: Db>(fixture: Fixture<DB>) {
    let (addr, _running) = running(&fixture).await;
    let new = json!({
        "transfer": "t-1", "from": "a-1", "to": "a-2", "amount": 500, "currency": "EUR",
        "at_unix_ms": time::unix_millis_now(),
    });
    let (status, assessment) = post(addr, "/assessments", &new).await;
    assert_eq!((status, &assessment), (200, &json!({"decision": "allow", "by": "fallback", "reasons": []})));
    is_described(&assessment, "Assessment");
    let (status, report) = post(addr, "/reports", &json!({"transfer": "t-1"})).await;
    assert_eq!((status, &report), (200, &json!({"transfer": "t-1"})));
    is_described(&report, "Report");
    let mut other = new;
    other["amount"] = json!(501);
    let (status, problem) = post(addr, "/assessments", &other).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")));
    other["currency"] = json!("CHF");
    assert_eq!(post(addr, "/assessments", &other).await.0, 422);
    assert_eq!(post(addr, "/reports", &json!({"transfer": "t-2"})).await.0, 404);
    let (_, metrics) = ask(addr, "GET", "/metrics", "").await;
    assert!(metrics.contains(r#"bank_risk_assessments_total{by="fallback",decision="allow"} 1"#), "{metrics}");
}

/// The members of an answer are in the document, and those that it demands are there.
#[track_caller]
fn is_described(answer: &Value, schema: &str) {
    let document: Value = serde_saphyr::from_str(DOCUMENT).unwrap();
    let schema = &document["components"]["schemas"][schema];
    let found = answer.as_object().unwrap();
    assert!(found.keys().all(|name| schema["properties"].get(name).is_some()), "{answer}");
    let required = schema["required"].as_array().unwrap();
    assert!(required.iter().all(|name| found.contains_key(name.as_str().unwrap())), "{answer}");
}

#[test]
fn the_document_has_the_operations_and_what_they_take() {
    let document: Value = serde_saphyr::from_str(DOCUMENT).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().collect::<Vec<_>>(), ["/assessments", "/reports"]);
    assert!(paths.values().all(|path| path.get("post").is_some()));
    // What it demands is enough, and all that it has is taken.
    let new = &document["components"]["schemas"]["NewAssessment"];
    let mut example = json!({
        "transfer": "t-1", "from": "a-1", "to": "a-2", "amount": 1, "currency": "EUR", "at_unix_ms": 0,
    });
    let names: Vec<&String> = new["properties"].as_object().unwrap().keys().collect();
    assert_eq!(new["required"].as_array().unwrap().len(), names.len());
    serde_json::from_value::<NewAssessment>(example.clone()).unwrap();
    for name in names {
        let without = example.as_object_mut().unwrap().remove(name).unwrap();
        assert!(serde_json::from_value::<NewAssessment>(example.clone()).is_err(), "{name}");
        example[name] = without;
    }
}
