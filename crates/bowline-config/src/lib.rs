//! Versioned, schema-checked, watched documents of configuration: the port, and its provider over the store.
//!
//! [`ConfigManager`] is the port. [`StoreConfig`] serves it from a [`bowline_store::Store`]; a
//! remote server's is in `bowline-provider-remote`. A document ([`Document`]) is published as a
//! [`Version`] under a [`ConfigKey`](bowline_model::ConfigKey), after it was found to fit its
//! schema, which a [`Schema`] judges; whoever runs by it says so with an [`Acknowledgement`].
//!
//! Every provider passes the suite in `conformance` (feature `conformance`).

mod change;
mod diff;
mod document;
mod error;
mod port;
mod store;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use change::change;
pub use diff::diff;
pub use document::{DOCUMENT_BYTES_MAX, Document, Format};
pub use error::Error;
pub use port::{
    ACKS_MAX, AUTHOR_BYTES_MAX, Acknowledged, Acknowledgement, Author, COMMENT_BYTES_MAX, ConfigManager, ConfigWatcher,
    Draft, ExpectSchema, HISTORY_BYTES_MAX, KEYS_MAX, Origin, Outcome, REASON_BYTES_MAX, SCHEMA_BYTES_MAX, Schema,
    Status, Summary, VERSIONS_MAX, VIOLATIONS_MAX, Version, VersionSummary, Violation,
};
pub use store::StoreConfig;
