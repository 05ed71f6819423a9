//! The control-plane node: the HTTP/JSON API over registry, configuration, messages and traces, who may ask
//! it, and its audit.
//!
//! A [`Node`] opens the data folder, serves the API and hands the same registry, configuration
//! and trace store to whoever lives in its process (the gateway and the supervisor under `bowline
//! up`). What it knows is in the store: a restart, or another server, reads the same (lease renewals
//! excepted).

mod access;
mod actor;
mod alerts;
mod api;
mod ask;
mod audit;
mod breakers;
mod caches;
mod changes;
mod collect;
mod config;
mod console;
mod deployments;
mod error;
mod events;
mod explain;
mod graph;
mod guard;
mod health;
mod instances;
mod judge;
mod logs;
mod mesh;
mod messages;
mod monitor;
mod node;
mod observed;
mod otlp;
mod prometheus;
mod sagas;
mod schema;
pub mod secret;
mod shared_caches;
mod spans;
mod system;
mod traces;
mod watch;

pub use access::{MakeRootError, RootTokenError, read_root_token};
pub use api::openapi;
pub use breakers::GatewayBreakers;
pub use collect::{CollectSettings, Collecting, Dial};
pub use explain::{EXPLAIN_HEADERS_MAX, Explainer};
pub use health::Declared;
pub use logs::{LogSource, LogsAsked};
pub use mesh::MeshSettings;
pub use messages::Messages;
pub use monitor::MonitorSettings;
pub use node::{Error, Node, Settings};
pub use otlp::OtlpAddrs;
pub use schema::RoutesCheck;
