//! Applications and a node together: registered, discovered, called, traced.

use std::net::SocketAddr;

use axum::{Router, extract::State, routing::get};
use bowline::{HandlerError, Microservice, ServiceClient, Settings, extract::Path};
use bowline_runtime::task::{self, JoinHandle};
use bowline_transport::HttpClient;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::{BOUND, Fixture, until};

/// An application that runs until it is stopped.
struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), bowline::Error>>,
}

impl Running {
    async fn start(service: Microservice, app: Router) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let ended = task::spawn(service.serve_until(app, stopped, BOUND, |addr| tell.send(addr).unwrap()));
        Self { addr: told.await.unwrap(), stop, ended }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
    }
}

fn service(fixture: &Fixture, name: &str) -> Microservice {
    let vars = [
        ("BOWLINE_INSTANCE", format!("{name}-1")),
        ("BOWLINE_API", format!("http://{}", fixture.addr)),
        ("BOWLINE_DATA_DIR", fixture.dir.path().join(name).display().to_string()),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value));
    Microservice::new(Settings::from_vars(name, vars).unwrap())
}

async fn user(Path(id): Path<String>) -> axum::Json<Value> {
    axum::Json(json!({ "id": id }))
}

async fn order(State(user): State<ServiceClient>) -> Result<axum::Json<Value>, HandlerError> {
    let user: Value = user.get("/users/u-1").json().await?;
    Ok(axum::Json(json!({ "user": user })))
}

#[tokio::test]
async fn services_find_each_other_and_their_trace_is_one() {
    let fixture = Fixture::start().await;
    let users = Running::start(service(&fixture, "user"), Router::new().route("/users/{id}", get(user))).await;
    let orders = service(&fixture, "order");
    let app = Router::new().route("/order", get(order)).with_state(orders.client("user"));
    let orders = Running::start(orders, app).await;

    let answer: Value = HttpClient::new(orders.addr).get_json("/order").await.unwrap();
    assert_eq!(answer, json!({ "user": { "id": "u-1" } }));
    until(async || {
        let traces = fixture.client().traces(&bowline_provider_remote::TracesQuery::default()).await.unwrap().traces;
        traces.first().is_some_and(|trace| trace.span_count == 3 && trace.services == ["order", "user"])
    })
    .await;
    let traces = fixture.client().traces(&bowline_provider_remote::TracesQuery::default()).await.unwrap().traces;
    let spans = fixture.client().trace(&traces[0].trace_id).await.unwrap().spans;
    let root = spans.iter().find(|span| span.parent_span_id.is_none()).unwrap();
    let call = spans.iter().find(|span| span.parent_span_id == Some(root.span_id)).unwrap();
    let served = spans.iter().find(|span| span.parent_span_id == Some(call.span_id)).unwrap();
    assert_eq!((&*root.service, &*root.name), ("order", "GET /order"));
    assert_eq!((&*call.service, &*call.name), ("order", "GET user"));
    assert_eq!((&*served.service, &*served.name, &*served.instance), ("user", "GET /users/{id}", "user-1"));
    assert_eq!(call.attribute("bowline.instance").unwrap().to_string(), "user-1");

    users.stop().await;
    let services = fixture.client().services().await.unwrap().services;
    assert_eq!(services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["order"]);
    orders.stop().await;
    assert!(fixture.client().services().await.unwrap().services.is_empty());
}

#[tokio::test]
async fn applications_outlive_the_server_and_come_back_to_the_next_one() {
    let fixture = Fixture::start().await;
    let users = Running::start(service(&fixture, "user"), Router::new().route("/users/{id}", get(user))).await;
    let orders = service(&fixture, "order");
    let app = Router::new().route("/order", get(order)).with_state(orders.client("user"));
    let orders = Running::start(orders, app).await;
    let ask = async || HttpClient::new(orders.addr).get_json::<Value>("/order").await;
    ask().await.unwrap();

    // The data plane runs on what it knows while the control plane is away.
    let Fixture { dir, node, addr } = fixture;
    node.stop().await;
    ask().await.unwrap();

    // Another data folder: nothing is known there, and everybody registers again.
    let next = bowline_testkit::temp_dir();
    let node = crate::support::start(crate::support::settings(&next, Some(addr))).await.unwrap();
    let fixture = Fixture { dir: next, node, addr };
    ask().await.unwrap();
    until(async || fixture.client().services().await.unwrap().services.len() == 2).await;
    ask().await.unwrap();
    drop(dir);
    users.stop().await;
    orders.stop().await;
}
