//! The service over HTTP, and its document.

use std::sync::Arc;

use example_testing::{Document, JSON, Running};
use iot_detect::features::{NAMES, Window};
use iot_ml::{
    model::Model,
    serving::{self, BODY_MAX, WINDOWS_MAX},
};
use serde_json::{Value, json};

const FILE: &[u8] = include_bytes!("../../../model/anomaly.json");
const DOCUMENT: &str = include_str!("../../../openapi/ml.yaml");

async fn running() -> Running {
    let model = Arc::new(Model::read(FILE).unwrap());
    Running::start("ml", serving::router(model), DOCUMENT).await
}

fn question(count: usize) -> Value {
    json!({"windows": vec![Window::default().features(0); count]})
}

#[tokio::test]
async fn hours_are_scored_and_the_model_told() {
    let ml = running().await;
    let scored = ml.ask("POST", "/scores", &[JSON], &question(WINDOWS_MAX).to_string()).await.json(200);
    let scores = scored["scores"].as_array().unwrap();
    assert_eq!(scores.len(), WINDOWS_MAX);
    assert!(scores[0].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)), "{scored}");
    let about = ml.ask("GET", "/model", &[], "").await.json(200);
    assert_eq!((&scored["version"], &about["features"]), (&about["version"], &json!(NAMES)));
    is_described(&scored, "Scores");
    is_described(&about, "Model");
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let ml = running().await;
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
        let problem = ml.ask("POST", "/scores", &[JSON], body).await.json(status);
        assert!(code.is_empty() || problem["code"] == code, "{problem}");
    }
}

/// The members of an answer are those of the document.
#[track_caller]
fn is_described(answer: &Value, schema: &str) {
    Document::read(DOCUMENT).check_members(schema, answer.as_object().unwrap().keys().map(String::as_str));
}

#[test]
fn the_document_has_the_operations_and_the_features() {
    let document = Document::read(DOCUMENT);
    document.check_operations([("GET", "/model"), ("POST", "/scores")]);
    document.check_members("Features", NAMES);
}
