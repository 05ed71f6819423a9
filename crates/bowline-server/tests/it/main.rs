//! A node as its clients see it: over HTTP, through the remote provider, across restarts.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod access;
mod audit;
mod breakers;
mod caches;
mod changes;
mod collect;
mod config;
mod console;
mod declared;
mod deployments;
mod events;
mod guard;
mod health;
mod instances;
mod link;
mod logs;
mod mesh;
mod messages;
mod node;
mod paths;
mod port;
mod prometheus;
mod sagas;
mod session;
mod sockets;
mod support;
mod system;
mod traces;
mod watch;
