//! The end of an application: in-flight requests finish, nobody new comes.

use std::sync::Arc;

use axum::{Router, routing::get};
use bowline::Code;
use bowline_runtime::{net, task};
use tokio::sync::{Notify, Semaphore};

use crate::{
    api::Api,
    support::{BOUND, Place, Running, ask},
};

/// An application with a request that says when it began, and waits for a permit to end.
fn slow() -> (Router, Arc<Notify>, Arc<Semaphore>) {
    let (began, may_end) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (began.clone(), may_end.clone());
    let handler = move || {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            tell.notify_one();
            wait.acquire().await.unwrap().forget();
            "done"
        }
    };
    (Router::new().route("/slow", get(handler)), began, may_end)
}

#[tokio::test]
async fn requests_in_flight_finish_and_nobody_new_comes() {
    let api = Api::start().await;
    let (app, began, may_end) = slow();
    let running = Running::start(Place::new("hello").beside(api.addr).service(), app).await;
    bowline_testkit::eventually(BOUND, || api.has("hello-1")).await;
    let addr = running.addr;
    let request = task::spawn(async move { ask(addr, "GET", "/slow", &[], "").await });
    began.notified().await;

    // First it leaves the registry; meanwhile it says that it is about to go.
    api.hold_goodbyes();
    let ended = running.begin_stop();
    let draining = async || ask(addr, "GET", "/readyz", &[], "").await;
    crate::support::until(async || draining().await.status == 503).await;
    assert_eq!(draining().await.problem(503, "unavailable"), "draining");
    assert_eq!(ask(addr, "GET", "/livez", &[], "").await.status, 200);
    api.answer_goodbyes();

    bowline_testkit::eventually(BOUND, || !api.has("hello-1")).await;
    crate::support::until(async || net::TcpStream::connect(addr).await.is_err()).await;
    assert!(!ended.is_finished(), "a request is in flight");
    may_end.add_permits(1);
    let answer = request.await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done"));
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_grace_ends_what_does_not() {
    let (app, began, _never) = slow();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = tokio::sync::oneshot::channel();
    let grace = std::time::Duration::from_millis(50);
    let stopped = async move { drop(stopped.await) };
    let service = Place::new("hello").service();
    let ended = task::spawn(service.serve_until(app, stopped, grace, |addr| tell.send(addr).unwrap()));
    let addr = told.await.unwrap();
    let request = task::spawn(async move {
        let request = http::Request::get("/slow").body(bowline_transport::Body::empty()).unwrap();
        bowline_transport::HttpClient::new(addr).request(request).await
    });
    began.notified().await;
    stop.send(()).unwrap();
    ended.await.unwrap().unwrap();
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let taken = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = taken.local_addr().unwrap();
    let service = Place::new("hello").with("BOWLINE_LISTEN", &addr.to_string()).service();
    let grace = bowline::GRACE_DEFAULT;
    let error = service.serve_until(Router::new(), std::future::pending(), grace, |_| ()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {addr} (BOWLINE_LISTEN)"));
    assert_eq!((error.code(), error.retryable()), (Code::FailedPrecondition, false));
}
