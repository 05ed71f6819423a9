//! An MQTT broker for one system: 3.1.1 and 5 on one port, QoS 0 and 1, sessions, retained messages and last wills.
//!
//! What it promises: **a message of QoS 1 is acknowledged when it is durable** for every session that outlives its
//! connection and is to have it, and so are a subscription and a retained message. Many that arrive together share one
//! sync of the journal. After `kill -9` everything that was acknowledged is there again.
//!
//! What it does not have: QoS 2 (granted as 1; who publishes with it is closed, and told why in version 5), `$SYS`, shared
//! subscriptions, topic aliases, subscription identifiers, enhanced authentication.
//!
//! Where a session's queue is full, nobody's message is dropped for it: publishers of QoS 1 are not acknowledged
//! until there is room, and send no more than [`Bounds::unacknowledged_max`] meanwhile. So whoever stops taking
//! stops who sends. A session that ends with its connection has no such right: it is cut off, and the one that has most
//! is, where all of them together have too much.

mod accounts;
mod admission;
mod broker;
mod connection;
mod filters;
mod handshake;
mod journal;
mod keeper;
mod message;
mod metrics;
mod publishing;
mod record;
mod replay;
mod session;
mod settings;
mod state;
mod wire;

pub use accounts::Accounts;
pub use admission::{Admission, Identity};
pub use broker::{Broker, Error, Handle};
pub use settings::{Bounds, Settings};
