//! A Bowline server as a provider: the wire types of its API and a client that implements the ports.
//!
//! [`RemoteRegistry`] is the registry port over a server, [`RemoteConfig`] the configuration port,
//! [`RemoteReporter`] the way of spans to it, [`Client`] everything else a tool asks. [`wire`] holds what both sides say.

mod client;
mod config;
mod lines;
mod registry;
mod reporter;
mod watch;
pub mod wire;

pub use client::{Client, TracesQuery};
pub use config::RemoteConfig;
pub use registry::RemoteRegistry;
pub use reporter::RemoteReporter;
