//! Which traces are kept, changed while the system runs; and traces passed on to another collector.

use http::Method;
use serde_json::Value;

use crate::{
    harness::{Answer, Home, PATIENCE, Running, ask, eventually},
    stand_in,
    watching::json,
};

/// Publishes what share of traces is kept, and waits until every process has taken it in.
async fn sample(home: &Home, running: &Running, share: &str) {
    let file = home.path().join("sampling.json");
    std::fs::write(&file, format!(r#"{{"sample": "{share}"}}"#)).unwrap();
    let set = json(running, &["config", "set", "bowline/tracing", file.to_str().unwrap()]).await;
    let version = set["number"].as_u64().unwrap_or_else(|| panic!("{set}"));
    // The gateway is the process of `bowline up`; applications say so, as their sidecars have the same ids.
    let wanted = ["bank-1:app", "bowline", "order-1:app", "payment-1:app", "payment-2:app", "user-1:app"];
    let mut status = Value::Null;
    let have_all_said = eventually(PATIENCE, async || {
        status = json(running, &["config", "status", "bowline/tracing"]).await;
        let instances = status["instances"].as_array().unwrap();
        wanted.iter().all(|name| {
            let told = instances.iter().find(|told| told["instance"] == *name);
            told.is_some_and(|told| told["outcome"] == "applied" && told["version"] == version)
        })
    });
    assert!(have_all_said.await, "{status:#}\n{}", running.output());
}

/// Places an order; its trace's id.
async fn order(running: &Running, signed: &str, headers: &[(&str, &str)]) -> String {
    let body = br#"{"user_id":"u-1","items":[{"sku":"book","quantity":2,"unit_price":1999}]}"#;
    let headers = [&[("content-type", "application/json"), ("authorization", signed)], headers].concat();
    let answer = running.ask(Method::POST, "shop.localhost", "/orders", &headers, body).await;
    assert_eq!(answer.status, 201, "{:?}\n{}", answer.body, running.output());
    assert_eq!(answer.header("x-trace-id").len(), 32);
    answer.header("x-trace-id").to_owned()
}

async fn trace(running: &Running, id: &str) -> Answer {
    ask(running.api(), Method::GET, "localhost", &format!("/v1/traces/{id}"), &[], b"").await
}

#[tokio::test]
async fn what_share_of_traces_is_kept_changes_live() {
    let home = Home::shop();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    let before = order(&running, &ada, &[]).await;
    running.spans(&before, |span| span["service"] == "bank").await;

    sample(&home, &running, "0%").await;
    let mut unkept = Vec::new();
    for _ in 0..5 {
        unkept.push(order(&running, &ada, &[]).await);
    }
    // Who has decided before the request came in is followed.
    let parent = "4bf92f3577b34da6a3ce929d0e0e4736";
    let decided = order(&running, &ada, &[("traceparent", &format!("00-{parent}-00f067aa0ba902b7-01"))]).await;
    assert_eq!(decided, parent);
    running.spans(&decided, |span| span["service"] == "bank").await;

    sample(&home, &running, "100%").await;
    let after = order(&running, &ada, &[]).await;
    running.spans(&after, |span| span["service"] == "bank").await;
    for id in unkept {
        assert_eq!(trace(&running, &id).await.status, 404, "{id}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_trace_is_passed_on_to_another_collector() {
    let sink_home = Home::new("name = \"sink\"\n");
    let mut sink = sink_home.up().await;
    let home = Home::new(&format!(
        r#"name = "source"
[tracing]
export = {{ otlp = "http://{}" }}
[service.a]
run = "STAND_IN_IS_KIND=1 {}"
check = {{ http = "/readyz", every = "100ms", timeout = "10s" }}
[[route]]
name = "a"
matches = [{{ path = "/**" }}]
backends = [{{ service = "a" }}]
"#,
        sink.otlp().1,
        stand_in::command(false, false),
    ));
    let mut running = home.up().await;
    let answer = running.ask(Method::GET, "localhost", "/hello", &[], b"").await;
    assert_eq!(answer.status, 200, "{:?}\n{}", answer.body, running.output());
    let id = answer.header("x-trace-id");
    let is_gateways = |span: &Value| span["service"] == "gateway";
    let (kept, passed_on) = (running.spans(id, is_gateways).await, sink.spans(id, is_gateways).await);
    let whole = |spans: &[Value]| {
        let span = &spans[0];
        ["span_id", "name", "kind", "start_unix_nanos", "duration_nanos"].map(|name| span[name].clone())
    };
    assert_eq!((kept.len(), whole(&kept)), (passed_on.len(), whole(&passed_on)));
    for (name, value) in kept[0]["attributes"].as_object().unwrap() {
        assert_eq!(&passed_on[0]["attributes"][name], value, "{name}");
    }
    let shown = sink.command(&["trace", id]).await;
    assert!(shown.contains("gateway"), "{shown}");
    running.stop().await;
    sink.stop().await;
}
