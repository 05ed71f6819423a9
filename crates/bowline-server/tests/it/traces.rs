//! Spans in, traces out.

use bowline_model::units::Share;
use bowline_provider_remote::TracesQuery;
use serde_json::{Value, json};

use crate::support::Fixture;

/// The trace of that number.
fn trace_id(trace: u32) -> String {
    format!("{trace:032x}")
}

fn span(trace: u32, span: u32, service: &str, name: &str) -> Value {
    json!({
        "trace_id": trace_id(trace),
        "span_id": format!("{span:016x}"),
        "parent_span_id": (span > 1).then(|| format!("{:016x}", span - 1)),
        "service": service,
        "instance": format!("{service}-1"),
        "name": name,
        "kind": "server",
        "start_unix_nanos": 1_700_000_000_000_000_000_u64 + u64::from(trace) * 1_000_000_000 + u64::from(span),
        "duration_nanos": 5_000_000,
        "status": {"code": "ok"},
        "attributes": {"http.route": "/orders", "n": trace},
        "events": [],
    })
}

/// Three traces: 1 is quick, 2 failed, 3 is slow and goes through two services.
async fn with_traces() -> Fixture {
    let fixture = Fixture::start().await;
    let mut failed = span(2, 1, "payment", "POST /charges");
    failed["status"] = json!({"code": "error", "message": "declined"});
    let mut slow = span(3, 1, "order", "POST /orders");
    slow["duration_nanos"] = json!(900_000_000);
    let spans = [span(1, 1, "order", "GET /orders"), failed, slow, span(3, 2, "user", "GET /users/{id}")];
    let answer = fixture.ask("POST", "/v1/spans", json!({ "spans": spans }).to_string()).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
    fixture
}

async fn found(fixture: &Fixture, query: TracesQuery) -> Vec<u32> {
    let list = fixture.client().traces(&query).await.unwrap();
    list.traces.iter().map(|trace| u32::from_str_radix(&trace.trace_id, 16).unwrap()).collect()
}

#[tokio::test]
async fn each_filter_finds_its_traces_newest_first() {
    let fixture = with_traces().await;
    let text = |text: &str| Some(text.to_owned());
    let attr = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let all = TracesQuery::default();
    assert_eq!(found(&fixture, all.clone()).await, [3, 2, 1]);
    assert_eq!(found(&fixture, TracesQuery { service: text("order"), ..all.clone() }).await, [3, 1]);
    assert_eq!(found(&fixture, TracesQuery { service: text("user"), ..all.clone() }).await, [3]);
    assert_eq!(found(&fixture, TracesQuery { operation: text("GET /users/{id}"), ..all.clone() }).await, [3]);
    assert_eq!(found(&fixture, TracesQuery { min_duration: text("100ms"), ..all.clone() }).await, [3]);
    assert_eq!(found(&fixture, TracesQuery { attr: attr(&["n=2"]), ..all.clone() }).await, [2]);
    assert_eq!(found(&fixture, TracesQuery { attr: attr(&["http.route=/orders"]), ..all.clone() }).await, [3, 2, 1]);
    assert_eq!(found(&fixture, TracesQuery { attr: attr(&["http.route=/orders", "n=2.0"]), ..all.clone() }).await, [2]);
    assert_eq!(found(&fixture, TracesQuery { attr: attr(&["n=1", "n=2"]), ..all.clone() }).await, [0_u32; 0]);
    assert_eq!(found(&fixture, TracesQuery { max_duration: text("100ms"), ..all.clone() }).await, [2, 1]);
    assert_eq!(found(&fixture, TracesQuery { status: text("error"), ..all.clone() }).await, [2]);
    assert_eq!(found(&fixture, TracesQuery { since: text("1h"), ..all.clone() }).await, [0_u32; 0]);
    assert_eq!(found(&fixture, TracesQuery { error: Some(true), ..all.clone() }).await, [2]);
    assert_eq!(found(&fixture, TracesQuery { error: Some(false), ..all.clone() }).await, [3, 1]);
    assert_eq!(found(&fixture, TracesQuery { limit: Some(2), ..all.clone() }).await, [3, 2]);
    assert_eq!(found(&fixture, TracesQuery { order: text("newest"), ..all.clone() }).await, [3, 2, 1]);
    assert_eq!(found(&fixture, TracesQuery { order: text("slowest"), ..all.clone() }).await, [3, 2, 1]);
    assert_eq!(found(&fixture, TracesQuery { order: text("slowest"), limit: Some(1), ..all.clone() }).await, [3]);
    assert_eq!(found(&fixture, TracesQuery { service: text("nobody"), ..all }).await, [0_u32; 0]);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let fixture = with_traces().await;
    let client = fixture.client();
    let mut page = TracesQuery { limit: Some(2), ..TracesQuery::default() };
    let first = client.traces(&page).await.unwrap();
    page.cursor = first.next_cursor;
    assert!(page.cursor.is_some());
    let second = client.traces(&page).await.unwrap();
    assert_eq!((second.traces.len(), &second.next_cursor), (1, &None));
    assert_eq!(second.traces[0].trace_id, trace_id(1));
}

