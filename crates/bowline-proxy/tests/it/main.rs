//! The engine over real sockets: each test has its own upstreams, its own proxy and its own clients.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod bodies;
mod drain;
mod failures;
mod filters;
mod headers;
mod logs;
mod protocols;
mod routing;
mod support;
mod vectors;
