//! What an application turns away when it has more than it can do.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use bowline::{HandlerError, ServiceClient};
use bowline_runtime::task;
use bowline_testkit::{Answer, HttpServer, Request};
use tokio::sync::Semaphore;

use crate::{
    api::Api,
    support::{Place, Running, ask, instance, until},
};

/// One at work, one that waits, no more.
const SHED: &str = r#"{"calls_max":"1","queue_max":1,"delay_target":"10s","interval":"20s"}"#;

/// A service whose handler waits for the gate, and the gate.
async fn gated(api: &Api) -> (Running, Arc<Semaphore>) {
    async fn work(State(gate): State<Arc<Semaphore>>) -> Result<&'static str, HandlerError> {
        gate.acquire().await.expect("the gate stays").forget();
        Ok("done")
    }
    let gate = Arc::new(Semaphore::new(0));
    let app = Router::new().route("/work", get(work)).with_state(Arc::clone(&gate));
    let service = Place::new("callee").beside(api.addr).with("BOWLINE_SHED", SHED).service();
    (Running::start(service, app).await, gate)
}

/// Waits until so many are at work and so many wait.
async fn until_there_are(running: &Running, at_work: u32, waiting: u32) {
    until(async || {
        let metrics = running.get("/metrics").await;
        let has = |name: &str, count: u32| metrics.text().contains(&format!("{name}{{service=\"callee\"}} {count}"));
        has("bowline_shed_at_work", at_work) && has("bowline_shed_waiting", waiting)
    })
    .await;
}

#[tokio::test]
async fn what_is_above_its_capacity_is_turned_away_and_told_when_to_come_again() {
    let api = Api::start().await;
    let (running, gate) = gated(&api).await;
    let addr = running.addr;
    let spawn = |priority: &'static str| {
        task::spawn(async move { ask(addr, "GET", "/work", &[("x-bowline-priority", priority)], "").await })
    };
    let first = spawn("normal");
    until_there_are(&running, 1, 0).await;
    let second = spawn("low");
    until_there_are(&running, 1, 1).await;

    // Who is less important gives way to who is more so.
    let third = spawn("normal");
    let displaced = second.await.unwrap();
    displaced.traced_problem(503, "unavailable");
    assert_eq!((displaced.header("x-bowline-reason"), displaced.header("retry-after")), ("shed", "20"));
    until_there_are(&running, 1, 1).await;
    let refused = ask(addr, "GET", "/work", &[("x-bowline-priority", "low")], "").await;
    refused.traced_problem(503, "unavailable");
    // One that would hardly be served in time takes nobody's place, however important it is.
    let late = [("x-bowline-priority", "critical"), ("x-bowline-timeout-ms", "30")];
    ask(addr, "GET", "/work", &late, "").await.traced_problem(503, "unavailable");
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
    until_there_are(&running, 1, 0).await;
    // One whose caller does not wait any more is not worked on.
    ask(addr, "GET", "/work", &late, "").await.traced_problem(504, "deadline_exceeded");
    gate.add_permits(1);
    assert_eq!(third.await.unwrap().status, 200);
    let metrics = running.get("/metrics").await;
    let of_low = metrics.text().lines().find(|line| line.starts_with("bowline_shed_total") && line.contains("\"low\""));
    assert!(of_low.is_some_and(|line| line.ends_with(" 2")), "{of_low:?}");
    running.stop().await;
}

#[tokio::test]
async fn what_is_asked_for_a_request_is_as_important_as_that_is() {
    async fn relay(State(next): State<ServiceClient>) -> Result<String, HandlerError> {
        next.get("/end").json::<serde_json::Value>().await?;
        Ok(String::new())
    }
    let api = Api::start().await;
    let end = HttpServer::start(|_: &Request| Answer::Status(200, "{}".to_owned()));
    api.register(instance("end-1", end.addr()));
    let middle = Place::new("callee").beside(api.addr).service();
    let app = Router::new().route("/relay", get(relay)).with_state(middle.client("end"));
    let middle = Running::start(middle, app).await;
    for priority in ["high", "normal", "none of them"] {
        assert_eq!(ask(middle.addr, "GET", "/relay", &[("x-bowline-priority", priority)], "").await.status, 200);
    }
    let told: Vec<_> = end.requests().iter().map(|it| it.headers.get("x-bowline-priority").cloned()).collect();
    assert_eq!(told, [Some("high".to_owned()), None, None]);
    middle.stop().await;
}
