//! The gateway over real sockets, with a registry whose content the test decides.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod auth;
#[path = "../../../bowline-proxy/tests/it/authority.rs"]
mod authority;
mod explain;
mod follow;
mod gateway;
mod limits;
mod mesh;
mod middleware;
mod support;
mod tokens;
mod vectors;
