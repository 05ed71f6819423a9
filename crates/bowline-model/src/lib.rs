//! The vocabulary of Bowline and the `bowline.toml` parser: pure data, no async, no I/O.
//!
//! Everything that more than one crate must name the same way lives here: services, instances,
//! boundaries, calls with their policies, routes, and the [`Code`] every error answers to.

pub mod caches;
pub mod check;
pub mod code;
pub mod data;
pub mod deploy;
pub mod error;
pub mod gateway;
pub mod instance;
pub mod mesh;
pub mod messages;
pub mod monitor;
pub mod name;
pub mod observed;
pub mod parse;
pub mod percent;
pub mod policy;
pub mod problem;
pub mod route;
pub mod secret;
pub mod suggest;
pub mod system;
mod text_form;
pub mod units;

pub use code::Code;
pub use gateway::RouteTable;
pub use instance::{Address, Health, Instance, Protocol};
pub use name::{ConfigKey, InstanceId, InvalidName, ServiceName};
pub use parse::parse;
pub use problem::{Position, Problem};
pub use secret::Secret;
pub use system::System;
