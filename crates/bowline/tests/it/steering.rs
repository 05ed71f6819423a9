//! Calls are split between versions from the first one on.

use std::collections::BTreeMap;

use axum::Router;
use bowline::ServiceClient;
use bowline_config::{Author, Document, Format, Origin, Version};
use bowline_model::{
    Instance, ServiceName,
    mesh::{Authorization, Outbound, SNAPSHOT_FORMAT, Snapshot, Steering, Workload},
    policy::CallPolicy,
};
use bowline_provider_remote::wire::ConfigEvent;
use bowline_runtime::task;
use bowline_testkit::{Answer, HttpServer, eventually};

use crate::{
    api::Api,
    support::{BOUND, Caller, Place, Running, instance, until},
};

/// What is published for `caller` while all calls to `callee` are for one version.
fn all_to(version: &str) -> ConfigEvent {
    steered(Steering { split: BTreeMap::from([(version.to_owned(), 1)]), ..Steering::default() })
}

/// What is published for `caller` while its calls to `callee` are steered so.
fn steered(steering: Steering) -> ConfigEvent {
    let name = |text| ServiceName::new(text).unwrap();
    let snapshot = Snapshot {
        format: SNAPSHOT_FORMAT,
        system: name("test"),
        workload: Workload::Service(name("caller")),
        mode: None,
        authorization: Authorization::default(),
        inbound: vec![],
        outbound: vec![Outbound { target: name("callee"), policy: CallPolicy::default(), steering }],
        faults: vec![],
    };
    let document = Document { format: Format::Json, text: serde_json::to_string(&snapshot).unwrap() };
    let author = Author::new("test").unwrap();
    let (number, origin, comment) = (1, Origin::Api, String::new());
    ConfigEvent::Put { version: Version { number, document, author, origin, comment, at_unix_ms: 0, restores: None } }
}

/// A callee that answers its version, and where it is.
fn callee(api: &Api, version: &'static str) -> HttpServer {
    let server = HttpServer::start(move |_| Answer::Status(200, format!("\"{version}\"")));
    let described = instance(&format!("callee-{version}"), server.addr());
    api.register(Instance { version: version.to_owned(), ..described });
    server
}

/// The answers of so many calls that begin at once.
async fn answers(client: &ServiceClient) -> Vec<String> {
    let call = || {
        let client = client.clone();
        task::spawn(async move { client.get("/").json::<String>().await.unwrap() })
    };
    let calls: Vec<_> = std::iter::repeat_with(call).take(16).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn a_call_right_after_the_start_goes_where_the_split_says() {
    let api = Api::start().await;
    let (_one, _two) = (callee(&api, "v1"), callee(&api, "v2"));
    api.tell_snapshot(None);
    let place = Place::new("caller").beside(api.addr).with("BOWLINE_CALLS", r#"{"callee":{"timeout":"1m"}}"#);
    let service = place.service();
    let client = service.client("callee");
    let (asked, knows) = (client.clone(), client.clone());
    let calls = task::spawn(async move { answers(&asked).await });
    eventually(BOUND, || knows.instance_count() == 2).await;
    assert!(!calls.is_finished());
    api.tell_snapshot(Some(all_to("v2")));
    assert_eq!(calls.await.unwrap(), ["v2"; 16]);
    let kept = place.path("config/caller-1:app/bowline.service/caller.json");
    eventually(BOUND, || kept.exists()).await;
    drop((service, client, knows));
    // A server that says nothing is not waited for: it goes by what it went by before.
    api.tell_snapshot(None);
    let service = place.service();
    assert_eq!(answers(&service.client("callee")).await, ["v2"; 16]);
}

#[tokio::test]
async fn calls_do_not_wait_for_a_split_that_nobody_tells() {
    let api = Api::start().await;
    let _one = callee(&api, "v1");
    let caller = Caller::new(&api, r#"{"timeout":"1m"}"#);
    assert_eq!(answers(&caller.client).await, ["v1"; 16]);
    api.tell_snapshot(None);
    let caller = Caller::new(&api, r#"{"timeout":"1m"}"#);
    assert_eq!(answers(&caller.client).await, ["v1"; 16]);
}

#[tokio::test]
async fn it_is_ready_when_it_was_told_or_nobody_tells() {
    let api = Api::start().await;
    api.tell_snapshot(None);
    let place = Place::new("caller").beside(api.addr).with("BOWLINE_CALLS", r#"{"callee":{"timeout":"1m"}}"#);
    let running = Running::start(place.service(), Router::new()).await;
    let why = running.get("/readyz").await.problem(503, "unavailable");
    assert_eq!(why, "it was not told yet how its calls are split between versions");
    until(async || running.get("/readyz").await.status == 200).await;
    running.stop().await;
}

#[tokio::test]
async fn breakers_are_told_and_obey_orders() {
    let api = Api::start().await;
    let _callee = callee(&api, "v1");
    let orders = serde_json::from_str(r#"[{"caller":"service/caller","order":"open"}]"#).unwrap();
    api.tell_snapshot(Some(steered(Steering { breakers: orders, ..Steering::default() })));
    let place = Place::new("caller").beside(api.addr).with("BOWLINE_CALLS", r#"{"callee":{"timeout":"1m"}}"#);
    let service = place.service();
    let client = service.client("callee");
    client.set_breaker(Some(bowline_model::policy::BreakerPolicy::default())).unwrap();
    let running = Running::start(service, Router::new()).await;
    let told = async || {
        let answer = running.get("/-/bowline/breakers").await;
        let told: bowline_model::mesh::OwnBreakers = serde_json::from_str(answer.text()).unwrap();
        told.calls.into_iter().next()
    };
    until(async || {
        let is_held =
            |call: bowline_model::mesh::CallBreakers| call.breakers.iter().any(|it| it.state == "forced_open");
        told().await.is_some_and(is_held)
    })
    .await;
    assert_eq!(client.get("/").json::<String>().await.unwrap_err().code(), bowline_model::Code::Unavailable);
    let call = told().await.unwrap();
    assert_eq!((call.callee.as_str(), call.orders.len(), call.is_guarded), ("callee", 1, true));
    running.stop().await;
}
