//! The port through which a cache hears what has changed.

use std::{sync::Arc, time::Duration};

use bowline_runtime::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::PortError;

/// A feed of invalidations: what was said to be invalid, in one order, by whichever process.
///
/// It is read by position, so that nothing is lost while a reader is away: either everything after its [`Mark`] is
/// still there, or it is told that it is not ([`Resumed::Gap`], [`After::Gap`]) and forgets all.
pub trait Invalidations: Send + Sync + 'static {
    /// What it is called; of all feeds of one cache, each has another name.
    fn name(&self) -> &str;

    /// Whether everything after that mark is still there; without one, where the feed ends now.
    ///
    /// A feed that was made anew has a gap after every mark of the one before.
    fn resume(&self, from: Option<Mark>) -> BoxFuture<'_, Result<Resumed, PortError>>;

    /// What comes after a mark, at most [`BATCH_MAX`](crate::BATCH_MAX): at once where there is something, else when
    /// something comes, or nothing once that time is over (at most [`WAIT_MAX`](crate::WAIT_MAX)). A gap where the
    /// mark is not one of this feed, as after [`resume`](Self::resume).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: it is asked again by the mark.
    fn after(&self, mark: Mark, wait: Duration) -> BoxFuture<'_, Result<After, PortError>>;

    /// Tells all who follow the feed; answered when it is durable.
    ///
    /// # Errors
    /// [`PortError::NotOurs`] where the feed is another's to write: its owner tells.
    fn tell(&self, what: Which) -> BoxFuture<'_, Result<(), PortError>>;
}

/// What is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The entry of that key, by its name.
    Key(String),
    /// Every entry.
    All,
}

/// A place in a feed: everything up to it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The position of the last that was applied; 0 where none was.
    pub position: u64,
    /// What stands there is called; empty where it is not known. It tells a feed from one that was made anew.
    pub id: String,
}

impl Mark {
    /// Whether another message is known to stand at the same position.
    pub(crate) fn is_of_another_feed(&self, other: &Self) -> bool {
        let is_known = !self.id.is_empty() && !other.id.is_empty();
        is_known && self.position == other.position && self.id != other.id
    }
}

/// Where a follower may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// There: nothing after it is missing.
    At(Mark),
    /// What came after its mark is not there any more, or it had none: forget all, and go on from the end.
    Gap {
        /// Where the feed ends now.
        end: Mark,
    },
}

/// What came after a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// This, perhaps nothing.
    Batch(Batch),
    /// It is not there any more: forget all, and go on from the end.
    Gap {
        /// Where the feed ends now.
        end: Mark,
    },
}

/// A piece of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// What is invalid.
    pub what: Vec<Which>,
    /// The mark after all of it.
    pub upto: Mark,
    /// Whether that was the feed's end when it was read.
    pub is_end: bool,
}

impl<F: Invalidations + ?Sized> Invalidations for Arc<F> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn resume(&self, from: Option<Mark>) -> BoxFuture<'_, Result<Resumed, PortError>> {
        (**self).resume(from)
    }

    fn after(&self, mark: Mark, wait: Duration) -> BoxFuture<'_, Result<After, PortError>> {
        (**self).after(mark, wait)
    }

    fn tell(&self, what: Which) -> BoxFuture<'_, Result<(), PortError>> {
        (**self).tell(what)
    }
}
