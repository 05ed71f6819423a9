//! A Bowline server as a provider: the wire types of its API and a client that implements the ports.
//!
//! [`RemoteRegistry`] is the registry port over a server, [`RemoteConfig`] the configuration port, [`RemoteMessages`]
//! the port of messages, [`RemoteCache`] that of what caches share, [`RemoteIssuer`] the issuer port,
//! [`RemoteReporter`] the way of spans to it, [`Client`] everything else a tool asks. All that a process uses of them
//! goes `over` one [`Link`]. [`wire`] holds what both sides say.

mod alerts;
mod bearer;
mod breakers;
mod caches;
mod client;
mod config;
mod deploy;
mod gather;
mod lines;
mod link;
mod logs;
mod mesh;
mod messages;
mod prometheus;
mod registry;
mod reporter;
mod sagas;
mod watch;
pub mod wire;

pub use bearer::{Bearer, InvalidToken, TOKEN_BYTES_MAX};
pub use caches::RemoteCache;
pub use client::{AuditQuery, Client, TracesQuery, encode, path};
pub use config::RemoteConfig;
pub use link::Link;
pub use mesh::RemoteIssuer;
pub use messages::RemoteMessages;
pub use prometheus::QueryTime;
pub use registry::RemoteRegistry;
pub use reporter::RemoteReporter;
