//! Errors of an application: each a problem document, and a panic is one request's alone.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use bowline::{
    BODY_MAX_DEFAULT, Code, HandlerError,
    extract::{Json, Path, Query},
};
use serde::Deserialize;

use crate::support::{Answer, Running, ask};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    quantity: u32,
}

async fn buy(Json(item): Json<Item>) -> Result<String, HandlerError> {
    if item.quantity == 0 {
        let error = HandlerError::new(Code::Unprocessable, "quantity: a whole number from 1");
        return Err(error.with("reason", "too_few"));
    }
    Ok(item.quantity.to_string())
}

async fn panics() -> &'static str {
    panic!("at the {}", "disco")
}

fn app() -> Router {
    Router::new()
        .route("/items", post(buy))
        .route("/items/{number}", get(|Path(number): Path<u32>| async move { number.to_string() }))
        .route("/search", get(|Query(item): Query<Item>| async move { item.quantity.to_string() }))
        .route("/fault", get(|| async { HandlerError::internal("the password is hunter2").into_response() }))
        .route("/bare", get(|| async { StatusCode::FORBIDDEN }))
        .route("/odd", get(|| async { StatusCode::IM_A_TEAPOT }))
        .route("/retry", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")]) }))
        .route("/own", get(|| async { (StatusCode::NOT_FOUND, "own words") }))
        .route("/panic", get(panics))
}

#[tokio::test]
async fn bodies_that_are_wrong_are_told_apart() {
    let running = Running::alone(app()).await;
    assert_eq!(running.post("/items", r#"{"quantity":2}"#).await.text(), "2");
    running.post("/items", "{").await.traced_problem(400, "invalid_argument");
    running.post("/items", "").await.traced_problem(400, "invalid_argument");
    let untyped = ask(running.addr, "POST", "/items", &[], r#"{"quantity":2}"#).await;
    untyped.traced_problem(415, "unsupported_media_type");
    let refused = running.post("/items", r#"{"quantity":0}"#).await;
    assert_eq!(refused.traced_problem(422, "unprocessable"), "quantity: a whole number from 1");
    let document: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(document["reason"], "too_few");
    for bad in [r#"{"quantity":-1}"#, "{}", r#"{"quantity":1,"colour":"red"}"#] {
        running.post("/items", bad).await.traced_problem(422, "unprocessable");
    }
    running.stop().await;
}

#[tokio::test]
async fn bodies_may_be_as_large_as_the_gateway_lets_pass() {
    let own = Router::new().route("/small", post(buy)).layer(DefaultBodyLimit::max(100));
    let running = Running::alone(app().merge(own)).await;
    let body = |bytes: usize| format!(r#"{{"quantity":1{}}}"#, " ".repeat(bytes - r#"{"quantity":1}"#.len()));
    assert_eq!(running.post("/items", &body(BODY_MAX_DEFAULT)).await.text(), "1");
    running.post("/items", &body(BODY_MAX_DEFAULT + 1)).await.traced_problem(413, "payload_too_large");
    assert_eq!(running.post("/small", &body(100)).await.text(), "1");
    running.post("/small", &body(101)).await.traced_problem(413, "payload_too_large");
    running.stop().await;
}

#[tokio::test]
async fn parameters_that_are_wrong_are_told() {
    let running = Running::alone(app()).await;
    assert_eq!(running.get("/items/7").await.text(), "7");
    running.get("/items/seven").await.traced_problem(400, "invalid_argument");
    assert_eq!(running.get("/search?quantity=3").await.text(), "3");
    running.get("/search?quantity=x").await.traced_problem(400, "invalid_argument");
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let running = Running::alone(app()).await;
    assert_eq!(running.get("/nowhere").await.traced_problem(404, "not_found"), "nothing at /nowhere");
    let wrong = ask(running.addr, "DELETE", "/items", &[], "").await;
    assert_eq!(wrong.traced_problem(405, "method_not_allowed"), "DELETE is not for /items");
    assert_eq!(wrong.header("allow"), "POST");
    running.stop().await;
}

#[tokio::test]
async fn a_bare_status_gets_a_document_and_own_words_stay() {
    let running = Running::alone(app()).await;
    running.get("/bare").await.traced_problem(403, "permission_denied");
    running.get("/odd").await.traced_problem(418, "invalid_argument");
    let retry = running.get("/retry").await;
    retry.traced_problem(503, "unavailable");
    assert_eq!(retry.header("retry-after"), "7");
    let own = running.get("/own").await;
    assert_eq!((own.status, own.text()), (404, "own words"));
    running.stop().await;
}

#[tokio::test]
async fn an_applications_own_fallback_stays() {
    let running = Running::alone(app().fallback(|| async { "anything" })).await;
    let answer = running.get("/nowhere").await;
    assert_eq!((answer.status, answer.text()), (200, "anything"));
    assert_eq!(running.get("/livez").await.text(), "ok\n");
    running.stop().await;
}

#[tokio::test]
async fn a_fault_of_ours_is_not_told() {
    let running = Running::alone(app()).await;
    let answer = running.get("/fault").await;
    let detail = answer.traced_problem(500, "internal");
    assert!(!detail.contains("hunter2"), "{detail}");
    running.stop().await;
}

#[tokio::test]
async fn a_panic_is_one_requests_alone() {
    let running = Running::alone(app()).await;
    for _ in 0..3 {
        let answer: Answer = running.get("/panic").await;
        let detail = answer.traced_problem(500, "internal");
        assert!(!detail.contains("disco"), "{detail}");
        assert_eq!(running.get("/items/1").await.status, 200);
    }
    let text = running.get("/metrics").await;
    assert!(text.text().contains(r#"route="/panic",code="500"} 3"#), "{}", text.text());
    running.stop().await;
}
