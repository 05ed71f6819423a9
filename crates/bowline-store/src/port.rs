//! The port itself: what a store promises, and the words it is spoken to in.

use std::{fmt, sync::Arc, time::Duration};

use bowline_runtime::BoxFuture;
use bytes::Bytes;

use crate::Error;

/// Keys with revisions, watches, leases and transactions; shared by everybody in the process.
///
/// Reads are linearizable: they see every change that was answered before they began. A change is
/// answered when it would survive `kill -9` and power loss.
pub trait Store: Send + Sync + 'static {
    /// The entry of a key.
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>, Error>>;

    /// Up to `limit` (at most [`RANGE_MAX`](crate::RANGE_MAX)) entries whose keys begin with
    /// `prefix` and are greater than `after`, sorted by key.
    ///
    /// Each page is consistent in itself. To list more than a page, watch from the *first* page's
    /// revision: what changes meanwhile comes as an event.
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Page, Error>>;

    /// Changes all or nothing, and answers the revision of the change; the current revision if it
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] names the first comparison that fails; [`Error::NoLease`] a lease that
    /// is not there. After [`Error::Io`] it may or may not have happened.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>>;

    /// Grants a lease and commits in one step: every put that names no lease is bound to the new
    /// one, but for [`Op::PutLasting`]. When it fails nothing is granted.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    fn commit_leased(&self, txn: Txn, ttl: Duration) -> BoxFuture<'_, Result<(Revision, LeaseId), Error>>;

    /// Every change after the revision `from` to a key that begins with `prefix`: in order, none
    /// missed, none twice.
    ///
    /// # Errors
    /// [`Error::Compacted`] when `from` is no longer kept, [`Error::Future`] when it is not yet
    /// there, [`Error::TooMany`] beyond the bound on watchers.
    fn watch(&self, prefix: &str, from: Revision) -> BoxFuture<'_, Result<Watch, Error>>;

    /// A new lease, durable; it ends unless it is renewed within `ttl`.
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>>;

    /// Renews leases, each to its full lifetime, which is answered; in memory only.
    ///
    /// After a restart every lease has its full lifetime again, renewed or not.
    fn keep_alive(&self, leases: &[LeaseId]) -> BoxFuture<'_, Result<Vec<Result<Duration, Error>>, Error>>;

    /// Ends a lease now and deletes its keys, durably; whether there was such a lease.
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<bool, Error>>;

    /// How long a lease lives unless it is renewed.
    fn time_left(&self, lease: LeaseId) -> BoxFuture<'_, Result<Duration, Error>>;

    /// The keys that live by a lease now, sorted; none where there is no such lease.
    fn lease_keys(&self, lease: LeaseId) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>>;

    /// Which history the revisions count.
    fn history(&self) -> BoxFuture<'_, Result<HistoryId, Error>>;

    /// The revision now.
    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>>;

    /// Whether a write may succeed in this process: false is for ever, until it is started again.
    /// A disk that is full is none of that. Cheap.
    fn is_writable(&self) -> bool {
        true
    }
}

/// Counts the transactions that changed something; the first is 1.
pub type Revision = u64;

/// Names a history of revisions, from the store's creation on.
///
/// Revisions of different histories cannot be compared: a store that was lost and made anew counts
/// from 1 again under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HistoryId(pub u64);

/// Names a lease; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The value.
    pub value: Bytes,
    /// The revision that created it, after the last deletion.
    pub created: Revision,
    /// The revision that last put it.
    pub modified: Revision,
    /// The lease it lives by.
    pub lease: Option<LeaseId>,
}

/// A part of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries, sorted by key.
    pub entries: Vec<Entry>,
    /// The revision they were read at.
    pub revision: Revision,
    /// Whether there are more after the last.
    pub more: bool,
}

/// What is changed, and on which conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold, or nothing is changed.
    pub compares: Vec<Compare>,
    /// Applied together, each key at most once.
    pub ops: Vec<Op>,
}

/// A condition on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// Its state.
    pub expect: Expect,
}

/// The state a key is expected in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It is not there.
    Missing,
    /// It is there.
    Exists,
    /// It was last put by this revision.
    Modified(Revision),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates or replaces a key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Bytes,
        /// The lease it lives by from now on.
        lease: Option<LeaseId>,
    },
    /// Creates or replaces a key that lives by no lease, not even by the one that its transaction is
    /// granted.
    PutLasting {
        /// The key.
        key: String,
        /// Its value.
        value: Bytes,
    },
    /// Deletes a key; a missing one is no error.
    Delete {
        /// The key.
        key: String,
    },
}

/// A change as a watcher sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// The revision of its transaction; several events can have the same.
    pub revision: Revision,
    /// What happened.
    pub change: Change,
}

/// What a watch has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// A change.
    Event(WatchEvent),
    /// Every change up to this revision was told; it grows also when others' keys change, so that
    /// whoever resumes from it is not behind what the history keeps.
    UpTo(Revision),
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was created or replaced.
    Put(Entry),
    /// It was deleted, by a transaction or by the end of its lease.
    Delete {
        /// The key.
        key: Arc<str>,
        /// What it was.
        previous: Entry,
    },
}

/// The changes under a prefix, one after the other. Dropping it ends the watch.
pub struct Watch(Box<dyn WatchSource>);

/// Where a [`Watch`] gets its events from; implemented by providers.
pub trait WatchSource: Send {
    /// See [`Watch::next_update`].
    fn next_update(&mut self) -> BoxFuture<'_, Result<Update, Error>>;
}

impl Watch {
    /// A watch over a provider's source.
    pub fn new(source: impl WatchSource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// Waits for the next change. After an error the watch is over.
    ///
    /// # Errors
    /// [`Error::Lagged`] when events were dropped because this was called too seldom.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call answers the same change.
    pub async fn next(&mut self) -> Result<WatchEvent, Error> {
        loop {
            if let Update::Event(event) = self.0.next_update().await? {
                return Ok(event);
            }
        }
    }

    /// Waits for the next change or progress; [`Watch::next`] leaves the progress out. Progress is
    /// told when all that is there was told.
    ///
    /// # Errors
    /// As [`Watch::next`].
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call answers the same.
    pub async fn next_update(&mut self) -> Result<Update, Error> {
        self.0.next_update().await
    }
}

impl Txn {
    /// Adds a condition.
    pub fn when(mut self, key: impl Into<String>, expect: Expect) -> Self {
        self.compares.push(Compare { key: key.into(), expect });
        self
    }

    /// Adds a put without a lease.
    pub fn put(self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.put_leased(key, value, None)
    }

    /// Adds a put.
    pub fn put_leased(
        mut self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        lease: impl Into<Option<LeaseId>>,
    ) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: lease.into() });
        self
    }

    /// Adds a put without a lease, also where the transaction is granted one.
    pub fn put_lasting(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::PutLasting { key: key.into(), value: value.into() });
        self
    }

    /// Adds a deletion.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }
}

impl Op {
    /// The key it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::PutLasting { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The value it puts; none if it deletes.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put { value, .. } | Self::PutLasting { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }
}

impl Change {
    /// The key it happened to.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for HistoryId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}
