//! An application on a Unix socket, as behind a sidecar: served, drained, and not registered.

use axum::{Router, routing::get};
use bowline_model::Address;
use bowline_runtime::{fs, net, task};
use tokio::sync::oneshot;

use crate::{
    api::Api,
    support::{BOUND, Place, ask},
};

#[tokio::test]
async fn it_serves_there_and_tells_nobody() {
    let api = Api::start().await;
    let place = Place::new("hello").beside(api.addr);
    let socket = Address::Unix(place.path("hello.sock"));
    let place = place.with("BOWLINE_LISTEN", &socket.to_string());
    // What a dead process left there is in nobody's way.
    drop(net::listen_unix(&place.path("hello.sock")).unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    let stopped = async move { drop(stopped.await) };
    let app = Router::new().route("/hello", get(|| async { "hello" }));
    let ended = task::spawn(place.service().serve_until(app, stopped, BOUND, |addr| tell.send(addr).unwrap()));
    assert_eq!(told.await.unwrap(), socket);
    assert_eq!(ask(socket.clone(), "GET", "/hello", &[], "").await.text(), "hello");
    assert_eq!(ask(socket.clone(), "GET", "/readyz", &[], "").await.status, 200);
    stop.send(()).unwrap();
    ended.await.unwrap().unwrap();
    assert!(!api.was_registered_at());
}

#[tokio::test]
async fn a_socket_that_somebody_answers_at_is_not_taken() {
    let place = Place::new("hello");
    let path = place.path("hello.sock");
    let place = place.with("BOWLINE_LISTEN", &format!("unix:{}", path.display()));
    let _taken = net::listen_unix(&path).unwrap();
    let error = place.service().serve_until(Router::new(), std::future::pending(), BOUND, |_| ()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on unix:{} (BOWLINE_LISTEN)", path.display()));
}
