//! Requests that are handed over (`mode = "async"`) in a system that runs: answered when they are durable, carried out
//! when the callee can, whoever dies in between.

use std::{env, time::Duration};

use axum::{Router, http::StatusCode, routing::post};
use bowline::Microservice;
use bowline_runtime::time;
use http::Method;
use rustix::process::{Signal, kill_process};

use crate::{
    harness::{Answer, Home, PATIENCE, Running, eventually},
    stand_in,
};

/// No test: the service `shop`, which has `clerk` wrap each order.
#[test]
fn shop() {
    if env::var_os("HANDING_OVER").is_none() {
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let service = Microservice::from_env("shop").unwrap();
        let clerk = service.client("clerk");
        let order = async move || match clerk.send(clerk.post("/wrapped")).await {
            Ok(sent) => (StatusCode::ACCEPTED, sent.id),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        };
        service.serve(Router::new().route("/orders", post(order))).await.unwrap();
    });
}

/// `clerk` writes down each request that it answers, and answers none while the file `unwell` exists.
fn home(mesh: &str) -> Home {
    let program = env::current_exe().unwrap().display().to_string();
    let clerk = stand_in::kind().join(" ");
    let file = format!(
        r#"
name = "s"
{mesh}
[service.shop]
run = "HANDING_OVER=1 exec {program} --exact handing_over::shop --nocapture"
[service.shop.calls.clerk]
mode = "async"
[service.clerk]
run = "{clerk}"
metrics = "off"
[service.clerk.boundary]
api = ["POST /wrapped"]
[[route]]
name = "orders"
matches = [{{ path = "/orders", methods = ["POST"] }}]
backends = [{{ service = "shop" }}]
"#
    );
    let home = Home::new(&file);
    let [tally, unwell] = ["tally", "unwell"].map(|name| home.path().join(name).display().to_string());
    let env = format!("[service.clerk.env]\nSTAND_IN_TALLY = \"{tally}\"\nSTAND_IN_UNWELL = \"{unwell}\"\n[[route]]");
    home.edit(|text| text.replace("[[route]]", &env));
    home
}

async fn order(running: &Running) -> Answer {
    running.ask(Method::POST, "shop.localhost", "/orders", &[], b"").await
}

/// How many requests `clerk` has answered, failures among them.
fn answered(home: &Home) -> usize {
    std::fs::read_to_string(home.path().join("tally")).map_or(0, |tally| tally.lines().count())
}

async fn lag(running: &Running) -> u64 {
    let topics = running.api_json("/v1/topics").await;
    let topic = topics["topics"].as_array().unwrap().iter().find(|topic| topic["name"] == "calls.shop.clerk").unwrap();
    topic["groups"][0]["lag"].as_u64().unwrap()
}

async fn check(mesh: &str) {
    let home = home(mesh);
    let mut running = home.up().await;
    let first = order(&running).await;
    assert_eq!(first.status, 202, "{first:?}");
    assert!(
        eventually(PATIENCE, async || answered(&home) == 1 && lag(&running).await == 0).await,
        "{}",
        running.output()
    );

    std::fs::write(home.path().join("unwell"), "").unwrap();
    let handed_over = order(&running).await;
    assert_eq!(handed_over.status, 202, "its answer does not wait for the clerk: {handed_over:?}");
    assert_eq!(lag(&running).await, 1);
    // All of them at once, as when the machine loses its power.
    for pid in running.descendants().into_iter().chain([running.pid()]) {
        kill_process(pid, Signal::KILL).ok();
    }
    running.ended().await;
    std::fs::remove_file(home.path().join("unwell")).unwrap();
    let before = answered(&home);

    let mut running = home.up().await;
    let is_done = eventually(PATIENCE, async || answered(&home) > before && lag(&running).await == 0);
    assert!(is_done.await, "{}", running.output());
    let dead = running.api_json("/v1/topics/calls.shop.clerk/dead").await;
    assert_eq!(dead["letters"].as_array().unwrap().len(), 0, "{dead}");
    time::timeout(Duration::from_secs(30), running.stop()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_was_handed_over_is_carried_out_whoever_dies() {
    check("").await;
}

#[tokio::test]
async fn the_same_holds_in_a_mesh() {
    check("[mesh]").await;
}
