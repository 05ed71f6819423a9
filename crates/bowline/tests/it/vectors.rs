//! The behaviours that every path to an upstream must show, by way of an application's client.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{Json, Router, extract::State, routing::post};
use bowline::{ServiceClient, client};
use bowline_model::{Instance, policy::CallPolicy};
use bowline_runtime::task;
use bowline_upstream::vectors::{Ask, Path, SERVICE, Seen, Vector, run_all};
use http::{HeaderName, Method};
use serde_json::{Value, json};

use crate::{
    api::Api,
    support::{Place, Running, ask as ask_app},
};

/// An application that calls the service as it is asked to, and says what came of it.
struct Application {
    addr: SocketAddr,
    _running: Running,
    _api: Api,
    _place: Place,
    runtime: tokio::runtime::Runtime,
}

fn application(workers: usize, policy: &CallPolicy, instances: &[Instance]) -> Application {
    let runtime = task::shared_runtime(workers).unwrap();
    let (addr, running, api, place) = runtime.block_on(async {
        let api = Api::start().await;
        for instance in instances {
            api.register(instance.clone());
        }
        let calls = json!({ SERVICE: policy }).to_string();
        let place = Place::new("caller").beside(api.addr).with("BOWLINE_CALLS", &calls);
        // A connection made ahead that breaks is replaced once, as any that waited: one request more is served.
        let service = place.service().without_warm_up();
        let app = Router::new().route("/calls", post(call)).with_state(service.client(SERVICE));
        let running = Running::start(service, app).await;
        (running.addr, running, api, place)
    });
    Application { addr, _running: running, _api: api, _place: place, runtime }
}

/// Makes the call that is described.
async fn call(State(client): State<ServiceClient>, Json(ask): Json<Value>) -> Json<Value> {
    let method: Method = ask["method"].as_str().unwrap().parse().unwrap();
    let mut call = client.request(method, "/");
    if ask["has_key"] == true {
        call = call.idempotency_key("k");
    }
    if ask["body"] != "" {
        call = call.body(&ask["body"]);
    }
    for (name, value) in ask["headers"].as_object().unwrap() {
        call = call.header(HeaderName::try_from(name.as_str()).unwrap(), value.as_str().unwrap());
    }
    let (status, reason) = match call.bytes().await {
        Ok(_) => (200, None),
        Err(client::Error::Call { source, .. }) => (source.code().http_status(), Some(source.reason())),
        Err(error) => (error.status().unwrap().as_u16(), None),
    };
    Json(json!({ "status": status, "reason": reason }))
}

impl Path for Application {
    fn call(&self, _: usize, ask: &Ask) -> Seen {
        let millis = ask.deadline.map(|deadline| deadline.as_millis().to_string());
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(millis.as_deref().map(|millis| ("x-bowline-timeout-ms", millis)));
        let Ask { method, has_key, body, headers: told, .. } = ask;
        let described = json!({ "method": method, "has_key": has_key, "body": body, "headers": told }).to_string();
        let answer = self.runtime.block_on(ask_app(self.addr, "POST", "/calls", &headers, described));
        let seen: Value = serde_json::from_slice(&answer.body).unwrap();
        let status = u16::try_from(seen["status"].as_u64().unwrap()).unwrap();
        Seen { status, reason: seen["reason"].as_str().map(str::to_owned) }
    }
}

/// What differs for an application: it sends values, not streams, so that every body is at hand; and what went well
/// has no status to it.
fn at_this_layer(mut vector: Vector) -> Vector {
    for step in &mut vector.steps {
        if let Some(times) = step.expect.remove("203") {
            step.expect.insert("200".to_owned(), times);
        }
    }
    if vector.name == "a_streamed_body_is_not_sent_twice" {
        vector.steps[0].expect = BTreeMap::from([("200".to_owned(), 1)]);
        vector.served = Some(BTreeMap::from([("a".to_owned(), 2)]));
    }
    vector
}

#[test]
fn every_vector_holds_with_one_worker() {
    run_all(at_this_layer, |policy, instances| application(1, policy, instances));
}

#[test]
fn every_vector_holds_with_two_workers() {
    run_all(at_this_layer, |policy, instances| application(2, policy, instances));
}
