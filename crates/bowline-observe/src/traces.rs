//! The trace store: spans in append-only segment files under a hard cap of bytes, and an index of
//! them in memory. [`waterfall`] lays the spans of one trace out for people.

mod codec;
mod cursor;
mod error;
mod index;
mod log;
mod metrics;
mod query;
mod settings;
mod store;
mod tap;
mod writer;

pub mod waterfall;

pub use cursor::{Cursor, InvalidCursor};
pub use error::Error;
pub use query::{
    Found, InvalidOrder, InvalidStatus, LIMIT_DEFAULT, LIMIT_MAX, Order, Page, Query, SpanStatus, TraceSummary,
};
pub use settings::{BYTES_MAX_MIN, Settings};
pub use store::TraceStore;
pub use tap::Tap;