#[tokio::test]
async fn the_service_graph_says_who_calls_whom() {
    let fixture = Fixture::start().await;
    let now = bowline_runtime::time::unix_nanos(bowline_runtime::time::wall());
    let mut spans = [span(1, 1, "order", "POST /orders"), span(1, 2, "payment", "POST /charges")];
    for span in &mut spans {
        span["start_unix_nanos"] = json!(now - 10_000_000);
    }
    spans[1]["status"] = json!({"code": "error", "message": "declined"});
    let answer = fixture.ask("POST", "/v1/spans", json!({ "spans": spans }).to_string()).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    // What was appended is seen when it is written, before it is found.
    assert_eq!(found(&fixture, TracesQuery::default()).await, [1]);
    let graph = fixture.client().service_graph(Some("5m")).await.unwrap();
    let services: Vec<_> = graph.services.iter().map(|service| (&*service.name, service.figures.count)).collect();
    assert_eq!(services, [("order", 1), ("payment", 1)]);
    let [edge] = &*graph.edges else { panic!("{graph:?}") };
    assert_eq!((&*edge.caller, &*edge.callee, &*edge.mode), ("order", "payment", "sync"));
    assert_eq!((edge.figures.count, edge.figures.errors, edge.figures.max_nanos), (1, 1, 5_000_000));
    assert_eq!(edge.sample_trace_id, Some(trace_id(1)));
    for window in ["59s", "61m", "x"] {
        fixture.get(&format!("/v1/service-graph?window={window}")).await.problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn what_was_seen_is_told_with_samples() {
    let fixture = Fixture::start().await;
    let now = bowline_runtime::time::unix_nanos(bowline_runtime::time::wall());
    let mut spans =
        [span(1, 1, "user", "GET /me"), span(1, 2, "payment", "GET /charges"), span(2, 1, "bank", "POST /x")];
    for span in &mut spans {
        span["start_unix_nanos"] = json!(now - 10_000_000);
    }
    spans[1]["attributes"] = json!({
        "bowline.caller": "service/user", "bowline.reason": "mesh_not_declared", "http.response.status_code": 403,
        "http.request.method": "GET", "url.path": "/charges/7",
    });
    let mut old = span(3, 2, "payment", "old");
    old["attributes"] = json!({"bowline.caller": "service/bank"});
    let all = [&spans[..], &[old]].concat();
    assert_eq!(fixture.ask("POST", "/v1/spans", json!({ "spans": all }).to_string()).await.status, 204);
    let seen = fixture.client().observed(Some("5m")).await.unwrap();
    let [edge] = &*seen.edges else { panic!("{seen:?}") };
    assert_eq!((edge.caller.as_deref(), &*edge.callee, edge.is_denied), (Some("user"), "payment", true));
    assert_eq!((&*edge.operations[0].path, edge.count), ("/charges/7", 1));
    assert_eq!(edge.sample, trace_id(1));
    assert_eq!((seen.traces, seen.spans, seen.is_complete()), (2, 3, true));
    assert_eq!(seen.until_unix_ms - seen.since_unix_ms, 300_000);
    assert_eq!((seen.whole_since_unix_ms, seen.sample), (seen.since_unix_ms, None));
    // An hour where nobody says; and which traces are kept, by what is published.
    let shares = json!({"format": "json", "text": r#"{"sample": "50%", "services": {"order": "10%"}}"#}).to_string();
    assert_eq!(fixture.ask_as(&fixture.root(), "PUT", "/v1/config/bowline/tracing", shares).await.status, 200);
    let seen = fixture.client().observed(None).await.unwrap();
    assert_eq!(seen.until_unix_ms - seen.since_unix_ms, 3_600_000);
    assert_eq!(seen.sample, Some(Share::from_percent(10)));
    assert!(!seen.is_complete() && seen.gaps.is_empty(), "{seen:?}");
    for query in ["since=x", "window=5m"] {
        fixture.get(&format!("/v1/observed?{query}")).await.problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn a_summary_says_what_matters() {
    let fixture = with_traces().await;
    let list = fixture.get("/v1/traces?service=user").await.json();
    let expected = json!({
        "trace_id": trace_id(3), "service": "order", "name": "POST /orders", "status": "ok", "has_root": true,
        "start_unix_nanos": 1_700_000_003_000_000_001_u64, "duration_nanos": 900_000_000,
        "span_count": 2, "services": ["order", "user"], "has_error": false,
    });
    assert_eq!(list, json!({ "traces": [expected], "is_cut": false, "kept_since_unix_nanos": 0 }));
}

#[tokio::test]
async fn a_request_that_was_answered_after_a_retry_did_not_fail() {
    let fixture = Fixture::start().await;
    let mut failed = span(4, 2, "payment", "POST /charges");
    failed["status"] = json!({"code": "error", "message": "timeout"});
    let child = span(5, 2, "payment", "POST /charges");
    let spans = [span(4, 1, "order", "POST /orders"), failed, child];
    let answer = fixture.ask("POST", "/v1/spans", json!({ "spans": spans }).to_string()).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let list = fixture.client().traces(&TracesQuery::default()).await.unwrap();
    let told: Vec<_> =
        list.traces.iter().map(|trace| (trace.has_root, &*trace.status, trace.has_error, &*trace.service)).collect();
    // The one that began with a span that is not here is told by the earliest that is.
    assert_eq!(told, [(false, "ok", false, "payment"), (true, "ok", true, "order")]);
}

#[tokio::test]
async fn a_trace_is_told_whole() {
    let fixture = with_traces().await;
    let trace = fixture.get(&format!("/v1/traces/{}", trace_id(3))).await.json();
    assert_eq!(trace["trace_id"], trace_id(3));
    let mut root = span(3, 1, "order", "POST /orders");
    root["duration_nanos"] = json!(900_000_000);
    let spans = trace["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 2);
    for (told, sent) in spans.iter().zip([root, span(3, 2, "user", "GET /users/{id}")]) {
        for key in ["span_id", "parent_span_id", "service", "instance", "name", "kind", "attributes", "events"] {
            assert_eq!(told[key], sent[key], "{key}");
        }
        assert_eq!(told["status"]["code"], "ok");
    }
    let typed = fixture.client().trace(&trace_id(3)).await.unwrap();
    assert_eq!(typed.spans.len(), 2);
}

#[tokio::test]
async fn what_is_no_trace_is_refused() {
    let fixture = with_traces().await;
    let detail = fixture.get(&format!("/v1/traces/{}", trace_id(9))).await.problem(404, "not_found");
    assert!(detail.contains(&trace_id(9)), "{detail}");
    for id in ["xyz", &"0".repeat(32), &"0".repeat(31)] {
        fixture.get(&format!("/v1/traces/{id}")).await.problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn searches_that_make_no_sense_are_refused() {
    let fixture = Fixture::start().await;
    let many = "attr=a=b&".repeat(17);
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=1&limit=2",
        "min_duration=5",
        "max_duration=x",
        "since=yesterday",
        "status=bad",
        "attr=novalue",
        "cursor=12",
        "error=maybe",
        "order=oldest",
        &format!("order=slowest&cursor={}", "0".repeat(47) + "1"),
        "colour=red",
        &many,
    ] {
        fixture.get(&format!("/v1/traces?{query}")).await.problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn spans_over_their_bounds_are_refused_and_named() {
    let fixture = Fixture::start().await;
    let changed = |key: &str, value: Value| {
        let mut span = span(1, 1, "order", "GET /");
        span[key] = value;
        span
    };
    let many: serde_json::Map<_, _> = (0..65).map(|at| (format!("k{at}"), json!(at))).collect();
    for bad in [
        changed("name", json!("")),
        changed("name", json!("n".repeat(257))),
        changed("service", json!("")),
        changed("parent_span_id", json!(format!("{:016x}", 1))),
        changed("attributes", json!({"k": "v".repeat(4097)})),
        changed("attributes", Value::Object(many)),
        changed("span_id", json!("zz")),
        changed("trace_id", json!("0".repeat(32))),
    ] {
        let batch = json!({"spans": [span(1, 2, "order", "good"), bad]});
        fixture.ask("POST", "/v1/spans", batch.to_string()).await.problem(422, "unprocessable");
    }
    let named = json!({"spans": [span(1, 2, "order", "good"), changed("name", json!(""))]});
    let detail = fixture.ask("POST", "/v1/spans", named.to_string()).await.problem(422, "unprocessable");
    assert!(detail.contains("spans[1]"), "{detail}");
    // Of a batch that was refused nothing is kept.
    assert_eq!(found(&fixture, TracesQuery::default()).await, [0_u32; 0]);
    fixture.ask("POST", "/v1/spans", r#"{"spans":[],"more":1}"#).await.problem(422, "unprocessable");
    fixture.ask("POST", "/v1/spans", "[").await.problem(400, "invalid_argument");
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let fixture = Fixture::start().await;
    let spans: Vec<_> = (1..=10_001).map(|at| span(1, at, "order", "GET /")).collect();
    let answer = fixture.ask("POST", "/v1/spans", json!({ "spans": spans }).to_string()).await;
    assert!(answer.problem(422, "unprocessable").contains("10000"));
}
