//! The gateway over real sockets, with a registry whose content the test decides.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod auth;
mod explain;
mod follow;
mod gateway;
mod limits;
mod middleware;
mod support;
mod tokens;
mod vectors;
