//! Sagas of a service: they end with it.

use std::time::Duration;

use axum::{Router, routing::get};
use bowline::{
    Microservice,
    messages::Incoming,
    sql::{self, Definition, Outcome, Sagas},
};
use bowline_runtime::{task, time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Sqlite, SqlitePool};
use tokio::sync::mpsc;

use crate::{
    api::Api,
    messages::bus,
    support::{BOUND, Place},
};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order;

/// Begins with a step that tells that it was begun, and ends it where it is to be good.
fn definition(begun: mpsc::Sender<&'static str>, is_good: bool) -> Definition<Sqlite, Order> {
    Definition::new("order").remote("charge", move |_, _: &mut Order| {
        let begun = begun.clone();
        Box::pin(async move {
            begun.try_send("saga").unwrap();
            if is_good { Ok(()) } else { std::future::pending().await }
        })
    })
}

async fn pool(place: &Place) -> SqlitePool {
    let url = format!("sqlite://{}?mode=rwc", place.path("test.db").display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    sql::migrate(&pool).await.unwrap();
    pool
}

/// A request, a message and a saga that never end: they have one grace, and the saga is left to other replicas then.
#[tokio::test]
async fn the_grace_is_one_for_all_and_sagas_are_left_to_others() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["order.placed"]).await;
    let place = Place::new("order").beside(api.addr);
    let pool = pool(&place).await;
    let (begun, mut has_begun) = mpsc::channel(8);
    let mut service = place.service().with_bus(bus);
    let hours = Duration::from_hours(1);
    let sagas = Sagas::builder(pool.clone()).saga(definition(begun.clone(), false)).lease(hours).start().unwrap();
    service.show_sagas(&sagas);
    let tell = begun.clone();
    service.consumer("order.placed").each(move |_: Incoming<Value>| {
        tell.try_send("message").unwrap();
        std::future::pending()
    });
    service.topic("order.placed").message(&json!({})).publish().await.unwrap();
    let tell = begun.clone();
    let app = Router::new().route(
        "/slow",
        get(async move || -> &'static str {
            tell.try_send("request").unwrap();
            std::future::pending().await
        }),
    );
    let mut tx = sql::begin(&pool).await.unwrap();
    sagas.begin(&mut tx, "order", "o-1", &Order).await.unwrap();
    sagas.commit(tx).await.unwrap();

    let grace = Duration::from_secs(3);
    let ended = stopped(service, app, grace, || async {
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(has_begun.recv().await.unwrap());
        }
        all.sort_unstable();
        assert_eq!(all, ["message", "request", "saga"]);
    });
    let took = ended.await;
    assert!(took >= grace && took < grace * 2, "{took:?}");
    let other = Sagas::builder(pool).saga(definition(begun, true)).start().unwrap();
    assert_eq!(other.finish::<Order>("o-1", BOUND).await.unwrap(), Outcome::Done(Order));
}

/// Serves, asks for `/slow`, and stops when that was begun which is waited for; how long it took to stop.
async fn stopped<Fut: Future<Output = ()>>(
    service: Microservice,
    app: Router,
    grace: Duration,
    is_begun: impl FnOnce() -> Fut,
) -> Duration {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = tokio::sync::oneshot::channel();
    let stopped = async move { drop(stopped.await) };
    let ended = task::spawn(service.serve_until(app, stopped, grace, |addr| tell.send(addr).unwrap()));
    let addr = told.await.unwrap();
    let _request = task::spawn(async move {
        let request = http::Request::get("/slow").body(bowline_transport::Body::empty()).unwrap();
        bowline_transport::HttpClient::new(addr).request(request).await.map(drop)
    });
    is_begun().await;
    let begun = time::now();
    stop.send(()).unwrap();
    ended.await.unwrap().unwrap();
    begun.elapsed()
}

#[tokio::test]
async fn sagas_are_shown_once() {
    let place = Place::new("order");
    let pool = pool(&place).await;
    let (begun, _) = mpsc::channel(1);
    let sagas = Sagas::builder(pool).saga(definition(begun, true)).start().unwrap();
    let mut service = place.service();
    service.show_sagas(&sagas);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| service.show_sagas(&sagas))).unwrap_err();
    let why = panicked.downcast_ref::<&str>().unwrap();
    assert!(why.contains("give all definitions to one `Sagas::builder`"), "{why}");
}
