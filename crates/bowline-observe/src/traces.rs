//! The trace store: spans in append-only segment files under a hard cap of bytes, and an index of
//! them in memory. [`waterfall`] lays the spans of one trace out for people.

mod codec;
mod error;
mod index;
mod log;
mod metrics;
mod query;
mod settings;
mod store;
mod writer;

pub mod waterfall;

pub use error::Error;
pub use query::{Found, LIMIT_DEFAULT, LIMIT_MAX, Query, TraceSummary};
pub use settings::{BYTES_MAX_MIN, Settings};
pub use store::TraceStore;
