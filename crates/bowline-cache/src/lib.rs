//! Caches of an application: memory, disk and what its processes share.
//!
//! A [`Cache`] keeps what was loaded by key, and loads each key once for all who ask. [`Invalidations`] is the port
//! through which a cache hears, from whichever process, what has changed. [`SharedCache`] is the port of the level that
//! all processes of a service share (a level on disk is part of this crate); its provider here is
//! [`shared::memory::Memory`], and every provider passes the suite in `shared::conformance` (feature `conformance`).

mod adapt;
mod ask;
mod builder;
mod cache;
mod classes;
mod codec;
mod disk;
mod error;
mod estimate;
mod feed;
mod flights;
mod follow;
mod key;
mod levels;
mod limits;
mod memory;
mod metrics;
mod place;
pub mod shared;
mod slot;
mod status;
mod strategy;
mod windows;

pub use builder::{BuildError, Builder};
pub use cache::{Cache, Lookup};

pub use error::{Error, Failure, PortError};
pub use feed::{After, Batch, Invalidations, Mark, Resumed, Which};
pub use key::Key;
pub use limits::{
    BATCH_MAX, CACHES_MAX, CLASSES_MAX, FEED_BYTES_MAX, FEEDS_MAX, KEEP_RANGE, KEY_BYTES_MAX, LOADS_MAX,
    MARK_BYTES_MAX, NAME_BYTES_MAX, PENDING_MAX, RUNNING_MAX, SLOTS_MAX, TICKET_FOR, VALUE_BYTES_MAX, WAIT_MAX,
    WAITERS_MAX, check_applied, check_batch, check_keep, check_key, check_marks, check_name, check_value,
};
pub use shared::{Applied, Feed, Found, Got, Outcome, SharedCache, Ticket};
pub use status::{ClassStatus, FeedStatus, LevelStatus, Loads, Requests, Status};
pub use strategy::Strategy;
