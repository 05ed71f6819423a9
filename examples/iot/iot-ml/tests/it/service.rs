//! The service over HTTP, and its document.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bowline::{
    Microservice, Settings,
    runtime::{net::TcpStream, task},
};
use iot_detect::features::{NAMES, Window};
use iot_ml::{
    model::Model,
    serving::{self, BODY_MAX, WINDOWS_MAX},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
};

const FILE: &[u8] = include_bytes!("../../../model/anomaly.json");
const DOCUMENT: &str = include_str!("../../../openapi/ml.yaml");

/// The service on a port of its own, until it is dropped.
async fn running() -> (SocketAddr, task::Guarded<()>) {
    let model = Arc::new(Model::read(FILE).unwrap());
    let service = Microservice::new(Settings::from_vars("ml", []).unwrap());
    let (tell, told) = oneshot::channel();
    let serving = async move {
        let on_listen = |addr| tell.send(addr).unwrap();
        let router = serving::router(model);
        service.serve_until(router, std::future::pending(), Duration::ZERO, on_listen).await.unwrap();
    };
    let guard = task::Guarded::new(task::spawn(serving));
    let addr = told.await.unwrap().to_string().parse().unwrap();
    (addr, guard)
}

/// The status of an answer, and its body.
async fn ask(addr: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: ml\r\nconnection: close\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn question(count: usize) -> Value {
    json!({"windows": vec![Window::default().features(0); count]})
}

#[tokio::test]
async fn hours_are_scored_and_the_model_told() {
    let (addr, _running) = running().await;
    let (status, scored) = ask(addr, "POST", "/scores", &question(WINDOWS_MAX).to_string()).await;
    assert_eq!(status, 200, "{scored}");
    let scores = scored["scores"].as_array().unwrap();
    assert_eq!(scores.len(), WINDOWS_MAX);
    assert!(scores[0].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)), "{scored}");
    let (status, about) = ask(addr, "GET", "/model", "").await;
    assert_eq!(status, 200, "{about}");
    assert_eq!((&scored["version"], &about["features"]), (&about["version"], &json!(NAMES)));
    is_described(&scored, "Scores");
    is_described(&about, "Model");
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let (addr, _running) = running().await;
    let mut without = question(1);
    without["windows"][0].as_object_mut().unwrap().remove("level");
    let mut more = question(1);
    more["windows"][0]["colour"] = json!(1);
    let large = format!("{{\"windows\":\"{}\"}}", "x".repeat(BODY_MAX));
    for (body, status, code) in [
        ("{", 400, "invalid_argument"),
        (&*without.to_string(), 422, "unprocessable"),
        (&*more.to_string(), 422, "unprocessable"),
        (&*question(0).to_string(), 422, "unprocessable"),
        (&*question(WINDOWS_MAX + 1).to_string(), 422, "unprocessable"),
        (&*large, 413, ""),
    ] {
        let (found, problem) = ask(addr, "POST", "/scores", body).await;
        assert_eq!(found, status, "{problem}");
        assert!(code.is_empty() || problem["code"] == code, "{problem}");
    }
}

/// The members of an answer are those of the document.
#[track_caller]
fn is_described(answer: &Value, schema: &str) {
    let document: Value = serde_saphyr::from_str(DOCUMENT).unwrap();
    let schema = &document["components"]["schemas"][schema];
    let mut said: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let mut found: Vec<&String> = answer.as_object().unwrap().keys().collect();
    said.sort();
    found.sort();
    assert_eq!(said, found);
    assert_eq!(schema["required"].as_array().unwrap().len(), found.len());
}

#[test]
fn the_document_has_the_operations_and_the_features() {
    let document: Value = serde_saphyr::from_str(DOCUMENT).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().collect::<Vec<_>>(), ["/model", "/scores"]);
    let features = &document["components"]["schemas"]["Features"];
    let mut names: Vec<&str> = NAMES.to_vec();
    names.sort_unstable();
    let mut said: Vec<&str> = features["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    said.sort_unstable();
    assert_eq!(said, names);
    assert_eq!(features["required"].as_array().unwrap().len(), names.len());
}
