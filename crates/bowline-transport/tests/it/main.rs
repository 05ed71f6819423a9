//! The client and the server of this crate, against raw sockets and against each other.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod authority;
mod broken;
mod client;
mod frames;
mod framing;
mod http2;
mod limits;
mod multiplexed;
mod peer;
mod pooling;
mod server;
mod tls;
mod uploads;

use bowline_transport::{Body, Endpoint, SharedPool, send};
use http::Request;

/// The future of a call over the shared pool can move between threads.
#[test]
fn over_the_shared_pool_everything_is_send() {
    fn is_send<T: Send>(_: &T) {}
    let pool = SharedPool::default();
    let endpoint = Endpoint::http1(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let sending = send(&pool, &endpoint, Request::new(Body::empty()));
    is_send(&sending);
    is_send(&async {
        let response = send(&pool, &endpoint, Request::new(Body::empty())).await;
        is_send(&response);
    });
}
