//! The port of the level that all processes of a service share.

#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod guard;
pub mod memory;
pub(crate) mod slot;

use std::{fmt, time::Duration};

use bowline_runtime::BoxFuture;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Mark, PortError};

/// Entries of caches by name, shared by processes. It may lose entries at any time, and all of them at a restart.
///
/// A miss gives a [`Ticket`] that the value is put with: the slot is called so until then, for
/// [`TICKET_FOR`](crate::TICKET_FOR) at most. An invalidation takes the ticket away, so that a load which began before
/// it cannot fill after it, in whichever process it runs. (Memcached's leases: Nishtala and others, "Scaling Memcache
/// at Facebook", NSDI 2013.)
///
/// It keeps, for each cache, up to which [`Mark`] of each feed invalidations were applied to it: in one write with what
/// they remove, so that a level which went back (a failover, a restart) is found out by its marks.
///
/// Every call takes one round trip and is atomic.
pub trait SharedCache: Send + Sync + 'static {
    /// What the slot has, and the marks of the cache.
    fn get<'a>(&'a self, cache: &'a str, key: &'a str) -> BoxFuture<'a, Result<Got, PortError>>;

    /// Puts a value where the slot still has the ticket, for so long; false where it has not.
    fn fill<'a>(
        &'a self,
        cache: &'a str,
        key: &'a str,
        ticket: Ticket,
        value: Bytes,
        keep: Duration,
    ) -> BoxFuture<'a, Result<bool, PortError>>;

    /// Removes values and tickets: of those keys, at most [`BATCH_MAX`](crate::BATCH_MAX).
    ///
    /// With `applied`, they come from a feed and are removed once, whoever asks first: nothing is done where the mark
    /// is at or past [`Applied::upto`], or before [`Applied::after`], or has another id at the position of one of the
    /// two (ids that are not empty differ only where the feed was made anew); else the mark is `upto` from then on. So
    /// whoever asks with both at 2⁵³ − 1, without an id, learns the mark.
    fn invalidate<'a>(
        &'a self,
        cache: &'a str,
        keys: &'a [String],
        applied: Option<Applied>,
    ) -> BoxFuture<'a, Result<Outcome, PortError>>;

    /// Removes everything of the cache, its marks too, which are these from then on.
    fn clear<'a>(&'a self, cache: &'a str, marks: &'a [(Feed, Mark)]) -> BoxFuture<'a, Result<(), PortError>>;
}

/// The name of a feed of invalidations.
pub type Feed = String;

/// What the empty slot is called that a value is loaded for. Never twice the same for one key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// What was got of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The value, or what the empty slot is called.
    pub found: Found,
    /// Up to where invalidations were applied to this cache, by the name of the feed.
    pub marks: Vec<(Feed, Mark)>,
}

/// What is in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A value.
    Hit {
        /// As it was put.
        value: Bytes,
        /// For how long it is still kept.
        left: Duration,
    },
    /// Nothing yet; whoever gets it meanwhile gets the same ticket.
    Empty(Ticket),
}

/// Where in a feed invalidations come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The feed.
    pub feed: Feed,
    /// They are all that came after this.
    pub after: Mark,
    /// And up to this.
    pub upto: Mark,
}

/// What came of an invalidation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// They are removed.
    Done,
    /// They were removed before, through another process.
    AlreadyDone,
    /// Nothing was done: invalidations before these are missing here, from this mark on, or it is of a feed that was
    /// made anew. Clear it.
    Behind(Option<Mark>),
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({:016x})", self.0)
    }
}
