//! The port under the control plane: keys, revisions, watches, leases and transactions.
//!
//! [`Store`] is what the registry and the configuration are views over. A *revision* counts the
//! transactions that changed something; whoever lists at a revision and watches from it sees every
//! change once, in order. A *lease* is a claim that lives while it is renewed: its end deletes the
//! keys bound to it, in one transaction that watchers see.
//!
//! The provider here is `Embedded` (feature `embedded`): one file, group commit, durable before
//! answered. Every provider passes the suite in `conformance` (feature `conformance`).

mod error;
pub mod lease;
mod limits;
mod port;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "embedded")]
pub mod embedded;

#[cfg(feature = "embedded")]
pub use embedded::{Embedded, Settings};
pub use error::Error;
pub use limits::{
    KEY_BYTES_MAX, LEASE_KEYS_MAX, LEASE_TTL_RANGE, RANGE_MAX, TXN_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX, check_key,
    check_ttl, check_txn,
};
pub use port::{
    Change, Compare, Entry, Expect, HistoryId, LeaseId, Op, Page, Revision, Store, Txn, Update, Watch, WatchEvent,
    WatchSource,
};
