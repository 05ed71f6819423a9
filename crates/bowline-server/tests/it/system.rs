//! Applications and a node together: registered, discovered, called, traced.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::State, routing::get};
use bowline::{Config, HandlerError, Microservice, ServiceClient, Settings, extract::Path};
use bowline_config::{Author, Document, Draft, Format, Outcome};
use bowline_model::{
    ConfigKey,
    mesh::{Authorization, Outbound, SNAPSHOT_FORMAT, Snapshot, Steering, Workload},
    policy::CallPolicy,
};
use bowline_runtime::{
    task::{self, JoinHandle},
    time::timeout,
};
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
        let bowline_model::Address::Tcp(addr) = told.await.unwrap() else { panic!("it listens on TCP") };
        Self { addr, stop, ended }
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

/// Says which release answers.
fn release(version: &'static str) -> Router {
    Router::new().route("/users/{id}", get(async move || axum::Json(version)))
}

/// A user of a version.
async fn user_of(fixture: &Fixture, id: &str, version: &'static str) -> Running {
    let vars = [("BOWLINE_INSTANCE", id), ("BOWLINE_VERSION", version)].map(|(name, value)| (name, value.to_owned()));
    let api = ("BOWLINE_API", format!("http://{}", fixture.addr));
    let vars = vars.into_iter().chain([api]).map(|(name, value)| (name.to_owned(), value));
    Running::start(Microservice::new(Settings::from_vars("user", vars).unwrap()), release(version)).await
}

#[tokio::test]
async fn calls_are_split_between_versions_without_a_mesh() {
    let fixture = Fixture::start().await;
    let (one, two) = (user_of(&fixture, "user-1", "v1").await, user_of(&fixture, "user-v2-1", "v2").await);
    let orders = service(&fixture, "order");
    let user = orders.client("user");
    let app = Router::new().route("/order", get(order)).with_state(user.clone());
    let orders = Running::start(orders, app).await;
    until(async || user.instance_count() == 2).await;

    let (config, workload) = (fixture.node.config(), Workload::Service("order".parse().unwrap()));
    let key = ConfigKey::snapshot(&workload);
    for split in [[("v1", 0), ("v2", 1)], [("v1", 1), ("v2", 0)]] {
        let weights = split.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect();
        let steering = Steering { split: weights, ..Steering::default() };
        let call = Outbound { target: "user".parse().unwrap(), policy: CallPolicy::default(), steering };
        let snapshot = Snapshot {
            format: SNAPSHOT_FORMAT,
            system: "shop".parse().unwrap(),
            workload: workload.clone(),
            mode: None,
            authorization: Authorization::default(),
            inbound: Vec::new(),
            outbound: vec![call],
            faults: Vec::new(),
        };
        let text = serde_json::to_string(&snapshot).unwrap();
        let draft = Draft::new(Document::new(Format::Json, text), Author::anonymous());
        let number = config.set_config(&key, draft).await.unwrap().number;
        // Who publishes a split can wait until all act by it.
        until(async || {
            let status = config.status(&key).await.unwrap();
            status.instances.iter().any(|told| told.ack.version == number && told.ack.outcome == Outcome::Applied)
        })
        .await;
        let only = split.iter().find(|(_, weight)| *weight > 0).unwrap().0;
        for _ in 0..20 {
            let answer: Value = HttpClient::new(orders.addr).get_json("/order").await.unwrap();
            assert_eq!(answer, json!({ "user": only }));
        }
    }
    for running in [orders, one, two] {
        running.stop().await;
    }
}

/// What an order may be, as its document says.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    items_max: u32,
}

async fn limit(State(limits): State<Config<Limits>>) -> axum::Json<u32> {
    axum::Json(limits.get().items_max)
}

#[tokio::test]
async fn configuration_is_live_within_a_second_without_a_failed_request() {
    let fixture = Fixture::start().await;
    let (config, key) = (fixture.node.config(), ConfigKey::new("shop/order").unwrap());
    let draft = |text: &str| Draft::new(Document::new(Format::Toml, text), Author::anonymous());
    config.set_config(&key, draft("items_max = 1")).await.unwrap();
    let orders = service(&fixture, "order");
    let limits = orders.config::<Limits>("shop/order").await.unwrap();
    let orders = Running::start(orders, Router::new().route("/limit", get(limit)).with_state(limits)).await;
    let client = HttpClient::new(orders.addr);
    let ask = async || client.get_json::<u32>("/limit").await.unwrap();
    assert_eq!(ask().await, 1);
    let live = async |expected: u32| {
        let asked = async { while ask().await != expected {} };
        timeout(Duration::from_secs(1), asked).await.expect("it is live within a second");
    };
    config.set_config(&key, draft("items_max = 2")).await.unwrap();
    live(2).await;
    config.rollback(&key, 1, None, Author::anonymous()).await.unwrap();
    live(1).await;

    // What it cannot run by, it says.
    config.set_config(&key, draft("items_max = -1")).await.unwrap();
    until(async || {
        let status = config.status(&key).await.unwrap();
        assert_eq!(ask().await, 1);
        status.instances.iter().any(|instance| {
            let is_refused = matches!(&instance.ack.outcome, Outcome::Refused { reason } if reason.contains("line 1"));
            instance.ack.version == 4 && is_refused && instance.ack.runs == Some(3)
        })
    })
    .await;
    orders.stop().await;
}

#[tokio::test]
async fn configuration_outlives_the_server() {
    let fixture = Fixture::start().await;
    let (config, key) = (fixture.node.config(), ConfigKey::new("shop/order").unwrap());
    let draft = |text: &str| Draft::new(Document::new(Format::Toml, text), Author::anonymous());
    config.set_config(&key, draft("items_max = 1")).await.unwrap();
    let orders = service(&fixture, "order");
    let limits = orders.config::<Limits>("shop/order").await.unwrap();
    let Fixture { dir, node, addr } = fixture;
    node.stop().await;
    assert_eq!(limits.get().items_max, 1);
    drop(limits);
    // An instance that starts meanwhile reads its folder,
    let limits = orders.config::<Limits>("shop/order").await.unwrap();
    assert_eq!((limits.get().items_max, limits.version()), (1, Some(1)));
    // and follows the server again once there is one.
    let node = crate::support::start(crate::support::settings(&dir, Some(addr))).await.unwrap();
    let mut changes = limits.changes();
    node.config().set_config(&key, draft("items_max = 2")).await.unwrap();
    let changed = timeout(BOUND, changes.next()).await.expect("it follows again");
    assert_eq!(changed.items_max, 2);
    drop(limits);
    node.stop().await;
}
