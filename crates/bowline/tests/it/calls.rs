//! One call: what travels with it, when it is tried again, and what its errors say.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, extract::State, response::Response, routing::get};
use bowline::{
    Code, HandlerError, ServiceClient, SpanKind, client, current,
    extract::{Json, Path},
};
use bowline_telemetry::SpanContext;
use bowline_testkit::{Answer, HttpServer, Request};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::{
    api::Api,
    support::{BOUND, Caller, Place, Running, ask, instance, until},
};

/// Time enough, and retries that do not wait long.
const POLICY: &str = r#"{"timeout":"10s","retry":{"attempts_max":3,"backoff":"1ms..2ms","budget":"100%"}}"#;

/// An upstream with that script as the only instance, and a caller.
async fn called(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> (Api, HttpServer, Caller) {
    let api = Api::start().await;
    let server = HttpServer::start(script);
    api.register(instance("callee-1", server.addr()));
    let caller = Caller::new(&api, POLICY);
    (api, server, caller)
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).map_or("", String::as_str)
}

fn timeout_ms(request: &Request) -> u64 {
    header(request, "x-bowline-timeout-ms").parse().unwrap()
}

#[tokio::test]
async fn a_call_carries_its_trace_and_its_deadline() {
    let (api, server, caller) = called(|_| Answer::Status(200, "[1]".to_owned())).await;
    let parent = SpanContext {
        trace_id: "0af7651916cd43dd8448eb211c80319c".parse().unwrap(),
        span_id: "b7ad6b7169203331".parse().unwrap(),
        is_sampled: true,
    };
    let call = caller.client.post("/orders?x=1").idempotency_key("k1").body(&json!({"a": 1})).json::<Vec<u8>>();
    assert_eq!(current::scope(parent, call).await.unwrap(), [1]);
    let request = server.requests().remove(0);
    assert_eq!((&*request.method, &*request.path, &request.body[..]), ("POST", "/orders?x=1", &br#"{"a":1}"#[..]));
    assert_eq!(header(&request, "host"), "callee");
    assert_eq!(header(&request, "content-type"), "application/json");
    assert_eq!(header(&request, "idempotency-key"), "k1");
    assert!((5000..=10_000).contains(&timeout_ms(&request)), "{request:?}");

    let span = api.span("POST callee").await;
    assert_eq!((span.trace_id, span.parent_span_id), (parent.trace_id, Some(parent.span_id)));
    assert_eq!(span.kind, SpanKind::Client);
    assert_eq!(header(&request, "traceparent"), format!("00-{}-{}-01", span.trace_id, span.span_id));
    let attribute = |key| span.attribute(key).map(ToString::to_string).unwrap_or_default();
    assert_eq!(attribute("bowline.instance"), "callee-1");
    assert_eq!(attribute("bowline.attempts"), "1");
    assert_eq!(attribute("http.response.status_code"), "200");
    assert_eq!(attribute("url.path"), "/orders");
}

#[tokio::test]
async fn a_deadline_shrinks_from_hop_to_hop() {
    async fn relay(State(next): State<ServiceClient>) -> Result<Json<Value>, HandlerError> {
        Ok(Json(next.get("/end").json().await?))
    }
    let api = Api::start().await;
    let end = HttpServer::start(|_| Answer::Status(200, "{}".to_owned()));
    api.register(instance("end-1", end.addr()));
    let middle = Place::new("callee").beside(api.addr).with("BOWLINE_CALLS", r#"{"end":{"timeout":"1h"}}"#).service();
    let app = Router::new().route("/relay", get(relay)).with_state(middle.client("end"));
    let middle = Running::start(middle, app).await;
    let caller = Caller::new(&api, r#"{"timeout":"5s"}"#);
    caller.client.get("/relay").json::<Value>().await.unwrap();
    let left = timeout_ms(&end.requests()[0]);
    assert!((1..5000).contains(&left), "{left} ms");

    // Without a caller's deadline the declared one holds; with one from outside, that.
    ask(middle.addr, "GET", "/relay", &[], "").await;
    assert!(timeout_ms(&end.requests()[1]) > 3_500_000);
    ask(middle.addr, "GET", "/relay", &[("x-bowline-timeout-ms", "900")], "").await;
    assert!(timeout_ms(&end.requests()[2]) <= 900);
    ask(middle.addr, "GET", "/relay", &[("x-bowline-timeout-ms", "soon")], "").await;
    assert!(timeout_ms(&end.requests()[3]) > 3_500_000);
    middle.stop().await;
}

#[tokio::test]
async fn a_call_whose_callers_time_is_up_is_not_made() {
    async fn relay(State(next): State<ServiceClient>) -> Result<Json<Value>, HandlerError> {
        Ok(Json(next.get("/end").json().await?))
    }
    let api = Api::start().await;
    let end = HttpServer::start(|_| Answer::Status(200, "{}".to_owned()));
    api.register(instance("end-1", end.addr()));
    let middle = Place::new("middle").beside(api.addr).service();
    let app = Router::new().route("/relay", get(relay)).with_state(middle.client("end"));
    let middle = Running::start(middle, app).await;
    assert_eq!(middle.get("/relay").await.status, 200);
    let late = ask(middle.addr, "GET", "/relay", &[("x-bowline-timeout-ms", "0")], "").await;
    late.traced_problem(504, "deadline_exceeded");
    assert_eq!(end.requests().len(), 1);
    middle.stop().await;
}

#[tokio::test]
async fn what_a_failed_call_becomes_for_the_own_caller() {
    async fn relay(State(next): State<ServiceClient>, Path(path): Path<String>) -> Result<String, HandlerError> {
        Ok(next.get(&format!("/{path}")).json().await?)
    }
    let api = Api::start().await;
    let end = HttpServer::start(|request| match &*request.path {
        "/limited" => Answer::status(429),
        _ => Answer::Status(404, "the secret is not here".to_owned()),
    });
    api.register(instance("end-1", end.addr()));
    let calls = r#"{"end":{"timeout":"10s"}}"#;
    let middle = Place::new("middle").beside(api.addr).with("BOWLINE_CALLS", calls).service();
    let app = Router::new().route("/{path}", get(relay)).with_state(middle.client("end"));
    let middle = Running::start(middle, app).await;
    middle.get("/limited").await.traced_problem(429, "rate_limited");
    // Not the caller's mistake but ours: it did not ask for what we asked for.
    let detail = middle.get("/missing").await.traced_problem(500, "internal");
    assert!(!detail.contains("secret"), "{detail}");
    drop(end);
    let detail = middle.get("/missing").await.traced_problem(503, "unavailable");
    assert_eq!(detail, "calling service end failed");
    middle.stop().await;
}

#[tokio::test]
async fn a_dead_instance_is_passed_over() {
    let (api, server, caller) = called(|_| Answer::Status(200, "1".to_owned())).await;
    api.register(instance("callee-2", bowline_testkit::free_addr()));
    bowline_testkit::eventually(BOUND, || caller.client.instance_count() == 2).await;
    for _ in 0..20 {
        caller.client.get("/").json::<u8>().await.unwrap();
    }
    // Nothing reached the dead one, so any method may be tried elsewhere.
    for _ in 0..20 {
        caller.client.post("/").json::<u8>().await.unwrap();
    }
    assert_eq!(server.requests().len(), 40);
}

#[tokio::test]
async fn an_idempotent_request_that_was_lost_is_sent_to_another_instance() {
    let (api, live, caller) = called(|_| Answer::Status(200, "1".to_owned())).await;
    let dying = HttpServer::start(|_| Answer::Close);
    api.register(instance("callee-2", dying.addr()));
    bowline_testkit::eventually(BOUND, || caller.client.instance_count() == 2).await;
    let mut calls = 0;
    while dying.requests().is_empty() {
        caller.client.get("/").json::<u8>().await.unwrap();
        calls += 1;
        assert!(calls < 1000, "the dying instance is picked sometimes");
    }
    assert_eq!(live.requests().len(), calls);
}

#[tokio::test]
async fn a_post_that_was_sent_is_not_sent_again() {
    let (_api, server, caller) = called(|_| Answer::Close).await;
    let error = caller.client.post("/orders").body(&json!({})).bytes().await.unwrap_err();
    assert_eq!(error.code(), Code::BadGateway, "{error:?}");
    assert_eq!(server.requests().len(), 1);
    let (_api, server, caller) = called(|_| Answer::status(503)).await;
    let error = caller.client.post("/orders").body(&json!({})).bytes().await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE), "{error:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_post_with_a_key_is_sent_again() {
    let (_api, server, caller) = called(|_| Answer::Close).await;
    let call = caller.client.post("/orders").idempotency_key("k1").body(&json!({"a": 1}));
    call.bytes().await.unwrap_err();
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "three attempts");
    assert!(requests.iter().all(|request| request.body == br#"{"a":1}"# && header(request, "idempotency-key") == "k1"));
}

#[tokio::test]
async fn a_failure_that_passes_is_not_seen() {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (_api, server, caller) = called(move |_| {
        let is_first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        if is_first { Answer::status(503) } else { Answer::Status(200, "7".to_owned()) }
    })
    .await;
    assert_eq!(caller.client.get("/").json::<u8>().await.unwrap(), 7);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_status_carries_the_problem() {
    let api = Api::start().await;
    let app = Router::new()
        .route("/card", get(|| async { HandlerError::new(Code::FailedPrecondition, "the card is expired") }))
        .route("/plain", get(|| async { (StatusCode::GONE, "it is gone") }));
    let callee = Running::start(Place::new("callee").beside(api.addr).service(), app).await;
    let caller = Caller::new(&api, POLICY);
    let error = caller.client.get("/card").bytes().await.unwrap_err();
    let status = Code::FailedPrecondition.http_status();
    assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
    assert_eq!((error.code(), error.retryable()), (Code::FailedPrecondition, false));
    let text = error.to_string();
    assert!(text.starts_with("callee answered ") && text.ends_with(": the card is expired"), "{text}");
    let client::Error::Status { problem: Some(problem), .. } = error else { panic!("{error:?}") };
    assert_eq!((&*problem.detail, problem.status), ("the card is expired", status));
    assert_eq!(problem.trace_id.unwrap().len(), 32);

    let plain = caller.client.get("/plain").bytes().await.unwrap_err();
    assert!(matches!(&plain, client::Error::Status { status: StatusCode::GONE, problem: None, .. }), "{plain:?}");
    callee.stop().await;
}

#[tokio::test]
async fn answers_are_read_as_json() {
    let (_api, _server, caller) = called(|request| match &*request.path {
        "/empty" => Answer::status(204),
        "/text" => Answer::Status(200, "text".to_owned()),
        _ => Answer::Status(200, r#"{"a":1}"#.to_owned()),
    })
    .await;
    assert_eq!(caller.client.get("/").json::<Value>().await.unwrap(), json!({"a": 1}));
    caller.client.get("/empty").json::<()>().await.unwrap();
    assert_eq!(&caller.client.get("/text").bytes().await.unwrap()[..], b"text");
    let error = caller.client.get("/text").json::<Value>().await.unwrap_err();
    assert!(matches!(error, client::Error::Answer { .. }), "{error:?}");
    assert_eq!((error.code(), error.retryable()), (Code::BadGateway, false));
}

#[tokio::test]
async fn requests_that_cannot_be_made_are_not_sent() {
    let (_api, server, caller) = called(|_| Answer::status(200)).await;
    let bad_path = caller.client.get("no spaces here").bytes().await.unwrap_err();
    let bad_header = caller.client.get("/").header(http::header::ACCEPT, "\n").bytes().await.unwrap_err();
    let map: std::collections::BTreeMap<(u8, u8), u8> = [((1, 2), 3)].into();
    let bad_body = caller.client.post("/").body(&map).bytes().await.unwrap_err();
    for error in [bad_path, bad_header, bad_body] {
        assert!(matches!(error, client::Error::Request { .. }), "{error:?}");
        assert_eq!((error.code(), error.retryable()), (Code::Internal, false));
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn no_answer_in_time_is_a_deadline_exceeded() {
    let api = Api::start().await;
    let server = HttpServer::start(|_| Answer::Hang);
    api.register(instance("callee-1", server.addr()));
    let caller = Caller::new(&api, r#"{"timeout":"300ms"}"#);
    let error = caller.client.get("/").bytes().await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::DeadlineExceeded, true), "{error:?}");
}

#[tokio::test]
async fn half_an_answer_in_time_is_a_deadline_exceeded_too() {
    async fn half() -> Response {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"1"))]);
        Response::new(Body::from_stream(first.chain(stream::pending())))
    }
    let api = Api::start().await;
    let callee = Running::start(Place::new("callee").beside(api.addr).service(), Router::new().route("/", get(half)));
    let callee = callee.await;
    let caller = Caller::new(&api, r#"{"timeout":"300ms"}"#);
    let error = caller.client.get("/").bytes().await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::DeadlineExceeded, true), "{error:?}");
    drop(callee);
}

#[tokio::test]
async fn an_answer_is_bounded() {
    async fn endless(headers: HeaderMap) -> Response {
        assert!(headers.contains_key("traceparent"));
        Response::new(Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![b' '; 1 << 16])))))
    }
    let api = Api::start().await;
    let app = Router::new().route("/", get(endless));
    let callee = Running::start(Place::new("callee").beside(api.addr).service(), app).await;
    let caller = Caller::new(&api, r#"{"timeout":"20s"}"#);
    let error = caller.client.get("/").bytes().await.unwrap_err();
    assert!(matches!(error, client::Error::Answer { .. }), "{error:?}");
    callee.stop().await;
}

