//! Clients find instances: at the start, when they change, and while the server is away.

use std::time::Duration;

use bowline::{Code, client};
use bowline_runtime::{task, time};
use bowline_testkit::{Answer, HttpServer};

use crate::{
    api::Api,
    support::{BOUND, Caller, Place, instance},
};

fn named(name: &'static str) -> HttpServer {
    HttpServer::start(move |_| Answer::Status(200, format!("\"{name}\"")))
}

async fn who(client: &bowline::ServiceClient) -> Result<String, client::Error> {
    client.get("/").json().await
}

#[tokio::test]
async fn calls_follow_the_instances() {
    let api = Api::start().await;
    let (one, two) = (named("one"), named("two"));
    api.register(instance("callee-1", one.addr()));
    let caller = Caller::new(&api, r#"{"timeout":"10s"}"#);
    assert_eq!(who(&caller.client).await.unwrap(), "one");
    api.register(instance("callee-2", two.addr()));
    api.forget("callee-1");
    bowline_testkit::eventually(BOUND, || caller.client.instance_count() == 1).await;
    crate::support::until(async || who(&caller.client).await.unwrap() == "two").await;
}

#[tokio::test]
async fn a_call_right_after_the_start_waits_for_the_first_instances() {
    let api = Api::start().await;
    let caller = Caller::new(&api, r#"{"timeout":"10s"}"#);
    let client = caller.client.clone();
    let call = task::spawn(async move { who(&client).await });
    bowline_testkit::eventually(BOUND, || api.is_watched("callee")).await;
    assert!(!call.is_finished());
    let server = named("one");
    api.register(instance("callee-1", server.addr()));
    assert_eq!(call.await.unwrap().unwrap(), "one");
}

#[tokio::test]
async fn a_service_that_nobody_serves_is_unavailable() {
    let api = Api::start().await;
    let caller = Caller::new(&api, r#"{"timeout":"200ms"}"#);
    let error = who(&caller.client).await.unwrap_err();
    assert_eq!((error.code(), error.retryable(), error.status()), (Code::Unavailable, true, None));
    assert_eq!(error.to_string(), "call to callee failed");
    assert!(matches!(error, client::Error::Call { source: bowline_upstream::Error::NoInstance { .. }, .. }));
}

#[tokio::test]
async fn once_there_were_instances_their_absence_is_told_at_once() {
    let api = Api::start().await;
    let server = named("one");
    api.register(instance("callee-1", server.addr()));
    let caller = Caller::new(&api, r#"{"timeout":"1h"}"#);
    who(&caller.client).await.unwrap();
    api.forget("callee-1");
    bowline_testkit::eventually(BOUND, || caller.client.instance_count() == 0).await;
    crate::support::until(async || {
        let begun = time::now();
        let is_unavailable = who(&caller.client).await.is_err_and(|error| error.code() == Code::Unavailable);
        assert!(time::now() - begun < Duration::from_secs(1));
        is_unavailable
    })
    .await;
}

#[tokio::test]
async fn the_last_known_instances_serve_while_the_server_is_away() {
    let api = Api::start().await;
    let server = named("one");
    api.register(instance("callee-1", server.addr()));
    let place = Place::new("caller").beside(api.addr);
    let service = place.service();
    assert_eq!(who(&service.client("callee")).await.unwrap(), "one");
    let snapshot = place.path("discovery/caller-1/callee.json");
    bowline_testkit::eventually(BOUND, || snapshot.exists()).await;

    // Known in memory,
    drop(api);
    assert_eq!(who(&service.client("callee")).await.unwrap(), "one");
    drop(service);
    // and after a restart from the disk.
    let service = place.service();
    assert_eq!(who(&service.client("callee")).await.unwrap(), "one");
}

#[tokio::test]
async fn clients_of_one_service_are_one() {
    let api = Api::start().await;
    let server = named("one");
    api.register(instance("callee-1", server.addr()));
    let place = Place::new("caller").beside(api.addr);
    let service = place.service();
    let (first, second) = (service.client("callee"), service.client("callee"));
    who(&first).await.unwrap();
    assert_eq!(second.instance_count(), 1);
}
