//! The engine over real sockets: each test has its own upstreams, its own proxy and its own clients.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod authority;
mod bodies;
mod drain;
mod failures;
mod filters;
mod follow;
mod headers;
mod listeners;
mod logs;
mod peers;
mod protocols;
mod routing;
mod spans;
mod support;
mod vectors;