#[tokio::test]
async fn calls_are_counted() {
    let api = Api::start().await;
    let server = HttpServer::start(|_| Answer::status(200));
    api.register(instance("callee-1", server.addr()));
    let place = Place::new("caller").beside(api.addr);
    let service = place.service();
    service.client("callee").get("/").bytes().await.unwrap();
    let text = service.metrics().render();
    let line = r#"bowline_requests_total{reporter="client",service="callee",route="",code="200"} 1"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn connections_are_made_before_the_first_call_and_readiness_waits_for_them() {
    let api = Api::start().await;
    let callee = Running::alone(Router::new().route("/it", get(|| async { "1" }))).await;
    api.register(instance("callee-1", callee.addr));
    let place = Place::new("caller").beside(api.addr);
    let service = place.service();
    let (client, metrics) = (service.client("callee"), service.metrics().clone());
    until(async || client.instance_count() == 1).await;
    let caller = Running::start(service, Router::new()).await;
    until(async || caller.get("/readyz").await.status == 200).await;
    let connected = "bowline_pool_connects_total{pool=\"service\",outcome=\"ok\"} 1\n";
    assert!(metrics.render().contains(connected), "{}", metrics.render());
    for _ in 0..3 {
        client.get("/it").json::<u32>().await.unwrap();
    }
    let text = caller.get("/metrics").await.text().to_owned();
    assert!(text.contains(connected), "{text}");
    assert!(text.contains("bowline_pool_connections{pool=\"service\",protocol=\"http1\"} 1\n"), "{text}");

    let cold = Place::new("caller").beside(api.addr);
    let service = cold.service().without_warm_up();
    let (_client, metrics) = (service.client("callee"), service.metrics().clone());
    let cold = Running::start(service, Router::new()).await;
    until(async || cold.get("/readyz").await.status == 200).await;
    assert!(!metrics.render().contains(connected));
    for running in [caller, cold, callee] {
        running.stop().await;
    }
}
