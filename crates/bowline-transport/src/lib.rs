//! HTTP connections: our own HTTP/1 client, HTTP/2 through hyper, pools per core and shared, the accept loop.
//!
//! One request goes out with [`send`], over whichever [`Pool`] the caller has: [`LocalPool`] where
//! everything stays on one core (the data plane), [`SharedPool`] everywhere else. The HTTP/1
//! client runs in the caller's own task: a small request costs one write and one read. What comes in is
//! served by [`server`]. Nothing here retries, picks or times a call; that is `bowline-upstream`.

mod aside;
mod body;
mod buffer;
mod client;
mod endpoint;
mod error;
pub mod forward;
mod http1;
mod http2;
pub mod lines;
mod pool;
pub mod problem;
mod response;
mod send;
pub mod server;
mod socket;
mod stream;
mod tls;
pub mod web;

pub use aside::send_aside;
pub use body::{Body, BoxError};
pub use client::{ClientError, HttpClient};
pub use endpoint::Endpoint;
pub use error::{Error, Kind, Side};
pub use pool::{LocalPool, Pool, PoolMetrics, PoolSettings, SharedPool};
pub use response::ResponseBody;
pub use send::{connect_ahead, send, send_parts};
pub use tls::{ClientTls, ServerTls, Until};
