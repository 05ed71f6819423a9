//! The service over HTTP, and its document.

use std::sync::Arc;

use bank_features::{Features, NAMES};
use bank_ml::{
    model::Model,
    serving::{self, BODY_MAX},
};
use example_testing::{Document, JSON, Running};
use serde_json::{Value, json};

const FILE: &[u8] = include_bytes!("../../../model/fraud.json");
const DOCUMENT: &str = include_str!("../../../openapi/ml.yaml");

async fn running() -> Running {
    let model = Arc::new(Model::read(FILE).unwrap());
    Running::start("ml", serving::router(model), DOCUMENT).await
}

fn question() -> Value {
    json!({"features": Features::of(1_767_787_200_000, 4_000, [], [])})
}

#[tokio::test]
async fn a_transfer_is_scored_and_the_model_told() {
    let ml = running().await;
    let score = ml.ask("POST", "/scores", &[JSON], &question().to_string()).await.json(200);
    let about = ml.ask("GET", "/model", &[], "").await.json(200);
    assert_eq!((&score["model"], &score["threshold"]), (&about["version"], &about["threshold"]));
    assert!(score["score"].as_f64().is_some_and(|score| (0.0..0.5).contains(&score)), "{score}");
    assert_eq!(about["features"], json!(NAMES));
    is_described(&score, "Score");
    is_described(&about, "Model");
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let ml = running().await;
    let mut without = question();
    without["features"].as_object_mut().unwrap().remove("amount");
    let mut more = question();
    more["features"]["colour"] = json!(1);
    let large = format!("{{\"features\":\"{}\"}}", "x".repeat(BODY_MAX));
    for (body, status, code) in [
        ("{", 400, "invalid_argument"),
        (&*without.to_string(), 422, "unprocessable"),
        (&*more.to_string(), 422, "unprocessable"),
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
