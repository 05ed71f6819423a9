//! What is beside an application's own routes: health, metrics, spans.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::{Router, routing::get};
use bowline_runtime::time;
use bowline_telemetry::{SpanKind, Status};

use crate::{
    api::Api,
    support::{BOUND, Place, Running, ask},
};

fn hello() -> Router {
    Router::new().route("/hello/{name}", get(|| async { "hello" }))
}

#[tokio::test]
async fn health_is_told() {
    let running = Running::alone(hello()).await;
    for path in ["/livez", "/readyz"] {
        let answer = running.get(path).await;
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{path}");
        assert_eq!(answer.header("x-bowline-speaks"), "h2", "whoever checks it learns what to register");
    }
    let wrong = ask(running.addr, "POST", "/readyz", &[], "").await;
    assert_eq!(wrong.problem(405, "method_not_allowed"), "POST is not for /readyz");
    assert_eq!(wrong.header("allow"), "GET,HEAD");
    running.stop().await;
}

#[tokio::test]
async fn readiness_is_what_the_application_says() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let told = is_ready.clone();
    let service = Place::new("hello").service().ready_when(|| async { Ok(()) }).ready_when(move || {
        let is_ready = told.load(Relaxed);
        async move { if is_ready { Ok(()) } else { Err("the database is not migrated".to_owned()) } }
    });
    let running = Running::start(service, hello()).await;
    let answer = running.get("/readyz").await;
    assert_eq!(answer.problem(503, "unavailable"), "the database is not migrated");
    assert_eq!(running.get("/livez").await.status, 200);
    is_ready.store(true, Relaxed);
    assert_eq!(running.get("/readyz").await.status, 200);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_not_waited_for() {
    let service = Place::new("hello").service().ready_when(std::future::pending);
    let running = Running::start(service, hello()).await;
    let detail = running.get("/readyz").await.problem(503, "unavailable");
    assert!(detail.contains("more than 5s"), "{detail}");
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let running = Running::alone(hello()).await;
    for name in ["a", "b"] {
        assert_eq!(running.get(&format!("/hello/{name}")).await.status, 200);
    }
    running.get("/nowhere").await;
    running.get("/livez").await;
    let answer = running.get("/metrics").await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"), "{answer:?}");
    let text = answer.text();
    for line in [
        r#"bowline_requests_total{reporter="server",service="hello",route="/hello/{name}",code="200"} 2"#,
        r#"bowline_requests_total{reporter="server",service="hello",route="",code="404"} 1"#,
        r#"bowline_request_duration_seconds_count{reporter="server",service="hello",route="/hello/{name}",code="200"} 2"#,
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
    }
    assert!(!text.contains("livez"), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn a_server_span_continues_the_callers_trace() {
    let api = Api::start().await;
    let running = Running::start(Place::new("hello").beside(api.addr).service(), hello()).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = ask(running.addr, "GET", "/hello/you?q=1", &[("traceparent", traceparent)], "").await;
    assert_eq!(answer.header("x-trace-id"), "0af7651916cd43dd8448eb211c80319c");
    let span = api.span("GET /hello/{name}").await;
    assert_eq!(span.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id.unwrap().to_string(), "b7ad6b7169203331");
    assert_eq!((&*span.service, &*span.instance, span.kind), ("hello", "hello-1", SpanKind::Server));
    let attribute = |key| span.attribute(key).map(ToString::to_string).unwrap_or_default();
    assert_eq!(attribute("http.request.method"), "GET");
    assert_eq!(attribute("http.route"), "/hello/{name}");
    assert_eq!(attribute("url.path"), "/hello/you");
    assert_eq!(attribute("http.response.status_code"), "200");
    assert!(!span.is_error());
    running.stop().await;
}

#[tokio::test]
async fn what_the_caller_does_not_sample_is_not_reported() {
    let api = Api::start().await;
    let app = Router::new().route("/first", get(|| async {})).route("/second", get(|| async {}));
    let running = Running::start(Place::new("hello").beside(api.addr).service(), app).await;
    let unsampled = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")];
    let answer = ask(running.addr, "GET", "/first", &unsampled, "").await;
    assert_eq!(answer.header("x-trace-id"), "0af7651916cd43dd8448eb211c80319c");
    running.get("/second").await;
    api.span("GET /second").await;
    assert!(!api.has_span("GET /first"));
    running.stop().await;
}

#[tokio::test]
async fn a_fault_is_an_error_on_the_span_and_the_last_spans_leave_before_the_end() {
    let api = Api::start().await;
    let app = Router::new().route("/broken", get(|| async { http::StatusCode::INTERNAL_SERVER_ERROR }));
    let running = Running::start(Place::new("hello").beside(api.addr).service(), app).await;
    assert_eq!(running.get("/broken").await.status, 500);
    running.stop().await;
    assert!(api.has_span("GET /broken"), "no span waits when the process ends");
    assert!(matches!(api.span("GET /broken").await.status, Status::Error(message) if message.contains("500")));
}

#[tokio::test]
async fn a_handler_that_holds_its_thread_is_told_in_the_metrics() {
    let service = Place::new("hello").service();
    let metrics = service.metrics().clone();
    let slow = async move || {
        let begun = time::now();
        while !metrics.render().contains("task=\"GET /slow/{id}\"") && time::now() - begun < BOUND {
            std::hint::spin_loop();
        }
    };
    let running = Running::start(service, Router::new().route("/slow/{id}", get(slow))).await;
    assert_eq!(running.get("/slow/7").await.status, 200);
    let text = running.get("/metrics").await.text().to_owned();
    assert!(text.contains("bowline_task_stalls_total{task=\"GET /slow/{id}\"} 1\n"), "{text}");
    running.stop().await;
}
