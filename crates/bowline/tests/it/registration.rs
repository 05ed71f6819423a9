//! An application registers itself, unless its supervisor does.

use std::time::Duration;

use axum::{Router, routing::get};
use bowline_model::Address;

use crate::{
    api::Api,
    support::{BOUND, Place, Running},
};

fn hello() -> Router {
    Router::new().route("/hello", get(|| async { "hello" }))
}

#[tokio::test]
async fn it_is_registered_while_it_serves() {
    let api = Api::start().await;
    let running = Running::start(Place::new("hello").beside(api.addr).service(), hello()).await;
    bowline_testkit::eventually(BOUND, || api.has("hello-1")).await;
    let instance = api.instances().remove(0);
    assert_eq!((instance.service.as_str(), &instance.address), ("hello", &Address::Tcp(running.addr)));
    running.stop().await;
    assert!(api.instances().is_empty(), "it says goodbye");
}

#[tokio::test]
async fn it_is_registered_where_it_says_it_is() {
    let api = Api::start().await;
    let place = Place::new("hello").beside(api.addr).with("BOWLINE_LISTEN", "0.0.0.0:0");
    let service = place.with("BOWLINE_ADVERTISE", "10.0.0.1:8000").service();
    let running = Running::start(service, hello()).await;
    bowline_testkit::eventually(BOUND, || api.has("hello-1")).await;
    assert_eq!(api.instances()[0].address, "10.0.0.1:8000".parse().unwrap());
    running.stop().await;
}

#[tokio::test]
async fn one_that_is_supervised_leaves_that_to_its_supervisor() {
    let api = Api::start().await;
    let supervised = Place::new("first").beside(api.addr).with("BOWLINE_SUPERVISED", "1").service();
    let supervised = Running::start(supervised, hello()).await;
    let own = Running::start(Place::new("second").beside(api.addr).service(), hello()).await;
    bowline_testkit::eventually(BOUND, || api.has("second-1")).await;
    assert!(!api.has("first-1"));
    api.register(crate::support::instance("first-1", supervised.addr));
    supervised.stop().await;
    assert!(api.has("first-1"), "nor does it deregister");
    own.stop().await;
}

#[tokio::test]
async fn a_registration_that_was_lost_is_made_again() {
    let api = Api::start().await;
    let running = Running::start(Place::new("hello").beside(api.addr).service(), hello()).await;
    bowline_testkit::eventually(BOUND, || api.has("hello-1")).await;
    api.forget("hello-1");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(4)).await;
    tokio::time::resume();
    bowline_testkit::eventually(BOUND, || api.has("hello-1")).await;
    assert_eq!(api.heartbeat_count(), 1);
    running.stop().await;
}

#[tokio::test]
async fn it_serves_while_no_server_is_there_and_registers_once_one_comes() {
    let addr = bowline_testkit::free_addr();
    let running = Running::start(Place::new("hello").beside(addr).service(), hello()).await;
    assert_eq!(running.get("/hello").await.text(), "hello");
    assert_eq!(running.get("/readyz").await.status, 200);
    let api = Api::start_at(addr).await;
    bowline_testkit::eventually(BOUND, || api.has("hello-1")).await;
    // And goes on when it leaves.
    drop(api);
    assert_eq!(running.get("/hello").await.text(), "hello");
    running.stop().await;
}
