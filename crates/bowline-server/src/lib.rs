//! The control-plane node: the HTTP/JSON API over registry, configuration and traces.
//!
//! A [`Node`] opens the data folder, serves the API and hands the same registry, configuration
//! and trace store to whoever lives in its process (the gateway and the supervisor under `bowline
//! up`). What it knows is in the store: a restart, or another server, reads the same (lease renewals
//! excepted).

mod api;
mod config;
mod error;
mod guard;
mod health;
mod instances;
mod node;
mod schema;
mod spans;
mod traces;
mod watch;

pub use api::openapi;
pub use node::{Error, Node, Settings};
pub use schema::RoutesCheck;
