//! Registers, finds and watches instances: the registry over the store, and the discovery cache.
//!
//! [`Registry`] is the port. [`StoreRegistry`] serves it from a [`bowline_store::Store`];
//! a remote server's is in `bowline-provider-remote`. [`Discovery`] is what callers of services
//! use: the instances of a service, kept current, never emptied without proof.

mod discovery;
mod error;
pub mod health;
mod port;
mod store;

pub use bowline_store::{HistoryId, Revision};
pub use discovery::{Discovery, SERVICES_MAX};
pub use error::Error;
pub use port::{
    Discovered, HEARTBEATS_MAX, HeartbeatAnswer, INSTANCES_MAX, InstanceChange, InstanceEvent, InstanceWatch, Query,
    Registry, ServiceSummary,
};
pub use store::StoreRegistry;
